"""What stands in the place of a list of items: taken as what it is, or refused, by adapters and the feature extractor alike."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters import FeatureExtractor, LinearProbe, ZeroShotClassifier
from modelgraft_adapters.data import arrays
from PIL import Image

MODEL = "embedded/sprig"
DARK, BRIGHT = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
IMAGE = Image.fromarray(BRIGHT)

Use = Callable[[Any], Any]


@pytest.fixture(scope="module")
def uses() -> dict[str, Use]:
    probe = LinearProbe(MODEL, C=1.0).fit([DARK, BRIGHT], ["dark", "bright"])
    zero = ZeroShotClassifier(MODEL, ["dark", "bright"])
    extractor = FeatureExtractor(MODEL)
    return {
        "adapter": probe.predict,
        "adapter, row by row": lambda items: [row.label for row in probe.classify(items)],
        "zero-shot": zero.predict,
        "zero-shot, row by row": lambda items: [row.label for row in zero.classify(items)],
        "features": lambda items: extractor.embed(items).errors,
        "features, row by row": lambda items: [row.error for row in extractor.stream(items)],
    }


ROWS = ["adapter, row by row", "zero-shot", "zero-shot, row by row", "features", "features, row by row"]
REFUSED = [
    (lambda: DARK, "is one image; put it into a list"),
    (lambda: np.zeros((8, 8, 4), np.uint8), "is one image; put it into a list"),
    (lambda: DARK[..., 0], "holds no images"),
    (lambda: np.array(3), "holds no images"),
    (lambda: np.zeros((2, 8, 8, 3)), "holds no images"),
    (lambda: np.zeros((2, 3, 8, 8), np.uint8), "holds no images"),
    (lambda: np.zeros((8, 8)), "reads as features"),
    (lambda: np.array([["a", "b"], ["c", "d"]], dtype=object), "is no list of items"),
    (lambda: IMAGE, "a single one"),
    (lambda: torch.zeros(3, 8, 8), "a Tensor is no list of items"),
    (lambda: {"a": IMAGE, "b": IMAGE}, "list"),
    (lambda: {IMAGE.tobytes()}, "no order"),
    (lambda: pd.DataFrame({"path": ["a.png"], "more": [1]}), "column|of the table"),
    (lambda: io.BytesIO(b"line\nline"), "an open file"),
    (lambda: None, "is no list of items"),
    (lambda: 5, "is no list of items"),
    (lambda: b"abc", "list of items|single bytes"),
]


@pytest.mark.parametrize("use", ["adapter", *ROWS])
@pytest.mark.parametrize(("make", "match"), REFUSED, ids=range(len(REFUSED)))
def test_no_list_of_items(use: str, make: Callable[[], Any], match: str, uses: dict[str, Use]) -> None:
    with pytest.raises(UsageError, match=match) as told:
        uses[use](make())
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("use", ROWS)
@pytest.mark.parametrize("one", ["photo.png", Path("photo.png")])
def test_one_path(use: str, one: Any, uses: dict[str, Use]) -> None:
    with pytest.raises(UsageError, match="give a list of items, not a single"):
        uses[use](one)


@pytest.mark.full
@pytest.mark.parametrize("use", ["adapter", *ROWS])
def test_lists_of_items(use: str, uses: dict[str, Use]) -> None:
    both = np.stack([DARK, BRIGHT])
    objects = np.empty(2, object)
    objects[:] = [Image.fromarray(DARK), IMAGE]
    ways = [
        [DARK, BRIGHT],
        (DARK, BRIGHT),
        both,
        objects,
        objects[:, None],
        iter([DARK, BRIGHT]),
        pd.Series(list(objects)),
    ]
    found = [list(uses[use](way)) for way in ways]
    assert all(len(one) == 2 and one == found[0] for one in found)
    grey = np.stack([DARK[..., 0]] * 5)  # (N, H, W)
    assert len(uses[use](grey)) == 5


@pytest.mark.parametrize("use", ["adapter", *ROWS])
@pytest.mark.parametrize(
    "empty",
    [Image.new("RGB", (0, 8)), Image.new("L", (8, 0)), np.zeros((0, 8, 3), np.uint8), np.zeros((8, 0), np.uint8)],
)
def test_a_crop_without_pixels(use: str, empty: Any, uses: dict[str, Use]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = uses[use]([empty, DARK])
    assert (first is None) == ("features" not in use) and (second is None) == ("features" in use)


def test_that_it_is_looked_at_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    zero = ZeroShotClassifier(MODEL, ["dark", "bright"]).fit()
    monkeypatch.setattr("modelgraft_adapters.estimators.zero_shot_core.each_item", lambda items: items)
    assert len(zero.predict(DARK)) == 8, "a label for each row of one image"
    assert arrays.each_item([1]) == [1]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"batch_size": -1}, "batch_size=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": 2.5}, r"batch_size=2\.5"),
        ({"batch_size": "8"}, "batch_size='8'"),
        ({"workers": -1}, "workers=-1"),
        ({"workers": 1.5}, r"workers=1\.5"),
        ({"workers": True}, "workers=True"),
    ],
)
def test_numbers_of_things(wrong: dict[str, Any], match: str) -> None:
    for use in (
        lambda: ZeroShotClassifier(MODEL, ["dark"]).set_params(**wrong).predict([DARK]),
        lambda: LinearProbe(MODEL, **wrong).fit([DARK, BRIGHT], [0, 1]),
        lambda: FeatureExtractor(MODEL, **wrong),
    ):
        with pytest.raises(UsageError, match=match):
            use()


def test_numbers_of_numpy_are_taken() -> None:
    probe = LinearProbe(MODEL, batch_size=np.int64(2), workers=np.int32(1), n_folds=np.int64(2), seed=np.int64(1))
    assert probe.fit([DARK, BRIGHT] * 2, [0, 1] * 2).predict([DARK]).tolist() == [0]


@pytest.mark.parametrize("threshold", [float("nan"), True, "0.5"])
def test_thresholds_that_are_no_numbers(threshold: Any) -> None:
    with pytest.raises(UsageError, match="threshold="):
        ZeroShotClassifier(MODEL, ["dark"], threshold=threshold)
    with pytest.raises(UsageError, match="threshold="):
        list(LinearProbe(MODEL, C=1.0).fit([DARK, BRIGHT], [0, 1]).classify([DARK], threshold=threshold))
