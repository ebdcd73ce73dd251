"""Asking a server again, a little later, where that helps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from huggingface_hub.errors import HfHubHTTPError

T = TypeVar("T")
LONGEST_WAIT: Final = 60.0
"""Seconds that a server may ask us to wait (``Retry-After``); one that asks for more is told to the user instead."""
_WORTH_WAITING: Final = (408, 429, 500, 502, 503, 504)


def retried(
    ask: Callable[[], T],
    *,
    tries: int = 4,
    passing: tuple[type[Exception], ...] = (),
    progress: Callable[[], int] = lambda: 0,
) -> T:
    """Return what ``ask`` returns; ask again where the server says that this helps, waiting twice as long each time.

    Args:
        tries: failures in a row after which the last one is raised.
        passing: errors that may pass too.
        progress: a number that grows with what came in; a try in which it grew starts the count anew.

    Raises:
        What ``ask`` raises: what does not pass, or the last failure.
    """
    failed = 0
    worth: tuple[type[Exception], ...] = (HfHubHTTPError, *passing)
    while True:
        before = progress()
        try:
            return ask()
        except worth as error:
            wait = asked_to_wait(error) if isinstance(error, HfHubHTTPError) else 0.0
            failed = 1 if progress() > before else failed + 1
            if wait is None or failed >= tries:
                raise
            time.sleep(wait or min(8.0, 2**failed / 2))


def asked_to_wait(error: HfHubHTTPError) -> float | None:
    """Return the seconds after which a server wants to be asked again, 0 if it names none; None where that is no use."""
    if error.response is None or error.response.status_code not in _WORTH_WAITING:
        return None
    stated = error.response.headers.get("Retry-After", "")
    seconds = float(stated) if stated.isdecimal() else 0.0
    return seconds if seconds <= LONGEST_WAIT else None
