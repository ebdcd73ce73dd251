"""Each fault of the stand-in reaches the real huggingface_hub client as what it is meant to be.

Two lines here are the reason for verified weights: with a flipped byte and with a swapped body the plain client is content.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.hub_faults import BODIES, OTHERS, REFUSALS
from tests.hub_standin import HubStandIn
from tests.test_hub_standin import WEIGHTS, client

FILE = "*/resolve/*/model.safetensors"
OTHER = bytes(reversed(range(256))) * 4096
CODE = """
import hashlib
try:
    p = h.hf_hub_download('org/model', 'model.safetensors')
    print(json.dumps(hashlib.sha256(open(p, 'rb').read()).hexdigest()))
except Exception as e:
    print(json.dumps(type(e).__name__))
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


FLIPPED = WEIGHTS[:5000] + bytes([WEIGHTS[5000] ^ 0xFF]) + WEIGHTS[5001:]

CASES = [
    # kind, how, what the client makes of it, requests for the body
    ("401", {}, "HfHubHTTPError", 0),
    ("403", {}, "LocalEntryNotFoundError", 0),
    ("gated", {}, "GatedRepoError", 0),
    ("no_repo", {}, "RepositoryNotFoundError", 0),
    ("no_revision", {}, "RevisionNotFoundError", 0),
    ("no_file", {}, "RemoteEntryNotFoundError", 0),
    ("throttled", {"times": 2, "seconds": 1}, sha256(WEIGHTS), 1),
    ("500", {"times": 2}, sha256(WEIGHTS), 1),
    ("502", {"times": 2}, sha256(WEIGHTS), 1),
    ("502", {"times": 1, "method": "GET"}, "HfHubHTTPError", 0),
    ("503", {"times": 1, "method": "HEAD"}, sha256(WEIGHTS), 1),
    ("cut", {"times": 2, "after": 300_000}, sha256(WEIGHTS), 3),
    ("reset", {"times": 1, "after": 300_000}, "ReadError", 1),
    ("pause", {"times": 1, "after": 300_000, "seconds": 0.5}, sha256(WEIGHTS), 1),
    ("long", {"times": 1}, sha256(WEIGHTS), 2),
    ("short", {"times": 1}, "OSError", 1),
    ("flip", {"after": 5000}, sha256(FLIPPED), 1),
    ("swap", {}, sha256(OTHER), 1),
    ("redirect", {}, "TooManyRedirects", 0),
    ("date", {"seconds": 10 * 365 * 86400}, sha256(WEIGHTS), 1),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repos" / "org" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "other").write_bytes(OTHER)
    return tmp_path / "repos"


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "how", "outcome", "bodies"), CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)]
)
def test_what_the_client_makes_of_it(
    root: Path, tmp_path: Path, kind: str, how: dict[str, object], outcome: str, bodies: int
) -> None:
    if kind == "swap":
        how = {"other": tmp_path / "other"}
    with HubStandIn(root) as hub:
        fault = hub.fault(FILE, kind, **how)  # type: ignore[arg-type]
        assert client(hub, tmp_path / "home", CODE) == outcome
        asked = hub.seen(FILE, "GET")
        assert len([r for r in asked if r.status < 300 and r.sent]) == bodies
        assert fault.struck and {r.fault for r in hub.seen(FILE)} <= {kind, None}
        # Mended, the client (in a new cache) has the right bytes.
        hub.mend()
        assert client(hub, tmp_path / "again", CODE) == sha256(WEIGHTS)


def test_every_kind_is_tried() -> None:
    tried = {case[0] for case in CASES} | {"slow", "hold"}
    assert tried == {*REFUSALS, *BODIES, *OTHERS}


def test_slow_is_a_byte_at_a_time(root: Path) -> None:
    with HubStandIn(root) as hub:
        fault = hub.fault(FILE, "slow", after=100, seconds=0.1)
        with urllib.request.urlopen(f"{hub.endpoint}/org/model/resolve/main/model.safetensors", timeout=5) as answer:
            assert answer.read(100) == WEIGHTS[:100] and fault.reached.wait(5)
            begun = time.monotonic()
            assert answer.read(3) == WEIGHTS[100:103]
            assert 0.2 < time.monotonic() - begun < 2
            fault.release()
            assert answer.read() == WEIGHTS[103:]


