"""What a gap is said to be is what was put there: none, of all items, of one class, of the frequencies of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.runs.gap import gap_of_features, measure_gap
from modelgraft_adapters.runs.gap_result import Gap

CENTRES = np.random.default_rng(0).normal(size=(4, 12)) * 2.5
NAMES = ("ant", "bee", "cow", "dog")


def side(counts: tuple[int, ...], seed: int, labelled: bool = True, width: int = 12) -> tuple[np.ndarray, Dataset]:
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(len(counts)), counts)
    features = CENTRES[targets, :width] + rng.normal(size=(len(targets), width))
    items = [f"{seed} {n}" for n in range(len(targets))]
    data = Dataset(items, "text", targets=targets if labelled else None, classes=NAMES if labelled else ())
    return features, data


def gap(one: tuple[np.ndarray, Dataset], other: tuple[np.ndarray, Dataset], **options: Any) -> Gap:
    return gap_of_features(one[0], other[0], one[1], other[1], **{"permutations": 199, **options})


EVEN = (50, 50, 50, 50)


def test_no_gap() -> None:
    found = gap(side(EVEN, 1), side(EVEN, 2))
    assert not found.there and found.apart.distance < 0.4 and not any(c.p_value <= 0.05 for c in found.classes)
    assert found.verdict()[0].startswith("No gap is seen with 200 and 200 items")
    assert found.labels is not None and found.labels.p_value == 1 and found.labels.how == "counted"
    assert found.strange is not None and found.strange < 0.05


def test_a_gap_of_all_items() -> None:
    features, data = side(EVEN, 2)
    found = gap(side(EVEN, 1), (features + 4, data))
    assert found.there and found.apart.distance > 1.9 and found.strange == 1
    assert found.frechet.of_means == pytest.approx(12 * 16, rel=0.2)
    assert found.apart_interval[0] <= found.apart.distance <= found.apart_interval[1] == 2
    assert "There is a large gap (p = 0.005)" in found.verdict()[0]
    assert found.verdict()[1].startswith("All classes look different on the two sides, ")


def test_a_gap_of_one_class() -> None:
    features, data = side(EVEN, 2)
    features[data.targets == 2] += 2
    found = gap(side(EVEN, 1), (features, data))
    assert found.there and found.classes[0].name == "cow" and found.classes[0].p_value <= 0.05
    assert [c.name for c in found.classes if c.p_value <= 0.05] == ["cow"]
    assert "cow looks different on the two sides." in found.verdict()


def test_classes_that_one_side_has_not() -> None:
    found = gap(side((60, 60, 0, 3), 1), side((60, 60, 60, 60), 2))
    assert found.only_in_target == ("cow",) and {c.name for c in found.classes} == {"ant", "bee"}
    assert any("1 of 3 classes have fewer than 5 items on a side" in note for note in found.notes)
    assert "The source has no items of cow." in found.verdict()[-1]
    assert found.labels is not None and found.labels.there
    assert {s.name: (s.source == 0, s.moved) for s in found.labels.shares}["cow"] == (True, True)


@pytest.mark.full
def test_frequencies_are_estimated_where_nothing_else_differs() -> None:
    found = gap(side(EVEN, 1), side((120, 60, 15, 5), 2, labelled=False)).labels
    assert found is not None and found.how == "estimated" and found.there and found.dependable
    assert [s.target for s in found.shares] == pytest.approx([0.6, 0.3, 0.075, 0.025], abs=0.04)
    assert all(
        s.low - 0.02 <= true <= s.high + 0.02 for s, true in zip(found.shares, (0.6, 0.3, 0.075, 0.025), strict=True)
    )
    assert [s.source for s in found.shares] == [0.25] * 4


def test_frequencies_are_not_to_be_relied_on_where_more_differs() -> None:
    features, data = side(EVEN, 2, labelled=False)
    found = gap(side(EVEN, 1), (features + np.linspace(0, 4, 12), data))
    assert found.labels is not None and found.labels.there and not found.labels.dependable
    assert any("not to be relied on" in line for line in found.verdict())


def test_labels_that_cannot_be_used() -> None:
    one_class = side((60,), 1)
    found = gap(one_class, side((60,), 2, labelled=False))
    assert found.labels is None and any(
        "no estimate of class shares: label shift needs two classes" in n for n in found.notes
    )
    with pytest.raises(UsageError, match="label shift needs two classes"):
        gap(one_class, side((60,), 2, labelled=False), labels=True)
    assert gap(side(EVEN, 1), side(EVEN, 2), labels=False).labels is None


def test_the_strangest_items_are_those_that_were_put_there() -> None:
    features, data = side(EVEN, 2)
    features[[3, 77]] += 15
    found = gap(side(EVEN, 1), (features, data), strangest=3)
    assert {one.index for one in found.strangest[:2]} == {3, 77} and len(found.strangest) == 3
    assert found.strangest[0].ood == pytest.approx(1 / 201) and found.strangest[0].item == data.identity(
        found.strangest[0].index
    )
    few = gap(side((40,), 1), side((40,), 2))
    assert few.strangest == () and few.strange is None
    assert any("which items are strange is not told" in note for note in few.notes)


def test_one_seed_one_result_and_plain_json() -> None:
    import json

    one, other = side(EVEN, 1), side(EVEN, 2)
    records = [json.dumps(gap(one, other, seed=seed).record(), allow_nan=False) for seed in (4, 4, 5)]
    assert records[0] == records[1] != records[2]


def test_features_that_are_not_finite_or_too_few() -> None:
    features, data = side(EVEN, 1)
    broken = features.copy()
    broken[5, 2] = np.nan
    with pytest.raises(UsageError, match="1 of 200 items of the target have features that are not finite"):
        gap((features, data), (broken, data))
    with pytest.raises(UsageError, match="the target has 3 items, and at least 10 are needed"):
        gap((features, data), (features[:3], data.take(np.arange(3))))


def test_items_from_end_to_end(photos: Path) -> None:
    files = sorted(str(path) for path in photos.glob("*.jpg"))[:4] * 4
    found = measure_gap(files, files, "embedded/sprig", permutations=19)
    assert not found.there and found.shared == 16
    assert found.verdict() == ["All target items are in the source too: nothing is compared with anything else."]


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        (["a b"] * 12, ["c d"] * 3, {}, "the target has 3 items, and at least 10 are needed"),
        ([], ["c d"] * 12, {"modality": "text"}, "the source has 0 items|no items|empty"),
        (["a b"] * 12, ["c d"] * 12, {"labels": True}, "one class for each item of the source, and it has none"),
        (["a b"] * 12, ["c d"] * 12, {"permutations": 3}, "3 permutations"),
        (["a b"] * 12, ["c d"] * 12, {"strangest": -1}, "-1 strangest items"),
    ],
)
def test_wrong_use(source: list[str], target: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure_gap(source, target, "embedded/sprig", **{"modality": "text", **options})


def test_labels_that_are_numbers_are_no_classes() -> None:
    data = read_data([f"a {n}" for n in range(12)], [n + 0.5 for n in range(12)], modality="text", task="regression")
    with pytest.raises(UsageError, match="and it has labels of the task regression"):
        measure_gap(data, data, "embedded/sprig", labels=True)


def test_images_and_texts(photos: Path) -> None:
    images = read_data([str(photos / "cat.jpg")] * 12, modality="image")
    with pytest.raises(UsageError, match="the source holds texts and the target images"):
        measure_gap(read_data(["a b"] * 12, modality="text"), images, "embedded/sprig")


@pytest.mark.full
def test_false_alarms_of_the_whole_measure() -> None:
    """200 pairs of one distribution, of more numbers than items: not over 5 %, by the binomial interval; and some of them."""
    from scipy.stats import binom

    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = np.exp(rng.normal(size=(60, 80)))
        halves = [Dataset([f"{seed} {n}" for n in range(30)], "text"), Dataset([f"x {n}" for n in range(30)], "text")]
        alarms += gap((rows[:30], halves[0]), (rows[30:], halves[1]), seed=seed, permutations=99).there
    assert binom.ppf(0.001, 200, 0.05) <= alarms <= binom.ppf(0.999, 200, 0.05)
