"""The names of the methods. Imports no library: the command line reads it."""

from __future__ import annotations

from typing import Any, Final

from modelgraft.errors import UsageError

METHODS: Final = ("prompt-weights", "shares", "even-shares", "class-means")
LEAST: Final = 2
"""Readable items that a rule is fitted to; one item by itself is no batch."""


def checked_method(method: Any) -> str:
    """Return the name of a method.

    Raises:
        UsageError: there is none of that name.
    """
    if method not in METHODS:
        raise UsageError(f"no transductive method {method!r}; there are {', '.join(METHODS)}")
    return str(method)
