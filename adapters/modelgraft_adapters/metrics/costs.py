"""What a piece of work took: wall time, energy where the machine lets it be read, memory.

Energy is that of the whole package or GPU, of everything that runs there: an estimate, and of a busy machine a poor one. It is
read from counters, never from a rated power: Intel's RAPL (Intel SDM 3B, 15.10) as Linux shows it below
``/sys/class/powercap``, and NVML's total energy of a GPU.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

POWERCAP: Final = Path("/sys/class/powercap")
_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one piece of work."""

    seconds: float = 0.0
    joules: float | None = None
    """None where nothing can be read."""

    def __add__(self, other: Cost) -> Cost:
        known = self.joules is not None or other.joules is not None
        return Cost(self.seconds + other.seconds, (self.joules or 0.0) + (other.joules or 0.0) if known else None)

    def times(self, factor: float) -> Cost:
        """So many of it."""
        return Cost(self.seconds * factor, None if self.joules is None else self.joules * factor)


class Meter:
    """Reads clock and counters.

    Args:
        powercap: where Linux shows RAPL's counters.

    Attributes:
        sources: what is read, such as ``package-0``; empty where there is nothing.
        why_not: a line for the user; empty where something is read.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._zones: list[tuple[Path, float]] = []
        self.sources: list[str] = []
        reasons = []
        # A package's parts (core, uncore) are zones of their own below it, intel-rapl:0:0; counting them too would count twice.
        zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        for zone in zones:
            try:
                _joules(zone / "energy_uj")
                self._zones.append((zone / "energy_uj", _joules(zone / "max_energy_range_uj")))
                self.sources.append((zone / "name").read_text(encoding="ascii").strip())
            except OSError as error:
                reasons.append(f"{zone.name}: {error.strerror}")
            except ValueError:
                reasons.append(f"{zone.name}: no number")
        if not zones:
            reasons.append("no RAPL counters (intel-rapl) on this machine")
        self._cards, reason = _cards()
        self.sources += [f"card {n}" for n in range(len(self._cards))]
        if reason:
            reasons.append(reason)
        self.why_not = "" if self.sources else "no energy is told: " + "; ".join(reasons)

    @contextmanager
    def measure(self) -> Iterator[list[Cost]]:
        """``with meter.measure() as cost: ...``; then ``cost[0]`` is what it took."""
        cost: list[Cost] = []
        before, began = self._read(), time.perf_counter()
        try:
            yield cost
        finally:
            seconds, after = time.perf_counter() - began, self._read()
            cost.append(Cost(seconds, self._between(before, after) if self.sources else None))

    def _read(self) -> list[float]:
        return [_joules(path) for path, _ in self._zones] + [_card_joules(card) for card in self._cards]

    def _between(self, before: list[float], after: list[float]) -> float:
        spans = [span for _, span in self._zones] + [0.0] * len(self._cards)
        # A counter that begins again at zero has passed its range once: at 100 W that takes most of an hour.
        return sum(b - a if b >= a else b - a + span for a, b, span in zip(before, after, spans, strict=True))


def own_peak_mib() -> float:
    """Peak resident memory of this process alone, MiB.

    On Linux a program that is started takes over what its parent had used as its ``ru_maxrss``; the high-water mark of its own
    address space begins anew.
    """
    if sys.platform == "linux":
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    return peak_mib()


def restart_peak() -> bool:
    """Have `own_peak_mib` begin anew from what is resident now; False where the system cannot (only Linux can)."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _joules(path: Path) -> float:
    return int(path.read_text(encoding="ascii")) / 1e6


def _cards() -> tuple[list[Any], str]:
    """The NVIDIA cards whose energy can be read, or why there are none."""
    import torch

    if not torch.cuda.is_available():
        return [], ""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return [], "the card's energy needs nvidia-ml-py"
    try:
        nvml.nvmlInit()
        cards = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
        for card in cards:
            _card_joules(card)
    except nvml.NVMLError as error:
        return [], f"the card does not tell its energy: {error}"
    return cards, ""


def _card_joules(card: Any) -> float:
    return float(importlib.import_module("pynvml").nvmlDeviceGetTotalEnergyConsumption(card)) / 1e3


def peak_mib() -> float:
    """Return the peak resident memory of this process, MiB."""
    if sys.platform == "win32":
        import psutil

        return round(psutil.Process().memory_info().peak_wset / (1 << 20), 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
