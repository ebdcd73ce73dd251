"""The token is told to the hub alone, over the hub's own scheme: redirects to another host, and from https to http on the same.

One server answers both schemes on one port, as its first byte says: that is how far two addresses can be alike and still not the
same. The client is a process of its own, which trusts the server's self-made certificate.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import ROOT

TOKEN = "hf_" + "s3cretT0ken" * 3
NAME, REPO, COMMIT = "timm/test_vit:r160_in1k", "timm/test_vit.r160_in1k", "a" * 40
CONTENT = b"weights " * 1000
CLIENT = """
import sys, modelgraft
from modelgraft.weights import local_weights
from modelgraft_sources import guarding, hub
if sys.argv[1] == "unguarded":
    from urllib.parse import urlsplit
    guarding._guard_client = lambda: None
    hub.check_downgrade = lambda url, target: None
    hub.is_hub = lambda url: urlsplit(url).netloc == urlsplit(hub.constants.ENDPOINT).netloc
try:
    local_weights(modelgraft.resolve(sys.argv[2]))
    print("fetched")
except modelgraft.ModelgraftError as error:
    print(type(error).__name__, error)
"""


@dataclass
class Both:
    """The server, and who told it what."""

    port: int
    redirect: str = ""
    told: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(scheme, path, token) of each request."""


@contextmanager
def serving(certificate: Path | None) -> Iterator[Both]:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            secure = context is not None and request.recv(1, socket.MSG_PEEK) == b"\x16"
            if secure:
                assert context is not None
                request = context.wrap_socket(request, server_side=True)
            self.RequestHandlerClass(request, client_address, self)

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients hang up

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
            both.told.append((scheme, self.path, self.headers.get("Authorization")))
            digest = hashlib.sha256(CONTENT).hexdigest()
            if self.path.startswith("/api/"):
                lfs = {"sha256": digest, "size": len(CONTENT), "pointerSize": 1}
                file = {"rfilename": "model.safetensors", "size": len(CONTENT), "blobId": "b" * 40, "lfs": lfs}
                about = {"_id": "x", "id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": [file], "tags": []}
                self._send(200, {"Content-Type": "application/json"}, json.dumps(about).encode())
            elif "/resolve/" in self.path:
                about = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(CONTENT)), "X-Repo-Commit": COMMIT}
                self._send(302, {**about, "Location": both.redirect}, b"")
            else:
                self._send(200, {}, CONTENT)

        do_HEAD = do_GET

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    both = Both(server.server_port)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield both
    finally:
        server.shutdown()
        server.server_close()


def client(how: str, endpoint: str, folder: Path, **env: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MODELGRAFT_LOCKED"))}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, how, NAME],
        env={
            **inherited,
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(folder / how),
            "PYTHONPATH": str(ROOT),
            **env,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem"


def test_another_host_is_not_told_the_token(tmp_path: Path) -> None:
    with serving(None) as hub, serving(None) as store:
        hub.redirect = f"http://127.0.0.1:{store.port}/file"
        assert client("guarded", f"http://127.0.0.1:{hub.port}", tmp_path) == "fetched\n"
    asked = [token for _, path, token in hub.told if "/api/models/" in path or "/resolve/" in path]
    assert asked and set(asked) == {f"Bearer {TOKEN}"}
    assert store.told and all(token is None for _, _, token in store.told)


def test_from_https_to_http_on_the_same_host_and_port(certificate: Path, tmp_path: Path) -> None:
    with serving(certificate) as hub:
        hub.redirect = f"http://127.0.0.1:{hub.port}/file"
        endpoint, trust = f"https://127.0.0.1:{hub.port}", {"SSL_CERT_FILE": str(certificate)}
        said = client("guarded", endpoint, tmp_path, **trust)
        assert said.startswith("UnsafeWeightsError") and "redirects from https to http" in said, said
        assert {scheme for scheme, _, _ in hub.told} == {"https"}
        client("unguarded", endpoint, tmp_path, **trust)
        assert ("http", "/file", f"Bearer {TOKEN}") in hub.told, "the trap is none"
