"""A file at a plain address. Its digest comes from the entry, or from its name as torch.hub writes it (``net-3a7f9c21.pth``)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import http_backoff
from modelgraft.contract import Held, Progress, Stored
from modelgraft.entry import Weights
from modelgraft.errors import UsageError, WeightsUnavailableError
from modelgraft.opening import first_line
from modelgraft.paths import cache_dir, write_atomic
from modelgraft.resolution import File, Part, safe_path

from modelgraft_sources.client import http
from modelgraft_sources.downloading import download
from modelgraft_sources.guarding import guarded
from modelgraft_sources.stored import quarantine

# A digest in a file's name, as torch.hub reads it, but not a word such as the "300e" of "IN1K-vit.h.14-300e.pth.tar".
_DIGEST: Final = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")

_FOLDER_DIGEST: Final = re.compile(r"/([0-9a-f]{64})/[^/]+$")


class WebSource:
    """``https://...``. With ``MODELGRAFT_MIRROR=https://mirror/base`` files come from ``base/host/path`` instead."""

    def resolve_weights(self, weights: Weights, revision: str | None) -> Part:
        """The one file, its size as the server states it (offline: as it is stored) and its digest where one is known."""
        url = str(weights.place)
        if revision is not None:
            raise UsageError(f"it has no revisions: its weights are one file, {url}")
        name = _file_name(url)
        stored = _folder(url) / name
        size = weights.size
        if size is None:
            size = stored.stat().st_size if stored.is_file() else _size(url)
        return Part(url, None, (File(name, size, weights.sha256 or _stated_digest(url)),))

    def fetch_weights(self, part: Part, progress: Progress) -> Stored:
        """The file in modelgraft's own cache."""
        (file,), folder = part.files, _folder(part.location)
        to = folder / safe_path(file.path)
        if not to.exists():
            if constants.is_offline_mode():
                raise _not_here(part.location, to)
            wanted = file.sha256

            def check(path: Path) -> str | None:
                with path.open("rb") as opened:
                    found = hashlib.file_digest(opened, "sha256").hexdigest()
                if wanted and not found.startswith(wanted):
                    return f"its sha256 is {found[:12]}... where {wanted[:12]}... was stated"
                return None

            write_atomic(folder / ".address", part.location.encode())
            try:
                download(mirrored(part.location), to, headers={}, size=file.size, check=check, progress=progress)
            except (OSError, http.HTTPError, HfHubHTTPError) as error:
                raise _unreachable(part.location, to, error) from error
        return Stored(folder, folder)

    def set_aside(self, part: Part, path: str) -> Path | None:
        """Out of the cache."""
        return quarantine(_folder(part.location) / safe_path(path))

    def held(self) -> list[Held]:
        """The files of all addresses."""
        found = []
        for note in sorted((cache_dir() / "files").glob("*/.address")):
            url, folder = note.read_text(encoding="utf-8", errors="replace"), note.parent
            if (
                _folder(url) != folder
            ):  # the folder's name is the digest of the address: a damaged note speaks of another file
                continue
            for path in (path for path in folder.iterdir() if not path.name.startswith(".")):
                state = path.stat()
                part = Part(url, None, (File(path.name, state.st_size, _stated_digest(url)),))
                found.append(Held(part, Stored(folder, folder), state.st_size, max(state.st_atime, state.st_mtime)))
        return found

    def discard(self, part: Part) -> int:
        """Delete the file."""
        folder = _folder(part.location)
        size = sum(path.stat().st_size for path in folder.iterdir())
        shutil.rmtree(folder)
        return size


def _stated_digest(url: str) -> str | None:
    """A digest in the file's name, or in the folder's as OpenAI's addresses of CLIP have it."""
    found = _DIGEST.search(_file_name(url)) or _FOLDER_DIGEST.search(url)
    return found[1] if found else None


def mirrored(url: str) -> str:
    """Where a file is fetched from: below ``MODELGRAFT_MIRROR`` if that is set, under its host's name."""
    mirror = os.environ.get("MODELGRAFT_MIRROR", "").rstrip("/")
    split = urlsplit(url)
    return f"{mirror}/{split.netloc}{split.path}" if mirror else url


def _size(url: str) -> int | None:
    if constants.is_offline_mode():
        raise _not_here(url, _folder(url) / _file_name(url))
    try:
        with guarded():
            answer = http_backoff(
                "HEAD",
                mirrored(url),
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
                max_retries=2,
                retry_on_status_codes=(),
                follow_redirects=True,
            )
        answer.raise_for_status()
    except (OSError, http.HTTPError, HfHubHTTPError) as error:
        raise _unreachable(url, _folder(url) / _file_name(url), error) from error
    stated = answer.headers.get("Content-Length", "")
    return int(stated) if stated.isdigit() else None


def _folder(url: str) -> Path:
    """A folder for each address: two servers may have files of one name."""
    return cache_dir() / "files" / hashlib.sha256(url.encode()).hexdigest()[:16]


def _file_name(url: str) -> str:
    return safe_path(PurePosixPath(unquote(urlsplit(url).path)).name or "weights")


def _unreachable(url: str, to: Path, error: Exception) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"its weights are at {url} alone, which could not be fetched ({first_line(error)}); check the network, or put that "
        f"file at {to}"
    )


def _not_here(url: str, to: Path) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"its weights are not at {to} and HF_HUB_OFFLINE is set; unset it, or put {url} there"
    )
