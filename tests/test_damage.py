"""Damage to what we write is seen when it is read: nothing that was damaged is served, and nothing good is moved away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.sealed import seal, with_checksum
from modelgraft.weights import verifying
from modelgraft_adapters import ZeroShotClassifier
from modelgraft_adapters.features import store
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.features.store import FeatureStore
from modelgraft_sources import web
from PIL import Image

from tests import damage
from tests.damage import Case, count

MAKERS = (damage.labels, damage.runs, damage.notes, damage.saved_cards, damage.saved_heads)


@pytest.mark.full
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_flipped_bits_and_cuts_give_no_other_answer(make: Callable[[Path], Case], tmp_path: Path) -> None:
    """And without the look at the checksum they do."""
    case = make(tmp_path)
    found = count(case, 150)
    assert found.tried >= 150 and found.wrong == 0 and found.refused + found.same == found.tried
    with case.unguarded():
        assert count(case, 150).wrong > 0


@pytest.mark.full
def test_every_bit_of_a_feature_store(tmp_path: Path) -> None:
    case = damage.features(tmp_path)
    found = count(case, 10**6)
    assert found.tried > 2500 and found.wrong == 0
    with case.unguarded():
        assert count(case, 300).wrong > 0
    found = count(damage.feature_cards(tmp_path / "card"), 1500)
    assert found.tried > 1000 and found.wrong == 0


def test_damage_to_the_name_of_the_checksum(tmp_path: Path) -> None:
    """A card may state no checksum, where somebody wrote it by hand: one under a damaged name is none that was left out."""
    case = damage.saved_cards(tmp_path)
    (path,) = case.files
    whole, good = path.read_bytes(), case.read()
    start = whole.rindex(b"checksum")
    for bit in range(8 * start, 8 * (start + len(b"checksum"))):
        flipped = whole[bit // 8] ^ 1 << bit % 8
        path.write_bytes(whole[: bit // 8] + bytes([flipped]) + whole[bit // 8 + 1 :])
        assert case.read() is None, chr(flipped)
    by_hand = {key: value for key, value in json.loads(whole).items() if key != "checksum"}
    path.write_text(json.dumps(by_hand))
    assert case.read() == good


def test_a_card_with_another_shape_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    names = [b"a" * 16, b"b" * 16]
    FeatureStore({"model": "m"}, tmp_path).add(names, rows)
    path = tmp_path / FeatureStore({"model": "m"}, tmp_path).key / "card.json"
    stated = json.loads(path.read_bytes())
    path.write_text(json.dumps({**stated, "shape": [2, 3, 2]}))
    another = with_checksum({"model": "another", "shape": [2, 3, 2]})  # whole, and of another store
    assert FeatureStore({"model": "m"}, tmp_path).get(names) == [None, None]
    with monkeypatch.context() as patched:
        patched.setattr(store, "without_checksum", damage._no_checksum)
        (row, _) = FeatureStore({"model": "m"}, tmp_path).get(names)
        assert row is not None and row.shape == (2, 3, 2), "without the checksum it is"
    path.write_text(json.dumps(another))
    mended = FeatureStore({"model": "m"}, tmp_path)
    assert mended.get(names) == [None, None]
    mended.add(names[:1], rows[:1])
    again = FeatureStore({"model": "m"}, tmp_path).get(names)
    assert all(np.array_equal(row, good) for row, good in zip(again, rows, strict=True) if row is not None)
    assert again[0] is not None and json.loads(path.read_bytes())["shape"] == [3, 2, 2]


def test_stored_rows_that_are_no_numbers_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole by their checksum, as a version with a fault may have stored them."""
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    texts = ["red wine", "blue sea"]
    right = FeatureExtractor("embedded/sprig", modality="text", device="cpu", store=False).embed(texts).features
    extractor = FeatureExtractor("embedded/sprig", modality="text", device="cpu")
    from modelgraft_adapters.storage.keys import text_digest

    names = [text_digest(text) for text in texts]
    assert isinstance(extractor.store, FeatureStore)
    with pytest.raises(ValueError, match="must be finite"):
        extractor.store.add(names, np.full_like(right, np.nan))
    extractor.store.add(names[:1], right[:1])
    records = extractor.store._records
    assert records is not None
    records.append(names[1:], [np.full(right.shape[1], np.nan, "<f4").tobytes()])
    with monkeypatch.context() as patched:
        patched.setattr(store, "_finite", lambda row: True)
        bad = FeatureExtractor("embedded/sprig", modality="text", device="cpu").embed(texts).features
        assert np.isnan(bad).any(), "without the guard they are served"
    found = FeatureExtractor("embedded/sprig", modality="text", device="cpu").embed(texts)
    assert found.encoded == 1 and np.allclose(found.features, right, atol=1e-6) and found.errors == (None, None)
    assert FeatureExtractor("embedded/sprig", modality="text", device="cpu").embed(texts).encoded == 0


