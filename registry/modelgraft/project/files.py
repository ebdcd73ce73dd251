"""The two small files a project keeps beside its code, `modelgraft.lock` and `modelgraft.json`: where they are, how they are
read strictly, and how two writers never lose each other's changes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

__all__ = ["exclusive", "read_json", "short"]

MOST_BYTES: Final = 64 * 2**20
"""A file over this is none of ours; one with an entry for every model there is has about 2 MB."""

Refuse = Callable[[str], Exception]
"""Makes the error for what is wrong."""


def project_file(name: str, start: Path | None = None) -> Path:
    """Where the project's file of that name is, or would be made.

    The current folder's own; inside a git checkout also that of the nearest folder above, up to the top of the checkout. Nothing
    outside the checkout is looked at: a file left in ``/tmp`` or in the home folder must not change what a name means.
    """
    folder = (start or Path.cwd()).absolute()
    here = folder / name
    if here.exists():
        return here
    above = [folder, *folder.parents]
    top = next((n for n, parent in enumerate(above) if (parent / ".git").exists()), 0)
    return next((parent / name for parent in above[1 : top + 1] if (parent / name).is_file()), here)


@contextmanager
def exclusive(path: Path, refuse: Refuse, seconds: float = 30.0) -> Iterator[None]:
    """Hold off every other writer of ``path``, in this process and in others, and leave nothing behind.

    Raises:
        What ``refuse`` makes: another writer held it for ``seconds``, or the folder is not there.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        from filelock import FileLock, Timeout

        try:
            with FileLock(path.with_name(f".{path.name}.lock"), timeout=seconds):
                yield
        except Timeout:
            raise refuse(f"another process has been writing it for {seconds:g} s; try again") from None
        return
    # The folder itself is locked: the file is replaced by each write, and a lock file beside it would stay for ever.
    try:
        handle = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise refuse(f"its folder cannot be opened ({error.strerror})") from None
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise refuse(f"another process has been writing it for {seconds:g} s; try again") from None
                time.sleep(0.01)
            except OSError as error:
                raise refuse(f"its folder cannot be locked ({error.strerror})") from None
        yield
    finally:
        os.close(handle)


def read_json(path: Path, refuse: Refuse, data: bytes | None = None) -> Any:
    """The file as plain JSON types: UTF-8, no key twice, no NaN, no number of absurd length.

    Args:
        data: its content, where it has been read already.

    Raises:
        What ``refuse`` makes, with the place of the fault. A missing file is refused too.
    """
    if data is None:
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise refuse(f"cannot be read ({error.strerror or type(error).__name__})") from None
    if len(data) > MOST_BYTES:
        raise refuse(f"has more than {MOST_BYTES // 2**20} MB")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(found)
        if len(out) != len(found):
            seen: set[str] = set()
            twice = next(key for key, _ in found if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise refuse(f"has the key {short(twice)} twice in one object")
        return out

    def constant(word: str) -> NoReturn:
        raise refuse(f"holds {word}, which is no JSON number")

    try:
        text = data.decode("utf-8")
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise refuse(f"is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        conflict = next((n for n, line in enumerate(text.splitlines(), 1) if line.startswith("<<<<<<< ")), None)
        if conflict:
            raise refuse(f"has an unresolved merge conflict (line {conflict})") from None
        raise refuse(f"is no JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except (RecursionError, ValueError):
        raise refuse("is no JSON of this kind (nested too deeply, or a number with thousands of digits)") from None


def short(value: Any, most: int = 80) -> str:
    """A value for a message: quoted, on one line, not longer than needed to find it."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"
