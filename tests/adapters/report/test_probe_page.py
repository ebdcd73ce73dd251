"""The learning curve against what it must show, and the report's page: its numbers, its escaping, its self-containment."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from modelgraft import load
from modelgraft.errors import UsageError
from modelgraft_adapters import Dataset, FrozenAdapter, LinearProbe, read_data
from modelgraft_adapters.features.extractor import Embedded
from modelgraft_adapters.metrics.scores import Score, evaluate
from modelgraft_adapters.metrics.spread import mean_interval
from modelgraft_adapters.report import ProbeReport, build_report, collect
from modelgraft_adapters.report.charts import Chart, power_ticks, round_ticks, spaced
from modelgraft_adapters.report.collecting import losses
from modelgraft_adapters.report.probe_tables import class_table, confusion
from modelgraft_adapters.runs.learning_curve import learning_curve
from modelgraft_adapters.runs.probe import run_probe
from scipy.stats import t as student
from sklearn.datasets import load_digits
from sklearn.metrics import precision_recall_fscore_support
from syrupy.assertion import SnapshotAssertion

from tests.adapters.report.outline import outline

HOSTILE = "<script>alert('1')</script>"
NAMES = ("zero", "one", "two", HOSTILE, 'four" onload="x', "five & six")


def digits(count: int = 240) -> Dataset:
    """Drawn digits 0 to 5 of 64 x 64 pixels, split."""
    from modelgraft_adapters.data.splitting import stratified_split

    found = load_digits(n_class=len(NAMES))
    pictures = [np.kron(255 - (x * 15.9).astype(np.uint8), np.ones((8, 8), np.uint8)) for x in found.images[:count]]
    return stratified_split(read_data(pictures, [NAMES[y] for y in found.target[:count]]), 0.4)


@pytest.fixture(scope="module")
def run():
    return run_probe(LinearProbe(load("embedded/sprig"), Cs=[0.01, 1.0, 100.0], n_folds=3), digits())


@pytest.fixture(scope="module")
def report(run) -> ProbeReport:
    return collect(run, data_name=f"data {HOSTILE}", shots=(1, 4, None), seeds=(0, 1), command="modelgraft probe <x>")


@pytest.fixture(scope="module")
def page(report: ProbeReport) -> str:
    return build_report(report)


def gaussian(n: int = 300, classes: int = 3, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """Items whose features lie around a centre of their class, two standard deviations from zero."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    features = rng.normal(size=(n, 8)).astype(np.float32)
    features[np.arange(n), targets] += 2
    names = tuple(f"class {c}" for c in range(classes))
    return Dataset([f"text {i}" for i in range(n)], "text", targets=targets, classes=names), features


def adapter() -> FrozenAdapter:
    return LinearProbe(load("embedded/sprig"), modality="text", C=1.0)


@pytest.mark.full
def test_more_labels_are_learnt_from_and_more_is_right() -> None:
    train, features = gaussian()
    test, test_features = gaussian(600, seed=1)
    probe = adapter()
    encoded = probe.extractor.encoded
    points = learning_curve(probe, train, features, test, test_features, (1, 4, 16, None), (0, 1, 2))
    assert [p.shots for p in points] == [1, 4, 16, None]
    assert [p.items for p in points] == [3, 12, 48, 300]
    assert [len(p.scores) for p in points] == [3, 3, 3, 1]
    means = [p.mean for p in points]
    assert means == sorted(means) and means[-1] > means[0] + 0.1
    assert all(p.low < p.mean < p.high for p in points)
    assert probe.extractor.encoded == encoded, "nothing is embedded again"
    assert probe.head_ is None, "the adapter itself is not fitted"


def test_a_point_is_the_adapter_fitted_on_just_these_items() -> None:
    from modelgraft_adapters.data.splitting import few_shot

    train, features = gaussian()
    test, rows = gaussian(200, seed=1)
    point = learning_curve(adapter(), train, features, test, rows, (3,), (5,))[0]
    drawn = [int(text.split()[1]) for text in few_shot(train, 3, 5).items]
    alone = adapter().fit_features(features[drawn], train.take(drawn))
    found = Embedded(rows, (None,) * len(test), (), 0, {})
    assert point.scores == (alone.evaluate_features(found, test).score.value,)


