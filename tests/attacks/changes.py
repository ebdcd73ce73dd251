"""One thing of a good folder changed, a command asked of it, and its answer compared with that of the unchanged folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.attacks.harness import Done, Place, Verdict, judge

Change = Callable[[Path], None]
Answer = Callable[[Done, Path], Any]
"""What a command has answered about a folder; None if nothing."""


class Payload:
    """Unpickled, it makes the trap."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.trap),)


def merged(file: str, **change: Any) -> Change:
    """Change keys of a JSON file (made if it is not there); ``a__b`` is key b of the object a."""

    def apply(folder: Path) -> None:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        record = json.loads(path.read_text()) if path.exists() else {}
        for key, value in change.items():
            at = record
            *above, last = key.split("__")
            for word in above:
                at = at.setdefault(word, {})
            at[last] = value
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(record))

    return apply


def whole(file: str, content: Any) -> Change:
    """Replace a file: bytes and texts as they are, anything else as JSON."""

    def apply(folder: Path) -> None:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        data = content if isinstance(content, (bytes, str)) else json.dumps(content)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return apply


def pickled(file: str, trap: Path, *without: str) -> Change:
    """Weights that are a pickle with a payload, in the place of others."""

    def apply(folder: Path) -> None:
        import torch

        for name in without:
            (folder / name).unlink()
        (folder / file).parent.mkdir(exist_ok=True)
        torch.save({"weight": Payload(trap), "state_dict": Payload(trap)}, folder / file)

    return apply


def linked(file: str, to: Path) -> Change:
    """A file that is a link."""

    def apply(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(to)

    return apply


def both(*changes: Change) -> Change:
    """One after the other."""

    def apply(folder: Path) -> None:
        for change in changes:
            change(folder)

    return apply


def copy(base: Path, to: Path) -> Path:
    """A copy whose large files are links of the file system: changes replace files."""
    return Path(shutil.copytree(base, to, copy_function=os.link))


def run_changes(
    place: Place, kind: str, base: Path, cases: dict[str, Change], words: Callable[[Path], list[str]], answer: Answer
) -> list[Verdict]:
    """Apply each change to a copy, ask, and compare with the answer of the unchanged folder."""
    done = place.run(*words(base), seconds=200)
    assert done.code == 0, done.err
    good = answer(done, base)
    assert good is not None
    verdicts = []
    for number, (name, change) in enumerate(cases.items()):
        shutil.rmtree(place.trap, ignore_errors=True)
        folder = copy(base, place.folder / f"{base.name}-{number:03d}")
        change(folder)
        done = place.run(*words(folder), seconds=90)
        same = answer(done, folder) == good
        verdicts.append(judge(kind, name, done, right=same, culprit=folder.name, trap=place.trap))
        shutil.rmtree(folder)
    return verdicts
