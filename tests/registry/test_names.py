"""Names: read as written, written as read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelgraft import Name
from modelgraft.errors import BadNameError

word = st.text("abcXYZ019._-", min_size=1, max_size=8).filter(lambda s: s[0].isalnum())
models = st.lists(word, min_size=1, max_size=3).map("/".join)
names = st.builds(Name, word, models, st.none() | word, st.none() | word)


@given(names)
def test_round_trip(name: Name) -> None:
    assert Name.parse(str(name)) == name


@given(st.text())
def test_any_text_is_a_name_or_a_bad_name(text: str) -> None:
    try:
        parsed = Name.parse(text)
    except BadNameError as error:
        assert repr(text) in str(error)
    else:
        assert str(parsed) == text.strip()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("open_clip/ViT-B-32:laion2b_s34b_b79k", ("open_clip", "ViT-B-32", "laion2b_s34b_b79k", None)),
        ("timm/resnet50.a1_in1k", ("timm", "resnet50.a1_in1k", None, None)),
        (
            "sentence-transformers/all-MiniLM-L6-v2@8b3219a",
            ("sentence-transformers", "all-MiniLM-L6-v2", None, "8b3219a"),
        ),
        ("hf/org/repo:tag@rev", ("hf", "org/repo", "tag", "rev")),
        ("resnet50", (None, "resnet50", None, None)),
    ],
)
def test_examples(text: str, parts: tuple[str | None, ...]) -> None:
    name = Name.parse(text)
    assert (name.provider, name.model, name.tag, name.revision) == parts


@pytest.mark.parametrize("text", ["", " ", "a b", "a/", ":tag", "a@", "a::b", "a@b@c", "/model"])
def test_bad(text: str) -> None:
    with pytest.raises(BadNameError):
        Name.parse(text)
