"""FeatureExtractor: the model's own numbers, computed once, every setting kept apart, failures told by item."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import Entry, load
from modelgraft.errors import PluginError, UsageError
from modelgraft_adapters.features import row_buffer as gathering
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.features.store import FeatureStore
from PIL import Image


class Calls(list[int]):
    """A list that does not show what it holds: counting is no setting of a model."""

    __repr__ = object.__repr__


class Encoder:
    """A dual encoder whose every number is known, which counts what it encodes."""

    embed_dim = 6

    def __init__(self, seed: int = 0, modality: str = "image-text") -> None:
        self.entry = Entry(name="test/encoder", modality=modality, tasks=("features",))
        self.device = torch.device("cpu")
        self.module = torch.nn.Linear(3, 6)
        with torch.no_grad():
            self.module.weight.copy_(torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)))
            self.module.bias.zero_()
        self.batches = Calls()

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        if image.size == (5, 5):
            raise ValueError("too\nsmall")
        return torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1) / 255

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(pixels))
        found: torch.Tensor = self.module(pixels.mean(dim=(2, 3)))
        return found / (pixels.amax(dim=(1, 2, 3)) > 0).float()[:, None]  # black has no finite embedding

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        self.batches.append(len(texts))
        return torch.tensor([[len(text), *text.encode()[:5].ljust(5)] for text in texts]).float()

    def text_notes(self, texts: Sequence[str]) -> list[str]:
        return ["a note"]

    def layers(self, modality: str | None = None) -> tuple[str, ...]:
        return ("pooled",) if modality == "text" else ("pooled", "map")

    def encode_layer(self, batch: Any, layer: str) -> torch.Tensor:
        self.batches.append(len(batch))
        return batch if layer == "map" else self.module(batch.mean(dim=(2, 3)))

    @property
    def encoded(self) -> int:
        return sum(self.batches)


rng = np.random.default_rng(0)
PICTURES = [rng.integers(1, 256, (8, 8, 3), dtype=np.uint8) for _ in range(11)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))


def files(folder: Path, pictures: Sequence[np.ndarray]) -> list[str]:
    folder.mkdir(exist_ok=True)
    for n, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{n:02}.png")
    return sorted(str(path) for path in folder.iterdir())


def formula(encoder: Encoder, pictures: Sequence[np.ndarray]) -> np.ndarray:
    means = np.stack([picture.reshape(-1, 3).mean(0) / 255 for picture in pictures])
    return means @ encoder.module.weight.detach().double().numpy().T


def test_features_are_the_models_and_are_computed_once(tmp_path: Path) -> None:
    encoder = Encoder()
    paths = files(tmp_path / "p", PICTURES)
    told: list[tuple[int, int]] = []
    found = FeatureExtractor(encoder, batch_size=4).embed(paths, lambda done, total: told.append((done, total)))
    assert found.features.shape == (11, 6) and found.features.dtype == np.float32
    assert np.abs(found.features - formula(encoder, PICTURES)).max() < 1e-5
    assert found.errors == (None,) * 11 and found.good.all() and found.notes == ()
    assert encoder.batches == [4, 4, 3] and found.encoded == 11
    assert told == [(n, 11) for n in range(1, 12)]
    # Any other order, name or number of the same images, by another extractor with the same weights.
    again = Encoder()
    turned = FeatureExtractor(again, batch_size=3).embed([*reversed(paths), paths[0]])
    assert again.batches == [] and turned.encoded == 0
    assert np.array_equal(turned.features, found.features[[*range(10, -1, -1), 0]])


def test_only_what_is_new_is_computed_and_a_duplicate_once(tmp_path: Path) -> None:
    encoder = Encoder()
    extractor = FeatureExtractor(encoder, batch_size=4)
    paths = files(tmp_path / "p", PICTURES)
    extractor.embed(paths[:5])
    encoder.batches.clear()
    found = extractor.embed([*paths, *paths, paths[-1]])
    assert found.encoded == encoder.encoded == 6
    assert np.array_equal(found.features[:11], found.features[11:22])
    # A file that changes is another item.
    Image.fromarray(PICTURES[0] // 2).save(paths[3])
    changed = extractor.embed(paths)
    assert changed.encoded == 1
    assert np.abs(changed.features[3] - formula(encoder, [PICTURES[0] // 2])[0]).max() < 1e-5


def test_all_kinds_of_items_give_the_same(tmp_path: Path) -> None:
    class InArchive:
        def __init__(self, path: str) -> None:
            self.path = path

        def read_bytes(self) -> bytes:
            return Path(self.path).read_bytes()

    (path,) = files(tmp_path / "p", PICTURES[:1])
    kinds = [path, Path(path), InArchive(path), Image.open(path), PICTURES[0]]
    encoder = Encoder()
    found = FeatureExtractor(encoder, store=False).embed(kinds)
    assert found.good.all() and np.array_equal(found.features, found.features[[0] * 5])
    assert FeatureExtractor(encoder).embed(kinds).encoded == 3  # one file, a PIL image, an array


def test_what_changes_the_features_is_another_store(tmp_path: Path) -> None:
    paths = files(tmp_path / "p", PICTURES[:3])
    first = Encoder()
    FeatureExtractor(first).embed(paths)
    trained = Encoder()
    with torch.no_grad():
        trained.module.bias[2] += 1e-6  # the least a step of training can do
    assert FeatureExtractor(trained).embed(paths).encoded == 3
    assert FeatureExtractor(Encoder(), layer="pooled").embed(paths).encoded == 3
    half = Encoder()
    half.module.half()
    cards = [FeatureExtractor(e).card for e in (first, trained, half)]
    cards += [FeatureExtractor(first, layer="map").card, FeatureExtractor(first, modality="text").card]
    cards += [FeatureExtractor("embedded/sprig", dtype=dtype, device="cpu").card for dtype in (None, "bfloat16")]
    assert len({FeatureStore(card).key for card in cards}) == len(cards)
    assert FeatureStore(FeatureExtractor(Encoder()).card).key == FeatureStore(cards[0]).key
    versions = cards[-1]["versions"]
    assert versions["torch"] == torch.__version__.split("+")[0] and {"pillow", "torchvision", "timm"} <= set(versions)


def test_bad_items_are_rows_and_are_not_kept(tmp_path: Path) -> None:
    encoder = Encoder()
    paths = files(tmp_path / "p", PICTURES[:6])
    (tmp_path / "p" / "03.png").write_bytes(b"no picture")
    Image.new("RGB", (5, 5), "red").save(paths[1])
    Image.new("RGB", (8, 8)).save(paths[4])
    items: list[Any] = ["missing.png", *paths, 5, None, np.zeros((2, 2))]
    found = FeatureExtractor(encoder, batch_size=4).embed(items)
    assert [error is not None for error in found.errors] == [
        True,
        False,
        True,
        False,
        True,
        True,
        False,
        True,
        True,
        True,
    ]
    assert np.isnan(found.features).all(axis=1).tolist() == [error is not None for error in found.errors]
    assert found.errors[0] == "no such file" and found.errors[2] == "cannot be preprocessed: too small"
    assert "not an image" in str(found.errors[4]) and "not finite" in str(found.errors[5])
    assert (~found.good).tolist() == [error is not None for error in found.errors]
    Image.fromarray(PICTURES[3]).save(paths[3])
    mended = FeatureExtractor(encoder, batch_size=4).embed(items)
    assert mended.errors[4] is None and mended.errors[5] is not None and mended.encoded == 2
    nothing = FeatureExtractor(Encoder()).embed(["a.jpg", "b.jpg"])
    assert nothing.features.shape == (2, 6) and np.isnan(nothing.features).all() and nothing.encoded == 0
    assert FeatureExtractor(Encoder()).embed([]).features.shape == (0, 6)


class Short(Encoder):
    """Reads ten letters of a text."""

    text_limit = 10

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


def test_texts_that_are_cut_are_counted_over_all_and_also_where_they_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was looked for in the first batch alone, and not at all in the store."""
    texts = ["short", "brief", *["a text of more than ten letters"] * 2, "tiny", "another one that is long", " "]
    said = "3 of 6 texts are longer than the 10 tokens that are read, and cut (the longest has 31)"
    first = FeatureExtractor(Short(), modality="text", batch_size=2).embed(texts)
    assert said in first.notes and "of the first 2 texts: a note" in first.notes
    again = FeatureExtractor(Short(), modality="text", batch_size=2).embed(texts)
    assert again.encoded == 0 and again.notes == (said,)
    alone = FeatureExtractor(Short(), modality="text", batch_size=2, store=False).embed(texts)
    assert said in alone.notes
    monkeypatch.setattr("modelgraft_adapters.features.store.FeatureStore.cut", lambda self, digests: {})
    assert FeatureExtractor(Short(), modality="text").embed(texts).notes == ()  # without the record nothing is said