def test_a_flipped_bit_in_the_label_cache_does_not_change_what_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: classes, images, scores. A bit of the sign or the exponent of a number turned a rocket into a cat."""
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    picture = Image.new("RGB", (64, 64), "red")
    names = ["red", "blue", "green"]

    def scores() -> Any:
        return ZeroShotClassifier("embedded/sprig", names, device="cpu").predict_proba([picture])

    right = scores()
    (path,) = (tmp_path / "labels").iterdir()
    content = path.read_bytes()
    for place in range(len(content) - 1, len(content) - 400, -57):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :])
        assert np.array_equal(scores(), right)
        assert path.read_bytes() == content, "and it is written anew"
    monkeypatch.setattr(
        "modelgraft_adapters.estimators.label_embeddings.read_sealed", lambda path: path.read_bytes()[damage.HEAD :]
    )
    place = len(content) - 1
    path.write_bytes(content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :])
    assert not np.array_equal(scores(), right)


def test_a_damaged_note_moves_no_good_file_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))
    import hashlib

    from modelgraft.resolution import File

    path = tmp_path / "w.bin"
    path.write_bytes(b"weights" * 100)
    file = File("w.bin", 700, hashlib.sha256(b"weights" * 100).hexdigest())
    assert verifying.fault(path, file, tmp_path) is None
    (note,) = (tmp_path / "cache" / "digests").iterdir()
    content = note.read_bytes()
    for place in range(len(content)):
        note.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert verifying.fault(path, file, tmp_path) is None
    # Even a whole note with another digest: the file is read before it is called wrong, and the note is put right.
    known = json.loads(content[damage.HEAD :])
    note.write_bytes(seal(json.dumps({**known, "digests": {"sha256": "0" * 64}}).encode()))
    with monkeypatch.context() as patched:  # where the note is believed, the good file is called wrong
        patched.setattr(verifying, "digest", lambda path, kind: "0" * 64)
        assert verifying.fault(path, file, tmp_path) is not None
    note.write_bytes(seal(json.dumps({**known, "digests": {"sha256": "0" * 64}}).encode()))
    assert verifying.fault(path, file, tmp_path) is None and note.read_bytes() == content
    # And a note that is none of ours cannot call a wrong file right.
    path.write_bytes(b"weights" * 99 + b"Weights")
    state = path.stat()
    forged = {"state": [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino], "digests": known["digests"]}
    note.write_bytes(json.dumps(forged).encode())
    assert "sha256" in str(verifying.fault(path, file, tmp_path))
    note.write_bytes(json.dumps(forged).encode())
    monkeypatch.setattr(verifying, "read_sealed", lambda path: path.read_bytes())
    assert verifying.fault(path, file, tmp_path) is None, "without the seal it does"
    assert os.listdir(tmp_path / "cache") == ["digests"]


def test_a_damaged_address_is_of_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what came from a plain address: its folder is the digest of the address, so a note that was damaged is not believed."""
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    url = "https://weights.example/net-3a7f9c21.pth"
    folder = web._folder(url)
    folder.mkdir(parents=True)
    (folder / "net-3a7f9c21.pth").write_bytes(b"weights")
    note = folder / ".address"
    note.write_bytes(url.encode())
    assert [held.part.location for held in web.WebSource().held()] == [url]
    for bit in range(8 * len(url)):
        note.write_bytes((int.from_bytes(url.encode()) ^ 1 << bit).to_bytes(len(url)))
        assert web.WebSource().held() == []
    note.write_bytes(url.replace("3a7f", "4a7f").encode())
    monkeypatch.setattr(web, "_folder", lambda url: folder)
    (held,) = web.WebSource().held()
    assert held.part.files[0].sha256 == "4a7f9c21", "without the guard a good file has another digest stated"
