"""ZeroShotClassifier against its formula, with a small dual encoder whose every number is known."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft import Entry, ScoreRule
from modelgraft.errors import UsageError
from modelgraft_adapters import ZeroShotClassifier
from modelgraft_adapters.estimators.class_names import check_labels
from modelgraft_adapters.estimators.prompt_templates import ENSEMBLES, templates_for
from PIL import Image


class Encoder:
    """A dual encoder: an image is its mean colour through a matrix, a text its letter counts through another."""

    embed_dim = 6

    def __init__(self, rule: ScoreRule | None = None, seed: int = 0, modality: str = "image-text") -> None:
        generator = torch.Generator().manual_seed(seed)
        self.entry = Entry(name="test/encoder", modality=modality, tasks=("zero-shot", "features"))
        self.device = torch.device("cpu")
        self.module = torch.nn.ParameterDict(
            {
                "image": torch.nn.Parameter(torch.randn(3, self.embed_dim, generator=generator)),
                "text": torch.nn.Parameter(torch.randn(128, self.embed_dim, generator=generator)),
            }
        )
        self.rule = rule or ScoreRule("softmax", 20.0)
        self.texts_encoded = 0

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1) / 255

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.mean(dim=(2, 3)) - 0.5) @ self.module["image"]

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        self.texts_encoded += len(texts)
        counts = torch.zeros(len(texts), 128)
        for n, text in enumerate(texts):
            for letter in text:
                counts[n, ord(letter) % 128] += 1
        return counts @ self.module["text"]

    def text_notes(self, texts: Sequence[str]) -> list[str]:
        return []

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(letter) % 128 for letter in text] for text in texts]

    def score_rule(self) -> ScoreRule:
        return self.rule


rng = np.random.default_rng(0)
PICTURES = [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) // n for n in range(1, 8)]
LABELS = ["cat", "dog", "zebra", "owl"]


def _formula(encoder: Encoder, labels: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """CLIP's recipe written out in float64: normalise each prompt, mean, normalise, scale, softmax or sigmoid."""
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    with torch.no_grad():
        classes = [
            encoder.encode_text([t.replace("{}", label) for t in templates]).double().numpy() for label in labels
        ]
        features = encoder.encode_image(torch.stack([encoder.preprocess(Image.fromarray(p)) for p in PICTURES]))
    weight = unit(np.stack([unit(c).mean(axis=0) for c in classes]))
    logits = unit(features.double().numpy()) @ weight.T * encoder.rule.scale + encoder.rule.bias
    if encoder.rule.similarity == "dot":
        logits = features.double().numpy() @ np.stack([c.mean(axis=0) for c in classes]).T * encoder.rule.scale
    if encoder.rule.kind == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "rule",
    [
        ScoreRule("softmax", 100.0),
        ScoreRule("softmax", 3.0),
        ScoreRule("sigmoid", 10.0, -5.0),
        ScoreRule("softmax", 0.1, similarity="dot"),
    ],
)
@pytest.mark.parametrize("templates", ["none", "photo", "simple", "imagenet-80", ("a {} b", "{}!")])
def test_equals_the_formula(rule: ScoreRule, templates: Any) -> None:
    encoder = Encoder(rule)
    ours = ZeroShotClassifier(encoder, LABELS, templates=templates).predict_proba(PICTURES)
    assert ours.dtype == np.float32 and ours.shape == (len(PICTURES), len(LABELS))
    assert np.abs(ours - _formula(encoder, LABELS, templates_for(templates))).max() < 1e-5


@pytest.mark.full
@settings(max_examples=20, deadline=None)
@given(
    st.permutations(range(len(LABELS))), st.permutations(ENSEMBLES["simple"]), st.sampled_from(["softmax", "sigmoid"])
)
def test_order_of_classes_permutes_and_order_of_templates_changes_nothing(
    order: list[int], templates: list[str], kind: Any
) -> None:
    encoder = Encoder(ScoreRule(kind, 20.0, -1.0))
    plain = ZeroShotClassifier(encoder, LABELS, templates="simple").predict_proba(PICTURES)
    turned = ZeroShotClassifier(encoder, [LABELS[n] for n in order], templates=templates).predict_proba(PICTURES)
    assert np.abs(turned - plain[:, order]).max() < 1e-5