@pytest.mark.full
def test_the_seed_of_a_draw_is_that_of_a_head_that_draws_at_random() -> None:
    from modelgraft_adapters.data.splitting import few_shot

    train, features = gaussian()
    test, rows = gaussian(600, seed=1)
    found = Embedded(rows, (None,) * len(test), (), 0, {})

    def alone(draw: int, seed: int) -> float:
        drawn = [int(text.split()[1]) for text in few_shot(train, 2, draw).items]
        net = FrozenAdapter(load("embedded/sprig"), "mlp", modality="text", steps=20, decay=1e-3, seed=seed)
        return net.fit_features(features[drawn], train.take(drawn)).evaluate_features(found, test).score.value

    net = FrozenAdapter(load("embedded/sprig"), "mlp", modality="text", steps=20, decay=1e-3, seed=0)
    point = learning_curve(net, train, features, test, rows, (2,), (1, 2))[0]
    assert point.scores == (alone(1, 1), alone(2, 2))
    assert point.scores != (alone(1, 0), alone(2, 0)), "the seed makes a difference here"


def test_steps_that_would_draw_everything_are_left_to_all() -> None:
    train, features = gaussian(30)
    points = learning_curve(adapter(), train, features, train, features, (1, 10, 64, None), (0,))
    assert [p.shots for p in points] == [1, None]


def test_what_was_learnt_from_everything_is_not_learnt_again() -> None:
    train, features = gaussian(30)
    whole = evaluate("single-label", ("a",), np.zeros(4, int), np.ones((4, 1)), list("abcd"), np.arange(4))
    point = learning_curve(adapter(), train, features, train, features, (None,), (0,), whole=whole)[0]
    assert (point.mean, point.low, point.high) == (whole.score.value, whole.score.low, whole.score.high)


def test_rows_that_are_not_finite_are_left_out() -> None:
    train, features = gaussian(30)
    broken = features.copy()
    broken[4] = np.nan
    point = learning_curve(adapter(), train, broken, train, features, (None,), (0,))[0]
    assert point.items == 29


def test_features_of_other_items_are_refused() -> None:
    train, features = gaussian(30)
    with pytest.raises(UsageError, match="29, 8"):
        learning_curve(adapter(), train, features[1:], train, features)
    with pytest.raises(UsageError, match="seed"):
        learning_curve(adapter(), train, features, train, features, seeds=())


def test_semi_supervised_heads_learn_from_the_items_that_are_not_drawn() -> None:
    train, features = gaussian(120)
    test, rows = gaussian(120, seed=1)
    spread = FrozenAdapter(load("embedded/sprig"), "label-spreading", modality="text")
    few = learning_curve(spread, train, features, test, rows, (1,), (0, 1))[0]
    assert few.items == 3 and few.mean > 0.4


def test_the_interval_is_the_formula() -> None:
    scores = [Score("accuracy", v, v - 0.0392, v + 0.0392) for v in (0.6, 0.7, 0.8)]
    draws, items = 0.01 / 3, (0.0392 / 1.959964) ** 2
    freedom = (draws + items) ** 2 / (draws**2 / 2)
    half = student.ppf(0.975, freedom) * math.sqrt(draws + items)
    assert mean_interval(scores) == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    same = [scores[0]] * 3  # draws that do not differ: the test items alone
    assert mean_interval(same) == pytest.approx((0.6, 0.5608, 0.6392))
    assert mean_interval(scores[:1]) == (0.6, 0.6 - 0.0392, 0.6 + 0.0392)


