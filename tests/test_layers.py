"""The arrows run one way: adapters and plugins know the contract of `modelgraft`; it knows none of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = {
    path.parent.name: path.parent
    for root in ("registry", "adapters", "plugins")
    for path in sorted((ROOT / root).glob("*/__init__.py"))
}
# What a plugin may know of modelgraft: the contract, not the machinery.
CONTRACT = {
    "contract",
    "entry",
    "errors",
    "hookspecs",
    "layout",
    "learning",
    "names",
    "network",
    "opening",
    "paths",
    "resolution",
    "sealed",
    "shipped",
    "specs",
    "strangers",
    "threads",
    "training",
    "trust",
    "version",
}
LIGHT = {"modelgraft", "typer", "pluggy", "rich", "packaging"}


def _imports(package: Path, top_level_only: bool = False) -> dict[str, list[str]]:
    """Imported module -> files that import it. ``TYPE_CHECKING`` blocks are left out: they never run."""
    found: dict[str, list[str]] = {}
    for file in sorted(package.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        typing_only = _typing_only(tree)
        inner = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            if id(node) in typing_only or (top_level_only and id(node) in inner):
                continue
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )
            for name in names:
                found.setdefault(name, []).append(str(file.relative_to(ROOT)))
    return found


def _typing_only(tree: ast.AST) -> set[int]:
    return {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }


def test_the_contracts_hold() -> None:
    """Those of ``pyproject.toml``: the registry, the plugins, the adapters, and the rooms of the adapters."""
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "2 kept, 0 broken" in found.stdout


@pytest.mark.parametrize("package", sorted(SOURCES))
def test_no_import_leads_round(package: str) -> None:
    """Imports inside functions count: they are there to be late, not to hide an arrow."""
    files = {_module(file): file for file in SOURCES[package].rglob("*.py")}
    arrows = {name: _imported(file, files.keys()) - {name} for name, file in files.items()}
    assert len(arrows) < 3 or any(arrows.values())
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(file: Path, known: Collection[str]) -> set[str]:
    """The modules among ``known`` that a file imports; of a package from which a module of its own is taken that module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = _typing_only(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: names are given in full"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in inner}
    return found & set(known)


@pytest.mark.parametrize("package", sorted(p for p in SOURCES if p not in ("modelgraft", "modelgraft_adapters")))
def test_plugins_know_the_contract_only(package: str) -> None:
    inside = [name for name in _imports(SOURCES[package]) if name.startswith("modelgraft.")]
    assert {name.split(".")[1] for name in inside} <= CONTRACT


@pytest.mark.parametrize("package", sorted(p for p in SOURCES if p != "modelgraft"))
def test_only_public_names_of_the_registry_are_imported(package: str) -> None:
    """What others may use of a module of the registry is in its ``__all__``; modules without one are private."""
    private = []
    for file in sorted(SOURCES[package].rglob("*.py")):
        modules = {}
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "modelgraft":
                for alias in node.names:
                    if alias.name in _public(str(node.module)):
                        continue
                    if not _public(inner := f"{node.module}.{alias.name}"):
                        private.append(f"{file.relative_to(ROOT)}:{node.lineno} {inner}")
                    modules[alias.asname or alias.name] = inner
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                inner = modules[node.value.id]
                if node.attr not in _public(inner):
                    private.append(f"{file.relative_to(ROOT)}:{node.lineno} {inner}.{node.attr}")
    assert not private, "\n".join(private)


@cache
def _public(module: str) -> frozenset[str]:
    """The names in ``__all__`` of a module of the registry; none where it is private."""
    where = SOURCES["modelgraft"].parent / module.replace(".", "/")
    path = where / "__init__.py" if where.is_dir() else where.with_suffix(".py")
    if not path.exists():
        return frozenset()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def test_the_registry_imports_no_heavy_library() -> None:
    top = {name.partition(".")[0] for name in _imports(SOURCES["modelgraft"], top_level_only=True)}
    assert top - set(sys.stdlib_module_names) - {"__future__"} <= LIGHT


@pytest.mark.parametrize("package", sorted(p for p in SOURCES if p != "modelgraft"))
def test_plugin_modules_import_no_model_library(package: str) -> None:
    names = _imports_of_file(SOURCES[package] / "plugin.py")
    assert {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) <= {"modelgraft", package}


def _imports_of_file(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        name
        for node in tree.body
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }


def test_adapters_name_no_provider() -> None:
    """What an adapter needs of a model is in the contract; the default models' names are the one exception."""
    for file in sorted(SOURCES["modelgraft_adapters"].rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "provider":
                raise AssertionError(f"{file.name}:{node.lineno} asks for the provider")


def test_files_stay_small() -> None:
    long = {
        str(f.relative_to(ROOT)): n
        for package in SOURCES.values()
        for f in package.rglob("*.py")
        if (n := f.read_text(encoding="utf-8").count("\n")) > 400
    }
    assert not long


def test_verbs_are_thin() -> None:
    """A verb reads its options, has the work done and shows what came of it."""
    lengths = {}
    for file in sorted(ROOT.glob("*/modelgraft*/cli/*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any("typer." in ast.unparse(a) for a in node.args.args):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lengths[f"{file.parent.parent.name}/{file.name}"] = body[-1].end_lineno - body[0].lineno + 1
    assert len(lengths) > 15 and max(lengths.values()) < 40, lengths
