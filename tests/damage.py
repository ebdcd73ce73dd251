"""Every file that is written and read back, damaged: how much of the damage is seen, and what came of it with no look at checksums.

``python -m tests.damage`` prints the table of ``docs/reliability.md``; `tests.test_damage` runs it, on fewer places.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

import numpy as np
import torch
from modelgraft import load
from modelgraft.errors import ModelgraftError
from modelgraft.resolution import File, Part
from modelgraft.sealed import seal
from modelgraft_adapters import FineTuner, FrozenAdapter, read_data
from modelgraft_adapters.estimators import label_embeddings
from modelgraft_adapters.features import store
from modelgraft_adapters.features.store import FeatureStore
from modelgraft_adapters.finetuning import checkpoint
from modelgraft_adapters.finetuning import run as running
from modelgraft_adapters.finetuning.run import Interrupted
from modelgraft_adapters.saved import card, tensors
from modelgraft_adapters.saved.card import CARD_FILE, HEAD_FILE, read_card
from modelgraft_adapters.storage import records
from modelgraft_sources import stored

MODEL: Final = "embedded/sprig"
TEXTS: Final = ["a red rose", "a blue sky", "red wine", "blue sea", "red brick", "blue whale", "a red car", "blue ink"]
COLOURS: Final = ["red", "blue"] * 4
HEAD: Final = len(seal(b""))


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of file of ours."""

    what: str
    files: tuple[Path, ...]
    read: Callable[[], Any]
    """What is made of the files now, to compare with what it was: None where they are refused or made again."""
    unguarded: Callable[[], contextlib.AbstractContextManager[Any]]
    """Takes the look at the checksum out."""


@dataclass(frozen=True, slots=True)
class Count:
    """What came of damaged files."""

    tried: int
    same: int
    """Read to the same content: white space of JSON."""
    refused: int
    wrong: int
    """Read to another content without a word."""


