"""Every field of everything a plugin announces, with every wrong value we can think of: refused where the plugin is tried."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelgraft import EngineSpec, HeadSpec, SourceSpec, VerbSpec, hookimpl
from modelgraft.entry import Entry, Weights
from modelgraft.fields import RULES, check, shown
from modelgraft.host import records, validate, verdicts
from modelgraft.host.discovery import Found
from modelgraft.host.host import current_host
from modelgraft.host.validate import validate_one
from modelgraft.listing.catalogue import Catalogue

FOUND = Found("wrong", "modelgraft_wrong", "modelgraft-wrong", "1.0", "/", "")
GOOD = {
    Entry: Entry("wrong/m", "image", ("features",)),
    Weights: Weights(repo="a/b"),
    HeadSpec: HeadSpec("h", "p.m:C", "A head."),
    VerbSpec: VerbSpec("v", "p.m:f", "A verb."),
    SourceSpec: SourceSpec("s3", "p.m:C", "A source."),
    EngineSpec: EngineSpec("quick", "p.m:C", "An engine."),
}
TARGETS = ["x", "a.b", "a:", ":b", "a.b:c()", "a-b:c", "1:2", "a..b:c", "a:b:c", "a b:c", 5, None, True]
SPECS = (HeadSpec, VerbSpec, SourceSpec, EngineSpec)
HOOKS = {
    Entry: "entries",
    Weights: "entries",
    HeadSpec: "heads",
    VerbSpec: "verbs",
    SourceSpec: "sources",
    EngineSpec: "engines",
}


class _Text(str):
    def isprintable(self) -> bool:
        return True


class _Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(f"asked for {name}")

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    def __eq__(self, other: object) -> bool:
        raise GeneratorExit

    __hash__ = None  # type: ignore[assignment]


class _Number(int):
    pass


def _wrong_for_all() -> list[Any]:
    """What is right in no field."""
    return [
        *(object(), object, _Hostile(), len, b"bytes", {1, 2}, frozenset(), (n for n in ()), iter(()), range(3), 1j, ...),
        *(_Text("a/b"), _Number(3), float("nan"), float("inf"), 10**5000, -(2**70), -1, "x" * 10**6, bytearray(b"x")),
        *({"a": object()}, {1: 2}, {"a": float("nan")}, {"a": "\ud800"}, {"a" * 10**5: 1}, {"\x1b": 1}, {"a": {"b": {1}}}),
        *((None,), [None], (5,), ("\x1b[31m",), ("a", object()), [[]], ("x" * 10**5,), tuple("abc") * 10**4, ((1, 2),)),
        *("", " ", "\n", "a\nb", "a\x1b[2J", "a\u200bb", "a\u202eb", "a\ud800", "\x00", "\u3164", "a\u2028b", "\x7f", "\x9b2J"),
    ]  # fmt: skip


# But here one of them is right.
_RIGHT = {(Entry, "plugin"): "", (Entry, "distribution"): ""}
# Wrong in one field and maybe right in another.
WRONG: dict[tuple[type, str], list[Any]] = {
    (Entry, "name"): ["noslash", "/x", "x/", "a/b@c", "a/../b", "a/./b", "a/b c", "é/x", "a/e\u0301", " a/b", "a//b", "a/b:", None],
    (Entry, "modality"): ["sound", "Image", None, ["image"], 5, True],
    (Entry, "tasks"): [(), [], "features", ("magic",), ("features", "features"), None, {"features": 1}, 5],
    (Entry, "params"): [0, True, 1.5, "5", 10**16],
    (Entry, "embed_dim"): [0, True, 1.5, "5", 10**10],
    (Entry, "max_tokens"): [0, True, 1.5, "5"],
    (Entry, "input_size"): [(3, 2), (3, 0, 2), (3, 2, 2, 2), (3, True, 2), (3, 2.0, 2), "3x2", {3: 1, 2: 2, 1: 1}, (3, 10**9, 1)],
    (Entry, "licence"): [5, True, ("mit",), "x" * 501],
    (Entry, "preprocessing"): ["x", ["x"], None, {"mean": (0.5, float("inf"))}, {"a": "b\x1b"}, {"a": 2**64}, {"a": "x" * 10**5}],
    (Entry, "loader"): ["x", None, {"f": len}, {"p": object()}, {"s": {1}}, {"b": b"x"}, {"n": float("nan")}, {"x": _Text("y")}],
    (Entry, "weights"): ["hf:a/b", {"repo": "a/b"}, ("a/b",), 5, True],
    (Entry, "aliases"): [(None,), "a/b", ("b",), ("a/b", "a/b"), ("a/b@c",), {"a/b"}, None, 5],
    (Entry, "retired"): [(None,), "a/b", ("b",), ("a/b", "a/b"), None, 5],
    (Entry, "default"): [None, 0, 1, "yes", ()],
    (Entry, "score"): ["guess", 5, True, ("softmax",)],
    (Entry, "templates"): ["{}", (5,), None, ("a photo\nof {}",), ("{}", "{}"), ("x" * 3000,)],
    (Entry, "metrics"): [["x"], "x", None, {"m": "5"}, {"m": True}, {"m": None}, {"m": float("inf")}, {5: 5}, {"": 1}, {"\x1b": 1}],
    (Entry, "note"): [5, True, ("x",), "a\x1b]0;title\x07"],
    (Entry, "plugin"): [None, 5],
    (Entry, "distribution"): [None, 5],
    (Entry, "revision"): [5, True, "a b", "a@b", "a:b"],
    (Weights, "repo"): [5, True, "../x", "a/b/c", "a b", "a/..", ("a/b",), "https://x/y", "é/x"],
    (Weights, "filename"): [5, "../x", "/etc/passwd", "a/../../b", "a\\b", ("x",), True],
    (Weights, "url"): [5, "ftp://x/y", "file:///etc/passwd", "x", "http://a b", "HTTP", True],
    (Weights, "revision"): [5, "a b", "a@b", True],
    (Weights, "sha256"): [5, "x", "A" * 64, "0" * 63, "0" * 65, "g" * 64, True],
    (Weights, "size"): [True, 1.5, "5", 2**61],
    (Weights, "location"): [5, "x", ":x", "S3:x", "s3:", ("s3:x",), True],
    (Weights, "files"): ["*.bin", ("../x",), ("/x",), (5,), None, ("*", "*"), {"*"}],
    (Weights, "without"): ["*.bin", ("../x",), (5,), None],
    (Weights, "configs"): ["config.json", ("../x",), (5,), None],
    (HeadSpec, "name"): [5, "a b", "-x", "a/b", "x" * 65, "é", None, True],
    (VerbSpec, "name"): [5, "a b", "-x", "--help", "A", "9", "x" * 65, None, True],
    (EngineSpec, "name"): [5, "a b", "-x", "--help", "A", "9", "x" * 65, None, True],
    (SourceSpec, "scheme"): [5, "a b", "S3", "s3:", "9", None, True],
    **{(k, "target"): TARGETS for k in SPECS},
    **{(k, "help"): [5, None, "x" * 1001, True, ("x",)] for k in SPECS},
    (HeadSpec, "tasks"): [(), "single-label", ("magic",), None, ("regression", "regression"), {"regression"}],
    (HeadSpec, "needs"): ["text", ("magic",), None, (5,)],
    (HeadSpec, "uses"): ["text", ("magic",), None, (5,)],
}  # fmt: skip


def _cases() -> Iterator[tuple[type, str, Any]]:
    for kind, rules in RULES.items():
        for field in rules:
            for value in [*_wrong_for_all(), *WRONG[kind, field]]:
                if type(value) is not str or value != _RIGHT.get((kind, field)):
                    yield kind, field, value


def _plugin(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> dict[str, Any]:
    """The trial of a plugin whose hooks give these."""
    module = types.ModuleType("modelgraft_wrong")
    for hook, answer in answers.items():
        function = (
            (lambda given: lambda: given)(answer) if not callable(answer) else (lambda make: lambda: make())(answer)
        )
        setattr(module, f"modelgraft_{hook}", hookimpl(function))
    monkeypatch.setitem(sys.modules, "modelgraft_wrong", module)
    return validate_one(FOUND)


def test_every_field_has_a_rule_and_wrong_values() -> None:
    for kind, rules in RULES.items():
        names = {field.name for field in fields(kind)}
        assert rules.keys() == names and {field for k, field in WRONG if k is kind} == names, kind


@pytest.mark.full
def test_wrong_values_are_refused_with_field_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    for kind, field, value in _cases():
        spec = replace(GOOD[kind], **{field: value})
        announced = replace(GOOD[Entry], weights=spec) if kind is Weights else spec
        record = _plugin(monkeypatch, **{HOOKS[kind]: [announced]})
        case = (kind.__name__, field, shown(value))
        assert record["status"] == "failed", case
        assert record["error"].startswith("ValueError: the ") and field in record["error"], (case, record["error"])
        assert record["error"].isprintable() and len(record["error"]) < 500, case
        assert record["entries"] == record["heads"] == record["verbs"] == record["sources"] == record["engines"] == []
        json.dumps(record)
        count += 1
    assert count > 1500


def test_what_is_right_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(
        "wrong/模型-é:tag/with.slash",
        "image-text",
        ["features", "zero-shot"],
        params=1,
        input_size=[3, 224, 224],
        licence="Apache-2.0",
        preprocessing={"mean": (0.5, 0.5), "resize": {"size": 256}, "crop": None},
        weights=Weights(repo="a/b.c-d_e", revision="refs/pr/1", files=("*.safetensors|*.bin", "sub/*.json"), size=0),
        aliases=("a/b", "x/y:z"),
        templates=("a photo of {}.", "日本語 {}"),
        metrics={"ImageNet-1k top-1 (%)": 80, "other": 0.5},
        note="One line: naïve, 👍.",
        loader={"prompt": "query:\n", "n": 2**62, "deep": [[["x"]]]},
    )
    record = _plugin(
        monkeypatch, entries=[entry], heads=[GOOD[HeadSpec]], verbs=[GOOD[VerbSpec]], sources=(GOOD[SourceSpec],)
    )
    assert record["error"] is None
    assert verdicts.read_answer(FOUND, json.dumps(record).encode()) == json.loads(json.dumps(record))


@pytest.mark.parametrize(
    ("hook", "answer", "told"),
    [
        ("entries", lambda: 5, "modelgraft_entries must give a list of Entry objects, not 5"),
        ("entries", lambda: "abc", "must give a list of Entry objects"),
        ("entries", lambda: {"a": 1}, "must give a list of Entry objects"),
        ("entries", lambda: [{"name": "a/b"}], "must give Entry objects, not {'name': 'a/b'}"),
        ("entries", lambda: [type("Mine", (Entry,), {})("a/b", "image", ("features",))], "not an object of type 'Mine'"),
        ("entries", lambda: [GOOD[Entry], GOOD[Entry]], "brings the model 'wrong/m' twice"),
        ("entries", lambda: [GOOD[Entry], replace(GOOD[Entry], name="timm/m")], "models of two providers, 'wrong' and 'timm'"),
        ("entries", lambda: [replace(GOOD[Entry], name="wrong/" + "m" * 300)], "may have 300 characters"),
        ("entries", lambda: [object.__new__(Entry)], "AttributeError"),
        ("heads", lambda: [GOOD[HeadSpec]] * 2, "brings the head 'h' twice"),
        ("verbs", lambda: [GOOD[VerbSpec]] * 2, "brings the verb 'v' twice"),
        ("sources", lambda: [GOOD[SourceSpec]] * 2, "brings the source 's3' twice"),
        ("heads", lambda: [GOOD[VerbSpec]], "modelgraft_heads must give HeadSpec objects"),
        ("heads", lambda: iter(lambda: GOOD[HeadSpec], None), "gives more than 1,000 HeadSpec objects"),
    ],
)  # fmt: skip
def test_answers_of_another_shape(hook: str, answer: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _plugin(monkeypatch, **{hook: answer})
    assert record["status"] == "failed" and told in record["error"], record["error"]


@pytest.mark.parametrize(
    "version", [0, -5, True, False, 1.0, "1", None, 2, _Number(1), [1], pytest.param(10**5000, id="huge")]
)
def test_only_versions_there_are(version: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("modelgraft_wrong")
    module.MODELGRAFT_API = version  # type: ignore[attr-defined]
    module.modelgraft_entries = hookimpl(lambda: [GOOD[Entry]])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "modelgraft_wrong", module)
    error = validate_one(FOUND)["error"]
    assert "MODELGRAFT_API must be a whole number from 1" in error or "written for plugin API" in error


def test_without_the_check_a_wrong_field_takes_the_list_down(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = replace(GOOD[Entry], metrics={"ImageNet-1k top-1 (%)": float("nan")}, licence=5)  # type: ignore[arg-type]
    assert _plugin(monkeypatch, entries=[bad])["status"] == "failed"
    monkeypatch.setattr(validate, "check_entries", lambda entries: None)
    record = _plugin(monkeypatch, entries=[bad])
    assert record["status"] == "ok"  # and then, with the other guard:
    assert verdicts.read_answer(FOUND, json.dumps(record).encode())["status"] == "failed"
    monkeypatch.setattr(verdicts, "check_entries", lambda entries: None)
    assert verdicts.read_answer(FOUND, json.dumps(record).encode())["status"] == "ok"
    catalogue = Catalogue([(entry, record) for entry in record["entries"]])
    with pytest.raises((TypeError, AttributeError)):
        catalogue.select(licence="mit")


def _damaged(line: bytes) -> Iterator[bytes]:
    for end in range(0, len(line), 7):
        yield line[:end]
    yield from (b"", b"{}", b"[]", b"null", b"5", b"\xff\xfe", b"[" * 10**5, b"{" * 10**5, b'"' + b"x" * 10**6)
    whole = json.loads(line)
    for key in whole:
        for value in (
            None,
            5,
            "x",
            [],
            {},
            [5],
            [[]],
            [{}],
            [["a", 1]],
            [None],
            True,
            {"a": 1},
            [[1, 2, 3]],
            "a\x1b\nb",
            10**400,
        ):
            yield json.dumps({**whole, key: value}).encode()
        yield json.dumps({k: v for k, v in whole.items() if k != key}).encode()
    yield json.dumps({**whole, "more": 1}).encode()


def test_an_answer_of_any_shape_is_a_record_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    record = _plugin(monkeypatch, entries=[GOOD[Entry]], heads=[GOOD[HeadSpec]], verbs=[GOOD[VerbSpec]])
    line = json.dumps({**record, "watched": [["/a", 1, 2]]}).encode()
    assert verdicts.read_answer(FOUND, line)["status"] == "ok"
    shape = records.new_record(FOUND)
    for damaged in _damaged(line):
        read = verdicts.read_answer(FOUND, damaged)
        assert read.keys() == shape.keys() and {k: read[k] for k in FOUND.to_dict()} == FOUND.to_dict(), damaged[:200]
        assert read["status"] in ("ok", "warned", "failed") and (read["error"] or "").isprintable()
        assert (read["error"] is None) == (read["status"] == "ok"), damaged[:200]
        assert all(type(read[kind]) is list for kind in ("entries", "heads", "verbs", "sources", "engines", "watched"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.sets(st.text()),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@given(st.sampled_from([(k, f) for k, rules in RULES.items() for f in rules]), anything)
def test_any_value_is_refused_or_comes_back_from_json(place: tuple[type, str], value: Any) -> None:
    kind, field = place
    spec = replace(GOOD[kind], **{field: value})
    try:
        check(spec)
    except ValueError as error:
        assert field in str(error) and str(error).isprintable()
        return
    entry = replace(GOOD[Entry], weights=spec) if kind is Weights else spec
    if isinstance(entry, Entry):
        again = Entry.from_dict(json.loads(json.dumps(entry.to_dict(), allow_nan=False)))
        assert again.record() == json.loads(json.dumps(entry.record()))


def test_what_the_project_brings_is_right() -> None:
    host = current_host()
    for record in host.records:
        verdicts.check_entries([Entry.from_dict(entry) for entry in record["entries"]])
    assert all(r.status == "ok" for r in host.reports())
