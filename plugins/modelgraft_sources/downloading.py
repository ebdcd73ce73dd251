"""One file over HTTP into a place that others see only when it is whole: resumed, paced, one process at a time.

Requests go through huggingface_hub's client: its proxies, retries, Retry-After and headers. Its own download writes to a file
that no other process goes on with (huggingface_hub 2.4), so a killed one begins anew there; here it does not.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock, hf_raise_for_status, http_stream_backoff
from modelgraft.contract import Progress
from modelgraft.errors import WeightsUnavailableError
from modelgraft.paths import cache_dir

from modelgraft_sources.client import http
from modelgraft_sources.guarding import guarded
from modelgraft_sources.retrying import retried

TRIES: Final = 5
"""Connections in a row that bring nothing before a download is given up; one that brings something starts the count anew."""
STALL_SECONDS: Final = float(os.environ.get("MODELGRAFT_STALL_SECONDS", "60"))
STALL_BYTES: Final = 1 << 16
"""A connection that brings fewer bytes than this in `STALL_SECONDS` is given up: it is alive and useless."""
_BROKEN: Final = (ConnectionError, http.NetworkError, http.RemoteProtocolError, http.TimeoutException)

Check = Callable[[Path], str | None]
"""What is wrong with a finished file, None if nothing."""


def download(
    url: str, to: Path, *, headers: Mapping[str, str], size: int | None, check: Check, progress: Progress
) -> None:
    """Have the file at ``url`` at ``to``, unless it is there; what an interrupted call left is gone on with.

    Args:
        headers: sent with the request (never written anywhere).
        size: bytes, if known.
        check: asked of the whole file before it gets its name.
        progress: told the bytes as they come in.

    Raises:
        WeightsUnavailableError: it comes too slowly, or stays wrong.
        OSError, http.HTTPError, HfHubHTTPError: as they come from the disk, the network and the server.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f"{to.name}.modelgraft.incomplete")
    # Two processes at once: one downloads, the other waits and finds the file there.
    lock = cache_dir() / "locks" / f"{hashlib.sha256(os.fsencode(to.absolute())).hexdigest()[:32]}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if to.exists():
            return
        wrong = None
        for _ in range(2):  # what was gone on with, or came damaged, is asked for once more from the start
            _complete(url, partial, headers, size, progress)
            wrong = check(partial)
            if wrong is None:
                os.replace(partial, to)
                return
            partial.unlink()
        raise WeightsUnavailableError(
            f"what comes from {_bare(url)} is not what was stated, twice: {wrong}; something on the way is broken - try again "
            "later, or through another HF_ENDPOINT"
        )


def _complete(url: str, partial: Path, headers: Mapping[str, str], size: int | None, progress: Progress) -> None:
    """Bring the partial file to its whole length."""
    if partial.is_symlink():  # no download of ours: what it leads to is not ours to write
        partial.unlink()
    opened = os.open(partial, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    with os.fdopen(opened, "ab") as file:
        if size is not None and file.tell() > size:
            file.truncate(0)

        def once() -> None:
            if size is not None and file.tell() >= size:  # also of a connection that broke after the last byte
                return
            if not _stream(url, file, headers, size, progress):
                raise ConnectionError(f"the connection ended after {file.tell():,} bytes of {size or '?'}")

        retried(once, tries=TRIES, passing=_BROKEN, progress=file.tell)
        file.flush()
        os.fsync(file.fileno())


def _stream(url: str, file: BinaryIO, headers: Mapping[str, str], size: int | None, progress: Progress) -> bool:
    """Append what one request brings; True if that was all."""
    start = file.tell()
    asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    # No retries of the client's own: inside the body they cannot work (the response is this generator's), and it would sleep
    # for as long as a Retry-After says.
    with (
        guarded(),
        http_stream_backoff(
            "GET",
            url,
            headers=asked,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            retry_on_exceptions=(),
            retry_on_status_codes=(),
        ) as response,
    ):
        if start and response.status_code == 416:  # the file there is no longer than what we have
            file.truncate(0)
            return False
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            file.seek(0)
            file.truncate(0)
            start = 0
        stated = response.headers.get("Content-Length")
        end = size if size is not None else start + int(stated) if stated else None
        pace = _Pace(url)
        for data in response.iter_raw():
            if end is not None and file.tell() + len(data) > end:
                raise WeightsUnavailableError(
                    f"{_bare(url)} sends more than the {end:,} bytes it stated; it is refused"
                )
            file.write(data)
            progress(len(data))
            pace.tell(len(data))
    return end is None or file.tell() >= end


class _Pace:
    """Gives up a connection that trickles."""

    def __init__(self, url: str) -> None:
        self._url, self._bytes, self._since = url, 0, time.monotonic()

    def tell(self, count: int) -> None:
        self._bytes += count
        passed = time.monotonic() - self._since
        if self._bytes >= STALL_BYTES:
            self._bytes, self._since = 0, time.monotonic()
        elif passed > STALL_SECONDS:
            raise WeightsUnavailableError(
                f"{_bare(self._url)} sends too slowly ({self._bytes:,} bytes in {passed:.0f} s); try again later - "
                "what came in is kept and gone on with"
            )


def _bare(url: str) -> str:
    """The address without its query, which may hold a signature."""
    return url.partition("?")[0]
