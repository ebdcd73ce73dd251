"""The names of the methods and of their settings. Imports no library: the command line reads it."""

from __future__ import annotations

from typing import Any, Final

from modelgraft.errors import UsageError

METHODS: Final = ("source-only", "mean-shift", "coral", "subspace", "importance", "self-training")
TRAINED: Final = ("deep-coral", "dann")
"""Ways that train the network on both domains, of images (`finetuning.two_domains`)."""
NETWORK: Final = ("adabn", "tent", *TRAINED)
"""Ways that change the network, for images; the first two its batch normalisation (`finetuning.norm_adaptation`)."""
AUTO: Final = "auto"
SOURCE_ONLY: Final = METHODS[0]
CANDIDATES: Final = tuple(method for method in METHODS if method != "subspace")
"""What ``auto`` chooses among. Subspace alignment is left out: its answers follow the few largest directions of the target, so
neighbours agree on them whether they are right or not, and the measure that is asked believes it too easily."""
TRAINING_SETTINGS: Final = (
    *("strategy", "block", "steps", "epochs", "lr", "head_lr", "batch_size", "optimizer", "augment", "norms"),
    *("semi_weight", "semi_ratio"),
)
"""Of `FineTuner`, by its names."""
HEAD_SETTINGS: Final = ("C", "Cs")
"""Of the probe: source-only, and the head of adabn and tent."""
NETWORK_SETTINGS: Final = {
    "adabn": HEAD_SETTINGS,
    "tent": (*HEAD_SETTINGS, "lr", "epochs"),
    **dict.fromkeys(TRAINED, (*HEAD_SETTINGS, *TRAINING_SETTINGS)),
}
SETTINGS: Final = ("C", "Cs", "shrinkage", "dimension", "clip")


def checked_method(method: Any) -> str:
    """Return the name of a method.

    Raises:
        UsageError: there is none of that name.
    """
    if method != AUTO and method not in METHODS:
        raise UsageError(f"no way of adapting {method!r}; there are {AUTO}, {', '.join(METHODS)}")
    return str(method)
