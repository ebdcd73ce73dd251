"""Time, energy and memory of a piece of work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from modelgraft_adapters.metrics.costs import Cost, Meter


def zone(folder: Path, name: str, energy: int, span: int = 262143328850) -> Path:
    """A counter as Linux lays it out."""
    made = folder / name
    made.mkdir(parents=True)
    (made / "name").write_text("package-0\n")
    (made / "energy_uj").write_text(f"{energy}\n")
    (made / "max_energy_range_uj").write_text(f"{span}\n")
    return made


def test_energy_is_what_the_packages_counted_and_not_their_parts_again(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", 5_000_000), zone(tmp_path, "intel-rapl:1", 1_000_000)
    part = zone(tmp_path, "intel-rapl:0:0", 0)
    meter = Meter(tmp_path)
    with meter.measure() as cost:
        (first / "energy_uj").write_text("7500000")
        (second / "energy_uj").write_text("2000000")
        (part / "energy_uj").write_text("900000000")
    assert cost[0].joules == pytest.approx(3.5) and cost[0].seconds > 0
    assert meter.sources[:2] == ["package-0", "package-0"] and meter.why_not == ""


def test_a_counter_that_began_again_is_followed(tmp_path: Path) -> None:
    made = zone(tmp_path, "intel-rapl:0", 9_000_000, span=10_000_000)
    with Meter(tmp_path).measure() as cost:
        (made / "energy_uj").write_text("500000")
    assert cost[0].joules == pytest.approx(1.5)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    with meter.measure() as cost:
        pass
    if not meter.sources:  # a card may tell its energy
        assert cost[0].joules is None and "no RAPL counters" in meter.why_not


def test_costs_add_up() -> None:
    assert Cost(1, 2) + Cost(3, None) == Cost(4, 2) and Cost(1) + Cost(2) == Cost(3)
    assert Cost(2, 3).times(0.5) == Cost(1, 1.5) and Cost(2).times(2) == Cost(4)


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the figure is getrusage's")
def test_memory_is_that_of_the_process_and_not_of_the_one_that_started_it() -> None:
    """``ru_maxrss`` of a program that is started is at least what its parent had: the figure must not be that."""
    ballast = np.ones(100_000_000, np.float64)  # 763 MiB
    code = (
        "from modelgraft_adapters.metrics.costs import own_peak_mib; own = bytearray(100 << 20); print(own_peak_mib())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=True)
    assert ballast[-1] == 1
    assert 100 < float(done.stdout) < 700


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a peak begin anew")
def test_a_peak_begins_anew() -> None:
    code = (
        "from modelgraft_adapters.metrics.costs import own_peak_mib, restart_peak\n"
        "own = bytearray(300 << 20); before = own_peak_mib(); del own\n"
        "print(before, restart_peak(), own_peak_mib())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=True)
    before, restarted, after = done.stdout.split()
    assert float(before) > 300
    if restarted == "True":  # a container may not let it
        assert float(after) < float(before) - 200