def test_hold_waits_and_notices_a_killed_client(root: Path, tmp_path: Path) -> None:
    with HubStandIn(root) as hub:
        fault = hub.fault(FILE, "hold", after=1000)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        process = subprocess.Popen(
            [sys.executable, "-c", "import huggingface_hub as h; h.hf_hub_download('org/model', 'model.safetensors')"],
            env={**inherited, **hub.environment(tmp_path)},
        )
        assert fault.reached.wait(60)
        process.kill()
        process.wait()
        until = time.monotonic() + 5
        while not hub.seen(FILE, "GET") and time.monotonic() < until:
            time.sleep(0.02)
        (request,) = hub.seen(FILE, "GET")
        assert (request.sent, request.fault) == (1000, "hold")


def test_the_plain_client_begins_anew_after_a_kill(root: Path, tmp_path: Path) -> None:
    """What it had on disk is not gone on with: why `modelgraft_sources.downloading` exists."""
    size = 12_000_000
    (root / "org" / "model" / "model.safetensors").write_bytes(bytes(size))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    with HubStandIn(root) as hub:
        fault = hub.fault(FILE, "hold", after=11_000_000)
        process = subprocess.Popen(
            [sys.executable, "-c", "import huggingface_hub as h; h.hf_hub_download('org/model', 'model.safetensors')"],
            env={**inherited, **hub.environment(tmp_path)},
        )
        assert fault.reached.wait(60)
        until = time.monotonic() + 30
        while time.monotonic() < until and not any(
            p.stat().st_size >= 10 << 20 for p in tmp_path.rglob("*.incomplete")
        ):
            time.sleep(0.02)
        process.kill()
        process.wait()
        assert [p.stat().st_size for p in tmp_path.rglob("*.incomplete")] == [10 * 1024 * 1024]
        hub.mend()
        mark = len(hub.requests)
        assert client(hub, tmp_path, CODE) == sha256(bytes(size))
        bodies = [r for r in hub.requests[mark:] if r.status < 300 and r.method == "GET" and r.fault is None]
        assert [(r.range, r.sent) for r in bodies] == [(None, size)]


def test_hold_goes_on_when_released(root: Path) -> None:
    with HubStandIn(root) as hub:
        fault = hub.fault(FILE, "hold", after=1000)
        threading.Thread(target=lambda: fault.reached.wait(5) and fault.release()).start()
        with urllib.request.urlopen(f"{hub.endpoint}/org/model/resolve/main/model.safetensors", timeout=5) as answer:
            assert answer.read() == WEIGHTS


def test_headers(root: Path) -> None:
    url = "/org/model/resolve/main/model.safetensors"
    with HubStandIn(root) as hub:
        hub.fault(FILE, "date", 1, seconds=-5 * 365 * 86400, method="HEAD")
        with urllib.request.urlopen(urllib.request.Request(hub.endpoint + url, method="HEAD")) as answer:
            assert time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp() > 4.9 * 365 * 86400
        hub.fault(FILE, "throttled", 1, seconds=7)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(hub.endpoint + url)
        assert (raised.value.code, raised.value.headers["Retry-After"]) == (429, "7")
        with urllib.request.urlopen(hub.endpoint + url) as answer:
            assert answer.read() == WEIGHTS


def test_planted_names_are_listed_and_served(root: Path, tmp_path: Path) -> None:
    with HubStandIn(root) as hub:
        before = hub.commit("org/model")
        for name in ("../../evil.json", "/absolute.json", "back\\slash.json"):
            hub.plant("org/model", name, tmp_path / "other")
        listed = client(
            hub, tmp_path, "print(json.dumps([s.rfilename for s in h.HfApi().model_info('org/model').siblings]))"
        )
        assert {"../../evil.json", "/absolute.json", "back\\slash.json"} < set(listed)
        assert hub.commit("org/model") != before
        with urllib.request.urlopen(f"{hub.endpoint}/org/model/resolve/main/..%2F..%2Fevil.json") as answer:
            assert answer.read() == OTHER
        simplified = posixpath.normpath(f"/org/model/resolve/{hub.commit('org/model')}/../../evil.json")
        with urllib.request.urlopen(hub.endpoint + simplified) as answer:
            assert answer.read() == OTHER
        hub.plant("org/model", "model.safetensors", tmp_path / "other", digest="../../out")
        with urllib.request.urlopen(f"{hub.endpoint}/org/model/resolve/main/model.safetensors") as answer:
            assert answer.headers["X-Linked-Etag"] == '"../../out"'
        hub.mend()
        assert hub.commit("org/model") == before
