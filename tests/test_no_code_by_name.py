"""Nothing in the project runs what a text names: calls that could are few, and each is known here with its reason."""

from __future__ import annotations

import ast
import tomllib

from tests.conftest import ROOT

ALLOWED = {
    ("adapters/modelgraft_adapters/__init__.py", "import_module"): "names of this package, from a table",
    ("registry/modelgraft/__init__.py", "import_module"): "names of this package, from a table",
    ("registry/modelgraft/host/imports.py", "import_module"): "targets of entry points of installed distributions",
    ("adapters/modelgraft_adapters/metrics/costs.py", "import_module"): "a library by a name that is written there",
}
"""(file, call) -> why no stranger chooses what it imports."""
CALLS = {
    "eval", "exec", "compile_command", "import_module", "__import__", "run_path", "run_module", "spec_from_file_location",
    "load_module", "unsafe_load", "full_load", "attrgetter", "methodcaller",
}  # fmt: skip
PICKLES = {("pickle", "load"), ("pickle", "loads"), ("joblib", "load"), ("dill", "load"), ("marshal", "loads"), ("shelve", "open"),
           ("yaml", "load"), ("jit", "load"), ("hub", "load")}  # fmt: skip
PICKLED_BY_US = (
    "adapters/modelgraft_adapters/compare/worker.py",  # what `compare` tells its own processes over pipes nobody else writes into
    "adapters/modelgraft_adapters/ranking/worker.py",  # the same of `rank`
    "adapters/modelgraft_adapters/calls/pickling.py",  # a part of an adapter's own pickle, which the user has opened already
)
MODELS = (
    "plugins/modelgraft_timm",
    "plugins/modelgraft_open_clip",
    "plugins/modelgraft_sentence_transformers",
    "registry",
    "adapters",
)


def _calls() -> list[tuple[str, ast.Call, str, str]]:
    """(file, call, what it is called on, its name) of every call in the project's own code."""
    found = []
    for root in ("registry", "adapters", "plugins"):
        for file in sorted((ROOT / root).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    function = node.func
                    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                    owner = (
                        ast.unparse(function.value).rpartition(".")[2] if isinstance(function, ast.Attribute) else ""
                    )
                    found.append((file.relative_to(ROOT).as_posix(), node, owner, name))
    return found


def test_what_could_run_a_text_is_known() -> None:
    seen = {
        (file, name)
        for file, _, owner, name in _calls()
        if name in CALLS and not (name == "eval" and owner)  # a module's own eval() is another thing
    }
    assert seen <= ALLOWED.keys(), seen - ALLOWED.keys()
    assert ALLOWED.keys() <= seen, "allowed, and gone"


def test_pickles_are_opened_in_one_way() -> None:
    for file, call, owner, name in _calls():
        where = f"{file}:{call.lineno}"
        assert (owner, name) not in PICKLES or file in PICKLED_BY_US, where
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if (owner, name) == ("torch", "load"):
            assert keywords.get("weights_only") == "True", where
        if name == "load" and owner in ("np", "numpy"):
            assert keywords.get("allow_pickle", "False") == "False", where
        if name in ("from_pretrained", "SentenceTransformer", "create_model") and file.startswith(MODELS):
            assert keywords.get("trust_remote_code", "False") in ("False", "trusted"), where


def test_a_torch_whose_weights_only_holds_is_required() -> None:
    """Before 2.10 it had holes that are known, and then a table of ours would be worth nothing."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = [line for line in wanted if line.startswith("torch") and not line.startswith("torchv")]
    floor = torch.removeprefix("torch>=")
    assert tuple(int(part) for part in floor.split(",")[0].split(".")) >= (2, 10)
