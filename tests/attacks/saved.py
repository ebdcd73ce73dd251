"""Saved adapters of strangers: a card with one thing changed, files that are others, links and pipes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from modelgraft.sealed import with_checksum

from tests.attacks.changes import Change, both, linked, merged, pickled, run_changes, whole
from tests.attacks.harness import Done, Place, Verdict

CARD, HEAD = "modelgraft_adapter.json", "head.safetensors"
TEXTS = {
    "animal": ["a dog in the snow", "two cats", "a horse on a hill", "a bird"],
    "vehicle": ["a red car", "an old truck", "a ship at sea", "an airplane"],
    "plant": ["a rose", "an oak tree", "tall grass", "a field of tulips"],
}


def _other_head(folder: Path) -> None:
    """Another head's weights, of the same shapes, with the card left as it is."""
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.flip(0).contiguous() for name, tensor in load_file(folder / HEAD).items()}
    (folder / HEAD).unlink()
    save_file(tensors, folder / HEAD)


def _nan_head(folder: Path) -> None:
    """A head that is not finite, and its digest in the card."""
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor * float("nan") for name, tensor in load_file(folder / HEAD).items()}
    (folder / HEAD).unlink()
    save_file(tensors, folder / HEAD)
    _changed(head__sha256=hashlib.sha256((folder / HEAD).read_bytes()).hexdigest())(folder)


def _changed(**change: Any) -> Change:
    """As an attacker does it: with a checksum that is right again."""
    return both(merged(CARD, **change), _seal)


def _seal(folder: Path) -> None:
    record = json.loads((folder / CARD).read_text())
    record.pop("checksum", None)
    whole(CARD, with_checksum(record))(folder)


