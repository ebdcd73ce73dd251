"""What can go wrong between a name and its weights, said in one line that names the cure.

Plugins fetch through their own libraries and the real huggingface_hub client; what those raise is the same few things in many
wrappings. `telling` is the one place that reads them. huggingface_hub is imported only when something went wrong.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelgraft.entry import Entry
from modelgraft.errors import ModelgraftError, WeightsUnavailableError

Also = Callable[[Exception], str | None]


@contextmanager
def telling(entry: Entry, repo: str, *, what: str = "weights", also: Also | None = None) -> Iterator[None]:
    """Turn what fetching or reading files of a hub repository raises into a `WeightsUnavailableError`.

    Args:
        repo: the repository the files come from; for a ``what`` other than weights it may be another one than the entry's.
        what: what is fetched, for the text.
        also: asked before the general reading of an error: what a library says in words of its own.

    Anything that is not about files passes: it is a bug and must not look like a fault of the hub.
    """
    try:
        yield
    except ModelgraftError:
        raise
    except Exception as error:
        revision = entry.revision if what == "weights" else None
        reason = (also(error) if also else None) or hub_reason(error, repo, what=what, revision=revision)
        if reason is None:
            raise
        raise WeightsUnavailableError(f"{entry.name}: {reason}") from error


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
    if unsafe(raised):
        return (
            f"the {what} of {at} are damaged or a pickle that could run code, which is never opened; "
            f"fetch them again with '{fetching} --force-download', or choose another model"
        )
    if damaged(raised):
        return (
            f"the {what} of {at} are damaged or do not fit this library ({first_line(raised)}); "
            f"fetch them again with '{fetching} --force-download'"
        )
    if isinstance(raised, OSError) or find(raised, errors.HfHubHTTPError) or _from_http_client(raised):
        return f"the {what} of {at} could not be fetched or read ({first_line(raised)})"
    return None


def find(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """The first error of a kind in a chain of causes: libraries wrap what the hub client says."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, kind):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def first_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def unsafe(error: Exception) -> bool:
    """True for a pickle that was refused: hostile, or so damaged that it looks it."""
    # timm's wording on the hub's files, torch's own on others; neither tells a damaged pickle from a hostile one.
    marks = ("weights_only=True blocked", "Weights only load failed")
    return isinstance(error, (RuntimeError, pickle.UnpicklingError)) and any(mark in str(error) for mark in marks)


def damaged(error: Exception) -> bool:
    """True for weights that cannot be read or do not fit the model."""
    from safetensors import SafetensorError

    if isinstance(error, (SafetensorError, pickle.UnpicklingError, EOFError)):
        return True
    # torch and timm say so in plain RuntimeErrors.
    marks = ("state_dict", "invalid hash value", "PytorchStreamReader", "Pretrained ")
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in marks)


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
