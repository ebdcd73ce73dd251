"""A stand-in for the Hugging Face Hub on the loopback: folders served to the real huggingface_hub client.

``HF_ENDPOINT`` is read when huggingface_hub is imported, so clients run in processes of their own:

    with HubStandIn(root) as hub:
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **hub.environment(home)}, check=True)

A repository is a folder below ``root``: ``root/org/name`` (or ``root/name``) is its branch ``main``, and
``root/org/name@v1`` its branch or tag ``v1``. Its commit id is a hash of its content: same files, same commit. As on
the hub, weight files are LFS files, known by their sha256, and the rest by their git blob id. `HubStandIn.fault` makes it
misbehave (`tests.hub_faults` says how), `HubStandIn.plant` lists file names that no folder could hold. What a client uploads
(`tests.hub_uploads`) are files of the folder from then on.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_faults import Answer, Fault, error_answer, json_answer, send_body
from tests.hub_uploads import body_of, receive

LFS_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".npz", ".msgpack", ".h5", ".gz"})
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered, as the log keeps it."""

    method: str
    path: str
    """Unquoted, without the query."""
    status: int
    sent: int
    """Bytes of the body that were sent (none for HEAD)."""
    range: str | None = None
    fault: str | None = None
    """Kind of the fault it met."""


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file of a repository, with the digests the hub knows it by."""

    path: str
    """Relative, with slashes."""
    local: Path
    size: int
    sha256: str
    blob_id: str
    lfs: bool

    @property
    def etag(self) -> str:
        """What the client names the cached blob by."""
        return self.sha256 if self.lfs else self.blob_id


class HubStandIn:
    """The server; a context manager. Files may be added or changed while it runs.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
        requests: every request answered so far, in order of completion.
        token_to_write: the token that uploads need; None lets anybody write.
        created: repositories that a client made -> what it asked for.
        lfs_store: content of uploaded large files by their sha256.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[Request] = []
        self.token_to_write: str | None = None
        self.created: dict[str, dict[str, Any]] = {}
        self.lfs_store: dict[str, bytes] = {}
        self._gates: dict[str, str | None] = {}
        self._faults: list[Fault] = []
        self._planted: dict[str, dict[str, tuple[Path, str | None]]] = {}
        self._digests: dict[tuple[Path, int, int], tuple[str, str]] = {}
        self._lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            standin = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mend()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # What tests use

    def environment(self, home: Path) -> dict[str, str]:
        """Variables that send huggingface_hub here and keep all it writes (cache, token) below ``home``."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def gate(self, repo: str, token: str | None = None) -> None:
        """Let nobody into a repository but the holder of ``token``: others get 401 without a token, 403 with one."""
        self._gates[repo] = token

    def fault(self, pattern: str, kind: str, times: int | None = None, **how: Any) -> Fault:
        """Misbehave where the path of a request matches a shell pattern; ``how`` are fields of `Fault`."""
        fault = Fault(pattern, kind, times, **how)
        with self._lock:
            self._faults.append(fault)
        return fault

    def mend(self) -> None:
        """Behave again: no faults, no gates, nothing planted; what is held back goes out. The log stays."""
        with self._lock:
            for fault in self._faults:
                fault.release()
            self._faults, self._gates, self._planted = [], {}, {}

    def plant(self, repo: str, path: str, local: Path, digest: str | None = None) -> None:
        """List and serve ``local`` on the branch main of a repository under any name at all, ``../../evil`` included.

        Args:
            digest: stated in the place of its sha256, whatever it is.
        """
        self._planted.setdefault(repo, {})[path] = (local, digest)

    def commit(self, repo: str, revision: str = "main") -> str:
        """The commit id a revision stands for (KeyError if there is none)."""
        return self._commit_of(self._files(self._revisions(repo)[revision], repo))

    def seen(self, pattern: str = "*", method: str | None = None) -> list[Request]:
        """Requests whose path matches a shell pattern."""
        with self._lock:
            return [r for r in self.requests if fnmatchcase(r.path, pattern) and method in (None, r.method)]

    def bytes_sent(self, pattern: str = "*") -> int:
        """Bytes of bodies sent for the paths that match a shell pattern."""
        return sum(r.sent for r in self.seen(pattern))

    def _strike(self, method: str, path: str) -> Fault | None:
        with self._lock:
            fault = next((f for f in reversed(self._faults) if f.meets(method, path)), None)
            if fault:
                fault.struck += 1
            return fault

    # One kind of request each

    def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Answer:
        """The answer to one request; ``target`` is the path with its query, as it came over the wire."""
        split = urlsplit(target)
        for pattern, handle in _ROUTES:
            if match := pattern.fullmatch(split.path):
                parts = {name: unquote(part) for name, part in match.groupdict(default="").items()}
                query = {name: values[-1] for name, values in parse_qs(split.query).items()}
                refused = self._refusal(parts["repo"], headers)
                return refused or handle(self, parts, query, headers)
        return self._escaped(unquote(split.path), headers)

    def _model_info(self, parts: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        found = self._at(parts)
        if isinstance(found, Answer):
            return found
        commit, files = found
        siblings = []
        for file in files.values():
            sibling: dict[str, Any] = {"rfilename": file.path}
            if "blobs" in query:
                sibling |= {"size": file.size, "blobId": file.blob_id} | _lfs(file)
            siblings.append(sibling)
        repo = parts["repo"]
        about = {"_id": commit[:24], "id": repo, "modelId": repo, "sha": commit, "private": False}
        about |= {"gated": "manual" if repo in self._gates else False, "disabled": False, "downloads": 0, "likes": 0}
        about |= {"tags": [], "siblings": siblings}
        return json_answer(about)

    def _tree(self, parts: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        found = self._at(parts)
        if isinstance(found, Answer):
            return found
        commit, files = found
        under = parts["file"].strip("/")
        inside = {p: f for p, f in files.items() if not under or p.startswith(f"{under}/")}
        if under and not inside:
            return error_answer(404, "EntryNotFound", f"no folder {under} at {commit}", commit)
        recursive = query.get("recursive", "").lower() == "true"
        rows: dict[str, dict[str, Any]] = {}
        for path, file in inside.items():
            steps = path.removeprefix(f"{under}/" if under else "").split("/")
            for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
                folder = "/".join(filter(None, [under, *steps[:depth]]))
                oid = hashlib.sha1(folder.encode()).hexdigest()
                rows[folder] = {"type": "directory", "path": folder, "oid": oid, "size": 0}
            if recursive or len(steps) == 1:
                rows[path] = {"type": "file", "path": path, "oid": file.blob_id, "size": file.size} | _lfs(file)
        return json_answer(list(rows.values()))

    def _refs(self, parts: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        revisions = self._revisions(parts["repo"])
        if not revisions:
            return _no_repo(parts["repo"])
        heads = [
            {
                "name": name,
                "ref": f"refs/heads/{name}",
                "targetCommit": self._commit_of(self._files(folder, parts["repo"])),
            }
            for name, folder in revisions.items()
        ]
        return json_answer({"branches": heads, "converts": [], "tags": []})

    def _resolve(self, parts: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        found = self._at(parts)
        if isinstance(found, Answer):
            return found
        commit, files = found
        file = files.get(parts["file"])
        if file is None:
            return error_answer(404, "EntryNotFound", f"no file {parts['file']} at {commit}", commit)
        about = {"ETag": f'"{file.etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        about["Content-Type"] = "application/octet-stream"
        if file.lfs:
            about |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", _header(headers, "Range"))
        if asked is None:
            return Answer(200, about, file.local, 0, file.size)
        first, last = int(asked[1]), min(int(asked[2] or file.size - 1), file.size - 1)
        if first >= file.size:
            return Answer(416, {"Content-Range": f"bytes */{file.size}"})
        about["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        return Answer(206, about, file.local, first, last - first + 1)

    def _escaped(self, path: str, headers: Mapping[str, str]) -> Answer:
        """A planted name with ``..``, asked for by a client that has simplified the path."""
        for repo, planted in self._planted.items():
            for name in planted:
                for revision in (self.commit(repo), "main"):
                    if posixpath.normpath(f"/{repo}/resolve/{revision}/{name}") == path:
                        return self._resolve({"repo": repo, "revision": revision, "file": name}, {}, headers)
        return error_answer(404, "NotFound", f"nothing is served at {path}")

    # What is on disk

    def _refusal(self, repo: str, headers: Mapping[str, str]) -> Answer | None:
        if repo not in self._gates:
            return None
        given = _header(headers, "Authorization").removeprefix("Bearer ")
        if given and given == self._gates[repo]:
            return None
        why = f"Access to model {repo} is restricted"
        return error_answer(403 if given else 401, "GatedRepo", why)

    def _at(self, parts: Mapping[str, str]) -> tuple[str, dict[str, RepoFile]] | Answer:
        revisions = self._revisions(parts["repo"])
        if not revisions:
            return _no_repo(parts["repo"])
        wanted = parts.get("revision") or "main"
        for name, folder in revisions.items():
            files = self._files(folder, parts["repo"])
            commit = self._commit_of(files)
            if wanted in (name, commit, f"refs/heads/{name}"):
                return commit, files
        return error_answer(404, "RevisionNotFound", f"Invalid rev id: {wanted}")

    def _revisions(self, repo: str) -> dict[str, Path]:
        folder = self.root / repo
        if ".." in repo.split("/"):
            return {}
        found = {"main": folder} if folder.is_dir() else {}
        others = sorted(folder.parent.glob(f"{folder.name}@*")) if folder.parent.is_dir() else []
        return found | {p.name.partition("@")[2]: p for p in others}

    def _files(self, folder: Path, repo: str) -> dict[str, RepoFile]:
        there = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        named: dict[str, tuple[Path, str | None]] = {p.relative_to(folder).as_posix(): (p, None) for p in there}
        if folder == self.root / repo:
            named |= self._planted.get(repo, {})
        out = {}
        for path, (local, stated) in named.items():
            sha256, blob_id = self._digest(local)
            lfs = local.suffix in LFS_SUFFIXES or stated is not None
            out[path] = RepoFile(path, local, local.stat().st_size, stated or sha256, blob_id, lfs)
        return out

    def _digest(self, file: Path) -> tuple[str, str]:
        stat = file.stat()
        key = (file, stat.st_mtime_ns, stat.st_size)
        if key not in self._digests:
            sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {stat.st_size}\0".encode())
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK):
                    sha256.update(chunk)
                    blob.update(chunk)
            self._digests[key] = (sha256.hexdigest(), blob.hexdigest())
        return self._digests[key]

    @staticmethod
    def _commit_of(files: Mapping[str, RepoFile]) -> str:
        listing = "\n".join(f"{f.sha256} {f.path}" for f in files.values())
        return hashlib.sha1(listing.encode()).hexdigest()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet about clients that hang up; anything else is a mistake here, and shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """HTTP only: hands each request to `HubStandIn.answer` and sends what it gives."""

    standin: HubStandIn
    _clock_off = 0.0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.standin._strike(self.command, path)
        answer = self.standin.answer(self.command, self.path, dict(self.headers.items()))
        if fault:
            answer = fault.twist(self.path, answer)
        self._clock_off = fault.seconds if fault and fault.kind == "date" else 0.0
        sent = 0
        try:
            self.send_response(answer.status)
            length = fault.announced(answer) if fault else answer.length
            for name, value in {**answer.headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                for sent in send_body(self, answer, fault):  # noqa: B007 -- what was sent when it broke off
                    pass
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            kind = fault.kind if fault else None
            logged = Request(self.command, path, answer.status, sent, self.headers.get("Range"), kind)
            with self.standin._lock:
                self.standin.requests.append(logged)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = body_of(self)
        answer = receive(self.standin, self.path, dict(self.headers.items()), body)
        assert isinstance(answer.body, bytes)
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        path = unquote(urlsplit(self.path).path)
        with self.standin._lock:
            self.standin.requests.append(Request(self.command, path, answer.status, len(answer.body)))

    do_PUT = do_POST

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self._clock_off)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: `HubStandIn.requests` is the log."""


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name.lower()), "")


def _no_repo(repo: str) -> Answer:
    return error_answer(404, "RepoNotFound", f"no repository {repo}")


def _lfs(file: RepoFile) -> dict[str, Any]:
    if not file.lfs:
        return {}
    # The hub's two spellings: `oid` in a tree, `sha256` in a model's siblings.
    return {"lfs": {"oid": file.sha256, "sha256": file.sha256, "size": file.size, "pointerSize": 134}}


_REPO = r"(?P<repo>[^/]+(?:/[^/]+)??)"
_Handle = Callable[[HubStandIn, Mapping[str, str], Mapping[str, str], Mapping[str, str]], Answer]
_ROUTES: tuple[tuple[re.Pattern[str], _Handle], ...] = (
    (re.compile(rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)(?P<file>/.*)?"), HubStandIn._tree),
    (re.compile(rf"/api/models/{_REPO}/refs"), HubStandIn._refs),
    (re.compile(rf"/api/models/{_REPO}(?:/revision/(?P<revision>[^/]+))?"), HubStandIn._model_info),
    (re.compile(rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)"), HubStandIn._resolve),
)
