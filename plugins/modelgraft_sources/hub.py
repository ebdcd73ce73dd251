"""The Hugging Face Hub, through its own client and into its own cache: what is there already is not fetched again."""

from __future__ import annotations

import hashlib
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    scan_cache_dir,
)
from huggingface_hub.errors import CacheNotFound, HfHubHTTPError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers
from modelgraft.contract import Held, Progress, Stored
from modelgraft.entry import Weights
from modelgraft.errors import NotStoredError, UnsafeWeightsError, WeightsUnavailableError
from modelgraft.paths import write_atomic
from modelgraft.resolution import File, Part, safe_path
from modelgraft.threads import thread_pool

from modelgraft_sources.downloading import download
from modelgraft_sources.guarding import check_downgrade, guarded, is_hub
from modelgraft_sources.retrying import retried
from modelgraft_sources.stored import quarantine, recall, remember
from modelgraft_sources.telling import cannot_connect, telling

PARALLEL: Final = 4
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NO_ANSWER: Final = (500, 502, 503, 504)


class HubSource:
    """``hf:org/repo``. The commit is looked up at each use, as the client does; offline it is the one last seen."""

    def resolve_weights(self, weights: Weights, revision: str | None) -> Part:
        """Every file of the repository at the revision, with the hub's own sizes and digests."""
        repo = str(weights.repo or str(weights.place).partition(":")[2])
        with telling(repo, revision=revision):
            if not constants.is_offline_mode():
                try:
                    return self._ask(repo, revision)
                except Exception as error:
                    # A commit that was fetched whole stays what it is, whatever the hub says now.
                    pinned = revision and _COMMIT.fullmatch(revision) and recall(f"hf:{repo}", revision)
                    stored = self._stored(repo, revision) if pinned or _nobody_answers(error) else None
                    if stored is None:
                        raise
                    return stored
            stored = self._stored(repo, revision)
            if stored is None:
                raise NotStoredError(
                    f"{_at(repo, revision)} is not (or not all) in the cache and HF_HUB_OFFLINE is set"
                )
            return stored

    def fetch_weights(self, part: Part, progress: Progress) -> Stored:
        """The files in the client's cache, several at a time."""
        repo, commit = part.location.partition(":")[2], str(part.revision)
        root = _repo_folder(repo)
        folder = root / "snapshots" / commit
        if not folder.resolve().is_relative_to(_blobs_root(root).resolve()):
            raise UnsafeWeightsError(
                f"{folder} leads out of {root.parent} through a link; it is refused - delete the link, or point HF_HUB_CACHE at "
                "the place itself"
            )
        with telling(repo, revision=commit):
            missing = [file for file in part.files if not (folder / safe_path(file.path)).exists()]
            if missing and constants.is_offline_mode():
                raise NotStoredError(
                    f"{missing[0].path} of {_at(repo, commit)} is not (or not all) in the cache and HF_HUB_OFFLINE is set"
                )
            _room_for(missing, root)
            with thread_pool(PARALLEL) as pool:
                for done in [pool.submit(_fetch, repo, commit, file, root, progress) for file in missing]:
                    done.result()
        if missing:
            remember(part)
        return Stored(folder, _blobs_root(root))

    def set_aside(self, part: Part, path: str) -> Path | None:
        """Out of the cache, blob and link."""
        pointer = _repo_folder(part.location.partition(":")[2]) / "snapshots" / str(part.revision) / safe_path(path)
        return quarantine(pointer)

    def held(self) -> list[Held]:
        """Every revision of every model in the client's cache, whoever fetched it."""
        try:
            repos = scan_cache_dir().repos
        except CacheNotFound:
            return []
        found = []
        for repo in sorted((repo for repo in repos if repo.repo_type == "model"), key=lambda repo: str(repo.repo_id)):
            for revision in repo.revisions:
                folder = revision.snapshot_path
                files = tuple(_as_named(path, folder) for path in _files(folder))
                part = Part(f"hf:{repo.repo_id}", revision.commit_hash, files)
                stored = Stored(folder, _blobs_root(repo.repo_path))
                found.append(Held(part, stored, revision.size_on_disk, repo.last_accessed))
        return found

    def discard(self, part: Part) -> int:
        """Delete a revision, and the blobs that no other revision has."""
        plan = scan_cache_dir().delete_revisions(str(part.revision))
        plan.execute()
        return int(plan.expected_freed_size)

    def _ask(self, repo: str, revision: str | None) -> Part:
        with guarded():
            info = retried(
                lambda: HfApi().model_info(
                    repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
                )
            )
        files = tuple(
            File(s.rfilename, s.size, s.lfs.sha256 if s.lfs else None, None if s.lfs else s.blob_id)
            for s in info.siblings or ()
        )
        commit = str(info.sha)
        if not _COMMIT.fullmatch(commit):
            raise WeightsUnavailableError(
                f"{constants.ENDPOINT} gives {repo} the commit {commit[:60]!r}, which is none"
            )
        _note_commit(repo, revision, commit)
        return Part(f"hf:{repo}", commit, files)

    def _stored(self, repo: str, revision: str | None) -> Part | None:
        """What the cache holds of a revision: what was once fetched whole, else what lies there."""
        root = _repo_folder(repo)
        commit = revision or "main"
        if not _COMMIT.fullmatch(commit):
            try:
                commit = (root / "refs" / safe_path(commit)).read_text().strip()
            except OSError:
                return None
        folder = root / "snapshots" / commit
        if not _COMMIT.fullmatch(commit) or not folder.is_dir():
            return None
        whole = recall(f"hf:{repo}", commit)
        found = {file.path: file for file in (_as_named(path, folder) for path in _files(folder))}
        found |= {file.path: file for file in whole.files} if whole else {}
        return Part(f"hf:{repo}", commit, tuple(found.values()))


