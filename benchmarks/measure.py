"""Run commands as whole processes and account for them: CPU seconds, wall seconds, peak memory. Used by every script here."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def run_once(command: Sequence[str], env: dict[str, str] | None = None) -> dict[str, float]:
    """One run: ``cpu`` and ``wall`` in seconds, ``peak_mib`` of the largest process. Its output is thrown away."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} left with {process.returncode}")
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "peak_mib": usage.ru_maxrss / 1024}


def compare(
    commands: dict[str, Sequence[str]], runs: int, env: dict[str, str] | None = None
) -> dict[str, dict[str, float]]:
    """Medians over ``runs`` runs of each command, taken in turn so that a machine that drifts drifts for all; one warm-up each."""
    collected: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for n in range(runs + 1):
        for name, command in commands.items():
            figures = run_once(command, env)
            if n:
                collected[name].append(figures)
    return {
        name: {figure: statistics.median(run[figure] for run in found) for figure in found[0]}
        for name, found in collected.items()
    }


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        **{name: version(name) for name in ("modelgraft", "torch", "timm", "open_clip_torch", "sentence-transformers")},
    }


def save(name: str, figures: dict[str, Any]) -> None:
    """Write the raw figures beside the scripts and print them."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), **figures}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


PYTHON = sys.executable