def _fifo(name: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return apply


def _flip(name: str, at: float) -> Change:
    def apply(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[int(at * (len(data) - 1))] ^= 4
        (folder / name).unlink()
        (folder / name).write_bytes(bytes(data))

    return apply


def cases(secret: Path, trap: Path) -> dict[str, Change]:
    """What a stranger's adapter could hold."""
    plain = {
        "classes in another order": merged(CARD, classes=["plant", "vehicle", "animal"]),
        "classes of another number": _changed(classes=["animal", "vehicle"]),
        "classes twice": _changed(classes=["animal", "animal", "plant"]),
        "classes that are numbers": _changed(classes=[1, 2, 3]),
        "another task": _changed(task="regression"),
        "several labels": _changed(task="multi-label"),
        "a task that is none": _changed(task="os.system"),
        "a backbone of the machine": _changed(backbone__name=f"file:{secret.parent}"),
        "a backbone beside it": _changed(backbone__name="file:../other"),
        "a backbone by a path": _changed(backbone__name=str(secret.parent)),
        "a backbone of the hub": _changed(backbone__name="hub:evil/repo"),
        "a backbone at an address": _changed(backbone__name="https://evil.org/x"),
        "a backbone that is an adapter": _changed(backbone__name="adapter/file:/x"),
        "another backbone": _changed(backbone__name="timm/resnet50"),
        "a backbone by a nickname": _changed(backbone__name="sprig"),
        "a revision that is a path": _changed(backbone__revision="../../x"),
        "a revision that is an option": _changed(backbone__commit="--upload-pack=x"),
        "weights of another digest": _changed(backbone__sha256="0" * 64),
        "weights stated as files": _changed(backbone__weights=[{"revision": None, "files": {"../x": "0" * 64}}]),
        "another distribution": _changed(backbone__distribution="evil-dist"),
        "a distribution that is an option": _changed(backbone__distribution="--index-url"),
        "other preprocessing": _changed(backbone__preprocessing={"mean": [0, 0, 0]}),
        "a head that is code": _changed(head__name="os.system"),
        "another head": _changed(head__name="knn"),
        "a head with an escape": _changed(head__name="linear\x1b[2J"),
        "a head of another distribution": _changed(head__distribution="evil-dist"),
        "a head's settings that are code": _changed(head__settings={"__class__": "os.system", "activation": "eval"}),
        "no settings of the head": _changed(head__settings={}),
        "settings of the head for another task": _changed(head__settings__task="regression"),
        "a width of 16 million": _changed(features__width=1 << 24),
        "a layer that is code": _changed(features__layer="__class__"),
        "another modality": _changed(features__modality="image"),
        "half precision": merged(CARD, features__dtype="float16"),
        "another way of reading": _changed(features__reading=99),
        "tensors of other shapes": _changed(head__tensors={"weight": {"dtype": "float32", "shape": [9, 9]}}),
        "tensors of a billion rows": _changed(head__tensors__weight={"dtype": "float32", "shape": [10**9, 10**6]}),
        "no tensors": _changed(head__tensors={}),
        "a format of the future": _changed(modelgraft_adapter=99),
        "a format that is true": _changed(modelgraft_adapter=True),
        "a better score": _changed(
            evaluation={"scores": [{"name": "accuracy", "value": 1.0, "low": 1.0, "high": 1.0}]}
        ),
        "a score with an escape": _changed(
            evaluation={"scores": [{"name": "\x1b[2J", "value": 1, "low": None, "high": None}]}
        ),
        "notes with an escape": _changed(notes=["all is well\x1b[2J\nmodelgraft: error: buy evil"]),
        "templates that are code": _changed(training__templates=["{0.__class__.__mro__}"]),
        "a report of code": _changed(training__report={"<script>": "alert(1)"}),
        "versions of code": _changed(versions={"python": "<script>alert(1)</script>"}),
        "tuned weights that are not there": _changed(modelgraft_adapter=2, tuned={"sha256": "0" * 64, "tensors": {}}),
        "unknown keys": _changed(trust_remote_code=True, auto_map={"AutoModel": "evil.Evil"}),
        "keys twice": lambda f: whole(
            CARD, (f / CARD).read_text().replace('"task"', '"task": "single-label", "task"', 1)
        )(f),
        "nested 100,000 deep": whole(CARD, "[" * 100_000 + "]" * 100_000),
        "a list": whole(CARD, []),
        "cut in the middle": lambda f: whole(CARD, (f / CARD).read_bytes()[:400])(f),
        "ten megabytes": lambda f: whole(CARD, (f / CARD).read_text() + " " * 10_000_000)(f),
        "in UTF-16": lambda f: whole(CARD, (f / CARD).read_text().encode("utf-16"))(f),
        "the card is a link to a secret": linked(CARD, secret),
        "the card is a pipe": _fifo(CARD),
        "the head is another": _other_head,
        "the head is not finite": _nan_head,
        "the head is a pickle": pickled(HEAD, trap, HEAD),
        "the head is a pipe": _fifo(HEAD),
        "the head is a link to a secret": linked(HEAD, secret),
        "the head is a link to memory": linked(HEAD, Path("/dev/zero")),
        "the head is gone": lambda f: (f / HEAD).unlink(),
        "the head is empty": whole(HEAD, b""),
        "python beside it": whole("__init__.py", f"import os; os.mkdir({str(trap)!r})"),
        "a pickle beside it": pickled("optimizer.pt", trap),
        "a file of aliases beside it": whole(
            "modelgraft.json", {"modelgraft": 1, "aliases": {"sprig": "hub:evil/repo"}}
        ),
        "other models beside it": both(
            whole("modules.json", [{"type": "os.system", "path": ""}]), whole("config.json", {"architecture": "x"})
        ),
    }
    flips: dict[str, Change] = {f"a bit of the card turned, at {n}/24": _flip(CARD, n / 24) for n in range(24)}
    flips |= {f"a bit of the head turned, at {n}/6": _flip(HEAD, n / 6) for n in range(6)}
    return plain | flips


def run(place: Place) -> list[Verdict]:
    """Predict three texts with each of them, from the folder they lie in."""
    table = place.folder / "texts.csv"
    rows = [f"{text},{label}" for label, texts in TEXTS.items() for text in texts]
    table.write_text("\n".join(["text,label", *rows]) + "\n")
    base = place.folder / "adapter"
    done = place.run("probe", table, "--model", "embedded/sprig", "--save", base, "--device", "cpu", seconds=200)
    assert (base / CARD).exists(), done.err
    asked = ["predict", "--text", "a frog by the water", "a fast automobile", "an apple tree", "--format", "json"]

    def words(folder: Path) -> list[str]:
        return [*asked, "--device", "cpu", "--model", str(folder)]

    return run_changes(place, "saved adapters", base, cases(place.secret, place.trap), words, _answer)


def _answer(done: Done, folder: Path) -> Any:
    found = done.json()
    return json.loads(json.dumps(found).replace(folder.name, "FOLDER")) if found else None
