"""A folder that was unpacked from somewhere: standing in it, no Python file of it runs, whatever it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAP = "import os; os.close(os.open(os.environ['TRAP'], os.O_CREAT | os.O_WRONLY))\n"
VERBS = (["list"], ["plugins"], ["doctor"], ["classify", "a.jpg", "--labels", "a,b", "--model", "embedded/sprig"])


def _sprung(folder: Path, cache: Path, words: list[str], before: str = "") -> bool:
    """Run a command as its console script does, with a cold cache; whether a file of the folder ran."""
    mark = cache.with_suffix(".sprung")
    start = (
        f"import sys; sys.path.pop(0); {before}sys.argv[1:] = {words!r}; from modelgraft.cli.main import main; main()"
    )
    env = {**os.environ, "TRAP": str(mark), "MODELGRAFT_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    env.pop("PYTHONSAFEPATH", None)
    subprocess.run([sys.executable, "-c", start], cwd=folder, env=env, capture_output=True, check=False)
    return mark.exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    for name in {*sys.stdlib_module_names, "torch", "numpy", "timm", "modelgraft", "pluggy", "PIL", "sitecustomize"}:
        (folder / f"{name}.py").write_text(TRAP)
    (folder / "a.jpg").write_bytes(b"no picture")
    return folder


@pytest.mark.full
@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
def test_no_module_of_the_folder_runs(words: list[str], folder: Path, tmp_path: Path) -> None:
    assert not _sprung(folder, tmp_path / "cache", words)


def test_with_the_guard_taken_out_one_does(folder: Path, tmp_path: Path) -> None:
    unsafe = (
        "import subprocess; plain = subprocess.Popen.__init__; subprocess.Popen.__init__ = "
        "lambda self, command, **more: plain(self, [w for w in command if w != '-P'], **more); "
    )
    assert _sprung(folder, tmp_path / "cache", ["list"], before=unsafe)
