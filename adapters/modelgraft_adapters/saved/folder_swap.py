"""A folder of files that is written over as one: whoever looks, at any time, finds the old files whole or the new ones whole.

The new folder is made beside the old one, with links to whatever else lies there, and the two names are exchanged in one call of
the system. So a process that is killed at any point leaves a whole folder under the name, and beside it at most a folder that
nobody needs: the next writer deletes it. Where the system cannot exchange names it takes two renames; if a process was killed
between them, `recover` puts the old folder back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from modelgraft.errors import ModelgraftError
from modelgraft.paths import held_folder, release, sweep, sync_folder, umask
from modelgraft.project.files import exclusive

_HERE: Final = -100  # AT_FDCWD
_EXCHANGE: Final = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS


def replace_files(folder: Path, files: Mapping[str, bytes], own: Collection[str]) -> None:
    """Put files into a folder, all at once.

    Args:
        files: by name.
        own: names of files that are deleted where ``files`` has none of the name; whatever else lies there stays.

    Raises:
        OSError: the disk is full, or the folder cannot be written: it is as it was.
        ModelgraftError: another process has been putting something there for half a minute.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, holding = held_folder(folder)
    try:
        for name, content in files.items():
            with (new / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        with _alone(folder):
            recover(folder, locked=True)
            os.chmod(new, folder.stat().st_mode & 0o7777 if folder.is_dir() else 0o777 & ~umask())
            if folder.is_dir() and os.listdir(folder):
                _swap(folder, new, own)
            else:
                sync_folder(new)
                os.rename(new, folder)
            sync_folder(folder.parent)
            shutil.rmtree(new, ignore_errors=True)
            sweep(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        release(holding)


def recover(folder: Path, *, locked: bool = False) -> None:
    """Put back the folder of a writer that was killed between two renames; without one nothing is done.

    Raises:
        OSError: it cannot be put back.
    """
    old = _old(folder)
    if not old.is_dir() or old.is_symlink():
        return
    with contextlib.nullcontext() if locked else _alone(folder):
        if not os.path.lexists(folder):
            os.rename(old, folder)
        elif locked:  # the new one is in place: all that is in the old one is there, or was written over
            shutil.rmtree(old, ignore_errors=True)


def _swap(folder: Path, new: Path, own: Collection[str]) -> None:
    """Put a new folder in the place of the old one. What is not ours is in both until then, so that neither is ever without it."""

    def others(place: Path) -> set[str]:
        return set(os.listdir(place)) - set(own)

    for name in others(folder):
        _also(folder / name, new / name)
    sync_folder(new)
    if not exchange(new, folder):
        old = _old(folder)
        os.rename(folder, old)
        try:
            os.rename(new, folder)
        except OSError:
            os.rename(old, folder)
            raise
        os.rename(old, new)
    for name in others(new) - others(folder):  # made since, by somebody else
        os.rename(new / name, folder / name)


def _also(source: Path, target: Path) -> None:
    """Make ``source`` lie at ``target`` too: the same files, or copies where the disk knows no links."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link)
    else:
        _link(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names of one folder in a single step; False where this system or this disk cannot."""
    name = {"linux": "renameat2", "darwin": "renameatx_np"}.get(sys.platform)
    call = getattr(ctypes.CDLL(None, use_errno=True), name, None) if name else None
    if call is None:
        return False
    done = call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), ctypes.c_uint(_EXCHANGE))
    return bool(done == 0)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold off every other process that puts something in this place."""
    with exclusive(folder, lambda what: ModelgraftError(f"{folder} cannot be written: {what}")):
        yield


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.modelgraft-old")
