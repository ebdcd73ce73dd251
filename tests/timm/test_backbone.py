"""Loaded through the real hub client from a stand-in, embeddings are timm's own pre-logits features; failures are told."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import modelgraft
import pytest
import timm
import timm.data
import torch
from modelgraft.entry import Weights
from modelgraft.errors import UnsafeWeightsError, WeightsUnavailableError
from modelgraft.paths import cache_dir
from modelgraft.shipped import read_catalogue
from modelgraft_sources.web import _DIGEST, _folder
from modelgraft_timm import catalogue
from modelgraft_timm.features import pooled_features
from modelgraft_timm.names import timm_name
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT
from tests.hub_standin import HubStandIn

ENTRIES = {entry.name: entry for entry in read_catalogue(catalogue.SHIPPED)[1]}
Job = tuple[str, str | None, str | None, torch.Tensor]

# Pooling of every kind: mean, class token, two tokens (distilled), attention, a hidden layer after it; a projection for a head.
NAMES = (
    "timm/test_resnet:r160_in1k",
    "timm/test_vit:r160_in1k",
    "timm/test_vit3:r160_in1k",
    "timm/test_efficientnet:r160_in1k",
    "timm/test_convnext:r160_in1k",
    "timm/test_nfnet:r160_in1k",
    "timm/test_byobnet:r160_in1k",
    "timm/mobilenetv3_small_050:lamb_in1k",
    "timm/deit_tiny_distilled_patch16_224:fb_in1k",
    "timm/levit_128s:fb_dist_in1k",
    "timm/efficientvit_b0:r224_in1k",
    "timm/vit_xsmall_patch16_clip_224:tinyclip_yfcc15m",
)
SMALL = "timm/test_vit:r160_in1k"


def random_model(name: str, seed: int) -> torch.nn.Module:
    """The entry's architecture with random weights and random batch statistics: nothing is left at a neutral value."""
    torch.manual_seed(seed)
    model = timm.create_model(timm_name(ENTRIES[name]))
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor + 0.05 * torch.rand_like(tensor))
    return model.eval()


def pixels_for(name: str, seed: int = 0) -> torch.Tensor:
    size = ENTRIES[name].input_size
    assert size is not None
    return torch.randn(2, *size, generator=torch.Generator().manual_seed(seed))


def publish(root: Path, name: str, model: torch.nn.Module, revision: str = "") -> Path:
    """A repository as timm's are: model.safetensors, at a revision."""
    weights = ENTRIES[name].weights
    assert weights is not None and weights.repo is not None
    folder = root / (weights.repo + (f"@{revision}" if revision else ""))
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return folder


