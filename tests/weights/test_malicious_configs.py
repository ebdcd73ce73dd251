"""Configurations that an attacker would publish reach no code, no other repository and no file outside.

As in `test_malicious`, each attack is tried twice: as things are, and with our copies of configurations taken out. The second time
the trap must spring.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.hub_standin import HubStandIn
from tests.sentence_transformers.conftest import minilm_folder
from tests.weights.test_malicious import Runs, Scene, refused
from tests.weights.test_malicious import warm as warm
from tests.weights.test_recognising import TINY_CLIP

SENTENCES, CLIP, TIMM, KERNEL = "hub:evil/sentences", "hub:evil/clip", "hub:evil/pictures", "hub:evil/kernel"
OTHER = "evil/other"


@pytest.fixture
def scene(tmp_path: Path, warm: Path) -> Iterator[Scene]:
    with HubStandIn(tmp_path / "repos") as hub:
        (tmp_path / "repos").mkdir()
        scene = Scene(tmp_path, hub, warm)
        publish(scene)
        yield scene


def publish(scene: Scene) -> None:
    """A pickle that asks to be opened whole; a tokenizer and a model that lie elsewhere and bring code."""
    folder = scene.hub.root / "evil" / "sentences"
    without = shutil.ignore_patterns("__pycache__", "model.safetensors")
    shutil.copytree(minilm_folder(), folder, ignore=without)
    state = dict(load_file(minilm_folder() / "model.safetensors"))
    torch.save({**state, "trap": Runs(scene.trap.with_name("pickle"))}, folder / "pytorch_model.bin")
    about = {"max_seq_length": 256, "do_lower_case": False, "model_args": {"weights_only": False}}
    (folder / "sentence_bert_config.json").write_text(json.dumps(about))

    config = json.loads(json.dumps(TINY_CLIP))
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "any", "tokenizer_kwargs": {"trust_remote_code": True}}
    auto = {"AutoTokenizer": [None, f"{OTHER}--tok.Tok"]}
    folder = scene.repo("evil/clip", open_clip_config__json=config, tokenizer_config__json={"auto_map": auto})
    save_file({"weight": torch.zeros(1)}, folder / "open_clip_model.safetensors")
    code = f"import pathlib\npathlib.Path({str(scene.trap.with_name('tokenizer'))!r}).mkdir()\nclass Tok: ...\n"
    elsewhere = scene.repo(OTHER, config__json={})
    (elsewhere / "tok.py").write_text(code)
    save_file({"weight": torch.zeros(1)}, elsewhere / "model.safetensors")

    stated = {"source": "hf-hub", "hf_hub_id": OTHER, "input_size": [3, 160, 160], "num_classes": 1000}
    folder = scene.repo("evil/pictures", config__json={"architecture": "test_vit", "pretrained_cfg": stated})
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")


@pytest.mark.full
def test_configurations_reach_neither_code_nor_other_repositories(scene: Scene) -> None:
    before = scene.outside()
    folder = f"file:{scene.hub.root / 'evil' / 'sentences'}"
    answers = scene.client("load", [SENTENCES, folder, CLIP, TIMM], "")
    for name in (SENTENCES, folder):
        refused(answers[name], name, "sentence_bert_config.json", "model_args.weights_only")
    refused(answers[CLIP], CLIP, "open_clip_config.json", "--trust-remote-code")
    assert "error" in answers[TIMM]  # its own weights fit no model; the others were not asked for
    assert scene.outside() == before
    assert not scene.hub.seen(f"*{OTHER}*") and not list(scene.home.rglob("*.py"))


@pytest.mark.full
def test_without_our_copies_they_do(scene: Scene) -> None:
    scene.client("load", [SENTENCES, CLIP, TIMM], "configs_as_we_say")
    assert scene.trap.with_name("pickle").exists()
    assert scene.trap.with_name("tokenizer").exists()
    assert scene.hub.seen(f"*{OTHER}/resolve/*/model.safetensors")
