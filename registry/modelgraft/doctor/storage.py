"""The caches: the hub's, which holds the weights, and modelgraft's own, which can be made again. Nothing is changed in them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from modelgraft.doctor import child
from modelgraft.doctor.row import Row, size
from modelgraft.paths import cache_dir

SCAN_SECONDS: Final = 5.0
LEFT_AFTER_SECONDS: Final = 3600.0
"""A part of a download that nobody has added to for so long was left behind."""
LITTLE: Final = 5e9
"""Bytes free below which the next large model will not fit."""
NONE_LEFT: Final = 2e8


@dataclass(slots=True)
class Scan:
    """What lies in a cache folder."""

    bytes: int = 0
    files: int = 0
    incomplete: list[Path] = field(default_factory=list)
    incomplete_bytes: int = 0
    broken: list[Path] = field(default_factory=list)
    unreadable: int = 0
    cut: bool = False
    """The time was up before everything was seen."""


def scan(folder: Path, seconds: float = SCAN_SECONDS, now: float | None = None) -> Scan:
    """Count what is below a folder; links are not followed, so that nothing is counted twice."""
    found, until = Scan(), time.monotonic() + seconds
    now = time.time() if now is None else now

    def unreadable(_: OSError) -> None:
        found.unreadable += 1

    for place, _, names in os.walk(folder, onerror=unreadable):
        if time.monotonic() > until:
            found.cut = True
            break
        for name in names:
            path = Path(place, name)
            try:
                about = path.lstat()
            except OSError:
                found.unreadable += 1
                continue
            if path.is_symlink():
                if not path.exists():
                    found.broken.append(path)
                continue
            found.files += 1
            found.bytes += about.st_size
            # A time in the future is a clock that was wrong, not a download that goes on.
            if name.endswith(".incomplete") and not -LEFT_AFTER_SECONDS < now - about.st_mtime < LEFT_AFTER_SECONDS:
                found.incomplete.append(path)
                found.incomplete_bytes += about.st_size
    return found


def hub_cache_rows() -> Iterator[Row]:
    """Rows ``hub cache``, ``hub cache writable`` and ``hub cache disk``."""
    answer = child.run("from huggingface_hub import constants\nsay(cache=constants.HF_HUB_CACHE)", 20.0)
    if "cache" not in answer.facts:
        yield Row("hub cache", "skip", f"huggingface_hub does not say where it is ({answer.died})")
        return
    folder = Path(answer.facts["cache"]).expanduser()
    yield content_row("hub cache", folder)
    yield writable_row("hub cache writable", folder, "HF_HUB_CACHE")
    yield disk_row("hub cache disk", folder, "HF_HUB_CACHE")


def own_cache_rows() -> Iterator[Row]:
    """The row ``modelgraft cache``: writable or not."""
    yield writable_row("modelgraft cache", cache_dir(), "MODELGRAFT_CACHE")


def content_row(check: str, folder: Path) -> Row:
    """Size, parts of downloads left behind, and links that lead nowhere."""
    if not folder.exists():
        return Row(check, "ok", f"{folder} is not there yet; the first download makes it")
    if not folder.is_dir():
        return Row(check, "fail", f"{folder} is not a folder", "move it away, or set HF_HUB_CACHE to a folder")
    found = scan(folder)
    amount = f"{'at least ' if found.cut else ''}{size(found.bytes)} in {found.files} files at {folder}"
    wrong, cures = [], []
    if found.broken:
        repos = sorted({_repo(path, folder) for path in found.broken})
        wrong.append(
            f"{len(found.broken)} links lead nowhere ({', '.join(repos[:3])}{' ...' if len(repos) > 3 else ''})"
        )
        cures.append(f"fetch those again: hf download {repos[0]} --force-download")
    if found.incomplete:
        n = len(found.incomplete)
        wrong.append(f"{n} download{'s' if n > 1 else ''} left incomplete ({size(found.incomplete_bytes)})")
        cures.append("fetching the model again goes on where it stopped; or delete: "
                     f"find '{folder}' -name '*.incomplete' -mmin +60 -delete")  # fmt: skip
    if found.unreadable:
        wrong.append(f"{found.unreadable} folders or files cannot be read")
        cures.append(f"check who owns {folder}")
    if wrong:
        return Row(check, "warn", "; ".join([amount, *wrong]), "; ".join(cures))
    return Row(check, "ok", amount)


def _repo(path: Path, cache: Path) -> str:
    """The repository a file of the hub's cache belongs to: ``models--org--name`` is how the cache spells org/name."""
    top = path.relative_to(cache).parts[0]
    return top.partition("--")[2].replace("--", "/") or top


def writable_row(check: str, folder: Path, variable: str) -> Row:
    """Whether files can be made there, by making one: permissions alone do not tell (root, read-only mounts)."""
    near = folder
    while not near.exists() and near != near.parent:
        near = near.parent
    try:
        with tempfile.TemporaryFile(dir=near):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        cure = f"make {near} writable, or set {variable} to a folder that is"
        return Row(check, "fail", f"{folder} cannot be written ({why})", cure)
    return Row(check, "ok", f"{folder} can be {'written' if near == folder else f'made (in {near})'}")


def disk_row(check: str, folder: Path, variable: str) -> Row:
    """Free space on the disk of the folder."""
    near = folder
    while not near.exists() and near != near.parent:
        near = near.parent
    usage = shutil.disk_usage(near)
    return free_row(check, usage.free, usage.total, near, variable)


def free_row(check: str, free: int, total: int, folder: Path, variable: str) -> Row:
    """The row for so many bytes free."""
    detail = f"{size(free)} of {size(total)} free at {folder}"
    cure = f"free some space, or set {variable} to a folder on a larger disk"
    if free < LITTLE:
        return Row(check, "fail" if free < NONE_LEFT else "warn", detail, cure)
    return Row(check, "ok", detail)