def count(case: Case, places: int, seed: int = 0) -> Count:
    """Flip a bit, or cut, at ``places`` drawn places of each file, all of them where there are fewer bits."""
    good, draw = case.read(), random.Random(seed)
    assert good is not None, f"{case.what}: not read when whole"
    tried = same = refused = wrong = 0
    for path in case.files:
        content = path.read_bytes()
        bits = range(8 * len(content)) if 8 * len(content) <= places else draw.sample(range(8 * len(content)), places)
        ends = draw.sample(range(len(content)), min(places // 10, len(content)))
        damaged = [(content[: n // 8], bytes([content[n // 8] ^ 1 << n % 8]), content[n // 8 + 1 :]) for n in bits]
        for parts in [*damaged, *((content[:n],) for n in ends)]:
            path.write_bytes(b"".join(parts))
            found = case.read()
            tried += 1
            same += found == good
            refused += found is None
            wrong += found is not None and found != good
            path.write_bytes(content)
    return Count(tried, same, refused, wrong)


def cases(folder: Path) -> list[Case]:
    """All kinds, written for real into a folder that is the cache too."""
    made = (labels, runs, features, feature_cards, notes, saved_cards, saved_heads)
    return [make(folder / make.__name__) for make in made]


def labels(folder: Path) -> Case:
    """Embeddings of the names of classes, as zero-shot keeps them."""
    backbone, texts = load(MODEL, device="cpu"), [["a photo of a rocket"], ["a photo of a cat"], ["a photo of a dog"]]
    with mock.patch.dict(os.environ, MODELGRAFT_CACHE=str(folder)):
        label_embeddings.embed_labels(backbone, texts)
    (path,) = (folder / "labels").iterdir()

    def read() -> Any:
        found = label_embeddings._read(path, (3, backbone.embed_dim))
        return None if found is None else found.numpy().tobytes()

    return Case("label embeddings", (path,), read, lambda: _no_seals(label_embeddings))


def runs(folder: Path) -> Case:
    """A checkpoint of a run that was stopped, and what a run that resumes takes from it."""
    options: dict[str, Any] = {
        "modality": "text",
        "steps": 4,
        "batch_size": 4,
        "ema": 0.9,
        "device": "cpu",
        "folder": folder,
    }
    data = read_data(TEXTS, COLOURS, modality="text", task="single-label")

    def stop(now: Any) -> None:
        if now.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with contextlib.suppress(Interrupted):
        FineTuner(MODEL, "bias-only", tell=stop, **options).fit(data)
    given: list[Any] = []
    plain = checkpoint.load_checkpoint
    with mock.patch.object(running, "load_checkpoint", lambda *args: given.append(args) or plain(*args)):
        FineTuner(MODEL, "bias-only", **options).fit(data, resume=True)
    path, loop, about = given[0]

    def read() -> Any:
        try:
            best = plain(path, loop, about)
        except ModelgraftError:
            return None
        except Exception as error:  # only without the checksum: torch or the optimizer choke on it
            return repr(error)
        state = [*loop.live.values(), *(loop.average.values.values() if loop.average else ())]
        state += [v for s in loop.optimizer.state_dict()["state"].values() for v in s.values() if torch.is_tensor(v)]
        digest = hashlib.sha256(repr((loop.done, best and best["held"])).encode())
        for tensor in state:
            digest.update(tensor.detach().float().numpy().tobytes())
        return digest.hexdigest()

    return Case("checkpoints", (path,), read, lambda: mock.patch.object(checkpoint, "sealed_reader", _unchecked))


def features(folder: Path) -> Case:
    """Rows and keys of the feature store."""
    rows = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    names = [bytes([n]) * 16 for n in range(4)]
    FeatureStore({"model": MODEL}, folder).add(names, rows)
    files = tuple(
        path for path in (folder / FeatureStore({"model": MODEL}, folder).key).iterdir() if path.suffix != ".json"
    )
    right = [row.tobytes() for row in rows]

    def read() -> Any:
        found = FeatureStore({"model": MODEL}, folder).get(names)
        served = [None if row is None else row.tobytes() for row in found]
        if served == right:
            return "as stored"
        # What is not served is computed again; what is served must be right.
        return None if all(row in (None, good) for row, good in zip(served, right, strict=True)) else served

    return Case(
        "feature store: rows, keys", files, read,
        lambda: mock.patch.object(records, "zlib", SimpleNamespace(crc32=lambda data: _Any())),
    )  # fmt: skip


def feature_cards(folder: Path) -> Case:
    """The card of the feature store, which states the shape of a row."""
    rows = np.arange(48, dtype=np.float32).reshape(2, 6, 2, 2)
    names = [bytes([n]) * 16 for n in range(2)]
    FeatureStore({"model": MODEL}, folder).add(names, rows)
    path = folder / FeatureStore({"model": MODEL}, folder).key / "card.json"

    def read() -> Any:
        try:
            found = FeatureStore({"model": MODEL}, folder).get(names)
        except Exception as error:  # only without the checksum
            return repr(error)
        shapes = [None if row is None else row.shape for row in found]
        return None if shapes == [None, None] else shapes

    return Case(
        "feature store: card", (path,), read, lambda: mock.patch.object(store, "without_checksum", _no_checksum)
    )


def notes(folder: Path) -> Case:
    """The note of which files a repository has, with their digests, that a model is loaded by without a network."""
    part = Part(
        "hf:somebody/birds",
        "a" * 40,
        (File("model.safetensors", 1234, "b" * 64), File("config.json", 5, None, "c" * 40)),
    )

    @contextlib.contextmanager
    def cache() -> Iterator[None]:
        with mock.patch.dict(os.environ, MODELGRAFT_CACHE=str(folder)):
            yield

    with cache():
        stored.remember(part)
    (path,) = (folder / "fetched").iterdir()

    def read() -> Any:
        with cache():
            return stored.recall(part.location, part.revision)

    return Case("notes on what was fetched", (path,), read, lambda: _no_seals(stored))


def _adapter(folder: Path) -> Path:
    data = read_data(TEXTS, COLOURS, modality="text", task="single-label")
    adapter = FrozenAdapter(MODEL, "prototype", modality="text", device="cpu", n_folds=2).fit(data)
    adapter.evaluate(data)
    return adapter.save(folder)


def saved_cards(folder: Path) -> Case:
    """The card of a saved adapter: classes, settings, figures."""
    path = _adapter(folder) / CARD_FILE

    def read() -> Any:
        try:
            found = dict(read_card(json.loads(path.read_bytes()), "it").record)
        except (ModelgraftError, ValueError):
            return None
        return {key: value for key, value in found.items() if key != "checksum"}

    return Case("saved adapters: card", (path,), read, lambda: mock.patch.object(card, "without_checksum", mock.Mock()))


def saved_heads(folder: Path) -> Case:
    """The tensors of a saved adapter, whose digest is in the card."""
    path = _adapter(folder) / HEAD_FILE
    whole = read_card(json.loads((folder / CARD_FILE).read_bytes()), "it")

    def read() -> Any:
        try:
            found = tensors.checked_tensors(path, whole.head_sha256, dict(whole.tensors), "it")
        except ModelgraftError:
            return None
        return {name: tensor.numpy().tobytes() for name, tensor in found.items()}

    return Case(
        "saved adapters: tensors", (path,), read,
        lambda: mock.patch.object(tensors, "digest", lambda path, kind: whole.head_sha256),
    )  # fmt: skip


class _Any(int):
    """A checksum that equals every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def _no_checksum(found: dict[str, Any], what: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "checksum"}


def _no_seals(module: Any) -> contextlib.AbstractContextManager[Any]:
    return mock.patch.object(module, "read_sealed", lambda path: path.read_bytes()[HEAD:])


@contextlib.contextmanager
def _unchecked(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        file.seek(HEAD)
        yield file


def main(places: int = 300) -> None:
    """Print the table."""
    print("| file | damaged | refused, or made again | read to the same | another answer | without the checksum |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            found = count(case, places)
            with case.unguarded():
                bare = count(case, places)
            print(
                f"| {case.what} | {found.tried} | {found.refused} | {found.same} | **{found.wrong}** | {bare.wrong} |"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