def test_texts() -> None:
    encoder = Encoder()
    texts = ["one", "two", "", 5, "one", "three"]
    found = FeatureExtractor(encoder, modality="text", batch_size=3).embed(texts)
    assert found.errors == (None, None, "the text is empty", "not a text but int", None, None)
    assert found.features[[0, 1, 4, 5], 0].tolist() == [3, 3, 3, 5] and encoder.encoded == found.encoded == 3
    assert found.notes == ("of the first 2 texts: a note",)
    assert FeatureExtractor(encoder, modality="text").embed(texts).encoded == 0
    # An image's path as a text is a text.
    assert FeatureExtractor(encoder, modality="text").embed(["missing.png"]).errors == (None,)


def test_layers_and_their_shapes(tmp_path: Path) -> None:
    encoder = Encoder()
    for _ in range(2):
        found = FeatureExtractor(encoder, layer="map", batch_size=4).embed(PICTURES)
        assert found.features.shape == (11, 3, 8, 8)
        assert np.allclose(found.features, np.stack(PICTURES).transpose(0, 3, 1, 2) / 255)
    assert encoder.encoded == 11
    with pytest.raises(UsageError, match="no layer 'cls' for images; there are: pooled, map"):
        FeatureExtractor(encoder, layer="cls").embed(PICTURES)
    with pytest.raises(UsageError, match="no layer 'map' for texts; there are: pooled"):
        FeatureExtractor(encoder, layer="map", modality="text").embed(["a"])
    encoder.layers = None  # type: ignore[method-assign, assignment]
    plain: Any = Encoder()
    plain.__class__ = type(
        "Plain", (), {k: v for k, v in vars(Encoder).items() if "layer" not in k and k != "__dict__"}
    )
    with pytest.raises(UsageError, match="has no layers to choose from"):
        FeatureExtractor(plain, layer="pooled", store=False).embed(PICTURES)


