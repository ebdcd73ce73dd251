"""What can go wrong between a name and its weights, said in one line that names the cure.

What the real huggingface_hub client raises is the same few things in many wrappings; `telling` is the one place that reads them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from modelgraft.errors import ModelgraftError, WeightsUnavailableError
from modelgraft.opening import find, first_line

Also = Callable[[Exception], str | None]


@contextmanager
def telling(
    repo: str, *, revision: str | None = None, what: str = "weights", also: Also | None = None
) -> Iterator[None]:
    """Turn what fetching or reading files of a hub repository raises into a `WeightsUnavailableError`.

    Args:
        repo: the repository the files come from.
        revision: as it was asked for.
        what: what is fetched, for the text.
        also: asked before the general reading of an error: what a library says in words of its own.

    Anything that is not about files passes: it is a bug and must not look like a fault of the hub.
    """
    try:
        yield
    except ModelgraftError:
        raise
    except Exception as error:
        reason = (also(error) if also else None) or hub_reason(error, repo, what=what, revision=revision)
        if reason is None:
            raise
        raise WeightsUnavailableError(reason) from error


def hub_reason(raised: Exception, repo: str, *, what: str = "weights", revision: str | None = None) -> str | None:
    """Why files of a repository cannot be had and what to do, or None if the error is about something else."""
    from huggingface_hub import constants, errors

    site = f"{constants.ENDPOINT}/{repo}"
    at = f"{repo}@{revision}" if revision else repo
    fetching = f"hf download {repo}" + (f" --revision {revision}" if revision else "")
    if find(raised, errors.GatedRepoError):
        return f"the {what} in {at} are gated: accept the terms at {site}, then log in with 'hf auth login'"
    if find(raised, errors.RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}; {site}/commits/main lists them"
    if find(raised, errors.RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no repository {repo}, or it is private: then log in with 'hf auth login'"
    if find(raised, errors.OfflineModeIsEnabled) or (constants.is_offline_mode() and isinstance(raised, OSError)):
        return (
            f"the {what} of {at} are not (or not all) in the cache and HF_HUB_OFFLINE is set; "
            f"unset it, or run '{fetching}' where there is a network"
        )
    if (found := find(raised, errors.LocalEntryNotFoundError)) or (found := cannot_connect(raised)):
        return (
            f"cannot reach {constants.ENDPOINT} for {at}, and its {what} are not in the cache "
            f"({first_line(found.__cause__ or found)}); check the network or HF_ENDPOINT"
        )
    if find(raised, errors.EntryNotFoundError):
        return f"{at} lacks files that the {what} need ({first_line(raised)})"
    if found := find(raised, errors.HFValidationError):
        return f"{at} is no repository and revision the hub could have ({first_line(found)})"
    if found := find(raised, errors.HfHubHTTPError):
        return _status_reason(found, at, what)
    if isinstance(raised, OSError) and raised.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"the {what} cannot be written to the cache ({first_line(raised)}); point HF_HUB_CACHE at a folder of yours"
        )
    if isinstance(raised, OSError) and raised.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk of {constants.HF_HUB_CACHE} is full; make room ('modelgraft cache prune'), or point HF_HUB_CACHE at "
            "another disk - what came in is kept and gone on with"
        )
    if _from_http_client(raised) and "Timeout" in type(raised).__name__:
        return (
            f"{constants.ENDPOINT} fell silent in the {what} of {at} ({first_line(raised)}); try again later - what came in is "
            "kept and gone on with - or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds"
        )
    if type(raised).__name__ == "TooManyRedirects":
        return f"{constants.ENDPOINT} redirects in a circle for the {what} of {at}; check HF_ENDPOINT and the proxy"
    if isinstance(raised, OSError) or _from_http_client(raised):
        return f"the {what} of {at} could not be fetched or read ({first_line(raised)}); try again later"
    return None


def _status_reason(error: Any, at: str, what: str) -> str:
    """What the hub says with a status that has no error of its own in its client."""
    status = error.response.status_code if error.response is not None else 0
    if status in (401, 403):
        return (
            f"the hub refuses the {what} of {at} to this token ({status}); log in anew with 'hf auth login', or unset HF_TOKEN "
            "if the model is public"
        )
    if status == 429:
        wait = error.response.headers.get("Retry-After")
        after = f"in {wait} s" if wait else "later"
        return f"the hub has had too many requests from here (429); try again {after}, or log in with 'hf auth login'"
    if status >= 500:
        return f"the hub has trouble of its own with the {what} of {at} ({status}); try again later, or set HF_ENDPOINT to a mirror"
    return f"the {what} of {at} could not be fetched ({first_line(error)}); try again later"


def cannot_connect(error: BaseException) -> BaseException | None:
    """The error itself if it says that nobody answers (the client's HTTP library has changed before: read by name)."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return error if _from_http_client(error) and names & {"ConnectError", "ConnectTimeout"} else None


def _from_http_client(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in (
        "httpx",
        "httpx2",
        "httpcore",
        "httpcore2",
        "requests",
        "hf_xet",
    )
