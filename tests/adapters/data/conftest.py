"""Small real images and tars for the tests of data."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

MakeTree = Callable[..., Path]
MakeTar = Callable[..., Path]


def picture(number: int, kind: str = "PNG") -> bytes:
    """An image of its own for each number."""
    out = io.BytesIO()
    Image.effect_mandelbrot((32, 24), (-2 + number / 50, -1, 1, 1 + number / 90), 40).convert("RGB").save(out, kind)
    return out.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> MakeTree:
    """Make files below a folder; images where nothing is given to write."""

    def make(*paths: str, root: str = "data", content: bytes | None = None) -> Path:
        folder = tmp_path / root
        folder.mkdir(exist_ok=True)
        for number, path in enumerate(paths):
            target = folder / path
            if path.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture(number) if content is None else content)
        return folder

    return make


@pytest.fixture
def tar(tmp_path: Path) -> MakeTar:
    """Make a tar of members (name -> content)."""

    def make(members: Mapping[str, bytes], name: str = "shard.tar", mode: str = "w") -> Path:
        path = tmp_path / name
        with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
        return path

    return make
