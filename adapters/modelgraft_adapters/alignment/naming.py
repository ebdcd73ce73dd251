"""The names of the methods and of their settings. Imports no library: the command line reads it."""

from __future__ import annotations

from typing import Any, Final

from modelgraft.errors import UsageError

METHODS: Final = ("source-only", "mean-shift", "coral", "subspace", "importance", "self-training")
NETWORK: Final = ("adabn", "tent")
"""Ways that change the network, for images (`finetuning.norm_adaptation`)."""
AUTO: Final = "auto"
SOURCE_ONLY: Final = METHODS[0]
CANDIDATES: Final = tuple(method for method in METHODS if method != "subspace")
"""What ``auto`` chooses among. Subspace alignment is left out: its answers follow the few largest directions of the target, so
neighbours agree on them whether they are right or not, and the measure that is asked believes it too easily."""
NETWORK_SETTINGS: Final = {"adabn": ("C", "Cs"), "tent": ("C", "Cs", "lr", "epochs")}
SETTINGS: Final = ("C", "Cs", "shrinkage", "dimension", "clip")


def checked_method(method: Any) -> str:
    """Return the name of a method.

    Raises:
        UsageError: there is none of that name.
    """
    if method != AUTO and method not in METHODS:
        raise UsageError(f"no way of adapting {method!r}; there are {AUTO}, {', '.join(METHODS)}")
    return str(method)
