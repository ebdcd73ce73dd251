"""What a spelling means does not change because a stranger's plugin is installed beside."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft.entry import Entry
from modelgraft.errors import AmbiguousNameError, BadNameError, UnknownModelError
from modelgraft.host.records import key_of
from modelgraft.host.settling import owners, settle
from modelgraft.host.table import Table
from modelgraft.listing.catalogue import Catalogue
from modelgraft.names import Name

Record = dict[str, Any]


def _record(distribution: str, *entries: Entry, **brings: Any) -> Record:
    about = {"name": "p", "distribution": distribution, "version": "1.0", "status": "ok", "error": None}
    table = Table.of([entry.to_dict() for entry in entries])
    return {**about, "entries": table, "heads": [], "verbs": [], "sources": [], "engines": [], **brings}


def _entry(name: str, **fields: Any) -> Entry:
    return Entry(name=name, modality="image", tasks=("features",), **fields)


def _catalogue(*records: Record, guarded: bool = True) -> Catalogue:
    if not guarded:
        return Catalogue.of([(record["entries"], record) for record in records])
    settled, contested = settle(records)
    return Catalogue.of([(record["entries"], record) for record in settled], owners(settled, ["timm"]), contested)


OWN = _record(
    "modelgraft",
    _entry("timm/resnet:a", default=True, aliases=("timm/resnet.a", "org/resnet"), retired=("timm/old",)),
    _entry("timm/resnet:b"),
    _entry("clip/ViT:one", default=True),
    _entry("clip/ViT:two"),
    _entry("clip/solo"),
)
_PROVIDERS = ("timm", "TIMM", "clip", "org", "evil", "good")
_MODELS = ("resnet", "ViT", "vit", "old", "solo", "resnet.a", "resnet:a", "resnet:b", "ViT:one", "ViT:evil", "m")
_SPELLINGS = [*(f"{p}/{m}" for p in _PROVIDERS for m in _MODELS), *_MODELS]
_FULL = st.sampled_from([f"{p}/{m}" for p in _PROVIDERS for m in _MODELS])
_SAID = st.lists(st.sampled_from(_SPELLINGS), max_size=4).map(tuple)
_STRANGER = st.lists(
    st.builds(_entry, name=_FULL, aliases=_SAID, retired=_SAID, default=st.booleans()),
    max_size=4,
    unique_by=lambda entry: entry.name,
)


def _meaning(catalogue: Catalogue, spelling: str) -> tuple[str, str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(UnknownModelError, AmbiguousNameError):
            found = catalogue.find(spelling)
            return found.name, found.plugin
    return None


def _changed(before: Catalogue, after: Catalogue) -> list[str]:
    return [s for s in _SPELLINGS if (was := _meaning(before, s)) is not None and _meaning(after, s) != was]


@pytest.mark.full
@settings(max_examples=200, deadline=None)
@given(_STRANGER, st.sampled_from(["aaa-evil", "zzz", "modelgraft-evil", "clip"]))
def test_no_stranger_changes_what_a_spelling_of_the_project_means(entries: list[Entry], distribution: str) -> None:
    assert _changed(_catalogue(OWN), _catalogue(OWN, _record(distribution, *entries))) == []


@settings(max_examples=200, deadline=None)
@given(_STRANGER, _STRANGER)
def test_of_two_strangers_none_takes_a_canonical_name_in_silence(good: list[Entry], evil: list[Entry]) -> None:
    first, second = _record("zzz-good", *good), _record("aaa-evil", *evil)
    before, after = _catalogue(OWN, first), _catalogue(OWN, second, first)
    for name in before.names():
        was, now = _meaning(before, name), _meaning(after, name)
        assert now in (was, None) or was is None


@pytest.mark.parametrize("second", [{"retired": ("org/ViT",)}, {"aliases": ("org/vit",)}])
def test_a_name_that_two_claim_is_no_second_name_of_a_third(second: dict[str, Any]) -> None:
    evil = _record("aaa-evil", _entry("org/ViT"), _entry("org/old", **second))
    catalogue = _catalogue(OWN, evil, _record("zzz-good", _entry("org/ViT")))
    with pytest.raises(UnknownModelError, match="both bring it"):
        catalogue.find("org/ViT")


def test_without_the_ranks_the_trap_springs() -> None:
    evil = _record("aaa-evil", _entry("clip/ViT:evil", default=True), _entry("evil/x", aliases=("org/resnet",)))
    assert _changed(_catalogue(OWN), _catalogue(OWN, evil)) == []
    assert {"clip/ViT", "ViT", "org/resnet"} <= set(
        _changed(_catalogue(OWN, guarded=False), _catalogue(OWN, evil, guarded=False))
    )


def test_entries_below_somebodys_provider_answer_to_their_full_name() -> None:
    catalogue = _catalogue(OWN, _record("aaa-evil", _entry("clip/ViT:evil", default=True, aliases=("clip/other",))))
    assert catalogue.find("clip/ViT:evil").distribution == "aaa-evil"
    assert catalogue.find("clip/ViT").name == "clip/ViT:one"
    for spelling in ("ViT:evil", "clip/other", "other"):
        with pytest.raises(UnknownModelError):
            catalogue.find(spelling)


def test_a_clash_costs_the_clashing_name_alone() -> None:
    good = _record("zzz-good", *(_entry(f"good/m{n}") for n in range(100)))
    evil = _record("aaa-evil", _entry("good/m7"), _entry("evil/x"))
    settled, contested = settle([OWN, evil, good])
    by = {record["distribution"]: record for record in settled}
    assert len(by["zzz-good"]["entries"]) == 99 and len(by["aaa-evil"]["entries"]) == 1
    for record in (by["zzz-good"], by["aaa-evil"]):
        assert record["status"] == "warned" and "good/m7" in record["error"]
    assert "aaa-evil 1.0" in by["zzz-good"]["error"]
    with pytest.raises(UnknownModelError, match=r"aaa-evil 1.0 and zzz-good 1.0 both bring it"):
        _catalogue(OWN, evil, good).find("good/m7")
    assert contested == {("model", "good/m7"): ("aaa-evil 1.0", "zzz-good 1.0")}


def test_the_distribution_named_for_a_provider_has_its_names() -> None:
    good = _record("modelgraft-good", _entry("good/m"), _entry("good/n", aliases=("good/other",)))
    catalogue = _catalogue(OWN, _record("aaa-evil", _entry("good/m"), _entry("Good/N"), _entry("evil/x")), good)
    for spelling in ("good/m", "m", "GOOD/N", "good/other"):
        assert catalogue.find(spelling).plugin == key_of(good)


@pytest.mark.parametrize(
    ("kind", "name"), [("heads", "linear"), ("sources", "hf"), ("engines", "openvino"), ("verbs", "list")]
)
def test_heads_sources_and_verbs_of_the_project_stay_its_own(kind: str, name: str) -> None:
    spec = {"name": name, "target": "a:b", "help": ""}
    own = {**OWN, kind: [spec] if kind != "verbs" else []}
    settled, _ = settle([own, _record("aaa-evil", _entry("evil/x"), **{kind: [{**spec, "target": "evil:x"}]})])
    assert settled[1][kind] == [] and settled[1]["status"] == "warned" and len(settled[1]["entries"]) == 1
    assert settled[0] == own
    alone, _ = settle([own, _record("aaa-evil", **{kind: [spec]})])
    assert alone[1]["status"] == "failed"


def test_a_figure_that_is_no_number_does_not_rank_first() -> None:
    benchmark = "ImageNet-1k top-1 (%)"
    nan = _record("aaa", _entry("evil/x", metrics={benchmark: float("nan")}))
    good = _record(
        "modelgraft", _entry("timm/a", metrics={benchmark: 80.0}), _entry("timm/b", metrics={benchmark: 90.0})
    )
    for reverse in (False, True):
        found = _catalogue(good, nan).choose(sort="score", reverse=reverse).names()
        assert found[-1] == "evil/x"


@pytest.mark.parametrize("hidden", ["\x1b[31m", "\u200b", "\u202e", "\u2066", "\x00", "\u00ad"])
def test_a_name_holds_nothing_that_hides(hidden: str) -> None:
    with pytest.raises(BadNameError):
        Name.parse(f"timm/res{hidden}net")
