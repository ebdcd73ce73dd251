"""Killed and started again, or two at once: nothing stored is computed twice, nothing is corrupted, the numbers are the same."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from modelgraft_adapters.features.extractor import Embedded

from tests.adapters.features.client import embed
from tests.conftest import ROOT

COUNT = 200


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> dict[str, list[str]]:
    """Real photographs with a few that are none among them, and real texts of every length; some items twice."""
    folder = tmp_path_factory.mktemp("pictures")
    with tarfile.open(shared_data / "cifar10.tar") as tar:
        members = [member for member in tar if member.isfile()][: COUNT - 20]
        for number, member in enumerate(members):
            opened = tar.extractfile(member)
            assert opened is not None
            (folder / f"{number:04}.jpg").write_bytes(opened.read())
    (folder / "0050.jpg").write_bytes(b"no picture")
    (folder / "0100.jpg").write_bytes(b"")
    pictures = sorted(str(path) for path in folder.iterdir())
    lines = (shared_data / "sst2.csv").read_text(encoding="utf-8").splitlines()[1 : COUNT - 19]
    texts = [line.split(",", 2)[2].strip('"') for line in lines]
    return {"image": pictures + pictures[:20], "text": texts + texts[:20]}


class Runs:
    """The client in processes of their own."""

    def __init__(self, folder: Path, modality: str, items: list[str]) -> None:
        self.folder, self.modality = folder, modality
        (folder / "items.json").write_text(json.dumps(items))

    def start(self, name: str, cache: str, seconds: float = 0) -> subprocess.Popen[str]:
        arguments = [self.modality, "items.json", f"{name}.noted", f"{name}.npy", str(seconds)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.adapters.features.client", *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "MODELGRAFT_CACHE": str(self.folder / cache),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], name: str) -> np.ndarray:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return np.load(self.folder / f"{name}.npy")

    def here(self, name: str, cache: str) -> Embedded:
        """The same in this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODELGRAFT_CACHE", str(self.folder / cache))
            return embed(self.modality, self.folder / "items.json", self.folder / f"{name}.noted")

    def noted(self, name: str) -> list[list[str]]:
        path = self.folder / f"{name}.noted"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes: another number of threads can move the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.full
@pytest.mark.parametrize(
    ("modality", "kills"),
    [("image", 1), ("text", 1), *(pytest.param(m, 4, marks=pytest.mark.slow) for m in ("image", "text"))],
)
def test_killed_and_started_again(tmp_path: Path, items: dict[str, list[str]], modality: str, kills: int) -> None:
    runs = Runs(tmp_path, modality, items[modality])
    whole = runs.here("whole", "cache a")
    for n in range(kills):  # killed at another place each time
        process = runs.start(f"killed{n}", "cache b", 0.05)
        deadline = time.monotonic() + 60
        while len(runs.noted(f"killed{n}")) < 3:
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.003)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    again = runs.here("again", "cache b")

    assert np.array_equal(again.features, whole.features, equal_nan=True)
    assert again.errors == whole.errors
    assert sum(error is not None for error in whole.errors) == (2 if modality == "image" else 0)
    assert whole.encoded == len({digest for batch in runs.noted("whole") for digest in batch}) < COUNT
    # A batch that was under way when the process was killed is all that may be encoded again: whole, and as it was.
    names = [*(f"killed{n}" for n in range(kills)), "again"]
    for before, after in itertools.pairwise(names):
        first, then = runs.noted(before), runs.noted(after)
        done = {digest for batch in first[:-1] for digest in batch}
        assert done and done.isdisjoint(digest for batch in then for digest in batch)
        assert then[0] == first[-1] or set(first[-1]).isdisjoint(then[0])
    kept = {digest for name in names[:-1] for batch in runs.noted(name)[:-1] for digest in batch}
    assert len(kept) >= 2 * kills and 0 < again.encoded <= whole.encoded - len(kept)
    last = runs.here("last", "cache b")
    assert last.encoded == 0 and runs.noted("last") == []
    assert np.array_equal(last.features, whole.features, equal_nan=True)


@pytest.mark.full
def test_two_at_once(tmp_path: Path, items: dict[str, list[str]]) -> None:
    runs = Runs(tmp_path, "image", items["image"])
    alone = runs.here("alone", "cache a").features
    running = {name: runs.start(name, "cache b", 0.01) for name in ("one", "two")}
    for name, process in running.items():
        # Batches that the other has half done hold fewer items, which can move the last bits.
        np.testing.assert_allclose(runs.finish(process, name), alone, rtol=1e-4, atol=1e-5)
    last = runs.here("last", "cache b")
    assert last.encoded == 0
    np.testing.assert_allclose(last.features, alone, rtol=1e-4, atol=1e-5)