def test_a_model_by_name_is_loaded_only_when_something_is_to_be_encoded(photos: Path) -> None:
    paths = [str(path) for path in sorted(photos.glob("*.jpg"))]
    first = FeatureExtractor("embedded/sprig", device="cpu")
    found = first.embed(paths)
    assert found.encoded == 4
    backbone: Any = load("embedded/sprig", device="cpu")
    with torch.inference_mode():
        expected = backbone.encode_image(
            torch.stack([backbone.preprocess(Image.open(p).convert("RGB")) for p in paths])
        )
    assert torch.equal(torch.from_numpy(found.features), expected)
    second = FeatureExtractor("embedded/sprig", device="cpu")
    again = second.embed(paths)
    assert again.encoded == 0 and not second._running.loaded
    assert np.array_equal(again.features, found.features)
    assert FeatureExtractor(load("embedded/sprig", device="cpu")).embed(paths).encoded == 4  # it may have been trained


def test_damaged_rows_are_computed_again(tmp_path: Path) -> None:
    encoder = Encoder()
    paths = files(tmp_path / "p", PICTURES)
    extractor = FeatureExtractor(encoder, batch_size=4)
    found = extractor.embed(paths)
    assert extractor.store is not None and extractor.store.size() > 11 * 6 * 4
    (rows,) = extractor.store.folder.glob("*.rows")
    data = bytearray(rows.read_bytes())
    data[6 * 4 * 5 + 3] ^= 255
    rows.write_bytes(data)
    for expected in (1, 0):
        again = FeatureExtractor(encoder, batch_size=4).embed(paths)
        assert again.encoded == expected and np.allclose(again.features, found.features, atol=1e-6)


