"""The catalogue: what a user may write for a model, filters, suggestions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelgraft.entry import Entry, Weights
from modelgraft.errors import AmbiguousNameError, UnknownModelError
from modelgraft.fields import check_entry
from modelgraft.listing.catalogue import Catalogue

ORIGIN = {"distribution": "d", "name": "p"}


def _catalogue(*entries: Entry) -> Catalogue:
    return Catalogue([(entry.to_dict(), ORIGIN) for entry in entries])


def _image(name: str, **fields: Any) -> Entry:
    return Entry(name=name, modality="image", tasks=("features",), **fields)


CATALOGUE = _catalogue(
    _image(
        "timm/resnet50:a1_in1k",
        aliases=("timm/resnet50.a1_in1k",),
        params=25_000_000,
        default=True,
        licence="Apache-2.0",
    ),
    _image(
        "timm/resnet50:gluon_in1k", aliases=("timm/resnet50.gluon_in1k",), params=25_000_000, licence="cc-by-nc-4.0"
    ),
    _image("timm/vit_b:openai", aliases=("timm/vit_b.openai",), params=86_000_000, embed_dim=768),
    Entry(
        name="open_clip/ViT-B:openai",
        modality="image-text",
        tasks=("zero-shot", "features"),
        aliases=("timm/vit_b.openai", "openai/vit-b"),
        params=150_000_000,
    ),
    Entry(
        name="open_clip/ViT-B:laion",
        modality="image-text",
        tasks=("zero-shot", "features"),
        aliases=("laion/vit-b",),
        weights=Weights(repo="laion/vit-b"),
    ),
    Entry(name="sentence-transformers/mini", modality="text", tasks=("zero-shot", "features"), params=22_000_000),
    Entry(name="other/ViT-B:laion", modality="image-text", tasks=("zero-shot", "features")),
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("timm/resnet50:gluon_in1k", "timm/resnet50:gluon_in1k"),
        ("timm/resnet50.gluon_in1k", "timm/resnet50:gluon_in1k"),
        ("resnet50.gluon_in1k", "timm/resnet50:gluon_in1k"),
        ("resnet50:gluon_in1k", "timm/resnet50:gluon_in1k"),
        ("timm/resnet50", "timm/resnet50:a1_in1k"),
        ("resnet50", "timm/resnet50:a1_in1k"),
        ("ResNet50", "timm/resnet50:a1_in1k"),
        ("laion/vit-b", "open_clip/ViT-B:laion"),
        ("timm/vit_b.openai", "timm/vit_b:openai"),
        ("ViT-B:openai", "open_clip/ViT-B:openai"),
        ("openai/ViT-B", "open_clip/ViT-B:openai"),
        ("mini", "sentence-transformers/mini"),
    ],
)
def test_what_a_user_may_write(written: str, meant: str) -> None:
    assert CATALOGUE.find(written).name == meant


def test_the_revision_is_carried() -> None:
    entry = CATALOGUE.find("resnet50@abc123")
    assert (entry.name, entry.revision) == ("timm/resnet50:a1_in1k", "abc123")


@pytest.mark.parametrize(
    ("written", "candidates"),
    [
        ("open_clip/ViT-B", ["open_clip/ViT-B:laion", "open_clip/ViT-B:openai"]),
        ("ViT-B:laion", ["open_clip/ViT-B:laion", "other/ViT-B:laion"]),
    ],
)
def test_ambiguous(written: str, candidates: list[str]) -> None:
    with pytest.raises(AmbiguousNameError) as caught:
        CATALOGUE.find(written)
    assert list(caught.value.candidates) == candidates
    assert all(name in str(caught.value) for name in candidates)


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("timm/resnet5O", "timm/resnet50:a1_in1k"),
        ("ViTB:openai", "open_clip/ViT-B:openai"),
        ("minni", "sentence-transformers/mini"),
    ],
)
def test_did_you_mean(written: str, near: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        CATALOGUE.find(written)
    assert near in caught.value.suggestions and "did you mean" in str(caught.value)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 7),
        ({"provider": "timm"}, 3),
        ({"modality": "image"}, 6),
        ({"modality": "image-text"}, 3),
        ({"modality": "text"}, 4),
        ({"task": "zero-shot"}, 4),
        ({"max_params": 30e6}, 3),
        ({"min_params": 30e6}, 2),
        ({"licence": "apache*"}, 1),
        ({"licence": "CC-BY-NC-4.0"}, 1),
        ({"embed_dim": 768}, 1),
        ({"pattern": "*gluon*"}, 1),
        ({"pattern": "vit"}, 4),
        ({"pattern": "resnet50:*"}, 2),
        ({"pattern": "laion/*"}, 1),
        ({"provider": "timm", "max_params": 30e6, "licence": "*nc*"}, 1),
    ],
)
def test_filters(filters: dict[str, Any], count: int) -> None:
    assert len(CATALOGUE.select(**filters)) == count


plain: dict[str, Any] = {
    "name": st.sampled_from(["a/b", "a/b:c", "x/y/z:t"]),
    "modality": st.sampled_from(["image", "text", "image-text"]),
    "tasks": st.sampled_from([("features",), ("zero-shot", "features")]),
    "params": st.none() | st.integers(1, 10**10),
    "input_size": st.none() | st.tuples(*[st.integers(1, 512)] * 3),
}
entries = st.builds(
    Entry,
    **plain,
    weights=st.none() | st.builds(Weights, repo=st.none() | st.text(), size=st.none() | st.integers(0)),
    aliases=st.lists(st.text()).map(tuple),
    preprocessing=st.dictionaries(st.text(), st.floats(allow_nan=False) | st.lists(st.integers())),
)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
repositories = st.from_regex(r"[a-z][a-z0-9]{0,20}/[a-z][a-z0-9]{0,20}", fullmatch=True)
honest = st.builds(
    Entry,
    **plain,
    weights=st.none() | st.builds(Weights, repo=repositories, size=st.none() | st.integers(0, 2**40)),
    aliases=st.lists(repositories, unique=True).map(tuple),
    preprocessing=st.dictionaries(
        words, st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.integers(-(2**40), 2**40))
    ),
)


@given(entries | honest)
def test_an_entry_survives_json(entry: Entry) -> None:
    import json

    assert Entry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


@given(honest)
def test_what_an_honest_plugin_says_passes_the_check(entry: Entry) -> None:
    check_entry(entry)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "noslash"},
        {"name": "a/b@rev"},
        {"modality": "sound"},
        {"tasks": []},
        {"tasks": ["magic"]},
        {"params": -1},
        {"input_size": [3, 2]},
        {"score": "guess"},
        {"misspelt": 1},
    ],
)
def test_a_misleading_entry_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        check_entry(Entry.from_dict({"name": "a/b", "modality": "image", "tasks": ["features"], **change}))
