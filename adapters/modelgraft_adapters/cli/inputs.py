"""What the user points at (files, folders, patterns, standard input) to a list of items in a fixed order."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

from modelgraft.errors import UsageError

from modelgraft_adapters.estimators.class_names import check_labels
from modelgraft_adapters.media.files import MOST_TABLE_BYTES, Given, Unread, read_regular
from modelgraft_adapters.media.formats import IMAGE_SUFFIXES, begins_as_picture, is_named_picture
from modelgraft_adapters.media.texts import decoded, is_binary, lines
from modelgraft_adapters.media.walking import matching, walk

_TABLES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def expand_paths(arguments: Iterable[str], stdin: TextIO) -> Iterator[str]:
    """Paths of images, in the order given; inside a folder, sorted by path.

    A folder gives the files below it that are images by their suffix or by how they begin (hidden ones left out; links are
    followed); what cannot be looked into is an `Unread` path. A pattern that names no file is expanded here (a shell may have
    left it); ``-`` reads a path per line, each as it stands: no pattern. A file given by name is passed on whatever its suffix,
    also when it does not exist: it becomes an error row.

    Raises:
        UsageError: a folder or pattern that holds no image.
    """
    for argument in arguments:
        if argument == "-":
            for path in filter(None, lines(_decoded("-", _all_of(stdin), sys.getfilesystemencoding()))):
                # What a list names may not be a pipe, as what is typed may.
                yield from _in_folder(path) if os.path.isdir(path) else [path]
        elif os.path.isdir(argument):
            yield from _in_folder(argument)
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            unread: list[Unread] = []
            found = matching(argument, unread)
            if not found and not unread:
                raise UsageError(f"no file matches the pattern {argument!r}")
            for path in sorted([*found, *unread]):
                yield from _in_folder(path) if os.path.isdir(path) and not isinstance(path, Unread) else [path]
        else:
            yield Given(argument)


def _in_folder(folder: str) -> Iterator[str]:
    walked = walk(folder)
    paths = [os.path.join(folder, *parts) for parts in walked.files]
    found = sorted(
        [*(path for path in paths if is_named_picture(path) or begins_as_picture(path)), *walked.unread],
        key=lambda path: path.split(os.sep),
    )
    if not found:
        raise UsageError(
            f"the folder {folder!r} holds no images (looked for {', '.join(sorted(IMAGE_SUFFIXES)[:4])} ...)"
        )
    yield from found


def expand_texts(arguments: Iterable[str], stdin: TextIO) -> Iterator[tuple[str, str]]:
    """(identity, text) pairs, in the order given.

    An argument is a text; one that names an existing file gives a text per line, identified as ``file:line``; ``-`` reads a
    text per line. Blanks around a line are dropped, and lines of blanks are passed over. Lines end as `texts.lines` says.

    Raises:
        UsageError: a file that is no text or a table, a folder, a file's name where there is no file.
    """
    for argument in arguments:
        if argument == "-":
            yield from _texts("-", _all_of(stdin), getattr(stdin, "encoding", None))
        elif len(argument) < 4096 and "\0" not in argument and os.path.exists(argument):
            if os.path.isdir(argument):
                raise UsageError(
                    f"{argument!r} is a folder, not a text or a file of texts ('-' reads texts as they are)"
                )
            if argument.lower().endswith(_TABLES):
                raise UsageError(f"{argument!r} is a table; here a file has a text per line")
            yield from _texts(argument, _content(argument))
        elif argument.lower().endswith((".txt", *_TABLES)) and not any(map(str.isspace, argument)):
            raise UsageError(f"no file {argument!r} ('-' reads texts as they are)")
        else:
            yield argument, argument


def _texts(name: str, content: bytes, encoding: str | None = None) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines(_decoded(name, content, encoding)), 1):
        if text := line.strip():
            yield f"{name}:{number}", text


def _all_of(stdin: TextIO) -> bytes:
    """Standard input as bytes: what is no text in its encoding costs one line and not the run."""
    if (buffer := getattr(stdin, "buffer", None)) is None:  # a stand-in
        return "".join(stdin).encode("utf-8", "surrogateescape")
    content: bytes = buffer.read(MOST_TABLE_BYTES + 1)
    if len(content) > MOST_TABLE_BYTES:
        raise UsageError(f"standard input is larger than {MOST_TABLE_BYTES >> 20:,} MiB, the most that is read")
    return content


def read_labels(given: Iterable[str]) -> list[str]:
    """Labels from ``a,b,c`` words and ``@file`` words (a label per line), in order; blank ones are passed over.

    Raises:
        UsageError: a file that cannot be read; a label that is given twice, with its places, or that is no text.
    """
    labels: list[str] = []
    for word in given:
        if word.startswith("@"):
            try:
                content = read_regular(word[1:], MOST_TABLE_BYTES, pipe=True)
            except OSError as error:
                raise UsageError(f"cannot read labels from {word[1:]!r}: {error.strerror or error}") from None
            parts = lines(_decoded(word[1:], content))
        else:
            parts = word.split(",")
        labels += filter(None, map(str.strip, parts))
    return check_labels(labels) if labels else []


def _content(path: str) -> bytes:
    try:
        return read_regular(path, MOST_TABLE_BYTES, pipe=True)
    except OSError as error:
        raise UsageError(f"cannot read texts from {path!r}: {error.strerror or error}") from None


def _decoded(name: str, content: bytes, encoding: str | None = None) -> str:
    if is_binary(content):
        raise UsageError(f"{name!r} is not text: it holds NUL bytes (UTF-16 without its mark?)")
    return decoded(content, encoding or "utf-8")
