"""Weights that cannot be had are told in one line that says what to do; what was fetched once works with no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from modelgraft_open_clip.catalogue import entries
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT
from tests.hub_standin import HubStandIn

GOOD = "open_clip/ViT-B-32:laion2b_s34b_b79k"
SIGLIP = "open_clip/ViT-B-32-SigLIP2-256:webli"
GATED = "open_clip/ViT-B-32:laion2b_e16"
GONE = "open_clip/ViT-B-32:openai"
EMPTY = "open_clip/ViT-B-32:laion400m_e31"
TORN = "open_clip/ViT-B-32:laion400m_e32"
OTHER = "open_clip/ViT-B-32:datacomp_xl_s13b_b90k"
REPO = {entry.name: str(entry.weights and entry.weights.repo) for entry in entries()}

Attempt = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    with HubStandIn(tmp_path_factory.mktemp("root")) as standin:
        yield standin


@pytest.fixture(scope="module")
def attempt(hub: HubStandIn, tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    folder = tmp_path_factory.mktemp("client")

    def attempt(*jobs: dict[str, Any], **env: str) -> list[dict[str, Any]]:
        (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-m", "tests.open_clip.failure_client", str(hub.root), str(folder / "jobs.json")],
            cwd=folder,
            env={**inherited, "PYTHONPATH": str(ROOT), **hub.environment(folder / "home"), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return attempt


@pytest.fixture(scope="module")
def first(attempt: Attempt, hub: HubStandIn) -> list[dict[str, Any]]:
    """A model that can be had, and one whose tokenizer cannot."""
    return attempt({"name": GOOD, "publish": True}, {"name": SIGLIP})


@pytest.fixture(scope="module")
def online(first: list[dict[str, Any]], attempt: Attempt, hub: HubStandIn) -> list[dict[str, Any]]:
    weights = load_file(hub.root / REPO[GOOD] / "open_clip_model.safetensors")
    changed = {key: value + 0.1 if key == "visual.proj" else value for key, value in weights.items()}
    for repo, content in (
        (f"{REPO[GOOD]}@v2", changed),
        (REPO[GATED], weights),
        (REPO[OTHER], None),
        (REPO[EMPTY], None),
    ):
        (hub.root / repo).mkdir(parents=True)
        if content is not None:
            save_file(content, hub.root / repo / "open_clip_model.safetensors")
    torch.save(weights, hub.root / REPO[OTHER] / "open_clip_pytorch_model.bin")
    (hub.root / REPO[EMPTY] / "README.md").write_text("nothing here")
    hub.gate(REPO[GATED])
    (hub.root / REPO[TORN]).mkdir(parents=True)
    whole = (hub.root / REPO[GOOD] / "open_clip_model.safetensors").read_bytes()
    (hub.root / REPO[TORN] / "open_clip_model.safetensors").write_bytes(whole[: len(whole) // 2])
    jobs = [{"name": name} for name in (f"{GOOD}@v2", OTHER, GATED, GONE, EMPTY, TORN, f"{GOOD}@v3")]
    return attempt(*jobs, {"name": GOOD, "dtype": "float64"})


def told_in_a_line(answer: dict[str, Any], kind: str = "WeightsUnavailableError") -> str:
    assert answer.get("error") == kind, answer
    assert "\n" not in answer["text"] and len(answer["text"]) < 500
    return str(answer["text"])


@pytest.mark.full
def test_the_good_one_loads(first: list[dict[str, Any]]) -> None:
    assert "error" not in first[0]


def test_a_missing_tokenizer_is_named(first: list[dict[str, Any]], hub: HubStandIn) -> None:
    text = told_in_a_line(first[1])
    assert REPO[SIGLIP] in text and f"{hub.endpoint} has no repository" in text


@pytest.mark.full
def test_a_revision_is_another_model(first: list[dict[str, Any]], online: list[dict[str, Any]]) -> None:
    assert online[0]["text"] == pytest.approx(first[0]["text"], abs=1e-6)
    assert online[0]["image"] != pytest.approx(first[0]["image"], abs=1e-3)
    assert f"{REPO[GOOD]} has no revision 'v3'" in told_in_a_line(online[6])


def test_pickled_weights_where_there_are_no_others(first: list[dict[str, Any]], online: list[dict[str, Any]]) -> None:
    assert online[1]["image"] == pytest.approx(first[0]["image"], abs=1e-6)


def test_refusals(online: list[dict[str, Any]], hub: HubStandIn) -> None:
    gated, gone, empty, torn = (told_in_a_line(answer) for answer in online[2:6])  # torn already when it was published
    assert "gated" in gated and f"{hub.endpoint}/{REPO[GATED]}" in gated and "hf auth login" in gated
    assert f"no repository {REPO[GONE]}" in gone
    assert f"{REPO[EMPTY]} holds no open_clip_model.safetensors or open_clip_pytorch_model.bin" in empty
    assert f"the files of {TORN}" in torn and "cannot be read" in torn
    assert "float32, bfloat16 or float16" in told_in_a_line(online[7], "UsageError")


@pytest.mark.full
def test_offline(first: list[dict[str, Any]], online: list[dict[str, Any]], attempt: Attempt, hub: HubStandIn) -> None:
    asked = len(hub.requests)
    found = attempt({"name": GOOD}, {"name": OTHER}, {"name": GONE}, {"name": SIGLIP}, HF_HUB_OFFLINE="1")
    assert found[0] == first[0]
    assert found[1]["image"] == pytest.approx(first[0]["image"], abs=1e-6)
    for name, answer in zip((GONE, SIGLIP), found[2:], strict=True):
        text = told_in_a_line(answer, "NotStoredError")
        assert "HF_HUB_OFFLINE is set" in text and f"'modelgraft pull {name}'" in text
    assert len(hub.requests) == asked


@pytest.mark.full
def test_an_unreachable_hub(first: list[dict[str, Any]], attempt: Attempt) -> None:
    nowhere = "http://127.0.0.1:9"
    found = attempt({"name": GOOD}, {"name": GONE}, {"name": SIGLIP}, HF_ENDPOINT=nowhere)
    assert found[0] == first[0]
    assert f"cannot reach {nowhere}" in told_in_a_line(found[1])
    assert nowhere in told_in_a_line(found[2])
