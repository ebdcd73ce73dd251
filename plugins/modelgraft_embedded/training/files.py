"""Small things on disk: archives read in a fixed order, and files that are whole or not there."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor

FORMATS = ("JPEG", "PNG")
"""What the archives hold; Pillow takes no other decoder, whatever the bytes ask for."""


def archive(data: Path, name: str) -> Iterator[tuple[str, Image.Image]]:
    """Member path and RGB picture of ``name``.tar or ``name``.tar.gz, in order of path."""
    path = next(path for path in (data / f"{name}.tar", data / f"{name}.tar.gz") if path.exists())
    with tarfile.open(path) as tar:
        # the archive's own order is reading order; a sorted list of names would seek back and forth in a .gz
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                image = Image.open(io.BytesIO(file.read()), formats=FORMATS)
                yield member.name.removeprefix("./"), ImageOps.exif_transpose(image).convert("RGB")


def _replace(path: Path, write: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    write(partial)
    os.replace(partial, path)


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """safetensors, atomically."""
    _replace(path, lambda partial: save_file({k: v.contiguous() for k, v in tensors.items()}, partial))


def save_json(path: Path, value: Any) -> None:
    """JSON, atomically."""
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def save_checkpoint(path: Path, value: Any) -> None:
    """A training state (tensors, numbers, lists, dicts), atomically."""
    _replace(path, lambda partial: torch.save(value, partial))


def load_checkpoint(path: Path) -> Any:
    """What `save_checkpoint` wrote; no code in the file is run."""
    return torch.load(path, map_location="cpu", weights_only=True)