@pytest.mark.parametrize("where", ["a file in the way", "no shape"])
def test_a_store_that_cannot_be_written_costs_time_and_not_the_result(tmp_path: Path, where: str) -> None:
    encoder = Encoder()
    if where == "no shape":
        store = FeatureStore(FeatureExtractor(encoder).card)
        store.folder.mkdir(parents=True)
        (store.folder / "card.json").mkdir()
    else:
        (tmp_path / "cache").write_text("")
    extractor = FeatureExtractor(encoder, batch_size=4)
    found = extractor.embed(PICTURES)
    assert np.abs(found.features - formula(encoder, PICTURES)).max() < 1e-5
    (note,) = found.notes
    assert note.startswith("features are not kept for the next time")
    assert extractor.embed(PICTURES).encoded == 11


def test_large_results_are_a_map_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder()
    items = ["missing.png", *files(tmp_path / "p", PICTURES), "missing.png"]
    expected = FeatureExtractor(encoder).embed(items).features
    monkeypatch.setattr(gathering, "GATHERED", 100)
    found = FeatureExtractor(encoder, batch_size=4).embed(items).features
    assert isinstance(found, np.memmap) and np.array_equal(found, expected, equal_nan=True)
    found[0] = 1  # as any array
    left = [path for path in (tmp_path / "cache" / "features").iterdir() if path.is_file()]
    assert left == []


def test_streams_are_lazy_and_leave_no_thread() -> None:
    taken = []

    def endless() -> Any:
        while True:
            taken.append(1)
            yield PICTURES[len(taken) % 11]

    rows = FeatureExtractor(Encoder(), batch_size=4, workers=2).stream(endless())
    for _ in range(10):
        assert next(rows).error is None
    rows.close()  # type: ignore[attr-defined]
    assert len(taken) <= 32
    for thread in threading.enumerate():
        if thread.name.startswith("modelgraft-decode"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modality": "text", "model": Encoder(modality="image")}, "reads images, not texts"),
        ({"modality": "image", "model": Encoder(modality="text")}, "reads texts, not images"),
        ({"modality": "sound"}, "no modality 'sound'"),
        ({"model": "embedded/nothing"}, "unknown model"),
        ({"model": "embedded/sprig", "device": "toaster"}, "no device"),
        ({"model": "embedded/sprig", "dtype": "int8"}, "no dtype"),
    ],
)
def test_wrong_calls(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        FeatureExtractor(options.pop("model", Encoder()), **options)
    with pytest.raises(UsageError, match="a list of items"):
        FeatureExtractor(Encoder()).embed("photo.jpg")
    assert os.environ["MODELGRAFT_CACHE"]


class Small(Encoder):
    """On a device whose memory holds three images."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().encode_image(pixels)


def test_a_batch_that_the_memory_does_not_hold_is_halved() -> None:
    rng = np.random.default_rng(0)
    items = [Image.fromarray(rng.integers(1, 256, (4, 4, 3), np.uint8)) for _ in range(25)]
    small = FeatureExtractor(model := Small(), batch_size=10, store=False)
    found = small.embed(items)
    assert np.allclose(found.features, FeatureExtractor(Encoder(), store=False).embed(items).features, atol=1e-6)
    assert found.good.all() and max(model.batches) == 3 and sum(model.batches) == 25
    assert list(found.notes) == [f"the memory of cpu is too small for batches of {most}: halved" for most in (10, 5)]
    assert small.embed(items[:10]).notes == ()  # it is known by now


def test_an_image_that_the_memory_does_not_hold_is_an_error() -> None:
    class None_(Small):
        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(PluginError, match="CUDA out of memory"):
        FeatureExtractor(None_(), store=False).embed([Image.new("RGB", (4, 4), "red")] * 3)
