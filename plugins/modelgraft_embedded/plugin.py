"""What this package brings to the host: the models that come inside the wheel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from modelgraft import Entry, hookimpl

if TYPE_CHECKING:
    import torch

    from modelgraft_embedded.backbone import EmbeddedBackbone

MODELGRAFT_API = 1
FOLDER = Path(__file__).parent / "weights"


@hookimpl
def modelgraft_entries() -> list[Entry]:
    """One entry per model: the ``entry`` part of its JSON."""
    return [
        Entry.from_dict(json.loads(path.read_text(encoding="utf-8"))["entry"]) for path in sorted(FOLDER.glob("*.json"))
    ]


@hookimpl
def modelgraft_load(entry: Entry, device: torch.device, dtype: torch.dtype | None) -> EmbeddedBackbone:
    """Read the model from the wheel; nothing is fetched."""
    from modelgraft_embedded.backbone import EmbeddedBackbone

    return EmbeddedBackbone(entry, FOLDER / f"{entry.loader['file']}.safetensors", device, dtype)
