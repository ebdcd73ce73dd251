"""Which engine runs a model fastest on this machine, as ``modelgraft optimize`` found and kept it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
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


def keep_best(identity: Mapping[str, Any], modality: str, best: Mapping[str, str]) -> None:
    """Keep the name of the fastest engine for each precision, for a model on this machine.

    Args:
        identity: as `features.identity.entry_identity` has it.
    """
    place = _place(identity, modality)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(place, json.dumps(dict(best)).encode())


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
    try:
        best = json.loads(read_sealed(_place(identity, modality)))
    except (OSError, ValueError, DamagedFileError):
        best = {}
    name = best.get(EXACT if dtype in (None, torch.float32) else FAST) if isinstance(best, dict) else None
    if name is None and items is not None and items >= MANY:
        name = _USUAL
    return name if isinstance(name, str) and is_installed(name) else TORCH


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