def test_a_template_given_twice_weighs_twice() -> None:
    encoder = Encoder()
    once = ZeroShotClassifier(encoder, LABELS, templates=["a {}", "the {} of it"]).predict_proba(PICTURES)
    twice = ZeroShotClassifier(encoder, LABELS, templates=["a {}", "a {}", "the {} of it"]).predict_proba(PICTURES)
    assert np.abs(once - twice).max() > 1e-4
    assert np.abs(twice - _formula(encoder, LABELS, ["a {}", "a {}", "the {} of it"])).max() < 1e-5


def test_sigmoid_scores_do_not_depend_on_the_other_labels() -> None:
    encoder = Encoder(ScoreRule("sigmoid", 10.0, -3.0))
    all_labels = ZeroShotClassifier(encoder, LABELS).predict_proba(PICTURES)
    alone = ZeroShotClassifier(encoder, ["zebra"]).predict_proba(PICTURES)
    assert np.abs(alone[:, 0] - all_labels[:, 2]).max() < 1e-6


def test_descriptions_take_the_templates_place() -> None:
    encoder = Encoder()
    described = ZeroShotClassifier(encoder, LABELS, templates="photo", descriptions={"cat": ["a photo of a dog."]})
    scores = described.predict_proba(PICTURES)
    assert np.abs(scores[:, 0] - scores[:, 1]).max() < 1e-6


def test_predictions_rows_thresholds_and_scores() -> None:
    classifier = ZeroShotClassifier(Encoder(), LABELS, threshold=0.6, batch_size=2)
    probabilities = classifier.predict_proba(PICTURES)
    predicted = classifier.predict(PICTURES)
    assert list(classifier.classes_) == LABELS
    assert None in predicted and any(p is not None for p in predicted)
    for n, row in enumerate(classifier.classify(PICTURES)):
        assert row.item is PICTURES[n] and row.label == predicted[n] and row.error is None
        assert list(row.scores.values()) == sorted(row.scores.values(), reverse=True)
        assert row.score == pytest.approx(probabilities[n].max())
        assert (row.label is None) == (probabilities[n].max() < 0.6)
    truth = [LABELS[n] for n in probabilities.argmax(axis=1)]
    assert classifier.score(PICTURES, truth) == np.mean([p is not None for p in predicted])
    assert classifier.fit() is classifier


def test_bad_items_become_rows_wherever_they_stand() -> None:
    classifier = ZeroShotClassifier(Encoder(), LABELS, batch_size=3)
    good = classifier.predict_proba(PICTURES)
    items: list[Any] = ["missing.jpg", *PICTURES[:2], np.zeros((2, 2)), *PICTURES[2:], "gone.png"]
    rows = list(classifier.classify(items))
    assert [row.error is not None for row in rows] == [True, False, False, True, *[False] * 5, True]
    with pytest.warns(UserWarning, match="3 of 10 items cannot be read: missing.jpg: no such file"):
        mixed = classifier.predict_proba(items)
    assert np.isnan(mixed[[0, 3, 9]]).all()
    assert np.abs(mixed[[1, 2, 4, 5, 6, 7, 8]] - good).max() < 1e-6
    assert [row.error is not None for row in classifier.classify(["x.jpg"] * 100)] == [True] * 100
    assert classifier.predict_proba([]).shape == (0, 4)


def test_items_are_read_lazily_and_a_run_can_be_left() -> None:
    read = []

    def endless() -> Any:
        while True:
            read.append(1)
            yield PICTURES[0]

    classifier = ZeroShotClassifier(Encoder(), LABELS, batch_size=4, workers=2)
    rows = classifier.classify(endless())
    for _ in range(10):
        next(rows)
    rows.close()
    assert len(read) <= 4 * 8
    deadline = time.monotonic() + 10
    while any(t.name.startswith("modelgraft-decode") for t in threading.enumerate()):
        assert time.monotonic() < deadline, "decoding threads outlive the run"
        time.sleep(0.01)


def test_label_embeddings_are_kept_for_the_same_weights_and_only_for_them() -> None:
    first, again, other = Encoder(seed=1), Encoder(seed=1), Encoder(seed=2)
    expected = ZeroShotClassifier(first, ["kept one", "kept two"]).predict_proba(PICTURES)
    assert first.texts_encoded == 2
    assert np.array_equal(ZeroShotClassifier(again, ["kept one", "kept two"]).predict_proba(PICTURES), expected)
    assert again.texts_encoded == 0
    assert not np.allclose(ZeroShotClassifier(other, ["kept one", "kept two"]).predict_proba(PICTURES), expected)
    assert other.texts_encoded == 2
    ZeroShotClassifier(again, ["kept two", "kept one"]).fit()
    assert again.texts_encoded == 2


