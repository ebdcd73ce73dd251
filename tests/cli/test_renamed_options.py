"""An option that was called otherwise says how it is called now: in one line, before any work."""

from __future__ import annotations

import importlib

import pytest
import typer
from modelgraft_adapters.plugin import modelgraft_verbs

from tests.conftest import Run

OLD = [
    ("compare", "--reach", "--target-score"),
    ("compare", "-o", "--folder"),
    ("compare", "--output", "--folder"),
    ("explore", "--repeats", "--check-duplicates"),
    ("finetune", "-o", "--save"),
    ("finetune", "--output", "--save"),
    ("multitask", "--alone", "--single-task-baseline"),
    ("multitask", "--weights", "--loss-weights"),
    ("multitask", "-o", "--save"),
    ("probe", "--no-repeats", "--no-check-duplicates"),
]


@pytest.mark.full
@pytest.mark.parametrize(("verb", "old", "new"), OLD)
def test_an_old_name_names_the_new_one(verb: str, old: str, new: str, run: Run) -> None:
    done = run(verb, "nowhere", old, "0.5")
    assert done.returncode == 2 and f"Error: {old} is called {new} now\n" in done.stderr and not done.stdout
    assert new in run(verb, "--help").stdout


def test_every_old_name_is_told() -> None:
    stated = {}
    for spec in modelgraft_verbs():
        names = getattr(importlib.import_module(spec.target.partition(":")[0]), "RENAMED", {})
        stated |= {(spec.name, old): new for old, new in names.items()}
    assert {(verb, old): new for verb, old, new in OLD}.items() <= stated.items()
    assert len(stated) == 13


def test_one_letter_means_one_thing() -> None:
    """``-o`` is a file for the result, of every verb that has it; a folder has a word."""
    having = []
    for spec in modelgraft_verbs():
        module, _, name = spec.target.partition(":")
        single = typer.Typer()
        single.command()(getattr(importlib.import_module(module), name))
        for option in typer.main.get_command(single).params:
            if "-o" in option.opts:
                having.append(spec.name)
                assert option.name == "output" and "older" not in option.help, spec.name
    assert having == [
        *("classify", "embed", "probe", "adapt", "rank", "explore", "gap", "optimize", "calibrate", "predict", "export")
    ]
