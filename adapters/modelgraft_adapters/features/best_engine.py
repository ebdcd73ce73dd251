"""Which engine runs a model fastest on this machine, and in how many threads, as ``modelgraft optimize`` found and kept it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from modelgraft import load_engine
from modelgraft.devices import EXACT, FAST
from modelgraft.errors import DamagedFileError, ModelgraftError
from modelgraft.sealed import read_sealed, write_sealed
from modelgraft.weights.converted import engines_folder

from modelgraft_adapters.features.engine import TORCH

MANY: Final = 1000
"""For as many items an engine is taken untried: a conversion takes seconds, and what comes of it is usually twice as fast."""
_USUAL: Final = "openvino"


@dataclass(frozen=True, slots=True)
class Best:
    """What was found fastest for a model in one precision."""

    engine: str
    threads: int | None = None
    """None: as many as torch has."""


def keep_best(identity: Mapping[str, Any], modality: str, best: Mapping[str, Best]) -> None:
    """Keep what is fastest in each precision, for a model on this machine.

    Args:
        identity: as `features.identity.entry_identity` has it.
    """
    place = _place(identity, modality)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(place, json.dumps({precision: asdict(one) for precision, one in best.items()}).encode())


def best_engine(
    identity: Mapping[str, Any],
    modality: str,
    dtype: torch.dtype | None,
    device: torch.device,
    items: int | None = None,
) -> str:
    """Return the engine that ``auto`` is: the one that was found fastest on this machine, if it is still installed.

    Args:
        identity: as `features.identity.entry_identity` has it.
        items: how many there are, where that is known: for many of them openvino is taken untried.
    """
    if device.type != "cpu":
        return TORCH
    best = _kept(identity, modality, dtype)
    name = best.engine if best else None
    if name is None and items is not None and items >= MANY:
        name = _USUAL
    return name if name is not None and is_installed(name) else TORCH


def best_threads(
    identity: Mapping[str, Any], modality: str, dtype: torch.dtype | None, device: torch.device, engine: str
) -> int | None:
    """Return in how many threads an engine was found fastest on this machine; None where it was not the fastest, or not tried.

    Args:
        identity: as `features.identity.entry_identity` has it.
    """
    best = _kept(identity, modality, dtype) if device.type == "cpu" else None
    return best.threads if best and best.engine == engine else None


def _kept(identity: Mapping[str, Any], modality: str, dtype: torch.dtype | None) -> Best | None:
    try:
        best = json.loads(read_sealed(_place(identity, modality)))
        return Best(**best[EXACT if dtype in (None, torch.float32) else FAST])
    except (OSError, ValueError, KeyError, TypeError, DamagedFileError):
        return None


@contextmanager
def in_threads(count: int | None) -> Iterator[None]:
    """Have torch work in so many threads; None changes nothing."""
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_installed(name: str) -> bool:
    """Whether there is an engine of a name, and its library."""
    try:
        load_engine(name).version()
    except ModelgraftError:
        return False
    return True


def _place(identity: Mapping[str, Any], modality: str) -> Path:
    capability: Any = getattr(torch.cpu, "get_capabilities", dict)()
    machine = [platform.machine(), str(capability.get("cpu_name")), os.cpu_count()]
    about = [dict(identity), modality, machine, torch.__version__]
    return engines_folder() / f"{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]}.best"
