"""The hub stand-in answers the real huggingface_hub client as the hub does: found, cached, resumed, refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub_standin import HubStandIn

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def root(tmp_path: Path) -> Path:
    repo = tmp_path / "repos" / "org" / "model"
    (repo / "1_Pooling").mkdir(parents=True)
    (repo / "config.json").write_text('{"a": 1}')
    (repo / "1_Pooling" / "config.json").write_text("{}")
    (repo / "model.safetensors").write_bytes(WEIGHTS)
    other = tmp_path / "repos" / "org" / "model@v2"
    other.mkdir()
    (other / "config.json").write_text('{"a": 2}')
    legacy = tmp_path / "repos" / "roberta-base"
    legacy.mkdir()
    (legacy / "config.json").write_text('{"legacy": true}')
    return tmp_path / "repos"


def client(hub: HubStandIn, home: Path, code: str, **env: str) -> Any:
    """What ``code`` prints as JSON, run with the real client in a process of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", "import json, huggingface_hub as h\n" + code],
        env={**inherited, **hub.environment(home), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_download_is_the_file_and_a_second_one_costs_no_body(root: Path, tmp_path: Path) -> None:
    code = (
        "p = h.hf_hub_download('org/model', 'model.safetensors')\n"
        "import hashlib; print(json.dumps([p, hashlib.sha256(open(p, 'rb').read()).hexdigest()]))"
    )
    with HubStandIn(root) as hub:
        path, digest = client(hub, tmp_path / "home", code)
        assert digest == hashlib.sha256(WEIGHTS).hexdigest()
        assert hub.commit("org/model") in path
        assert Path(path).resolve().name == digest  # the blob is named by the LFS digest
        assert hub.bytes_sent("*/model.safetensors") == len(WEIGHTS)
        assert client(hub, tmp_path / "home", code) == [path, digest]
        assert hub.bytes_sent("*/model.safetensors") == len(WEIGHTS)
        seen = len(hub.requests)
        assert client(hub, tmp_path / "home", code, HF_HUB_OFFLINE="1") == [path, digest]
        assert len(hub.requests) == seen


def test_model_info_and_snapshot(root: Path, tmp_path: Path) -> None:
    with HubStandIn(root) as hub:
        info = client(
            hub,
            tmp_path,
            "i = h.HfApi().model_info('org/model', files_metadata=True)\n"
            "print(json.dumps([i.id, i.sha, {s.rfilename: [s.size, s.lfs and s.lfs.sha256] for s in i.siblings}]))",
        )
        assert info == [
            "org/model",
            hub.commit("org/model"),
            {
                "1_Pooling/config.json": [2, None],
                "config.json": [8, None],
                "model.safetensors": [len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest()],
            },
        ]
        files = client(
            hub,
            tmp_path,
            "from pathlib import Path\np = Path(h.snapshot_download('org/model'))\n"
            "print(json.dumps(sorted(f.relative_to(p).as_posix() for f in p.rglob('*') if f.is_file())))",
        )
        assert files == ["1_Pooling/config.json", "config.json", "model.safetensors"]
        top = client(hub, tmp_path, "print(json.dumps([f.path for f in h.HfApi().list_repo_tree('org/model')]))")
        assert sorted(top) == ["1_Pooling", "config.json", "model.safetensors"]


def test_revisions_names_and_commits(root: Path, tmp_path: Path) -> None:
    code = "print(open(h.hf_hub_download('org/model', 'config.json', revision={!r})).read())"
    with HubStandIn(root) as hub:
        assert client(hub, tmp_path, code.format("v2")) == {"a": 2}
        assert client(hub, tmp_path, code.format(hub.commit("org/model"))) == {"a": 1}
        assert hub.commit("org/model") != hub.commit("org/model", "v2")
        legacy = "print(open(h.hf_hub_download('roberta-base', 'config.json')).read())"
        assert client(hub, tmp_path, legacy) == {"legacy": True}
        refs = "print(json.dumps([b.name for b in h.HfApi().list_repo_refs('org/model').branches]))"
        assert client(hub, tmp_path, refs) == ["main", "v2"]


def test_the_commit_follows_the_content(root: Path) -> None:
    hub = HubStandIn(root)
    before = hub.commit("org/model")
    assert hub.commit("org/model") == before
    (root / "org" / "model" / "config.json").write_text('{"a": 11}')
    assert hub.commit("org/model") != before


def test_a_range_resumes_where_a_download_stopped(root: Path, tmp_path: Path) -> None:
    with HubStandIn(root) as hub:
        code = (
            "import io, hashlib\nfrom huggingface_hub.file_download import http_get\n"
            f"url = {hub.endpoint!r} + '/org/model/resolve/main/model.safetensors'\n"
            "f = io.BytesIO(); http_get(url, f, resume_size=1000)\n"
            "print(json.dumps(hashlib.sha256(f.getvalue()).hexdigest()))"
        )
        assert client(hub, tmp_path, code) == hashlib.sha256(WEIGHTS[1000:]).hexdigest()
        (request,) = hub.seen("*/model.safetensors", "GET")
        assert (request.status, request.range, request.sent) == (206, "bytes=1000-", len(WEIGHTS) - 1000)


ERRORS = [
    ("h.hf_hub_download('org/none', 'config.json')", "RepositoryNotFoundError", {}),
    ("h.hf_hub_download('org/model', 'none.json')", "RemoteEntryNotFoundError", {}),
    ("h.hf_hub_download('org/model', 'config.json', revision='none')", "RevisionNotFoundError", {}),
    ("h.hf_hub_download('org/gated', 'config.json')", "GatedRepoError", {}),
    ("h.hf_hub_download('org/gated', 'config.json')", "GatedRepoError", {"HF_TOKEN": "hf_wrong"}),
    ("h.HfApi().model_info('org/none')", "RepositoryNotFoundError", {}),
    ("h.snapshot_download('org/none')", "RepositoryNotFoundError", {}),
]


@pytest.mark.parametrize(("call", "error", "env"), ERRORS)
def test_refusals(root: Path, tmp_path: Path, call: str, error: str, env: dict[str, str]) -> None:
    gated = root / "org" / "gated"
    gated.mkdir()
    (gated / "config.json").write_text("{}")
    code = f"try:\n    {call}\nexcept Exception as e:\n    print(json.dumps(type(e).__name__))"
    with HubStandIn(root) as hub:
        hub.gate("org/gated", token="hf_right")
        assert client(hub, tmp_path, code, **env) == error
        statuses = {r.status for r in hub.requests}
        assert statuses == ({403} if env else {401} if "gated" in call else {404})


def test_the_right_token_opens_a_gated_repository(root: Path, tmp_path: Path) -> None:
    gated = root / "org" / "gated"
    gated.mkdir()
    (gated / "config.json").write_text('{"in": true}')
    with HubStandIn(root) as hub:
        hub.gate("org/gated", token="hf_right")
        code = "print(open(h.hf_hub_download('org/gated', 'config.json')).read())"
        assert client(hub, tmp_path, code, HF_TOKEN="hf_right") == {"in": True}
