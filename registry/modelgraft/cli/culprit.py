"""Whose code was running when something went wrong: read off the traceback. Asked only when a command has failed."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator
from types import FrameType

from modelgraft.host.discovery import OWN_DISTRIBUTION


def culprit_of(error: BaseException, besides: Collection[str] = ()) -> str | None:
    """Return the distribution of the plugin whose code raised an error; None if no stranger's plugin had a part in it.

    Code that one plugin's library called back into counts for the plugin: the innermost frame of a plugin decides.

    Args:
        besides: top-level packages that are not to blame.
    """
    try:
        from importlib.metadata import packages_distributions

        from modelgraft.host.host import current_host

        plugins = {record["distribution"] for record in current_host().records} - {OWN_DISTRIBUTION}
        if not plugins:
            return None
        owners = packages_distributions()
    except Exception:  # what is broken may be the host itself, and the first error is the one to tell
        return None
    for module in _modules(error):
        if module in besides:
            return None
        for distribution in owners.get(module, ()):
            if distribution in plugins:
                return distribution
    return None


def raised_in(error: BaseException) -> str:
    """Return the top-level name of the module that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return _top(frames[-1]) if frames else ""


def _top(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _modules(error: BaseException) -> Iterator[str]:
    """Top-level names of the modules on the way to an error, innermost first, causes before what they caused."""
    seen: set[int] = set()
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        chain.append(at)
        at = at.__cause__ or at.__context__
    for link in reversed(chain):
        frames = [frame for frame, _ in traceback.walk_tb(link.__traceback__)]
        for frame in reversed(frames):
            yield _top(frame)
