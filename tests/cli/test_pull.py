"""``modelgraft pull`` and ``modelgraft cache``, through the real hub client and a stand-in of the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import Run
from tests.hub_standin import HubStandIn

ONE, TWO = "timm/test_vit:r160_in1k", "timm/test_resnet:r160_in1k"


@dataclass
class World:
    """A hub with two models, a home, and the command line in it."""

    hub: HubStandIn
    home: Path
    run: Run

    def __call__(self, *arguments: str, **more: str) -> Any:
        env = {**self.hub.environment(self.home), "MODELGRAFT_CACHE": str(self.home / "mg"), **more}
        return self.run(*arguments, env=env, cwd=self.home)

    def json(self, *arguments: str, **more: str) -> Any:
        done = self(*arguments, "--format", "json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def world(tmp_path: Path, run: Run) -> Iterator[World]:
    for number, name in enumerate((ONE, TWO)):
        folder = tmp_path / "hub" / name.replace(":", ".")
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(os.urandom(300_000 + number))
        (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (tmp_path / "home").mkdir()
    with HubStandIn(tmp_path / "hub") as hub:
        yield World(hub, tmp_path / "home", run)


@pytest.mark.full
def test_pulled_once_and_then_there_without_a_network(world: World) -> None:
    first = world.json("pull", ONE, TWO)
    assert [(r["name"], r["files"], r["size"], r["fetched"], r["error"]) for r in first] == [
        (ONE, 1, 300_000, 300_000, None),
        (TWO, 1, 300_001, 300_001, None),
    ]
    assert all(Path(r["folder"]).name == r["revision"] == world.hub.commit(r["name"].replace(":", ".")) for r in first)
    again = world.json("pull", ONE)
    assert again[0]["fetched"] == 0
    offline = world.json("pull", ONE, TWO, HF_HUB_OFFLINE="1")
    assert [r["fetched"] for r in offline] == [0, 0]
    nowhere = world.json("pull", ONE, HF_ENDPOINT="http://127.0.0.1:9")
    assert nowhere[0]["revision"] == first[0]["revision"]
    assert len(world.hub.seen("*/model.safetensors", "GET")) == 2 and not world.hub.seen("*.bin")


@pytest.mark.full
def test_what_another_tool_fetched_is_found(world: World) -> None:
    code = f"from huggingface_hub import hf_hub_download as f; f({ONE.replace(':', '.')!r}, 'model.safetensors')"
    env = {**os.environ, **world.hub.environment(world.home)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)
    assert world.json("pull", ONE)[0]["fetched"] == 0
    assert world.json("cache")[0]["models"] == [ONE]


def test_a_table_for_people(world: World) -> None:
    done = world("pull", ONE, "embedded/sprig")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["name", "revision", "files", "size", "fetched", "folder"]
    assert lines[1].split()[:2] == [ONE, world.hub.commit(ONE.replace(":", "."))[:12]]
    assert "inside its plugin" in lines[2] and done.stderr == ""


@pytest.mark.full
def test_one_that_fails_does_not_stop_the_others(world: World) -> None:
    done = world("pull", "timm/test_vit3:r160_in1k", ONE, "--format", "json")
    assert done.returncode == 1
    assert [record["error"] is None for record in json.loads(done.stdout)] == [False, True]
    assert done.stderr.count("\n") == 1 and "timm/test_vit3:r160_in1k" in done.stderr and "no repository" in done.stderr
    unknown = world("pull", ONE, "timm/test_vti")
    assert unknown.returncode == 2 and "did you mean" in unknown.stderr and not unknown.stdout


@pytest.mark.full
def test_cache_lists_verifies_and_prunes(world: World) -> None:
    assert world("cache").stdout == "0 stored, 0B\n"
    world.json("pull", ONE, TWO)
    held = world.json("cache")
    assert [(r["location"], r["models"]) for r in held] == [
        ("hf:timm/test_resnet.r160_in1k", [TWO]),
        ("hf:timm/test_vit.r160_in1k", [ONE]),
    ]
    assert [r["damaged"] for r in world.json("cache", "verify")] == [{}, {}]

    (blob,) = (world.home / "hub" / "models--timm--test_vit.r160_in1k" / "blobs").iterdir()
    state = blob.stat()
    with blob.open("r+b") as file:
        first = file.read(1)[0]  # random weights: one that is written over it may be the same
        file.seek(0)
        file.write(bytes([first ^ 1]))
    os.utime(blob, ns=(state.st_atime_ns, state.st_mtime_ns))  # a disk that rots tells no time
    damaged = world("cache", "verify", "--format", "json")
    assert damaged.returncode == 1 and "1 stored file is damaged" in damaged.stderr
    (found,) = [r for r in json.loads(damaged.stdout) if r["damaged"]]
    assert list(found["damaged"]) == ["model.safetensors"]

    dry = world.json("cache", "prune", "--keep", TWO, "--dry-run")
    assert [(r["location"], r["freed"]) for r in dry] == [("hf:timm/test_vit.r160_in1k", 0)]
    assert world.json("cache", "prune", "--older-than", "1h") == []
    gone = world.json("cache", "prune", "--keep", TWO)
    assert [(r["location"], r["freed"]) for r in gone] == [("hf:timm/test_vit.r160_in1k", 300_000)]
    assert [r["models"] for r in world.json("cache")] == [[TWO]]


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("cache", "prune", "--older-than", "soon"), "--older-than takes a number and h, d or w"),
        (("cache", "--dry-run"), "belong to 'modelgraft cache prune'"),
        (("cache", "burn"), "burn"),
        (("pull", ONE, "--format", "xml"), "no format 'xml'"),
        (("pull",), "Missing argument"),
    ],
)
def test_wrong_use(world: World, arguments: tuple[str, ...], told: str) -> None:
    done = world(*arguments)
    assert done.returncode == 2 and told in done.stderr and not done.stdout


@pytest.mark.full
def test_a_token_lets_in_and_is_written_nowhere(world: World) -> None:
    token, wrong = "hf_" + "s3cretT0ken" * 3, "hf_" + "an0therT0ken" * 3
    world.hub.gate(ONE.replace(":", "."), token)
    outputs = []
    for arguments in (("pull", ONE, "--format", "json"), ("lock", ONE), ("cache",), ("doctor", "--format", "json")):
        done = world(*arguments, HF_TOKEN=token, HF_DEBUG="1")
        assert done.returncode == 0 or arguments[0] == "doctor", done.stderr
        outputs.append(done.stdout + done.stderr)
    refused = world("pull", ONE, "--debug", HF_TOKEN=wrong, HF_HUB_CACHE=str(world.home / "other"))
    assert refused.returncode == 1 and "hf auth login" in refused.stderr
    outputs.append(refused.stdout + refused.stderr)
    files = [path for path in world.home.rglob("*") if path.is_file()]
    assert any(path.name == "modelgraft.lock" for path in files)
    for secret in (token, wrong):
        assert not any(secret in output for output in outputs)
        assert not [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.full
def test_a_mirror_of_plain_addresses(world: World, tmp_path: Path) -> None:
    """Weights outside the hub, fetched from a mirror under their host's name, checked by the digest in theirs."""
    name = "timm/gcvit_xxtiny:in1k"
    url = world.json("info", name)["weights"]["url"]
    file = tmp_path / "mirror" / url.removeprefix("https://")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not those weights")
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    ) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        done = world("pull", name, MODELGRAFT_MIRROR=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    assert done.returncode == 1 and "is not what was stated, twice: its sha256" in done.stderr
    assert f"127.0.0.1:{server.server_port}/{url.removeprefix('https://')}" in done.stderr
