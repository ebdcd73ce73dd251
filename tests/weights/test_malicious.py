"""What an attacker would publish leaves no trace outside the cache.

Every attack is tried twice: as things are, and with the guard against it taken out (`malicious_client` says which it is). The
second time the trap must spring: a trap that never springs would prove nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import ROOT
from tests.hub_standin import HubStandIn

TIMM = "timm/test_vit2:r160_in1k"
TIMM_REPO = "timm/test_vit2.r160_in1k"
CLIP = "open_clip/ViT-B-32:laion2b_s34b_b79k"
CLIP_REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
TEXT = "sentence-transformers/all-MiniLM-L6-v2"
OTHER_TEXT = "sentence-transformers/all-mpnet-base-v2"

Answer = dict[str, Any]


class Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


class Scene:
    """A hub, a client's home, and everything around it that must stay as it is."""

    def __init__(self, folder: Path, hub: HubStandIn, warm: Path) -> None:
        self.folder, self.hub = folder, hub
        self.home, self.graft = folder / "home", folder / "graft"
        self.trap = folder / "outside" / "trap"
        self.trap.parent.mkdir()
        shutil.copytree(warm, self.graft)

    def fetch(self, name: str, guard: str = "", **env: str) -> Answer:
        """Have the weights of a model in a process of its own, without a guard if one is named."""
        return self.client("fetch", [name], guard, **env)[name]

    def client(self, what: str, names: list[str], guards: str, **env: str) -> dict[str, Answer]:
        """What `tests.weights.malicious_client` says, by name."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MODELGRAFT_"))}
        done = subprocess.run(
            [sys.executable, "-m", "tests.weights.malicious_client", what, ",".join(names), guards],
            env={
                **inherited,
                **self.hub.environment(self.home),
                "HF_MODULES_CACHE": str(self.home / "modules"),
                "MODELGRAFT_CACHE": str(self.graft),
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                **env,
            },
            cwd=self.folder / "outside",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return {name: json.loads(line) for name, line in zip(names, said, strict=True)}

    def outside(self) -> dict[str, tuple[int, int, str]]:
        """Everything that is not the client's: path -> size, time, where a link leads."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if self.home not in path.parents and self.graft not in path.parents and path not in (self.home, self.graft):
                state = path.lstat()
                link = os.readlink(path) if path.is_symlink() else ""
                size, when = (0, 0) if path.is_dir() else (state.st_size, state.st_mtime_ns)
                found[str(path)] = (size, when, link)
        return found

    def repo(self, repo: str, **files: Any) -> Path:
        """A repository with JSON files (``__`` in a name is a dot)."""
        folder = self.hub.root / repo
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(json.dumps(content), encoding="utf-8")
        return folder


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What modelgraft keeps of its plugins, made once."""
    folder = tmp_path_factory.mktemp("warm")
    command = [sys.executable, "-m", "modelgraft", "plugins"]
    subprocess.run(command, env={**os.environ, "MODELGRAFT_CACHE": str(folder)}, capture_output=True, check=True)
    return folder


@pytest.fixture
def scene(tmp_path: Path, warm: Path) -> Iterator[Scene]:
    with HubStandIn(tmp_path / "repos") as hub:
        (tmp_path / "repos").mkdir()
        yield Scene(tmp_path, hub, warm)


def refused(answer: Answer, name: str, *words: str) -> None:
    """One line, on purpose, with the model's name and these words in it."""
    assert answer.get("error") in ("UnsafeWeightsError", "WeightsUnavailableError", "NotStoredError"), answer
    assert "\n" not in answer["text"] and "not on purpose" not in answer["text"]
    assert name in answer["text"], answer
    for word in words:
        assert word in answer["text"], answer