def client(tmp_path: Path, jobs: list[Job], environment: dict[str, str]) -> list[dict[str, Any]]:
    """What `tests.timm.hub_client` gives for ``jobs`` in a process of its own."""
    torch.save(jobs, tmp_path / "jobs.pt")
    inherited = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("HF_") and k.lower() not in ("http_proxy", "https_proxy")
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.timm.hub_client", str(tmp_path / "jobs.pt"), str(tmp_path / "out.pt")],
        env={**inherited, "TORCH_HOME": str(tmp_path / "torch"), "OMP_NUM_THREADS": "1", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(tmp_path / "out.pt", weights_only=True)


def one_line(answer: dict[str, Any], kind: str, *parts: str) -> None:
    """The answer is this error, in one line that holds all ``parts``."""
    assert answer["error"] == kind, answer
    assert "\n" not in answer["text"] and "Traceback" not in answer["text"]
    for part in parts:
        assert part in answer["text"]


@pytest.mark.full
def test_embeddings_are_timms_own(tmp_path: Path) -> None:
    models = {name: random_model(name, seed) for seed, name in enumerate(NAMES)}
    for name, model in models.items():
        publish(tmp_path / "hub", name, model)
    other = random_model(SMALL, 99)
    publish(tmp_path / "hub", SMALL, other, revision="v2")
    jobs: list[Job] = [(name, None, None, pixels_for(name)) for name in NAMES]
    jobs += [(SMALL, "v2", None, pixels_for(SMALL)), (SMALL, None, "bfloat16", pixels_for(SMALL))]
    with HubStandIn(tmp_path / "hub") as hub:
        answers = client(tmp_path, jobs, hub.environment(tmp_path / "home"))
        assert len(hub.seen("*/model.safetensors", "GET")) == len(NAMES) + 1
        # The same with the network gone: all that was fetched is found in the cache.
        again = client(tmp_path, jobs[-2:], {**hub.environment(tmp_path / "home"), "HF_HUB_OFFLINE": "1"})
        assert len(hub.seen("*/model.safetensors", "GET")) == len(NAMES) + 1
    with torch.inference_mode():
        for (name, revision, dtype, pixels), answer in zip(jobs, answers, strict=True):
            model: Any = other if revision else models[name]
            if dtype is not None:
                model, pixels = copy.deepcopy(model).to(getattr(torch, dtype)), pixels.to(getattr(torch, dtype))
            theirs = model.forward_head(model.forward_features(pixels), pre_logits=True)
            assert theirs.shape == (2, ENTRIES[name].embed_dim)
            assert torch.allclose(answer["embeddings"], theirs.float(), rtol=1e-5, atol=1e-5), name
            assert torch.allclose(answer["logits"], model(pixels).float(), rtol=1e-5, atol=1e-5), name
    for answer, cached in zip(answers[-2:], again, strict=True):
        assert torch.equal(answer["embeddings"], cached["embeddings"])
    first, second = answers[NAMES.index(SMALL)]["embeddings"], answers[len(NAMES)]["embeddings"]
    assert not torch.allclose(first, second, rtol=1e-3, atol=1e-3)  # the revision made a difference


def test_towers_without_a_head_average_their_tokens() -> None:
    torch.manual_seed(0)
    model = timm.create_model("qwen3_vit_88m_enc", depth=2).eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        tokens = model(pixels)
        assert tokens.ndim == 3 and tokens.shape[2] == ENTRIES["timm/qwen3_vit_88m_enc:qwen3_5_0_8b"].embed_dim
        assert torch.allclose(pooled_features(model, pixels), tokens.mean(1), atol=1e-6)


class Runs:
    """Pickled into weights: unpickling it without care would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.full
def test_what_goes_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    root, trap = tmp_path / "hub", tmp_path / "ran"
    publish(root, "timm/test_resnet:r160_in1k", random_model("timm/test_resnet:r160_in1k", 0))
    good = publish(root, "timm/test_vit:r160_in1k", random_model("timm/test_vit:r160_in1k", 0))
    (good / "README.md").write_text("served")
    stated = publish(root, "timm/test_vit2:r160_in1k", random_model("timm/test_vit2:r160_in1k", 0))
    (stated / "model.safetensors").write_bytes((stated / "model.safetensors").read_bytes()[:-1000])  # as published
    other = root / "timm/test_vit3.r160_in1k"
    other.mkdir()
    (other / "model.safetensors").write_bytes((good / "model.safetensors").read_bytes())
    (root / "timm/test_efficientnet.r160_in1k").mkdir()
    (root / "timm/test_efficientnet.r160_in1k/config.json").write_text("{}")
    honest = root / "timm/test_convnext.r160_in1k"
    honest.mkdir()
    convnext = random_model("timm/test_convnext:r160_in1k", 0)
    torch.save(convnext.state_dict(), honest / "pytorch_model.bin")
    hostile = root / "timm/test_convnext2.r160_in1k"
    hostile.mkdir()
    torch.save({"head.fc.weight": Runs(trap)}, hostile / "pytorch_model.bin")

    def job(name: str, revision: str | None = None) -> Job:
        return f"timm/{name}", revision, None, pixels_for(f"timm/{name}")

    with HubStandIn(root) as hub:
        hub.gate("timm/test_resnet.r160_in1k")
        environment = hub.environment(tmp_path / "home")
        answers = client(
            tmp_path,
            [
                job("test_resnet:r160_in1k"),
                job("test_nfnet:r160_in1k"),
                job("test_vit:r160_in1k", "nowhere"),
                job("test_vit2:r160_in1k"),
                job("test_vit3:r160_in1k"),
                job("test_efficientnet:r160_in1k"),
                job("test_convnext:r160_in1k"),
                job("test_convnext2:r160_in1k"),
                job("gcvit_xxtiny:in1k", "main"),
            ],
            environment,
        )
        gated, missing, revision, broken, unfit, empty, old, trapped, unversioned = answers
        one_line(
            gated,
            "WeightsUnavailableError",
            "timm/test_resnet:r160_in1k",
            "gated",
            "hf auth login",
            f"{hub.endpoint}/timm/test_resnet",
        )
        one_line(
            missing, "WeightsUnavailableError", "timm/test_nfnet:r160_in1k", "no repository timm/test_nfnet.r160_in1k"
        )
        one_line(revision, "WeightsUnavailableError", "timm/test_vit:r160_in1k", "no revision 'nowhere'")
        one_line(broken, "WeightsUnavailableError", "timm/test_vit2:r160_in1k", "cannot be read")
        one_line(unfit, "WeightsUnavailableError", "timm/test_vit3:r160_in1k", "do not fit")
        one_line(
            empty,
            "WeightsUnavailableError",
            "timm/test_efficientnet:r160_in1k",
            "holds no model.safetensors or pytorch_model.bin",
        )
        one_line(trapped, "UnsafeWeightsError", "timm/test_convnext2:r160_in1k", "could run code")
        one_line(unversioned, "UsageError", "timm/gcvit_xxtiny:in1k", "no revisions")
        assert not trap.exists()  # the pickle was refused, not run
        with torch.inference_mode():
            assert torch.allclose(old["logits"], convnext(pixels_for("timm/test_convnext:r160_in1k")), atol=1e-5)
        [offline] = client(tmp_path, [job("test_vit:r160_in1k", "v1")], {**environment, "HF_HUB_OFFLINE": "1"})
    one_line(
        offline,
        "NotStoredError",
        "timm/test_vit:r160_in1k",
        "HF_HUB_OFFLINE is set",
        "timm/test_vit.r160_in1k@v1",
        "'modelgraft pull timm/test_vit:r160_in1k@v1'",
    )


@pytest.mark.full
def test_without_a_network_and_weights_outside_the_hub(tmp_path: Path) -> None:
    """Nobody listens on port 9, neither as a hub nor as a proxy."""
    nowhere = "http://127.0.0.1:9"
    environment = {
        "HF_ENDPOINT": nowhere,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "https_proxy": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1",
    }
    name = "timm/gcvit_xxtiny:in1k"
    url = ENTRIES[name].weights.url  # type: ignore[union-attr]
    assert url is not None
    jobs: list[Job] = [(SMALL, None, None, pixels_for(SMALL)), (name, None, None, pixels_for(name))]
    unreachable, unfetched = client(tmp_path, jobs, environment)
    one_line(unreachable, "WeightsUnavailableError", SMALL, "cannot reach", nowhere, "HF_ENDPOINT")
    assert unreachable["seconds"] < 20  # at once: the client's own retries sleep for 46 s
    one_line(unfetched, "WeightsUnavailableError", name, url, "put that file at")


@pytest.mark.full
def test_direct_downloads_are_checked_by_the_digest_in_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights at an address, served from the loopback under a name as timm's are."""
    entry = modelgraft.resolve("timm/legacy_seresnet18:in1k")
    model = random_model(entry.name, 3)
    plain, trap = io.BytesIO(), tmp_path / "ran"
    torch.save(model.state_dict(), plain)
    good, hostile = plain.getvalue(), pickle.dumps(Runs(trap), protocol=2)
    served = tmp_path / "served"
    served.mkdir()
    assert entry.weights is not None and not entry.weights.repo

    def load(named_for: bytes, content: bytes, cached: bytes | None = None) -> Any:
        """Load with a file of ``content`` at the address, named by the digest of ``named_for``; the cache is new."""
        file = f"model-{hashlib.sha256(named_for).hexdigest()[:8]}.pth"
        (served / file).write_bytes(content)
        monkeypatch.setenv("MODELGRAFT_CACHE", tempfile.mkdtemp(dir=tmp_path))
        url = f"http://127.0.0.1:{server.server_port}/{file}"
        if cached is not None:
            to = _folder(url) / file
            to.parent.mkdir(parents=True)
            to.write_bytes(cached)
        return modelgraft.load(replace(entry, weights=Weights(url=url)), device="cpu").module  # type: ignore[union-attr]

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        pixels = pixels_for(entry.name)
        with torch.inference_mode():
            for loaded in (load(good, good), load(good, b"", cached=good), load(good, good, cached=good[:-1] + b"x")):
                assert torch.allclose(loaded(pixels), model(pixels), atol=1e-5)
        assert len(list((cache_dir() / "set-aside").iterdir())) == 1  # the bad copy of the last one
        with pytest.raises(
            WeightsUnavailableError, match=r"legacy_seresnet18.* not what was stated, twice: its sha256 is"
        ):
            load(good, good + b"x")
        with pytest.raises(UnsafeWeightsError, match="could run code"):
            load(hostile, hostile)
        assert not trap.exists()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(WeightsUnavailableError, match=r"HF_HUB_OFFLINE is set; unset it, or put http"):
            load(good, good)
        load(good, b"", cached=good)
        server.shutdown()


def test_digests_in_file_names_are_those_torch_would_check() -> None:
    urls = [e.weights.url for e in ENTRIES.values() if e.weights and e.weights.url]
    assert len(urls) == 19
    for url in urls:
        found = torch.hub.HASH_REGEX.search(url.rpartition("/")[2])
        is_digest = found is not None and re.fullmatch(r"[0-9a-f]{8,}", found[1]) is not None
        assert bool(_DIGEST.search(url)) == is_digest
        assert is_digest == ("ijepa" not in url)  # "IN1K-vit.h.14-300e.pth.tar": 300 epochs, no digest


@pytest.mark.full
def test_real_weights_see(shared_data: Path, tmp_path: Path) -> None:
    """Real ImageNet weights, through the hub client: the classifier on our embeddings knows the photographs."""
    file = shared_data / "weights" / "mobilenetv2_100.coral_in1k_plain.safetensors"
    samples = shared_data / "imagenet_samples.tar"
    if not (file.exists() and samples.exists()):
        pytest.skip("the real weights or photographs are absent")
    facts = json.loads(file.with_suffix(".json").read_text())["preprocessing"]
    transform = timm.data.create_transform(**facts, is_training=False)
    pictures, classes = [], []
    with tarfile.open(samples) as tar:
        members = sorted((m for m in tar.getmembers() if m.isfile()), key=lambda m: m.name)
        synsets = sorted({m.name.split("/")[-2] for m in members})
        for member in members[::20]:
            opened = tar.extractfile(member)
            assert opened is not None
            pictures.append(transform(Image.open(opened).convert("RGB")))
            classes.append(synsets.index(member.name.split("/")[-2]))
    assert len(synsets) == 1000
    # They fit an architecture that timm ships other weights for; the preprocessing is theirs, so it is done here.
    name = "timm/mobilenetv2_100:ra_in1k"
    folder = tmp_path / "hub" / "timm" / "mobilenetv2_100.ra_in1k"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(file.read_bytes())
    with HubStandIn(tmp_path / "hub") as hub:
        [answer] = client(tmp_path, [(name, None, None, torch.stack(pictures))], hub.environment(tmp_path / "home"))
    weights = load_file(file)
    ours = answer["embeddings"] @ weights["classifier.weight"].float().T + weights["classifier.bias"].float()
    assert torch.allclose(ours, answer["logits"], atol=1e-3)
    accuracy = (ours.argmax(1) == torch.tensor(classes)).float().mean().item()
    assert accuracy > 0.7, accuracy
