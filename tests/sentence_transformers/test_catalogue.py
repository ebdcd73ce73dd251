"""The shipped catalogue says what the documentation publishes, in entries the registry accepts, without importing the library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from modelgraft.fields import check_entry
from modelgraft.shipped import read_catalogue
from modelgraft_sentence_transformers.catalogue import SHIPPED, entries
from modelgraft_sentence_transformers.describe import describe
from modelgraft_sentence_transformers.published import DENSE_PARAMETERS, MSMARCO, OTHERS, SEARCH, TABLE, VERSION
from modelgraft_sentence_transformers.towers import CONFIGS, count_parameters

BY_NAME = {entry.name: entry for entry in entries()}


def test_every_entry_is_sound_and_named_once() -> None:
    found = entries()
    assert len(found) == len(BY_NAME) == len(TABLE) + len(OTHERS) == 61
    for entry in found:
        check_entry(entry)
        assert entry.modality == "text" and entry.score == "softmax"
        assert entry.weights is not None and entry.weights.repo is not None
    assert [e.name for e in found] == sorted(e.name for e in found)


def test_the_file_is_what_the_facts_give() -> None:
    assert read_catalogue(SHIPPED) == (VERSION, describe())


def test_no_fact_is_about_a_model_that_is_not_listed() -> None:
    models = {name.removeprefix("sentence-transformers/") for name in BY_NAME}
    assert (DENSE_PARAMETERS.keys() | MSMARCO.keys() | SEARCH.keys()) <= models


def test_other_kinds_of_models_are_not_listed() -> None:
    listed = " ".join(BY_NAME)
    for other in ("cross-encoder", "glove", "komninos", "splade", "static", "clip"):
        assert other not in listed.lower()


# Parameter counts that the models' hub pages state.
@pytest.mark.parametrize(
    ("tower", "params"),
    [
        ("MiniLM-L6-H384", 22_713_216),
        ("MiniLM-L12-H384", 33_360_000),
        ("bert-base-uncased", 109_482_240),
        ("mpnet-base", 109_486_464),
        ("distilbert-base-uncased", 66_362_880),
        ("distilroberta-base", 82_118_400),
        ("roberta-large", 355_359_744),
        ("xlm-roberta-base", 278_043_648),
    ],
)
def test_parameters_of_the_towers(tower: str, params: int) -> None:
    assert count_parameters(tower) == params


def test_every_tower_is_used() -> None:
    assert {row.tower for row in TABLE} | {o.tower for o in OTHERS if o.tower} == set(CONFIGS)


def test_sizes_agree_with_the_published_megabytes() -> None:
    """The documentation gives the size of the stored files: four bytes a parameter, for T5 two; within a tenth."""
    for row in TABLE:
        params = BY_NAME[f"sentence-transformers/{row.model}"].params
        assert params is not None
        megabytes = params * (2 if "t5" in row.model else 4) / 2**20
        assert row.megabytes / 1.1 <= megabytes <= row.megabytes * 1.1, row.model


def test_listing_imports_no_library() -> None:
    code = (
        "import sys, json\n"
        "from modelgraft_sentence_transformers.plugin import modelgraft_entries\n"
        "n = len(list(modelgraft_entries()))\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'huggingface_hub', 'numpy'}\n"
        "print(json.dumps([n, sorted(heavy & sys.modules.keys())]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [61, []]
