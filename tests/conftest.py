"""Shared by all tests: the real data beside the checkout, and a cache of its own for every test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terminals import Terminals

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]
READ_LATE = {"COLUMNS", "MODELGRAFT_CACHE", "PYTEST_CURRENT_TEST"}
"""Variables that nothing reads while it is imported."""


if "PYTEST_XDIST_WORKER" in os.environ:
    # Beside other workers one thread each, here and in the processes that tests start: torch's threads wait by spinning.
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor fill the user's cache, and no plugin allow-list of the user's shell reaches them."""
    os.environ["MODELGRAFT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("MODELGRAFT_PLUGINS", None)
    os.environ.pop("MODELGRAFT_DEBUG", None)
    os.environ.pop("MODELGRAFT_LOCKED", None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not part of the project; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MODELGRAFT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data is not at {folder} (MODELGRAFT_SHARED_DATA names another place)")
    return folder


@pytest.fixture(scope="session")
def photos() -> Path:
    """The photographs of the README."""
    return ROOT / "docs" / "photos"


@pytest.fixture(scope="session")
def terminals(_own_cache: None) -> Iterator[Terminals]:
    """Commands on pseudo-terminals, in children of a process that has imported the model libraries."""
    with Terminals() as started:
        yield started


@pytest.fixture
def run(terminals: Terminals) -> Run:
    """Run the command line as a user does, in a process of its own; ``env`` adds to the environment.

    The process is forked from one that has imported the libraries, as starting anew takes seconds, most of which is their import;
    with an environment of its own it is started anew, as libraries read theirs when they are imported.
    """

    def run(*arguments: str, env: dict[str, str] | None = None, stdin: str = "", cwd: Path | None = None):
        wanted = {**os.environ, **(env or {})}
        command = [sys.executable, "-m", "modelgraft", *arguments]
        changed = {
            name for name in {*wanted, *terminals.environment} if wanted.get(name) != terminals.environment.get(name)
        }
        if changed - READ_LATE:
            return subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="surrogateescape",
                env=wanted,
                cwd=cwd,
                timeout=300,
            )
        late = {name: wanted[name] for name in READ_LATE if name in wanted}
        ended = terminals.run(
            *arguments,
            stdin=f"text:{stdin}",
            stdout="pipe",
            stderr="pipe",
            env=late,
            cwd=cwd or Path.cwd(),
            seconds=300,
        )
        if ended.code is None:
            raise subprocess.TimeoutExpired(command, 300)
        out, err = (text.decode("utf-8", "surrogateescape").replace("\r\n", "\n") for text in (ended.out, ended.err))
        return subprocess.CompletedProcess(command, ended.code, out, err)

    return run


LONGEST = (
    "tests/open_clip/test_same_numbers.py",
    "tests/attacks/",
    "tests/cli/test_compare.py",
    "tests/adapters/finetuning/",
    "tests/cli/",
    "tests/sentence_transformers/",
    "tests/test_readme.py",
)
"""What takes minutes is begun first: begun last, one worker would be at it alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order of the collection below: xdist would begin with the files of most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((n for n, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))

    items.sort(key=rank)  # stable
