"""Adapters on frozen features: the same lines for images and texts, other labels in the test part, features used again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters import (
    FewShotClassifier,
    FrozenAdapter,
    KNNClassifier,
    LinearProbe,
    PrototypeClassifier,
    SemiSupervisedClassifier,
)
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.metrics.scores import wilson
from PIL import Image

MODEL = "embedded/sprig"
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue images: 12 of each to train on, 6 to test on."""
    folder = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 12), ("test", 6)):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            (folder / split / name).mkdir(parents=True)
            for n in range(count):
                noise = rng.integers(-40, 40, (32, 32, 3)) + np.array(colour)
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / split / name / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    animals, vehicles = (
        ("dog", "cat", "horse", "bird", "frog", "deer"),
        ("car", "truck", "ship", "airplane", "bus", "train"),
    )
    rows = [
        f"{'test' if n > 3 else 'train'},{label},{text.format(word)}"
        for label, words in (("animal", animals), ("vehicle", vehicles))
        for n, word in enumerate(words)
        for text in ("a {}", "a photo of a {}", "a drawing of the {}")
    ]
    path.write_text("\n".join(["split,label,text", *rows]) + "\n")
    return path


def test_the_same_three_lines_for_pictures_and_texts(pictures: Path, texts: Path) -> None:
    for source in (pictures, texts):
        probe = LinearProbe(MODEL).fit(source)
        evaluation = probe.evaluate(source)
        assert evaluation.score.value >= 0.8
        assert evaluation.score.low <= evaluation.score.value <= evaluation.score.high
        assert len(evaluation.targets) == 12
        data = read_data(source)
        predicted = probe.predict(list(data.test.items))
        assert set(predicted) <= set(probe.classes_)
        truth = [data.classes[n] for n in data.test.targets]
        assert probe.score(data) == np.mean(predicted == np.array(truth)) == evaluation.score.value


@pytest.mark.parametrize(
    "make",
    [
        lambda: KNNClassifier(MODEL, k=3),
        lambda: PrototypeClassifier(MODEL),
        lambda: FewShotClassifier(MODEL),
        lambda: FewShotClassifier(MODEL, method="tip-adapter"),
    ],
)
def test_every_adapter_reads_stored_features(pictures: Path, make) -> None:
    LinearProbe(MODEL).fit(pictures).evaluate(pictures)
    adapter = make().fit(pictures)
    assert adapter.evaluate(pictures).score.value >= 0.9
    assert adapter.extractor.encoded == 0


def test_semi_supervised(pictures: Path) -> None:
    data = few_shot(read_data(pictures), 1, keep_rest=True)
    with pytest.raises(UsageError, match="unlabelled"):
        SemiSupervisedClassifier(MODEL).fit(data)
    adapter = SemiSupervisedClassifier(MODEL).fit(data, unlabelled=data.part("unlabelled"))
    assert adapter.trained_on_["unlabelled"] == 22
    assert adapter.evaluate(data).score.value >= 0.9


def test_a_class_that_was_not_trained_on_counts_as_wrong(pictures: Path) -> None:
    probe = LinearProbe(MODEL).fit(pictures)
    data = read_data(pictures).test
    items = list(data.items)
    labels = ["green" if n < 3 else data.classes[t] for n, t in enumerate(data.targets)]
    evaluation = probe.evaluate(items, labels)
    assert (evaluation.targets[:3] == -1).all()
    assert evaluation.score.value == pytest.approx(9 / 12)


def test_testing_on_what_was_trained_on_is_said(pictures: Path) -> None:
    train = read_data(pictures).train
    probe = LinearProbe(MODEL).fit(train)
    with pytest.warns(UserWarning, match="24 of the 24 items were trained on"):
        probe.evaluate(train)


def test_unreadable_items_are_left_out_and_said(pictures: Path, tmp_path: Path) -> None:
    data = read_data(pictures).train
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    probe = LinearProbe(MODEL).fit([*data.items, str(broken)], [*(data.classes[t] for t in data.targets), "red"])
    assert any("1 of 25 items could not be read" in note for note in probe.notes_)
    with pytest.warns(UserWarning, match=r"1 of 2 items cannot be read: .*broken\.png"):
        found = probe.predict([data.items[0], str(broken)])
    assert found[0] in ("red", "blue") and found[1] is None


def test_wrong_use_is_one_line(pictures: Path) -> None:
    with pytest.raises(UsageError, match="no installed plugin brings a head 'lineal'"):
        from modelgraft_adapters import FrozenAdapter

        FrozenAdapter(MODEL, "lineal")
    with pytest.raises(UsageError, match="call fit first"):
        LinearProbe(MODEL).predict([str(next(pictures.rglob("*.png")))])
    with pytest.raises(UsageError, match="no class of the data"):
        LinearProbe(MODEL, class_weight={"green": 2.0}).fit(pictures)


def test_wilson_interval_as_published() -> None:
    """Newcombe 1998, table I, method 3."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, count), interval in published.items():
        assert wilson(hits, count) == pytest.approx(interval, abs=1e-4)


def test_numbers_far_from_zero_keep_their_differences() -> None:
    """Points of time in seconds: float32 holds them to multiples of 128."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(12)]
    near = rng.normal(size=12)

    def predicted(numbers: np.ndarray) -> np.ndarray:
        probe = FrozenAdapter("embedded/sprig", "linear").fit(read_data(pictures, numbers, task="regression"))
        return probe.predict(pictures)[:, 0]

    far, expected = predicted(1.7e9 + near), predicted(near)
    assert far.dtype == np.float64 and np.abs(far - 1.7e9 - expected).max() < 1e-3 < expected.std()


@pytest.mark.full
@pytest.mark.parametrize("head", ["linear", "knn", "mlp"])
def test_numbers_far_from_zero_are_learnt_as_near_ones(head: str, tmp_path: Path) -> None:
    """Points of time in seconds; float32 would hold them in steps of 128. Saved and loaded they are the same."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(12)]
    times = 200 * rng.normal(size=12)
    near = FrozenAdapter("embedded/sprig", head).fit(read_data(pictures, times, task="regression")).predict(pictures)
    far = FrozenAdapter("embedded/sprig", head).fit(read_data(pictures, 1.7e9 + times, task="regression"))
    found = far.predict(pictures)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found - 1.7e9, near, atol=1e-3 * 200)
    assert np.abs(found.astype(np.float32) - 1.7e9 - near).max() > 10, "what float32 would have left of them"
    np.testing.assert_array_equal(FrozenAdapter.load(far.save(tmp_path / "saved")).predict(pictures), found)
