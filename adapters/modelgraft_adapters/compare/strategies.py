"""The strategies of a comparison, as a user writes them. Apart from what does them, so that reading them imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modelgraft import list_heads
from modelgraft.errors import UsageError

from modelgraft_adapters.defaults import parse_settings
from modelgraft_adapters.finetuning.settings import STRATEGIES, Settings, parse_strategy


@dataclass(frozen=True, slots=True)
class Way:
    """A strategy as it was asked for."""

    label: str
    """As the user wrote it, settings included: ``knn:k=5``."""
    kind: Literal["zero-shot", "head", "tune"]
    name: str
    """Of the head, or of the strategy of fine-tuning."""
    settings: dict[str, Any]


def parse_way(text: str, settings: Mapping[str, Any] | None = None) -> Way:
    """``probe``, ``knn:k=5``, ``last-2``, ``full:lr=1e-5:steps=200``: a name, then settings of its own.

    Args:
        settings: of fine-tuning, for every strategy of it.

    Raises:
        UsageError: no such name, or a setting that fine-tuning does not have.
    """
    name, *words = text.split(":")
    own = parse_settings(words)
    heads = {spec.name for spec in list_heads()}
    if name in ("zero-shot", "text"):
        if own:
            raise UsageError(f"{text!r}: zero-shot has no settings")
        return Way(text, "zero-shot", "text", {})
    if name == "probe" or name in heads:
        return Way(text, "head", "linear" if name == "probe" else name, own)
    try:
        parse_strategy(name)
    except UsageError:
        known = ", ".join(["zero-shot", "probe", *sorted(heads - {"text"}), *STRATEGIES])
        raise UsageError(f"no strategy {name!r}; there are: {known}") from None
    given = {**(settings or {}), **own}
    Settings.of({"strategy": name, **given})
    return Way(text, "tune", name, given)
