"""The names of the methods and of their settings. Imports no library: the command line reads it."""

from __future__ import annotations

from typing import Any, Final

from modelgraft.errors import UsageError

METHODS: Final = ("source-only", "mean-shift", "coral", "subspace", "importance", "self-training")
AUTO: Final = "auto"
SOURCE_ONLY: Final = METHODS[0]
CANDIDATES: Final = tuple(method for method in METHODS if method != "subspace")
"""What ``auto`` chooses among. Few directions make smooth answers, which the measures take for good ones: where subspace alignment
was worst they rated it well (benchmarks/adaptation.py), so it is for those who ask for it."""
SETTINGS: Final = ("C", "Cs", "shrinkage", "dimension", "clip")


def checked_method(method: Any) -> str:
    """Return the name of a method.

    Raises:
        UsageError: there is none of that name.
    """
    if method != AUTO and method not in METHODS:
        raise UsageError(f"no way of adapting {method!r}; there are {AUTO}, {', '.join(METHODS)}")
    return str(method)