def test_the_same_weights_behind_another_tokenizer_are_another_model() -> None:
    class Otherwise(Encoder):
        def tokens(self, texts: Sequence[str]) -> list[list[int]]:
            return [[*row, 0] for row in super().tokens(texts)]

    first, other = Encoder(seed=3), Otherwise(seed=3)
    ZeroShotClassifier(first, ["read so", "or so"]).fit()
    ZeroShotClassifier(other, ["read so", "or so"]).fit()
    assert first.texts_encoded == other.texts_encoded == 2


def test_nothing_is_kept_of_a_model_that_does_not_say_how_it_reads(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Encoder):
        tokens = None  # type: ignore[assignment]

    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    for _ in range(2):
        encoder = Silent(seed=4)
        ZeroShotClassifier(encoder, LABELS).fit()
        assert encoder.texts_encoded == len(LABELS)
    assert not (tmp_path / "labels").exists()


def test_a_damaged_cache_file_is_made_anew(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    expected = ZeroShotClassifier(Encoder(), LABELS).predict_proba(PICTURES)
    (file,) = (tmp_path / "labels").glob("*.sealed")
    file.write_bytes(file.read_bytes()[:-5])
    encoder = Encoder()
    assert np.array_equal(ZeroShotClassifier(encoder, LABELS).predict_proba(PICTURES), expected)
    assert encoder.texts_encoded == len(LABELS)


def test_texts_with_a_text_encoder() -> None:
    encoder = Encoder(modality="text")
    classifier = ZeroShotClassifier(encoder, ["positive", "negative"])
    rows = list(classifier.classify(["good", "", 5, "bad"]))
    assert [row.error for row in rows] == [None, "the text is empty", "not a text but int", None]
    with torch.no_grad():
        unit = torch.nn.functional.normalize
        texts = unit(encoder.encode_text(["good", "bad"]), dim=-1)
        weight = unit(encoder.encode_text(["This example is positive.", "This example is negative."]), dim=-1)
        expected = (texts @ weight.T * 20).softmax(dim=-1).numpy()
    assert np.abs(classifier.predict_proba(["good", "bad"]) - expected).max() < 1e-5


def test_texts_of_any_length_are_answered_in_their_order() -> None:
    texts = ["good" * (1 + n * 7 % 40) if n % 3 else "bad" * (1 + n * 5 % 60) for n in range(200)]
    rows = list(ZeroShotClassifier(Encoder(modality="text"), ["positive", "negative"]).classify(iter(texts)))
    assert [row.item for row in rows] == texts
    alone = ZeroShotClassifier(Encoder(modality="text"), ["positive", "negative"], batch_size=1)
    expected = [row.scores for row in alone.classify(texts)]
    for row, scores in zip(rows, expected, strict=True):
        assert row.scores == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        ([], {}, "no labels"),
        (["a", "a"], {}, "labels given twice: 'a'"),
        (["a", " "], {}, "blank"),
        ("cat", {}, "list of texts"),
        (["a"], {"templates": "no slot"}, "neither a template"),
        (["a"], {"templates": []}, "empty list of templates"),
        (["a"], {"descriptions": {"b": ["x"]}}, "not among the labels"),
    ],
)
def test_wrong_calls(labels: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ZeroShotClassifier(Encoder(), labels, **options)


def test_a_single_text_is_not_a_list_of_items() -> None:
    with pytest.raises(UsageError, match="list of items"):
        ZeroShotClassifier(Encoder(), LABELS).predict("photo.jpg")


def test_labels_are_compared_with_few_others() -> None:
    """21,841 class names are a list in use: looking each up among all the others took seconds."""
    compared = [0]

    class Label(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared[0] += 1
            return str.__eq__(self, other)

        def __str__(self) -> str:  # str() of it stays one of these
            return self

    labels = [Label(f"thing {number}") for number in range(1000)]
    classifier = ZeroShotClassifier(Encoder(), labels)
    assert len(list(classifier.classify([Image.new("RGB", (4, 4))]))) == 1
    assert compared[0] < 30 * len(labels)
    compared[0] = 0
    assert not [label for label in labels if labels.count(label) > 1]
    assert compared[0] > 900 * len(labels)  # what was there before would be seen


class Lower(Encoder):
    """Reads eight letters of a text, in lower case, and no letter beyond ASCII."""

    text_limit = 8

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(c) if c.isascii() else 0 for c in text.lower()[:8]] for text in texts]

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        read = ["".join(map(chr, row)) for row in self.tokens(texts)]
        return super().encode_text(read)


