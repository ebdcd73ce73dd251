"""Which models names and patterns mean, and what is downloaded."""

from __future__ import annotations

from typing import Any

import pytest
from modelgraft import resolve
from modelgraft.errors import UsageError
from modelgraft_adapters.ranking.candidates import (
    MOST,
    Files,
    bytes_of,
    check_download,
    files_of,
    find_candidates,
)

NONE: dict[str, Any] = {}


def names(*words: str, modality: str = "image", **conditions: Any) -> list[str]:
    return [one.name for one in find_candidates(words, modality, conditions)[0]]


def test_names_patterns_and_parts_each_once() -> None:
    assert names("embedded/sprig", "embedded/*", "sprig") == ["embedded/sprig"]
    found = names("timm/resnet18*")
    assert len(found) > 3 and all(name.startswith("timm/resnet18") for name in found)
    assert set(names("timm/*mobilenetv2_100*", max_params=4e6)) < set(names("timm/*mobilenetv2*"))


def test_conditions_alone_and_a_limit() -> None:
    found, _, _ = find_candidates([], "image", {"provider": "timm", "max_params": 2e6}, limit=5)
    assert len(found) == 5 and all((one.entry.params or 0) <= 2e6 for one in found)


def test_conditions_are_for_patterns_and_that_is_said() -> None:
    found, _, notes = find_candidates(["embedded/sprig"], "image", {"max_params": 1.0})
    assert [one.name for one in found] == ["embedded/sprig"] and "embedded/sprig was named" in notes[0]


def test_layers_make_candidates() -> None:
    found, _, _ = find_candidates(["embedded/sprig"], "image", NONE, [None, "map", None])
    assert [one.name for one in found] == ["embedded/sprig", "embedded/sprig [map]"]


def test_a_model_that_does_not_read_such_items_is_told_and_the_others_go_on() -> None:
    found, wrong, _ = find_candidates(["embedded/sprig", "timm/resnet18:a1_in1k"], "text", NONE)
    assert [one.name for one in found] == ["embedded/sprig"]
    assert wrong[0][0] == "timm/resnet18:a1_in1k" and "reads images, not texts" in wrong[0][1]


@pytest.mark.parametrize(
    ("words", "conditions", "says"),
    [
        ((), {}, "no models to rank"),
        ((), {"sort": "params"}, "no models to rank"),
        (("no-such-*",), {}, "matches 'no-such-*'"),
        (("timm/*mobilenet*",), {"max_params": 3.0}, "with max_params 3.0"),
        (("embedded/sprog",), {}, "did you mean embedded/sprig"),
        (("timm/*",), {}, f"at most {MOST}"),
        (("*sprig*",), {"provider": "timm"}, "with provider timm"),
    ],
)
def test_nothing_to_rank_is_said(words: tuple[str, ...], conditions: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        names(*words, **conditions)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_images_alone_for_texts_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"nothing to rank.*reads images, not texts"):
        names("timm/resnet18:a1_in1k", modality="text")


def test_what_is_inside_a_plugin_is_not_downloaded() -> None:
    files, broken = files_of([resolve("embedded/sprig")])
    assert files["embedded/sprig"].missing == 0 and not broken and check_download(files, 0) == []


def test_more_than_is_allowed_is_refused_by_name_and_size() -> None:
    files = {
        "a/one": Files(10**8, 10**8, True),
        "a/two": Files(None, 4 * 10**9, False),
        "a/here": Files(10**9, 0, True),
    }
    with pytest.raises(UsageError) as caught:
        check_download(files, 2e9)
    told = str(caught.value)
    assert "2 models" in told and "4.1 GB" in told and "a/one (100.0 MB)" in told and "a/two (about 4.0 GB)" in told
    assert "a/here" not in told
    lines = check_download(files, 5e9)
    assert lines[0] == "to download: a/one, 100.0 MB" and "4.1 GB in all" in lines[-1]


def test_bytes_for_people() -> None:
    assert [bytes_of(n) for n in (0, 999, 13_600_000, 2e9)] == ["0 B", "999 B", "13.6 MB", "2.0 GB"]
