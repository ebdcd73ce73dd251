"""Filters, sorts and licence groups: each against a plain reading of the entries themselves, and over the real catalogues."""

from __future__ import annotations

import fnmatch
from typing import Any

import modelgraft as mg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelgraft.entry import Entry
from modelgraft.errors import UsageError
from modelgraft.listing.benchmarks import CLASSIFICATION, SENTENCES, ZERO_SHOT, headline, ranked_by
from modelgraft.listing.catalogue import Catalogue
from modelgraft.listing.installed import catalogue
from modelgraft.listing.licences import GROUPS, LICENCES, in_group

ORIGIN = {"distribution": "d", "name": "p"}


def _entry(name: str, modality: str = "image", tasks: tuple[str, ...] = ("features",), **fields: Any) -> Entry:
    return Entry(name=name, modality=modality, tasks=tasks, plugin="d:p", distribution="d", **fields)


ENTRIES = [
    _entry("a/one", licence="MIT", params=10, embed_dim=8, input_size=(3, 224, 224), metrics={CLASSIFICATION: 80.0}),
    _entry("a/two", licence="cc-by-nc-4.0", params=20, embed_dim=16, input_size=(3, 224, 336), metrics={CLASSIFICATION: 70}),
    _entry("a/Three", licence="gpl-3.0", params=30, embed_dim=8, input_size=(1, 224, 224)),
    _entry("b/four", "image-text", ("zero-shot", "features"), licence="dinov3-license", metrics={ZERO_SHOT: 75.0}),
    _entry("b/five", "text", ("zero-shot", "features"), licence="apple-ascl", params=5, metrics={SENTENCES: 65.0, "speed": 9.0}),
    _entry("b/six", "text", ("zero-shot", "features"), params=5, embed_dim=8, metrics={SENTENCES: 66.0}),
    _entry("b/seven", licence="licence-nobody-knows", input_size=(3, 384, 384)),
]  # fmt: skip
SMALL = Catalogue([(entry.to_dict() | {"plugin": "", "distribution": ""}, ORIGIN) for entry in ENTRIES])


