"""The examples in docstrings run, and show what they show."""

from __future__ import annotations

import doctest
import importlib
import re

import pytest

from tests.conftest import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts[1:]).removesuffix(".__init__")
    for root in ("registry", "adapters", "plugins")
    for path in (ROOT / root).rglob("*.py")
    if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    module = importlib.import_module(name)
    examples = [one for test in doctest.DocTestFinder().find(module) for one in test.examples]
    assert examples and not any(doctest.SKIP in one.options for one in examples)
    assert doctest.testmod(module).failed == 0


def test_there_are_some() -> None:
    assert len(MODULES) >= 6
