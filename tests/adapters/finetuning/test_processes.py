"""Two processes that train together (gloo) reach what one reaches with the same items in a step."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from modelgraft_adapters.data.dataset import Dataset

CLIENT = Path(__file__).with_name("process_client.py")


def _run(command: list[str]) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.full
@pytest.mark.parametrize("strategy", [pytest.param("full", marks=pytest.mark.slow), "lp-ft"])
def test_two_processes_are_one(train: Dataset, tmp_path: Path, strategy: str) -> None:
    for number, (item, target) in enumerate(zip(train.items, train.targets, strict=True)):
        path = tmp_path / "data" / train.classes[target] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        item.save(path)
    data, alone, both = str(tmp_path / "data"), tmp_path / "alone.pt", tmp_path / "both.pt"
    _run([sys.executable, str(CLIENT), data, str(alone), strategy])
    launch = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_addr=127.0.0.1",
        f"--master_port={_free()}",
    ]
    _run([sys.executable, *launch, str(CLIENT), data, str(both), strategy])
    one, two = torch.load(alone), torch.load(both)
    assert one["weights"].keys() == two["weights"].keys()
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, atol=1e-5, rtol=0)
