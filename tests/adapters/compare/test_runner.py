"""Comparisons of real models on real photographs: the figures are those of the adapters themselves, nothing is done twice, and what
breaks breaks alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters import Dataset, FrozenAdapter, read_data
from modelgraft_adapters.compare.results import Comparison, Row, short_names
from modelgraft_adapters.compare.runner import compare
from modelgraft_adapters.compare.strategies import parse_way
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.metrics.spread import mean_interval

from tests.adapters.compare.comparisons import mobilenet
from tests.adapters.flowers import flowers

SPRIG = "embedded/sprig"


@pytest.fixture(scope="module")
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_data(flowers(shared_data, tmp_path_factory.mktemp("flowers"), train=6, test=8))


@pytest.fixture(scope="module")
def net(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return mobilenet(shared_data, tmp_path_factory.mktemp("mobilenet"))


@pytest.fixture(scope="module")
def again(data: Dataset, net: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Comparison]:
    """A comparison that keeps what it did, to call once more."""
    folder = tmp_path_factory.mktemp("kept")

    def run() -> Comparison:
        return compare(
            data,
            [SPRIG, net],
            ["zero-shot", "probe", "last-1"],
            seeds=2,
            shots=(2, None),
            wanted=0.5,
            settings={"steps": 2},
            folder=folder,
            device="cpu",
        )

    run.folder = folder  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def found(again: Callable[[], Comparison]) -> Comparison:
    return again()


def row_of(found: Comparison, model: str, strategy: str) -> Row:
    return next(row for row in found.rows if (row.model, row.strategy) == (model, strategy))


def cells(folder: Path, model: str, strategy: str) -> list[dict[str, Any]]:
    every = [json.loads(path.read_text()) for path in sorted((folder / "cells").iterdir())]
    return [cell for cell in every if (cell["model"], cell["strategy"]) == (model, strategy)]


@pytest.mark.full
def test_every_model_is_learnt_in_every_way_it_can(found: Comparison, net: str) -> None:
    assert found.ran == 1 + 4 * 4 and found.kept == 0 and not found.failed
    assert [row.status for row in found.rows] == ["done"] * 5 + ["cannot"]
    assert row_of(found, net, "zero-shot").reason == "no text tower"
    assert found.train == 30 and found.test == 40 and found.metric == "accuracy" and found.chance == pytest.approx(0.2)
    values = [row.score.value for row in found.done if row.score]
    assert values == sorted(values, reverse=True)
    for row in found.done:
        zero = row.strategy == "zero-shot"
        assert [(p.shots, p.items, len(p.scores)) for p in row.points] == (
            [(0, 0, 1)] if zero else [(2, 10, 2), (None, 30, 2)]
        )
        assert row.learning is not None and row.learning > 0 and row.testing is not None and row.testing > 0
        assert row.peak_mib is not None and 100 < row.peak_mib < 4000


@pytest.mark.full
def test_the_figures_are_those_of_the_adapters_themselves(
    found: Comparison, again: Any, data: Dataset, net: str
) -> None:
    test = data.part("test")
    for model in (SPRIG, net):
        for cell in cells(again.folder, model, "probe"):
            drawn = data if cell["shots"] is None else few_shot(data, cell["shots"], cell["seed"])
            adapter = FrozenAdapter(model, "linear", seed=cell["seed"], device="cpu").fit(drawn)
            right = adapter.predict(test) == np.array(test.classes)[test.targets]
            assert cell["right"] == "".join(str(int(r)) for r in right)
            assert cell["test"]["scores"][0]["value"] == pytest.approx(right.mean())
    zero = FrozenAdapter(SPRIG, "text", device="cpu").fit(data)
    row = row_of(found, SPRIG, "zero-shot")
    assert row.score is not None and row.score.value == pytest.approx(zero.evaluate(data).score.value)


def test_intervals_and_differences_are_over_the_same_seeds_and_items(found: Comparison, again: Any) -> None:
    def right(row: Row) -> np.ndarray:
        most = [cell for cell in cells(again.folder, row.model, row.strategy) if cell["shots"] in (None, 0)]
        return np.array([[int(sign) for sign in cell["right"]] for cell in sorted(most, key=lambda c: c["seed"])])

    best = found.rows[0]
    assert best.difference is None
    for row in found.done[1:]:
        assert row.difference is not None and row.score is not None
        apart = right(row).mean(axis=1) - right(best).mean(axis=1)
        assert row.difference.value == pytest.approx(apart.mean())
        assert row.difference.low <= apart.mean() <= row.difference.high
        assert row.score.value == pytest.approx(right(row).mean())
        assert row.reach is not None


def test_a_second_run_learns_nothing(found: Comparison, again: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in (again.folder / "cells").iterdir()}
    second = again()
    assert second.ran == 0 and second.kept == found.ran
    assert {path: path.stat().st_mtime_ns for path in (again.folder / "cells").iterdir()} == before
    assert [row.record() for row in second.rows] == [row.record() for row in found.rows]


@pytest.mark.full
def test_what_is_missing_or_half_written_is_learnt_again_and_no_more(found: Comparison, again: Any) -> None:
    gone, half = sorted(path for path in (again.folder / "cells").iterdir() if "sprig_probe" in path.name)[:2]
    gone.unlink()
    half.write_text('{"format": 1, "mod')
    second = again()
    assert second.ran == 2 and second.kept == found.ran - 2
    assert [row.points for row in second.rows] == [row.points for row in found.rows], "one seed, one result"


@pytest.mark.full
def test_other_data_are_another_comparison(found: Comparison, again: Any, data: Dataset) -> None:
    fewer = data.take(np.arange(len(data)) > 0)
    second = compare(fewer, [SPRIG], ["zero-shot"], seeds=1, shots=(None,), folder=again.folder, device="cpu")
    assert second.ran == 1 and second.kept == 0


@pytest.mark.full
def test_a_model_that_breaks_breaks_alone(data: Dataset, net: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((Path(net) / "config.json").read_bytes())
    (broken / "model.safetensors").write_bytes((Path(net) / "model.safetensors").read_bytes()[:100_000])
    found = compare(data, [str(broken), SPRIG], ["probe", "zero-shot"], seeds=1, shots=(None,), device="cpu")
    assert row_of(found, str(broken), "probe").status == "failed" and row_of(found, str(broken), "probe").reason
    assert row_of(found, str(broken), "zero-shot").status == "cannot"
    assert row_of(found, SPRIG, "probe").status == row_of(found, SPRIG, "zero-shot").status == "done"


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found by /proc")
def test_a_process_that_is_killed_takes_nothing_with_it(data: Dataset, tmp_path: Path) -> None:
    told: list[str] = []

    def kill(line: str) -> None:
        told.append(line)
        if "last-1" in line and len(told) == 1:  # the first of two learnings is done
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text().split():
                    if "modelgraft_adapters.compare.worker" in Path(f"/proc/{child}/cmdline").read_text():
                        os.kill(int(child), signal.SIGKILL)

    ways, settings = ["last-1", "zero-shot"], {"steps": 40}
    given: dict[str, Any] = {"seeds": 2, "shots": (None,), "settings": settings, "folder": tmp_path, "device": "cpu"}
    found = compare(data, [SPRIG], ways, tell=kill, **given)
    row = row_of(found, SPRIG, "last-1")
    assert row.status == "failed" and "signal 9, out of memory?" in row.reason and row.score is None
    assert row_of(found, SPRIG, "zero-shot").status == "done"
    assert len(cells(tmp_path, SPRIG, "last-1")) == 1, "what was done stays done"


@pytest.mark.full
def test_several_labels_an_item(data: Dataset) -> None:
    """Another task: images in memory, mean average precision; zero-shot cannot, and says why."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 2, (60, 3))
    pictures = [
        np.tile(c.astype(np.uint8) * 255, (48, 48, 1)) ^ rng.integers(0, 90, (48, 48, 3), np.uint8) for c in colours
    ]
    labels = [[name for name, on in zip(("red", "green", "blue"), c, strict=True) if on] for c in colours]
    found = compare(
        read_data(pictures, labels),
        [SPRIG],
        ["probe", "zero-shot"],
        seeds=1,
        shots=(None,),
        device="cpu",
    )
    assert found.metric == "mean average precision" and found.chance is None
    assert {row.strategy: row.status for row in found.rows} == {"probe": "done", "zero-shot": "cannot"}
    assert found.rows[0].score is not None and found.rows[0].score.value > 0.8
    assert "sigmoid" in row_of(found, SPRIG, "zero-shot").reason