@pytest.mark.parametrize("tokenises", [True, False])
def test_labels_that_a_model_reads_alike_are_said(tokenises: bool) -> None:
    kind: Any = Lower if tokenises else type("Silent", (Lower,), {"tokens": None, "encode_text": _lowered})
    for labels, named in (
        (["cat", "Cat", "CAT", "dog"], "'cat', 'Cat' and 'CAT'"),
        (["caf\u00e9", "caf\u00ea", "dog"], "'caf\u00e9' and 'caf\u00ea'"),
        (["a long name", "a long nose", "dog"], "'a long name' and 'a long nose'"),
    ):
        found = ZeroShotClassifier(kind(), labels, templates="none")
        (note,) = [note for note in found.notes_ if "as one text" in note]
        assert named in note and "dog" not in note
        scores = found.predict_proba(PICTURES)
        assert np.abs(scores[:, 0] - scores[:, 1]).max() < 1e-6  # what is said: they share one class's score
    assert not ZeroShotClassifier(kind(), ["cat", "dog"], templates="none").notes_


def _lowered(self: Any, texts: Sequence[str]) -> torch.Tensor:
    return Encoder.encode_text(self, ["".join(map(chr, row)) for row in Lower.tokens(self, texts)])


def test_labels_given_twice_are_refused_with_their_places_in_no_time() -> None:
    names = [f"class {n}" for n in range(1000)]
    names[134], names[517] = "crane", "crane"
    with pytest.raises(UsageError, match=r"labels given twice: 'crane' \(labels 135, 518\)"):
        ZeroShotClassifier(Encoder(), names)
    assert len(check_labels([f"class {n}" for n in range(21_841)])) == 21_841


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (["cat", "goal \ud83d"], {}, "half of a surrogate pair, U\\+D83D, at character 6"),
        (["cat", "caf\udce9"], {}, "not UTF-8: byte 0xE9 at character 4"),
        (["cat", "a\0b"], {}, "a NUL at character 2"),
        (["cat", "\u200b"], {}, "nothing in it can be seen"),
        (["cat"], {"templates": "a \ud83d {}"}, "the template .* half of a surrogate pair"),
    ],
)
def test_labels_and_templates_that_are_no_text_are_refused(labels: Any, options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ZeroShotClassifier(Encoder(), labels, **options)


def test_texts_that_are_no_text_are_rows_and_those_that_are_cut_are_counted() -> None:
    classifier = ZeroShotClassifier(Lower(modality="text"), ["ab", "cd"], templates="none", batch_size=2)
    rows = list(classifier.classify(["ab", "goal \ud83d", "caf\udce9", "a\0", "abcdefghij", "\u2800"]))
    assert [row.error and row.error[:22] for row in rows] == [
        *(
            None,
            "the text is not Unicod",
            "the text is not UTF-8:",
            "the text holds a NUL a",
            None,
            "the text is empty: not",
        ),
    ]
    assert classifier.take_notes() == [
        "1 of 2 texts is longer than the 8 tokens that are read, and cut (the longest has 10)"
    ]


def test_an_array_that_is_filled_again_for_every_item_is_read_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """As cv2's ``read(frame)`` does; items are read ahead."""
    classifier = ZeroShotClassifier(Encoder(), LABELS, batch_size=3)
    expected = classifier.predict_proba(PICTURES)

    def frames() -> Any:
        buffer = np.zeros_like(PICTURES[0])
        for picture in PICTURES:
            buffer[:] = picture
            yield buffer

    def found() -> np.ndarray:
        return np.array([[row.scores[label] for label in LABELS] for row in classifier.classify(frames())])

    assert np.abs(found() - expected).max() < 1e-6
    monkeypatch.setattr("modelgraft_adapters.media.images._copied", lambda item: item)
    monkeypatch.setattr(classifier, "workers", 1)
    slow = Encoder.preprocess
    monkeypatch.setattr(Encoder, "preprocess", lambda self, image: (time.sleep(0.02), slow(self, image))[1])
    assert np.abs(found() - expected).max() > 0.01
