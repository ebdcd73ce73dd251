"""What users read has the field's words: no image is a picture, nothing is learnt from, and a program does not leave with 1."""

from __future__ import annotations

import ast
import importlib
import re

import pytest
import typer
from modelgraft.verbs import BUILT_IN
from modelgraft_adapters.plugin import modelgraft_verbs

from tests.conftest import ROOT

NOT = re.compile(
    r"\b(pictures?|learnt|learns? from|learning from|learns one task|seconds to learn|numbers to learn|learnings|wrong use"
    r"|of every draw|one draw|draws a step|over draws|repeated items|leaves with|energy of a card)\b",
    re.I,
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


def words(text: str) -> list[str]:
    """What stands in a text and should not; code in backticks is none of it."""
    return NOT.findall(re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S))


def test_the_list_is_looked_for() -> None:
    assert words("Pictures are learnt from; `picture`. Leaves with 0.") == ["Pictures", "learnt", "Leaves with"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page) -> None:
    assert not words(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("spec", [*BUILT_IN, *modelgraft_verbs()], ids=lambda spec: spec.name)
def test_help(spec) -> None:
    module, _, name = spec.target.partition(":")
    single = typer.Typer()
    single.command(spec.name)(getattr(importlib.import_module(module), name))
    command = typer.main.get_command(single)
    texts = [spec.help, command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]
    assert len(texts) > 2 and not words("\n".join(texts))


@pytest.mark.parametrize("page", sorted((ROOT / "adapters").rglob("*.j2")), ids=lambda page: page.name)
def test_reports(page) -> None:
    text = re.sub(
        r"\{\{.*?\}\}|\{%.*?%\}|<style>.*?</style>|<script>.*?</script>",
        "",
        page.read_text(encoding="utf-8"),
        flags=re.S,
    )
    assert not words(text)


def test_messages() -> None:
    """Every text that an error is raised with, that a verb says, or that is a note."""
    found, seen = [], 0
    for root in ("registry", "adapters", "plugins"):
        for file in sorted((ROOT / root).rglob("*.py")):
            if "training" in file.parts:  # how the embedded model was made: no part of the command line
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                    seen += 1
                    found += [f"{file.name}:{node.lineno}: {word}" for word in words(node.value)]
    assert seen > 3000 and not found
