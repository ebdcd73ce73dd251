"""Uploads to the stand-in of the hub (`tests.hub_standin`): what the real client asks for to make a repository and commit to it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.hub_faults import Answer, error_answer, json_answer

if TYPE_CHECKING:
    from tests.hub_standin import HubStandIn


def body_of(request: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, sent whole or in chunks."""
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    out = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        out += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return out


def receive(hub: HubStandIn, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """The answer to one POST or PUT."""
    path = unquote(urlsplit(target).path)
    stored = path.startswith("/lfs-store/")  # addresses of a store are signed, and know no token
    if not stored and (refused := _refusal(hub, headers)):
        return refused
    if path == "/api/repos/create":
        return _create(hub, json.loads(body))
    if path == "/api/validate-yaml":
        return json_answer({"errors": [], "warnings": []})
    if match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
        return _modes(json.loads(body))
    if match := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
        return _batch(hub, json.loads(body))
    if match := re.fullmatch(r"/lfs-store/([0-9a-f]{64})", path):
        if hashlib.sha256(body).hexdigest() != match[1]:
            return error_answer(400, None, "the content has another digest")
        hub.lfs_store[match[1]] = body
        return Answer(200)
    if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
        return _commit(hub, match[1], [json.loads(line) for line in body.splitlines()])
    return error_answer(404, "NotFound", f"nothing is taken at {path}")


def _refusal(hub: HubStandIn, headers: Mapping[str, str]) -> Answer | None:
    if hub.token_to_write is None:
        return None
    given = next((value for key, value in headers.items() if key.lower() == "authorization"), "").removeprefix(
        "Bearer "
    )
    if given == hub.token_to_write:
        return None
    return error_answer(403 if given else 401, None, "you may not write here" if given else "who are you?")


def _create(hub: HubStandIn, asked: Mapping[str, Any]) -> Answer:
    repo = "/".join(filter(None, (asked.get("organization"), asked["name"])))
    answer = json_answer({"url": f"{hub.endpoint}/{repo}", "name": repo, "id": repo})
    if (hub.root / repo).is_dir():
        answer.status = 409
    (hub.root / repo).mkdir(parents=True, exist_ok=True)
    hub.created[repo] = dict(asked)
    return answer


def _modes(asked: Mapping[str, Any]) -> Answer:
    from tests.hub_standin import LFS_SUFFIXES

    def mode(path: str) -> str:
        return "lfs" if PurePosixPath(path).suffix in LFS_SUFFIXES else "regular"

    paths = [file["path"] for file in asked["files"]]
    return json_answer({"files": [{"path": path, "uploadMode": mode(path), "shouldIgnore": False} for path in paths]})


def _batch(hub: HubStandIn, asked: Mapping[str, Any]) -> Answer:
    objects = [
        {**about, "actions": {"upload": {"href": f"{hub.endpoint}/lfs-store/{about['oid']}"}}}
        for about in asked["objects"]
    ]
    return json_answer({"transfer": "basic", "objects": objects})


def _commit(hub: HubStandIn, repo: str, lines: list[dict[str, Any]]) -> Answer:
    folder = hub.root / repo
    if not folder.is_dir():
        return error_answer(404, "RepoNotFound", f"no repository {repo}")
    for line in lines:
        about = line["value"]
        if line["key"] == "file":
            (folder / about["path"]).write_bytes(base64.b64decode(about["content"]))
        elif line["key"] == "lfsFile":
            (folder / about["path"]).write_bytes(hub.lfs_store[about["oid"]])
    commit = hub.commit(repo)
    return json_answer({"success": True, "commitOid": commit, "commitUrl": f"{hub.endpoint}/{repo}/commit/{commit}"})
