"""What the user points at (files, folders, patterns, standard input) to a list of items in a fixed order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

from modelgraft.errors import UsageError

from modelgraft_adapters.files import MOST_TABLE_BYTES, Given, read_regular
from modelgraft_adapters.walking import matching

IMAGE_SUFFIXES: Final = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".avif",
        ".ico",
        ".tga",
    ]
)


def expand_paths(arguments: Iterable[str], stdin: TextIO) -> Iterator[str]:
    """Paths of pictures, in the order given; inside a folder, sorted by path.

    A folder gives the files below it that have a picture's suffix (hidden ones left out); a pattern that names no file is
    expanded here (a shell may have left it); ``-`` reads a path per line. A file given by name is passed on whatever its
    suffix, also when it does not exist: it becomes an error row.

    Raises:
        UsageError: a folder or pattern that holds no picture.
    """
    for argument in arguments:
        if argument == "-":
            # What a list names may not be a pipe, as what is typed may.
            yield from map(str.__str__, expand_paths((line for line in _lines(stdin) if line != "-"), stdin))
        elif os.path.isdir(argument):
            yield from _in_folder(argument)
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            found = matching(argument)
            if not found:
                raise UsageError(f"no file matches the pattern {argument!r}")
            for path in found:
                if os.path.isdir(path):
                    yield from _in_folder(path)
                else:
                    yield path
        else:
            yield Given(argument)


def _in_folder(folder: str) -> Iterator[str]:
    found = False
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                found = True
                yield os.path.join(here, name)
    if not found:
        raise UsageError(
            f"the folder {folder!r} holds no pictures (looked for {', '.join(sorted(IMAGE_SUFFIXES)[:4])} ...)"
        )


def expand_texts(arguments: Iterable[str], stdin: TextIO) -> Iterator[tuple[str, str]]:
    """(identity, text) pairs, in the order given.

    An argument is a text; one that names an existing file gives a text per line, identified as ``file:line``; ``-`` reads a
    text per line. Empty lines are passed over.

    Raises:
        UsageError: a file that is not UTF-8 text.
    """
    for argument in arguments:
        if argument == "-":
            for number, line in enumerate(_lines(stdin), 1):
                yield f"-:{number}", line
        elif len(argument) < 4096 and "\0" not in argument and _is_file(argument):
            try:
                content = _text_of(argument)
            except OSError as error:
                raise UsageError(f"cannot read texts from {argument!r}: {error.strerror or error}") from None
            except UnicodeDecodeError:
                raise UsageError(f"{argument!r} is not UTF-8 text; --text reads a text per line") from None
            for number, line in enumerate(content.splitlines(), 1):
                if line.strip():
                    yield f"{argument}:{number}", line.strip()
        else:
            yield argument, argument


def _text_of(path: str) -> str:
    return read_regular(path, MOST_TABLE_BYTES, pipe=True).decode("utf-8-sig")


def _is_file(path: str) -> bool:
    """A file, or a pipe such as ``<(...)`` makes."""
    return os.path.exists(path) and not os.path.isdir(path)


def _lines(stdin: TextIO) -> Iterator[str]:
    for line in stdin:
        if text := line.rstrip("\r\n"):
            yield text


def read_labels(given: Iterable[str]) -> list[str]:
    """Labels from ``a,b,c`` words and ``@file`` words (a label per line), in order, blanks and repeats removed.

    Raises:
        UsageError: a file that cannot be read.
    """
    labels: dict[str, None] = {}
    for word in given:
        if word.startswith("@"):
            try:
                parts = _text_of(word[1:]).splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or error
                raise UsageError(f"cannot read labels from {word[1:]!r}: {reason}") from None
        else:
            parts = word.split(",")
        labels.update((part.strip(), None) for part in parts if part.strip())
    return list(labels)