def test_the_interval_covers_the_mean_over_draws_and_items() -> None:
    """2,000 experiments, each of 3 draws of a head tested on the same 100 items; the mean score over all draws and items is 0.7."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        share = (0.7 + rng.normal(0, 0.05, 3)).clip(0, 1)
        hits = rng.random(100) < share[:, None]  # an item is as hard for one draw as for another
        scores = []
        for row in hits:
            half = 1.959964 * math.sqrt(row.mean() * (1 - row.mean()) / 100)
            scores.append(Score("accuracy", float(row.mean()), float(row.mean() - half), float(row.mean() + half)))
        _, low, high = mean_interval(scores)
        inside += low <= 0.7 <= high
    assert inside / 2000 == pytest.approx(0.96, abs=0.015)  # rather too wide than too narrow: see its docstring


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.full
def test_the_page_runs_nothing_and_asks_for_nothing(page: str) -> None:
    parsed = Page(page)
    assert not {"script", "iframe", "object", "embed", "form"} & {tag for tag, _ in parsed.tags}
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), f"{tag} {name}={value}"
    assert "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page


def test_hostile_names_are_shown_and_not_run(page: str) -> None:
    assert HOSTILE not in page
    assert html.escape(HOSTILE, quote=False).replace("'", "&#39;") in page
    assert 'onload="' not in page
    assert "&lt;x&gt;" in page


def test_the_numbers_are_those_of_the_evaluation(page: str, report: ProbeReport) -> None:
    text = " ".join(" ".join(Page(page).text).split())
    score = report.evaluation.score
    assert f"{100 * score.value:.1f} %" in text
    assert f"95 % interval {100 * score.low:.1f} % to {100 * score.high:.1f} %" in text
    for point in report.curve:
        assert f"{100 * point.mean:.1f} %" in text
    assert f"C = {report.found['chosen']['C']:.3g}" in text
    assert report.zero_shot is not None and f"{100 * report.zero_shot.value:.1f} %" in text
    assert "16.7 %" in text  # one of six classes
    assert f"versions / torch {report.facts['versions']['torch']}" in text
    assert report.command is not None and report.command in html.unescape(text)


def test_headings_follow_one_another_and_pictures_have_words(page: str) -> None:
    parsed = Page(page)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attributes.get("alt") for tag, attributes in parsed.tags if tag == "img")
    drawings = [a for tag, a in parsed.tags if tag == "svg" and a.get("class") == "chart"]
    assert len(drawings) == 3 and all(a.get("aria-label") and a.get("role") == "img" for a in drawings)
    assert all(a.get("scope") for tag, a in parsed.tags if tag == "th")
    assert ("html", {"lang": "en"}) in parsed.tags


def test_one_run_gives_one_page(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what is measured: time and memory."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    first, second = (collect(run, shots=(1,), seeds=(0,)) for _ in range(2))
    assert first.created == "1970-01-02"
    assert build_report(replace(first, cost=second.cost)) == build_report(second)


def test_the_hardest_items_are_those_with_the_highest_loss(report: ProbeReport) -> None:
    evaluation = report.evaluation
    own = evaluation.outputs[np.arange(len(evaluation.targets)), evaluation.targets]
    worst = int(np.argmin(own))
    first = report.hardest[0]
    assert first.identity == evaluation.identities[worst]
    assert first.loss == pytest.approx(-math.log(own[worst]), rel=1e-4)
    assert first.truth == evaluation.classes[evaluation.targets[worst]]
    assert first.picture is not None and first.picture.startswith("data:image/jpeg;base64,")
    assert [h.loss for h in report.hardest] == sorted((h.loss for h in report.hardest), reverse=True)


def test_classes_one_by_one_as_scikit_learn_has_them(report: ProbeReport) -> None:
    e = report.evaluation
    precision, recall, f1, count = precision_recall_fscore_support(e.targets, e.predicted, labels=range(6))
    _, rows = class_table(report)
    assert [row[0] for row in rows] == list(report.classes)
    assert [int(row[1]) for row in rows] == count.tolist()
    for row, r, p, f in zip(rows, recall, precision, f1, strict=True):
        assert [row[2], row[4], row[5]] == [f"{100 * v:.1f} %" for v in (r, p, f)]


def single(targets: np.ndarray, outputs: np.ndarray, classes: int) -> ProbeReport:
    names = tuple(f"c{n}" for n in range(classes))
    found = evaluate(
        "single-label", names, targets, outputs, [f"i{n}" for n in range(len(targets))], np.arange(len(targets))
    )
    return ProbeReport("d", "m", "linear", "image", found, 1)


def test_many_classes_have_a_heat_map_and_the_most_confused_pairs() -> None:
    targets = np.arange(40).repeat(5)
    outputs = np.eye(40, dtype=np.float32)[targets]
    outputs[:4] = np.eye(40)[7]  # four of class 0 are taken for 7
    outputs[199] = np.eye(40)[3]
    found = confusion(single(targets, outputs, 40))
    assert found is not None and found.rows is None
    assert found.picture is not None and found.picture.startswith("data:image/png")
    assert found.pairs == [("c0", "c7", 4, "80.0 %"), ("c39", "c3", 1, "20.0 %")]
    assert "heat map" in build_report(single(targets, outputs, 40))


def test_items_of_unknown_classes_are_counted_and_not_in_the_matrix() -> None:
    report = single(np.array([0, 1, -1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32), 2)
    found = confusion(report)
    assert found is not None and found.strangers == 1 and not found.pairs
    assert "1 test items are of classes that were not trained on" in build_report(report)
    assert np.isnan(losses(report.evaluation)[2])


def test_several_labels_an_item() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 6)).astype(np.float32)
    targets = (features[:, :3] + 0.3 * rng.normal(size=(150, 3)) > 0).astype(np.float32)
    data = Dataset([f"text {n}" for n in range(150)], "text", "multi-label", targets, ("a", "b", HOSTILE))
    report = reported(data, features)
    page = build_report(report)
    assert report.curve and "mean average precision" in page and "average precision" in class_table(report)[0]
    assert HOSTILE not in page and "Confusion" not in page


def test_numbers() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 6)).astype(np.float32)
    targets = np.stack([features[:, 0] * 3 + 1, features[:, 1] - 5], axis=1) + 0.1 * rng.normal(size=(120, 2))
    data = Dataset(
        [f"text {n}" for n in range(120)], "text", "regression", targets.astype(np.float32), ("height", HOSTILE)
    )
    report = reported(data, features)
    page = build_report(report)
    assert "Predicted and true: height" in page and HOSTILE not in page
    assert "R2" in page and "Choice of alpha" in page and "Reliability" not in page
    error = np.abs(report.evaluation.outputs - report.evaluation.targets)
    scaled = error / np.sqrt((error**2).mean(axis=0))
    assert report.hardest[0].loss == pytest.approx(scaled.max(), rel=1e-5)


def reported(data: Dataset, features: np.ndarray) -> ProbeReport:
    """The report of a probe on features that are given, the first 100 items to train on."""
    from modelgraft_adapters.runs.probe import ProbeRun

    def embedded(rows: np.ndarray) -> Embedded:
        return Embedded(rows, (None,) * len(rows), (), 0, {})

    train, test = data.take(np.arange(100)), data.take(np.arange(100, len(data)))
    probe = LinearProbe(load("embedded/sprig"), modality="text").fit_features(features[:100], train)
    found = probe.evaluate_features(embedded(features[100:]), test, 50)
    none = Score("none", math.nan, math.nan, math.nan)
    one = embedded(features[:100]), embedded(features[100:])
    run = ProbeRun(probe, train, test, *one, found, None, none, [], None, {}, 0, 1.0)
    return collect(run, shots=(4, None), seeds=(0, 1), hardest=5)


@pytest.mark.full
def test_every_head_has_a_page() -> None:
    """Curves of settings come in many kinds: none, one number, several settings at once."""
    data = digits(120)
    for head in ("knn", "prototype", "cosine", "tip-adapter", "text"):
        run = run_probe(FrozenAdapter(load("embedded/sprig"), head, n_folds=3), data)
        report = collect(run, shots=(1,), seeds=(0,), hardest=2)
        page = build_report(report)
        settings = [row for row in report.found.get("curve", ()) if math.isfinite(row["score"])]
        assert ("Choice of" in page) == (len(settings) > 1), head


def test_a_head_that_reports_little_or_oddly_has_a_page(report: ProbeReport) -> None:
    for found in (
        {},
        {"curve": [{"k": 1, "score": 0.5}]},
        {"curve": [{"k": "a", "score": 0.5}, {"k": "b", "score": math.nan}], "chosen": {"k": "a"}},
        {"curve": [{"k": HOSTILE, "score": 0.5}, {"k": "b", "score": 0.1}], "chosen": {"k": HOSTILE}},
        {"curve": [{"k": None, "score": 0.5}, {"k": 3, "score": 0.1}], "chosen": None},
        {"curve": [{"C": 0.0, "score": 0.5}, {"C": 3, "score": 0.1}], "chosen": {"C": 3.0}, "certificate": None},
    ):
        assert HOSTILE not in build_report(replace(report, found=found))


def test_values_as_good_as_the_one_taken_are_named(report: ProbeReport) -> None:
    curve = [{"C": c, "score": s} for c, s in ((0.1, 0.5), (1.0, 0.9), (10.0, 0.89))]
    found = {"curve": curve, "chosen": {"C": 1.0}, "ties": [1.0, 10.0]}
    assert "2 values within one standard error" in build_report(replace(report, found=found))
    assert "within one standard error of the best" not in build_report(replace(report, found={**found, "ties": [1.0]}))


def test_facts_are_json(report: ProbeReport) -> None:
    facts = json.loads(json.dumps(report.facts))
    assert facts["training"]["seed"] == 0 and facts["head"]["name"] == "linear"
    assert {"python", "torch", "modelgraft"} <= set(facts["versions"])


def test_ticks_are_round_and_apart() -> None:
    assert [v for v, _ in round_ticks(0, 1, 5)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert [t for _, t in round_ticks(-0.05, 0.1, 3)] == ["-0.05", "0", "0.05", "0.1"]
    assert round_ticks(2, 2) == [(2, "2")]
    assert [t for _, t in power_ticks(1e-3, 1e3)] == ["0.001", "0.01", "0.1", "1", "10", "100", "1000"]
    assert len(power_ticks(1e-9, 1e9)) <= 8
    crowded = [(float(n), "a long text") for n in range(100)]
    kept = spaced(crowded, lambda v: 4 * v)
    assert kept[-1] == crowded[-1] and all(b[0] - a[0] >= 21 for a, b in pairwise(kept))


def test_data_lie_where_the_axes_say() -> None:
    chart = Chart("c", (1, 100), (0, 1), log_x=True, width=400, height=280)
    left, middle, right = (chart.across(v) for v in (1, 10, 100))
    assert middle == pytest.approx((left + right) / 2, abs=0.1) and left < right
    assert chart.up(1) < chart.up(0)
    flat = Chart("c", (3, 3), (2, 2))
    assert math.isfinite(flat.across(3)) and math.isfinite(flat.up(2))


def test_the_curve_tells_how_far_it_is() -> None:
    train, features = gaussian(30)
    told: list[tuple[str, int, int]] = []
    learning_curve(
        adapter(), train, features, train, features, (1, 2, 64, None), (0, 1), progress=lambda *what: told.append(what)
    )
    classes = len(train.classes)
    steps = [0, classes, 2 * classes, 4 * classes, 6 * classes, 6 * classes + 30]
    assert [done for _, done, _ in told] == steps and {total for *_, total in told} == {steps[-1]}


def test_the_page_reads_as_it_was_last_looked_at(page: str, snapshot: SnapshotAssertion) -> None:
    """``pytest tests/adapters/report --snapshot-update`` takes it anew; look at the page first."""
    assert outline(page) == snapshot
