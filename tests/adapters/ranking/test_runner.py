"""A ranking from end to end, on made images and the model that comes with the package."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters import rank_models
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.ranking.pool import Pool
from modelgraft_adapters.ranking.results import COLUMNS
from modelgraft_adapters.ranking.worker import Job, work

from tests.adapters.compare.comparisons import mobilenet
from tests.adapters.ranking.images import made

LAYERS = (None, "unprojected", "map")


@pytest.fixture(scope="module")
def ranking() -> Any:
    return rank_models(made(180), "embedded/sprig", layers=LAYERS, seed=1, device="cpu")


@pytest.mark.full
def test_rows_rungs_and_costs(ranking: Any) -> None:
    assert [(rung.items, rung.candidates) for rung in ranking.rungs] == [(90, 3), (180, 2)]
    assert [row.status for row in ranking.rows] == ["ranked", "ranked", "dropped"]
    assert [row.items for row in ranking.rows] == [180, 180, 90] and ranking.embedded == 3 * 90 + 2 * 90
    assert ranking.everything == 540 and "worse half on 90 items" in ranking.rows[2].reason
    best = ranking.best
    assert best is not None and best.score is not None and best.score.value > 0.5 and best.difference is None
    assert best.rank_low == 1 and ranking.rows[1].difference is not None and best.seconds_per_item
    assert {"probe", "knn", "logme"} == set(best.values) and best.params and best.embed_dim
    assert any(row.pareto for row in ranking.rows)
    assert all(row.control is not None for row in ranking.ranked if row.layer is None)
    assert [one.labels for one in ranking.gain] == [180, 360, 720] and len(ranking.curve) == 4


@pytest.mark.full
def test_the_table_is_flat_and_the_record_is_json(ranking: Any) -> None:
    rows = ranking.table()
    assert all(tuple(row) == COLUMNS for row in rows) and [row["rank"] for row in rows] == [1, 2, 3]
    assert json.loads(json.dumps(ranking.record()))["rows"][0]["name"] == rows[0]["name"]


@pytest.mark.full
def test_pandas_takes_the_table(ranking: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ranking.table())
    assert frame.shape == (3, len(COLUMNS)) and frame["score"].notna().all()


@pytest.mark.full
def test_seed_alone_decides_and_test_items_decide_nothing(ranking: Any) -> None:
    train, nonsense = made(180), made(60, 5)
    items = [*train.items, *nonsense.items]
    assert train.targets is not None and nonsense.targets is not None
    targets = np.concatenate([train.targets, nonsense.targets[::-1]])
    split = np.array(["train"] * 180 + ["test"] * 60)
    both = Dataset(items, "image", "single-label", targets, train.classes, split=split)
    again = rank_models(both, "embedded/sprig", layers=LAYERS, seed=1, device="cpu", control=False)
    assert [(r.name, r.values, r.items) for r in again.rows] == [(r.name, r.values, r.items) for r in ranking.rows]
    assert again.encoded == 0, "features were in the store"


@pytest.mark.full
def test_what_fails_is_a_row_and_the_others_go_on(shared_data: Path, tmp_path: Path) -> None:
    broken = Path(mobilenet(shared_data, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50_000])
    whole = mobilenet(shared_data, tmp_path / "whole")
    told: list[str] = []
    found = rank_models(
        made(),
        [str(broken), "embedded/sprig", whole],
        scores=("leep", "nce", "gbc", "h-score"),
        control=False,
        jobs=2,
        device="cpu",
        tell=told.append,
    )
    by_name = {Path(row.model).name: row for row in found.rows}
    assert by_name["broken"].status == "failed" and by_name["broken"].reason and found.rows[-1] is by_name["broken"]
    assert by_name["sprig"].score is not None and by_name["whole"].score is not None
    assert {"leep", "nce", "gbc", "h-score", "knn"} == set(by_name["whole"].values)
    assert "leep" not in by_name["sprig"].values and "classes of its own" in by_name["sprig"].missing["leep"]
    assert len(found.failed) == 1 and any("broken" in line for line in told)


class _Bomb:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


@pytest.mark.full
def test_a_process_that_ends_is_one_failure() -> None:
    job = Job("embedded/sprig", None, made(12), ("knn",), 0, device="cpu")
    with Pool(1) as pool:
        first, second = pool.answers([replace(job, model=_Bomb()), job])  # type: ignore[arg-type]
    assert "its process left with 3" in first["failed"] and second["values"]["knn"] >= 0


def test_items_that_cannot_be_read_are_left_out_and_most_are_a_failure() -> None:
    data = made(30)
    items = list(data.items)
    items[3] = items[7] = "no/such/file.png"
    job = Job("embedded/sprig", None, replace(data, items=items), ("knn",), 0, device="cpu")
    found = work(job)
    assert found["unreadable"] == 2 and [found["right"]["knn"][n] for n in (3, 7)] == ["-", "-"]
    with pytest.raises(UsageError, match="no layer 'mean' for images; there are: projected"):
        work(replace(job, layer="mean"))
    gone = replace(data, items=["no/such/file.png"] * 30)
    with pytest.raises(Exception, match="30 of 30 items could not be embedded"):
        work(replace(job, data=gone))


@pytest.mark.full
def test_a_class_with_one_item_is_told() -> None:
    data = made(40)
    assert data.targets is not None
    targets = np.where(np.arange(40) == 0, 2, data.targets % 2)
    found = rank_models(replace(data, targets=targets), "embedded/sprig", control=False, device="cpu")
    assert found.best is not None and any("with one item" in note for note in found.notes)


def _numbers(data: Dataset) -> Dataset:
    return replace(data, task="regression", targets=np.ones((len(data), 1), np.float32), classes=("y",))


@pytest.mark.parametrize(
    ("data", "models", "more", "says"),
    [
        (made(3), "embedded/sprig", {}, "3 labelled items are too few"),
        (replace(made(30), targets=np.zeros(30, np.int64)), "embedded/sprig", {}, "two classes are needed"),
        (replace(made(30), targets=np.full(30, -1)), "embedded/sprig", {}, "no item has a label"),
        (_numbers(made(30)), "embedded/sprig", {}, "these data are regression"),
        (
            replace(made(12), targets=np.arange(12), classes=tuple("abcdefghijkl")),
            "embedded/sprig",
            {},
            "no class has two items",
        ),
        (made(30), (), {}, "no models to rank"),
        (made(30), "nothing-*", {}, "no model for images matches"),
        (made(30), "embedded/sprig", {"by": "best"}, "no score 'best'"),
        (made(30), "embedded/sprig", {"by": "leep"}, "not ranked by leep"),
        (made(30), "embedded/sprig", {"sample": 5}, "sample=5"),
        (made(30), "embedded/sprig", {"jobs": 0}, "jobs=0"),
        (made(30), "embedded/sprig", {"seed": -1}, "seed=-1"),
        (made(30), "embedded/sprig", {"device": "nowhere"}, "no device"),
        (made(30), "embedded/sprig", {"sampel": 20}, "no argument 'sampel'"),
        (made(30), "embedded/sprig", {"modality": "text"}, "no argument 'modality'"),
        (made(30), "embedded/sprig", {"max_download": float("nan")}, "max_download=nan"),
    ],
)
def test_what_cannot_be_ranked_is_said_before_the_work(
    data: Dataset, models: Any, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        rank_models(data, models, **more)
    assert says in str(caught.value) and "\n" not in str(caught.value)