@pytest.mark.full
def test_a_process_of_its_own_has_its_own_memory(found: Comparison) -> None:
    """The peak is not that of the process that started it: it is the same beside 800 MiB more."""
    ballast = np.ones(100_000_000)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(20)]
    second = compare(read_data(pictures, ["a", "b"] * 10), [SPRIG], ["probe"], seeds=1, shots=(None,), device="cpu")
    first = row_of(found, SPRIG, "probe").peak_mib
    assert ballast[0] == 1 and first is not None and second.rows[0].peak_mib == pytest.approx(first, rel=0.3)


@pytest.mark.full
def test_numbers_of_labels_that_draw_everything_are_all(data: Dataset) -> None:
    found = compare(replace(data), [SPRIG], ["zero-shot"], seeds=1, shots=(4, 6, 50), device="cpu")
    assert found.shots == (4, None)


@pytest.mark.parametrize(
    ("models", "strategies", "more", "says"),
    [
        (["embedded/sprog"], ["probe"], {}, "did you mean embedded/sprig"),
        ([SPRIG], ["prob"], {}, "no strategy 'prob'; there are: zero-shot, probe, cosine"),
        ([SPRIG], ["full:lrr=1"], {}, "no setting 'lrr'"),
        ([SPRIG], ["full"], {"settings": {"stepps": 1}}, "no setting 'stepps'"),
        ([SPRIG], ["zero-shot:k=1"], {}, "zero-shot has no settings"),
        ([SPRIG], ["probe"], {"seeds": 0}, "at least one"),
    ],
)
def test_wrong_use_is_told_before_anything_is_learnt(
    data: Dataset, models: list[str], strategies: list[str], more: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        compare(data, models, strategies, **more)


def test_a_way_may_have_settings_of_its_own() -> None:
    way = parse_way('surgical:block="-1":lr=0.001', {"steps": 5})
    assert (way.kind, way.name, way.settings) == ("tune", "surgical", {"steps": 5, "block": "-1", "lr": 0.001})
    assert parse_way("knn:k=5").settings == {"k": 5} and parse_way("probe").name == "linear"
    assert parse_way("last-2").kind == "tune"


def test_one_seed_has_the_interval_of_its_own_score(found: Comparison) -> None:
    row = row_of(found, SPRIG, "zero-shot")
    assert row.score is not None
    assert (row.score.value, row.score.low, row.score.high) == pytest.approx(mean_interval([row.score]))


def test_short_names_stay_apart() -> None:
    names = ["a/resnet50", "b/resnet50", "open_clip/ViT-B-32:laion2b"]
    assert list(short_names(names).values()) == ["a/resnet50", "b/resnet50", "ViT-B-32:laion2b"]
    assert short_names(names, 8)["open_clip/ViT-B-32:laion2b"] == "…laion2b"
