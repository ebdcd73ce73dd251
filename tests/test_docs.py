"""The pages say what is true: quoted files are the files, every hook and verb is described, links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_QUOTED = re.compile(r"<!-- from: (?P<path>\S+) -->\n```py\n(?P<code>.*?)```\n", re.S)


def test_quoted_files_are_the_files() -> None:
    quoted = 0
    for page in PAGES:
        for match in _QUOTED.finditer(page.read_text(encoding="utf-8")):
            assert match["code"] == (ROOT / match["path"]).read_text(encoding="utf-8"), (
                f"{page.name} quotes an old {match['path']}"
            )
            quoted += 1
    assert quoted == 5


def test_every_hook_and_its_arguments_are_described() -> None:
    from modelgraft import hookspecs

    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    hooks = [f for name, f in vars(hookspecs).items() if name.startswith("modelgraft_") and inspect.isfunction(f)]
    assert len(hooks) == 8
    for hook in hooks:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{hook.__name__}`")]
        for argument in inspect.signature(hook).parameters:
            assert f"`{argument}`" in row
        assert hook.__doc__


def test_every_key_of_the_contracts_is_described() -> None:
    from modelgraft.entry import Entry

    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for key in Entry(name="a/b", modality="image", tasks=("features",)).record():
        assert f"`{key}`" in page, key


def test_every_test_that_a_page_names_is_there() -> None:
    named = {
        (page.name, *match)
        for page in PAGES
        for match in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    }
    functions = {
        path: {
            node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)
        }
        for path in {path for _, path, _ in named}
    }
    assert [at for at in sorted(named) if at[2] not in functions[at[1]]] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_figures_shown_are_the_figures_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """benchmarks/report.py would change nothing: pages and raw results agree."""
    import importlib.util

    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as for a script that is run
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    assert spec and spec.loader
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        assert "<!-- figures:" in text and report.rendered(page) == text
    assert report.DRAWING.read_text(encoding="utf-8") == report.curves()
    shown = {name for page in report.PAGES for name in re.findall(r"<!-- figures: (\w+) -->", page.read_text("utf-8"))}
    assert shown == set(report.SECTIONS)


def test_the_map_for_contributors_leads_somewhere() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:registry|adapters|plugins|tests|benchmarks|docs)/[\w./-]*)`", page)
    assert len(named) > 30
    assert not [name for name in named if not (ROOT / name).exists()]
