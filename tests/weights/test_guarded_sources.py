"""Sources of weights may be anybody's: one that is broken is named, and the others answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from modelgraft.contract import Held, Stored
from modelgraft.entry import Weights
from modelgraft.errors import PluginError
from modelgraft.resolution import File, Part
from modelgraft.weights.guarded import GuardedSource

from tests.attacks.harness import place

PART = Part("s3:a/b", None, (File("model.safetensors", 5, "a" * 64),))
STORED = Stored(Path("/a"), Path("/a"))
WEIGHTS = Weights(location="s3:a/b")
CALLS: dict[str, tuple[Any, ...]] = {
    "resolve_weights": (WEIGHTS, None),
    "fetch_weights": (PART, lambda count: None),
    "set_aside": (PART, "x"),
    "held": (),
    "discard": (PART,),
}
WRONG: dict[str, list[Any]] = {
    "resolve_weights": [
        None,
        "part",
        Part("s3:a", None, [File("x")]),
        Part("s3:a", None, (File(5),)),
        Part("s3:a", 5, ()),
    ],  # type: ignore[arg-type]
    "fetch_weights": [None, "/a", Stored("/a", "/a")],  # type: ignore[arg-type]
    "set_aside": ["/a", 5],
    "held": [[5], [Held(PART, STORED, "big", 0.0)], [Held(PART, STORED, 1, float("nan"))]],  # type: ignore[arg-type]
    "discard": [None, "all", True],
}


def source(**methods: Any) -> GuardedSource:
    made = type("Made", (), {name: lambda self, *given: None for name in CALLS} | methods)()
    return GuardedSource(made, "modelgraft-x:x")


@pytest.mark.parametrize(("method", "given"), [(m, value) for m, values in WRONG.items() for value in values])
def test_what_a_source_gives_is_looked_at(method: str, given: Any) -> None:
    wrong = source(**{method: lambda self, *arguments: given})
    with pytest.raises(PluginError, match=f"plugin modelgraft-x:x is wrong: {method} of its source gave"):
        getattr(wrong, method)(*CALLS[method])


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("end", [SystemExit(0), OSError("gone"), StopIteration()])
def test_what_a_source_raises_names_it(method: str, end: BaseException) -> None:
    def fail(self: Any, *arguments: Any) -> None:
        raise end

    with pytest.raises(PluginError, match="plugin modelgraft-x:x failed while"):
        getattr(source(**{method: fail}), method)(*CALLS[method])


def test_what_is_right_passes() -> None:
    held = [Held(PART, STORED, 1, 2.0)]
    right = {"resolve_weights": PART, "fetch_weights": STORED, "set_aside": None, "held": held, "discard": 7}
    good = source(**{name: (lambda given: lambda self, *arguments: given)(value) for name, value in right.items()})
    assert {name: getattr(good, name)(*CALLS[name]) for name in CALLS} == right and good.keeps


def test_a_broken_source_leaves_the_rest_of_the_cache_as_it_is() -> None:
    spec = (
        "from modelgraft import hookimpl\nfrom modelgraft.specs import SourceSpec\n"
        "@hookimpl\ndef modelgraft_sources():\n    return [SourceSpec({name!r}, {target!r}, 'help')]\n"
    )
    with place() as at:
        at.install("modelgraft-gone", spec.format(name="gone", target="a_module_nobody_has:Source"))
        body = "class Source:\n    def __init__(self):\n        raise SystemExit(0)\n"
        at.install(
            "modelgraft-exits",
            spec.format(name="exits", target="modelgraft_exits_model:Source"),
            modules={"model": body},
        )
        body = (
            "class Source:\n    def held(self):\n        print('noise'); return [5]\n"
            "    def discard(self, part):\n        return 1\n"
        )
        at.install(
            "modelgraft-odd", spec.format(name="odd", target="modelgraft_odd_model:Source"), modules={"model": body}
        )
        done = at.cold("cache", "--format", "json")
        assert done.code == 1 and done.json() == [] and len(done.errors) == 1, done.err
        for name in ("modelgraft-gone", "modelgraft-exits", "modelgraft-odd"):
            assert name in done.err
        assert at.cold("list", "--limit", "1").code == 0