def _names(**conditions: Any) -> list[str]:
    return [entry.name for entry in SMALL.select(**conditions)]


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ({"licence": "commercial"}, ["a/one", "a/Three", "b/four"]),
        ({"licence": "Permissive"}, ["a/one"]),
        ({"licence": "copyleft"}, ["a/Three"]),
        ({"licence": "non-commercial"}, ["a/two"]),
        ({"licence": "unknown"}, ["b/seven", "b/six"]),
        ({"licence": "mit"}, ["a/one"]),
        ({"licence": "apple*"}, ["b/five"]),
        ({"input_size": 224}, ["a/one", "a/Three"]),
        ({"input_size": "224x336"}, ["a/two"]),
        ({"input_size": "3x224x224"}, ["a/one"]),
        ({"input_size": (1, 224, 224)}, ["a/Three"]),
        ({"input_size": 384, "licence": "commercial"}, []),
        ({"min_score": 70}, ["a/one", "a/two", "b/four"]),
        ({"min_score": 70, "task": "zero-shot"}, ["b/four"]),
        ({"min_score": 9, "benchmark": "speed"}, ["b/five"]),
        ({"sort": "params"}, ["b/five", "b/six", "a/one", "a/two", "a/Three", "b/four", "b/seven"]),
        ({"sort": "-params"}, ["a/Three", "a/two", "a/one", "b/five", "b/six", "b/four", "b/seven"]),
        ({"sort": "params", "reverse": True}, ["a/Three", "a/two", "a/one", "b/five", "b/six", "b/four", "b/seven"]),
        ({"sort": "embed_dim", "provider": "a"}, ["a/one", "a/Three", "a/two"]),
        ({"sort": "score"}, ["b/four", "a/one", "a/two", "b/six", "b/five", "a/Three", "b/seven"]),
        ({"sort": "-score"}, ["b/four", "a/two", "a/one", "b/five", "b/six", "a/Three", "b/seven"]),
        ({"sort": "score", "task": "zero-shot"}, ["b/four", "b/six", "b/five"]),
        ({"sort": "-name", "provider": "A"}, ["a/two", "a/Three", "a/one"]),
        ({"sort": "-name", "reverse": True, "provider": "a"}, ["a/one", "a/Three", "a/two"]),
    ],
)  # fmt: skip
def test_conditions_and_orders(conditions: dict[str, Any], names: list[str]) -> None:
    assert _names(**conditions) == names


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"sort": "size"}, "no sort 'size'; there are name, params, embed_dim, score"),
        ({"task": "magic"}, "no task 'magic'"),
        ({"modality": "smell"}, "no modality 'smell'"),
        ({"input_size": "224x"}, "no image size '224x'; write 224"),
        ({"input_size": "1x2x3x4"}, "no image size"),
        ({"input_size": -1}, "no image size"),
        ({"benchmark": "glue"}, "no published benchmark 'glue'; there are: ImageNet"),
        ({"benchmark": "imagenet"}, "'imagenet' fits 2 benchmarks: "),
    ],
)
def test_wrong_conditions_say_what_there_is(conditions: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _names(**conditions)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_limit_is_the_first_so_many() -> None:
    everything = mg.list_models(sort="params")
    assert mg.list_models(sort="params", limit=7) == everything[:7]
    with pytest.raises(UsageError):
        mg.list_models(limit=0)


_REAL = mg.list_models()


def _plainly(entry: Entry, pattern: str | None, c: dict[str, Any]) -> bool:
    """The conditions as one would write them over whole entries."""
    found = headline(entry.metrics, ranked_by(c.get("task")))
    size, licence = c.get("input_size"), c.get("licence")
    return all(
        (
            c.get("provider") in (None, entry.provider),
            c.get("modality") is None or c["modality"] in (entry.modality, *entry.modality.split("-")),
            c.get("task") is None or c["task"] in entry.tasks,
            c.get("min_params") is None or (entry.params or -1) >= c["min_params"],
            c.get("max_params") is None or (entry.params is not None and entry.params <= c["max_params"]),
            c.get("embed_dim") in (None, entry.embed_dim),
            size is None or (entry.input_size or ())[1:] == (size, size),
            c.get("min_score") is None or (found is not None and found.score >= c["min_score"]),
            licence is None
            or (in_group(entry.licence, licence) if licence in GROUPS else (entry.licence or "").lower() == licence),
            pattern is None
            or any(
                fnmatch.fnmatchcase(part, f"*{pattern}*")
                for part in (entry.name.lower(), ((entry.weights and entry.weights.repo) or "").lower())
            ),
        )
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.none() | st.sampled_from(["vit", "resnet", "clip", "dino", "l6"]),
    st.fixed_dictionaries(
        {},
        optional={
            "provider": st.sampled_from(["timm", "open_clip", "sentence-transformers", "embedded"]),
            "modality": st.sampled_from(["image", "text", "image-text"]),
            "task": st.sampled_from(["features", "zero-shot", "classification"]),
            "licence": st.sampled_from([*GROUPS, "mit", "apache-2.0"]),
            "min_params": st.sampled_from([1e6, 3e7, 1e9]),
            "max_params": st.sampled_from([1e7, 1e8, 1e9]),
            "embed_dim": st.sampled_from([384, 512, 768]),
            "input_size": st.sampled_from([224, 256, 384]),
            "min_score": st.sampled_from([60.0, 75.0, 85.0]),
            "sort": st.sampled_from(["name", "-name", "params", "-params", "embed_dim", "score", "-score"]),
        },
    ),
)
def test_all_conditions_together_are_their_conjunction(pattern: str | None, conditions: dict[str, Any]) -> None:
    found = mg.list_models(pattern, **conditions)
    assert {e.name for e in found} == {e.name for e in _REAL if _plainly(e, pattern, conditions)}
    sort = conditions.get("sort", "name")
    key, backwards = sort.removeprefix("-"), sort.startswith("-")
    benchmarks = ranked_by(conditions.get("task"))
    if key == "name":
        assert [e.name for e in found] == sorted((e.name for e in found), key=str.lower, reverse=backwards)
    elif key == "score":
        scored = [headline(e.metrics, benchmarks) for e in found]
        there = [s for s in scored if s is not None]
        assert scored[: len(there)] == there
        order = [(benchmarks.index(s.benchmark), s.score if backwards else -s.score) for s in there]
        assert order == sorted(order)
    else:
        values = [getattr(e, key) for e in found]
        there = [v for v in values if v is not None]
        assert values[: len(there)] == there == sorted(there, reverse=backwards)


def test_every_licence_of_the_catalogues_is_in_the_table() -> None:
    stated = {entry.licence.lower() for entry in _REAL if entry.licence} - {"unknown"}
    assert stated and stated <= LICENCES.keys()
    assert all(about.reason for about in LICENCES.values())


def test_what_is_not_known_is_never_commercial() -> None:
    commercial = mg.list_models(licence="commercial")
    assert commercial and all(entry.licence for entry in commercial)
    assert not {entry.licence for entry in commercial} & {"unknown", "apple-ascl", "sapiens2-license", "cc-by-nc-4.0"}
    assert not any(in_group(licence, "commercial") for licence in (None, "", "unknown", "other", "my-own", "MIT-ish"))
    assert in_group("GPL-3.0-or-later", "copyleft") and not in_group("cc-by-nc-4.0", "permissive")
    shares = {group: len(mg.list_models(licence=group)) for group in GROUPS}
    assert shares["commercial"] > 1500 and shares["unknown"] > 200  # open_clip and sentence-transformers state none
    assert len(mg.list_models(licence="unknown")) + sum(
        1 for e in _REAL if e.licence and e.licence != "unknown"
    ) == len(_REAL)


def test_scores_of_two_benchmarks_are_told_apart() -> None:
    both = catalogue().choose(task="zero-shot", sort="score")
    assert both.counts == {ZERO_SHOT: 137, SENTENCES: 36}
    assert [headline(e.metrics, both.benchmarks).benchmark for e in both[:173]] == [ZERO_SHOT] * 137 + [SENTENCES] * 36
    assert catalogue().choose(task="classification", sort="score").counts == {CLASSIFICATION: 1266}