def text_model(scene: Scene, repo: str = TEXT, kind: str = "evil.Evil", **config: Any) -> Path:
    """A Sentence Transformers repository with one module of a kind."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": kind}]
    folder = scene.repo(repo, modules__json=modules, config__json=config)
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


CODE = {"timm pickle": TIMM, "open_clip pickle": CLIP, "modules.json": TEXT, "auto_map": OTHER_TEXT}


def publish_code(scene: Scene) -> None:
    """Four ways of having code run; each makes a folder of its own outside."""
    traps = {how: scene.trap.with_name(how) for how in CODE}
    for how, repo, file, key in (
        ("timm pickle", TIMM_REPO, "pytorch_model.bin", "head.weight"),
        ("open_clip pickle", CLIP_REPO, "open_clip_pytorch_model.bin", "visual.proj"),
    ):
        torch.save({key: Runs(traps[how])}, scene.repo(repo) / file)
    auto = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
    module = "sentence_transformers.models.Transformer"
    for how, folder in (
        ("modules.json", text_model(scene)),
        ("auto_map", text_model(scene, OTHER_TEXT, module, model_type="evil", auto_map=auto)),
    ):
        code = f"import pathlib\npathlib.Path({str(traps[how])!r}).mkdir()\nclass Evil: ...\n"
        (folder / "evil.py").write_text(code, encoding="utf-8")


@pytest.mark.full
def test_code_is_not_run(scene: Scene) -> None:
    publish_code(scene)
    before = scene.outside()
    # A user who trusts one model has not trusted the others.
    answers = scene.client("load", list(CODE.values()), "", MODELGRAFT_TRUST_REMOTE_CODE="sentence-transformers/LaBSE")
    for how, name in CODE.items():
        refused(answers[name], name, "pickle that could run code" if "pickle" in how else "")
    assert scene.outside() == before
    assert not list(scene.home.rglob("*.py")), "the code was fetched"


@pytest.mark.full
def test_without_the_guards_it_is_run(scene: Scene) -> None:
    publish_code(scene)
    answers = scene.client("load", list(CODE.values()), "pickles_without_code,no_remote_code")
    for how in CODE:
        assert scene.trap.with_name(how).exists(), answers


NAMES = {
    "up": "../../../../../escaped.json",
    "hidden_up": "1_Pooling/../../../../../../escaped.json",
    "absolute": "/escaped.json",
    "backslash": "..\\..\\escaped.json",
    "drive": "C:/escaped.json",
    "control": "a\nb.json",
}


@pytest.mark.full
@pytest.mark.parametrize("which", NAMES)
def test_file_names_that_leave_the_folder(scene: Scene, which: str) -> None:
    text_model(scene)
    (scene.folder / "bait.json").write_text("{}")
    scene.hub.plant(TEXT, NAMES[which], scene.folder / "bait.json")
    before = scene.outside()
    refused(scene.fetch(TEXT), TEXT, "would leave its folder")
    assert scene.outside() == before
    assert not list(scene.home.rglob("*escaped*"))


@pytest.mark.parametrize("which", ["up", "hidden_up"])
def test_without_the_guard_such_names_do_leave(scene: Scene, which: str) -> None:
    text_model(scene)
    (scene.folder / "bait.json").write_text("{}")
    scene.hub.plant(TEXT, NAMES[which], scene.folder / "bait.json")
    scene.fetch(TEXT, "safe_names")
    assert (scene.folder / "escaped.json").exists()


@pytest.mark.parametrize("guard", ["", "safe_names"])
def test_a_digest_that_is_a_path(scene: Scene, guard: str) -> None:
    """Cached files are named by what the hub says their digest is."""
    scene.repo(TIMM_REPO)
    (scene.folder / "bait").write_bytes(b"\0" * 1000)
    scene.hub.plant(TIMM_REPO, "model.safetensors", scene.folder / "bait", digest="../../../../victim")
    victim = scene.folder / "victim.modelgraft.incomplete"  # what a download there would go on with
    victim.write_text("mine")
    before = scene.outside()
    answer = scene.fetch(TIMM, guard)
    if guard:
        assert not victim.exists() or victim.read_text() != "mine"
        return
    refused(answer, TIMM, "would leave its folder")
    assert scene.outside() == before


def pulled(scene: Scene) -> Path:
    """A good file in the cache; its link in the snapshot."""
    save_file({"weight": torch.zeros(1000)}, scene.repo(TIMM_REPO) / "model.safetensors")
    assert scene.fetch(TIMM) == {"done": "fetch"}
    (pointer,) = scene.home.rglob("snapshots/*/model.safetensors")
    return pointer


@pytest.mark.parametrize("guard", ["", "links_inside"])
def test_a_link_that_leads_out_of_the_cache_is_not_read(scene: Scene, guard: str) -> None:
    pointer = pulled(scene)
    elsewhere = scene.folder / "outside" / "private"
    shutil.copy(pointer, elsewhere)
    pointer.unlink()
    pointer.symlink_to(elsewhere)
    before = scene.outside()
    answer = scene.fetch(TIMM, guard, HF_HUB_OFFLINE="1")
    if guard:
        assert answer == {"done": "fetch"}
        return
    refused(answer, TIMM, "leads out of")
    assert scene.outside() == before


@pytest.mark.parametrize("guard", ["", "downloads_into_no_link"])
def test_nothing_is_written_through_links_that_lead_out(scene: Scene, guard: str) -> None:
    """Where a download would be continued, and where the finished file would lie."""
    pointer = pulled(scene)
    blob = pointer.resolve()
    pointer.unlink()
    blob.unlink()
    victim = scene.folder / "outside" / "victim"
    victim.write_text("mine")
    for name in (f"{blob.name}.modelgraft.incomplete", f"{blob.name}.incomplete", f".{blob.name}.modelgraft.lock"):
        link = blob.with_name(name)
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
    blob.symlink_to(scene.folder / "outside" / "new")
    before = scene.outside()
    answer = scene.fetch(TIMM, guard)
    if guard:
        assert victim.read_bytes() != b"mine"
        return
    assert scene.outside() == before and victim.read_text() == "mine"
    assert answer == {"done": "fetch"} or answer["error"] == "UnsafeWeightsError"


@pytest.mark.parametrize("guard", ["", "folders_inside"])
def test_a_snapshot_folder_that_is_a_link_is_left_alone(scene: Scene, guard: str) -> None:
    folder = pulled(scene).parent
    shutil.rmtree(folder)
    folder.symlink_to(scene.folder / "outside", target_is_directory=True)
    (scene.folder / "outside" / "model.safetensors").write_text("mine")
    before = scene.outside()
    answer = scene.fetch(TIMM, guard)
    if guard:
        assert scene.outside() != before, answer
        return
    refused(answer, TIMM, "leads out of", "delete the link")
    assert scene.outside() == before
