"""A repository's code runs for the one model that the user names, and for no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub_standin import HubStandIn
from tests.sentence_transformers.conftest import Encode, publish

NAMED, OTHER = "sentence-transformers/paraphrase-TinyBERT-L6-v2", "sentence-transformers/paraphrase-albert-small-v2"
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "own_code.Encoder"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


@pytest.mark.full
def test_only_the_named_models_code_runs(hub: HubStandIn, encode: Encode, tmp_path: Path) -> None:
    for name in (NAMED, OTHER):
        folder = publish(hub.root, name, modules__json=MODULES)
        trace = tmp_path / name.rpartition("/")[2]
        (folder / "own_code.py").write_text(
            "from pathlib import Path\nfrom sentence_transformers.models import Transformer as Encoder\n"
            f"Path({str(trace)!r}).write_text('ran')\n"
        )
    jobs = {name: {"name": name, "texts": ["a cat"]} for name in (NAMED, OTHER)}
    refused = encode(jobs, HF_MODULES_CACHE=str(tmp_path / "modules"))
    for name in (NAMED, OTHER):
        assert refused[name]["error"] == "WeightsUnavailableError" and "--trust-remote-code" in refused[name]["text"]
    assert not hub.seen("*/own_code.py")  # not even fetched
    assert sorted(path.name for path in tmp_path.iterdir()) == []

    found = encode(jobs, HF_MODULES_CACHE=str(tmp_path / "modules"), MODELGRAFT_TRUST_REMOTE_CODE=NAMED)
    assert found[NAMED]["embeddings"].shape == (1, 384), json.dumps(found[NAMED])
    assert found[OTHER]["error"] == "WeightsUnavailableError"
    assert (tmp_path / NAMED.rpartition("/")[2]).exists() and not (tmp_path / OTHER.rpartition("/")[2]).exists()