def _fetch(repo: str, commit: str, file: File, root: Path, progress: Progress) -> None:
    """Put one file into the cache: its content by our own resumable download, its place there by the client."""
    with guarded():
        _fetch_guarded(repo, commit, file, root, progress)


def _fetch_guarded(repo: str, commit: str, file: File, root: Path, progress: Progress) -> None:
    about = retried(lambda: get_hf_file_metadata(hf_hub_url(repo, file.path, revision=commit)))
    # Xet has a store of chunks of its own, which an interrupted download goes on from.
    in_chunks = about.xet_file_data is not None and find_spec("hf_xet") and not constants.HF_HUB_DISABLE_XET
    if about.etag and about.etag == (file.sha256 or file.blob) and not in_chunks:
        headers = build_hf_headers()
        check_downgrade(constants.ENDPOINT, about.location)
        if not is_hub(about.location):
            headers.pop("authorization", None)  # a storage host has no business with the hub's token
        download(
            about.location,
            root / "blobs" / safe_path(about.etag),
            headers=headers,
            size=file.size,
            check=lambda path: _wrong(path, file),
            progress=progress,
        )
    hf_hub_download(repo, file.path, revision=commit)


def _wrong(path: Path, file: File) -> str | None:
    with path.open("rb") as opened:
        if file.sha256:
            kind, stated, found = "sha256", file.sha256, hashlib.file_digest(opened, "sha256").hexdigest()
        else:  # small files are stated by their git blob id
            data = opened.read()
            kind, stated = "blob", str(file.blob)
            found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return None if found == stated else f"its {kind} is {found[:12]}... where {stated[:12]}... was stated"


def _nobody_answers(error: Exception) -> bool:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else 0
    return cannot_connect(error) is not None or status in _NO_ANSWER


def _note_commit(repo: str, revision: str | None, commit: str) -> None:
    """What the client notes of a branch or tag, for itself and for us when offline."""
    if revision is None or not _COMMIT.fullmatch(revision):
        ref = _repo_folder(repo) / "refs" / safe_path(revision or "main")
        try:
            if not ref.is_file() or ref.read_text() != commit:
                write_atomic(ref, commit.encode())
        except OSError:
            pass  # a cache that cannot be written is told of when something must be


def _room_for(files: list[File], root: Path) -> None:
    """Say before gigabytes are fetched that they do not fit."""
    needed = sum(file.size or 0 for file in files)
    at = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(at).free
    if needed > free:
        raise WeightsUnavailableError(
            f"{needed / 1e6:,.1f} MB are to be fetched and {free / 1e6:,.1f} MB are free on the disk of {at}; make room "
            "('modelgraft cache prune'), or point HF_HUB_CACHE at another disk"
        )


def _repo_folder(repo: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")


def _blobs_root(root: Path) -> Path:
    # The client may keep blobs of several repositories in one shared store beside them.
    return root.parent


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _as_named(path: str, folder: Path) -> File:
    """A file as the cache names it: the blob's name is its digest."""
    real = (folder / path).resolve()
    size, name = real.stat().st_size, real.name
    if real.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", name):
        return File(path, size, name)
    return File(path, size, None, name if real.parent.name == "blobs" and _COMMIT.fullmatch(name) else None)


def _at(repo: str, revision: str | None) -> str:
    return f"{repo}@{revision}" if revision else repo
