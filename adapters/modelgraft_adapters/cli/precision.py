"""``--precision auto`` and ``--engine auto``: settled on the items before a verb's own work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelgraft_adapters.cli.progress import say
from modelgraft_adapters.defaults import AUTO

if TYPE_CHECKING:
    from modelgraft import Entry

    from modelgraft_adapters.features.choosing import Scores


def settled(
    entry: Entry,
    items: Sequence[Any],
    modality: str,
    dtype: str | None,
    engine: str | None,
    scores: Scores | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return ``dtype`` and ``engine`` as asked for; of ``auto`` what was chosen, which is said.

    Args:
        items: what is to be embedded.
        scores, options: as for `modelgraft_adapters.features.choosing.choose_precision`.
    """
    if engine == AUTO:
        engine = _engine(entry, modality, dtype, options.get("device"), len(items))
    if dtype == AUTO:
        from modelgraft_adapters.features.choosing import choose_precision

        choice = choose_precision(entry, items, scores=scores, modality=modality, engine=engine, **options)
        say(choice.why)
        dtype = choice.precision
    return {"dtype": dtype, "engine": engine}


def precision_told(asked: str | None, used: str | None, device: str | None) -> str | None:
    """Return what rows say was computed in: a dtype where a precision was asked for, else None.

    Args:
        used: what ``asked`` came to.
    """
    from modelgraft.devices import device_of, dtype_of

    return None if asked is None else str(dtype_of(used, device_of(device))).removeprefix("torch.")


def _engine(entry: Entry, modality: str, dtype: str | None, device: str | None, count: int) -> str:
    from modelgraft.devices import FAST, device_of, dtype_of

    from modelgraft_adapters.features.best_engine import best_engine
    from modelgraft_adapters.features.identity import entry_identity

    on = device_of(device)
    wanted = dtype_of(FAST if dtype == AUTO else dtype, on)
    name = best_engine(entry_identity(entry), modality, wanted, on, count)
    say(f"auto: {entry.name} is run by {name}")
    return name
