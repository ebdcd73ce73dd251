"""``--precision auto``: reduced precision only where some of the user's own items show that it gives the same answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from modelgraft import devices
from modelgraft.errors import UsageError
from modelgraft_adapters import FeatureExtractor, ZeroShotClassifier
from modelgraft_adapters.features import choosing
from modelgraft_adapters.features.choosing import choose_precision, first_answers_changed, least_cosine
from PIL import Image


@pytest.fixture(autouse=True)
def _native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has bfloat16: where it has not, it is emulated, and gives the same numbers."""
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(devices, "_processor_has", lambda what: what == "bf16")


@pytest.fixture(scope="module")
def items(photos: Path) -> list[Image.Image]:
    """130 parts of photographs."""
    rng = np.random.default_rng(0)
    whole = [Image.open(path).convert("RGB").resize((160, 160)) for path in sorted(photos.glob("*.jpg"))]
    corners = rng.integers(0, 60, (130, 2)).tolist()
    return [whole[n % len(whole)].crop((x, y, x + 96, y + 96)) for n, (x, y) in enumerate(corners)]


def test_fast_is_bfloat16_and_kept_apart(items: list[Image.Image]) -> None:
    fast, named = FeatureExtractor("embedded/sprig", dtype="fast"), FeatureExtractor("embedded/sprig", dtype="bf16")
    assert fast.card == named.card and fast.card["precision"]["dtype"] == "bfloat16"
    exact = FeatureExtractor("embedded/sprig", dtype="exact")
    assert exact.card["precision"]["dtype"] == "float32" and exact.card != fast.card
    found, expected = fast.embed(items[:4]).features, exact.embed(items[:4]).features
    assert fast.encoded == exact.encoded == 4 and named.embed(items[:4]).encoded == 0
    assert 1e-4 < np.abs(found - expected).max() / np.abs(expected).max() < 0.05


def test_fast_is_chosen_where_the_answers_are_the_same(items: list[Image.Image]) -> None:
    choice = choose_precision("embedded/sprig", items)
    assert choice.precision == "fast" and choice.why.startswith("auto: bfloat16; of 32 items no first answer changes")
    sample = [items[n] for n in np.linspace(0, len(items) - 1, 32).astype(int)]
    kept = [FeatureExtractor("embedded/sprig", dtype=one).embed(sample) for one in ("exact", "fast")]
    assert [one.encoded for one in kept] == [0, 0]  # they are in the store
    assert f"{least_cosine(kept[0].features, kept[1].features):.5f}" in choice.why


def test_exact_is_chosen_where_they_are_not(items: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    def other(precision: str, features: np.ndarray) -> np.ndarray:
        return np.eye(4)[np.full(len(features), int(precision == "fast"))]

    choice = choose_precision("embedded/sprig", items, scores=other)
    assert choice.precision == "exact" and "changes the first answer of 32 of 32 items" in choice.why
    monkeypatch.setattr(choosing, "LEAST", 0.9999999)
    choice = choose_precision("embedded/sprig", items)
    assert choice.precision == "exact" and "has a cosine of 0.999" in choice.why


def test_exact_is_chosen_where_nothing_can_be_gained(
    items: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "for 5 items" in choose_precision("embedded/sprig", items[:5]).why
    monkeypatch.setattr(devices, "_processor_has", lambda what: False)
    assert "does not compute in bfloat16" in choose_precision("embedded/sprig", items).why
    assert not list(tmp_path.glob("cache/features*/**/*.f32"))


def test_what_cannot_be_read_is_no_reason(items: list[Image.Image], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    choice = choose_precision("embedded/sprig", [str(broken), *items[1:]])
    assert choice.precision == "fast" and "of 31 items" in choice.why


def test_ties_are_no_change() -> None:
    wide = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
    assert first_answers_changed(wide, wide + 1e-4) == 0
    assert choosing._changed(np.array([[0.5, 0.495]]), np.array([[0.494, 0.5]])) == 0
    assert choosing._changed(np.array([[0.6, 0.4], [0.4, 0.6]]), np.array([[0.4, 0.6], [0.4, 0.6]])) == 1


def test_zero_shot_scores_of_embeddings_are_those_of_the_items(items: list[Image.Image]) -> None:
    classifier = ZeroShotClassifier("embedded/sprig", ["cat", "rocket"], device="cpu")
    features = FeatureExtractor("embedded/sprig", store=False).embed(items[:3]).features
    assert np.abs(classifier.scores(features) - classifier.predict_proba(items[:3])).max() < 1e-6


def test_on_the_command_line(run: Any, photos: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "found.npy")
    done = run("embed", str(photos), "-o", out, "--precision", "auto")
    assert done.returncode == 0 and "auto: float32, " in done.stderr
    old = run("embed", str(photos), "-o", out, "--dtype", "float32")
    assert old.returncode == 0 and np.load(out).dtype == np.float32
    for word, where in (("slow", "embed"), ("auto", "predict")):
        wrong = run(
            where, str(photos), *(["-o", out] if where == "embed" else ["--model", "./none"]), "--precision", word
        )
        assert wrong.returncode == 2 and f"no dtype '{word}'" in wrong.stderr
    done = run("classify", str(photos), "--labels", "cat,rocket", "--precision", "auto", "--engine", "auto")
    assert done.returncode == 0 and "is run by torch" in done.stderr


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "parquet"])
def test_rows_say_the_precision_that_was_asked_for(run: Any, photos: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / f"found.{format}"
    read: Any = {
        "json": lambda: json.loads(out.read_text()),
        "jsonl": lambda: [json.loads(line) for line in out.read_text().splitlines()],
        "csv": lambda: list(csv.DictReader(out.open())),
        "parquet": lambda: pq.read_table(out).to_pylist(),
    }[format]
    command = ["classify", str(photos), "--labels", "cat,rocket", "-o", str(out)]
    assert run(*command).returncode == 0 and all("precision" not in row for row in read())
    for word, dtype in (("auto", "float32"), ("bf16", "bfloat16")):
        assert run(*command, "--precision", word).returncode == 0
        assert read() and {row["precision"] for row in read()} == {dtype}


def test_auto_is_for_who_has_the_items(photos: Path) -> None:
    with pytest.raises(UsageError, match="no dtype 'auto'"):
        FeatureExtractor("embedded/sprig", dtype="auto")
