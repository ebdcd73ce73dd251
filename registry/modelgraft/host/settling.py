"""Who may use which name, where two plugins claim one. Decided from what they announced, name by name.

The project's own names stand. Of two strangers the one whose distribution is named for it has it: what is below ``colours/``, and
a head, verb or source ``colours``, belongs to ``modelgraft-colours`` (or ``colours``), for nobody else can publish that. Where no
name says so, neither has it, and whoever asks for it is told both: any other order (alphabet, time) would let a package take what
was another's in silence. Only the name that clashes is lost, never the rest of a plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from modelgraft.host.discovery import OWN_DISTRIBUTION
from modelgraft.host.table import Table
from modelgraft.verbs import BUILT_IN

KINDS: Final = {"entries": "model", "heads": "head", "verbs": "verb", "sources": "source", "engines": "engine"}
Record = dict[str, Any]


def settle(records: Sequence[Record]) -> tuple[list[Record], dict[tuple[str, str], tuple[str, ...]]]:
    """Take from each record the names that are another's.

    Args:
        records: the project's own first.

    Returns:
        the records; and (kind, name) -> the distributions that claim it, for names that nobody has.
    """
    if all(record["distribution"] == OWN_DISTRIBUTION for record in records):
        return list(records), {}  # nothing of a stranger's: our tests hold these apart
    out, contested = list(records), dict[tuple[str, str], tuple[str, ...]]()
    lost: dict[int, list[str]] = {}
    for kind, what in KINDS.items():
        claims: dict[str, list[int]] = {}
        if kind == "verbs":
            claims.update({verb.name: [-1] for verb in BUILT_IN})
        for number, record in enumerate(records):
            for name in _names(record, kind):
                claims.setdefault(name.lower(), []).append(number)
        taken: dict[int, set[str]] = {}
        for name, numbers in claims.items():
            if len(set(numbers)) < 2:
                continue
            winner = _winner(records, numbers, name.partition("/")[0])
            for number in set(numbers) - {winner}:
                taken.setdefault(number, set()).add(name)
                if number not in lost or len(lost[number]) < 3:
                    rivals = [winner] if winner is not None else sorted(set(numbers) - {number})
                    lost.setdefault(number, []).append(_told(what, name, [_who(records, n) for n in rivals], winner))
            if winner is None:
                contested[what, name] = tuple(_who(records, n) for n in sorted(set(numbers)))
        for number, names in taken.items():
            out[number] = _without(out[number], kind, names)
    for number, reasons in lost.items():
        left = any(len(out[number][kind]) for kind in KINDS)
        error = f"{'; '.join(reasons)}; rename it, or keep one of the two out with MODELGRAFT_PLUGINS=-NAME"
        if out[number]["error"]:
            error = f"{out[number]['error']}; {error}"
        out[number] = {**out[number], "status": "warned" if left else "failed", "error": error}
    return out, contested


def owners(records: Iterable[Record], own: Iterable[str] = ()) -> dict[str, str]:
    """Provider (lower case) -> the distribution whose it is; those that several strangers claim are absent.

    Args:
        own: providers that are the project's whatever is installed.
    """
    bring: dict[str, list[str]] = {}
    for record in records:
        for provider in {name.partition("/")[0].lower() for name in record["entries"].names}:
            bring.setdefault(provider, []).append(record["distribution"])
    found = {}
    for provider, brought_by in bring.items():
        several = list(dict.fromkeys(brought_by))
        named = [one for one in several if named_for(one, provider)]
        if OWN_DISTRIBUTION in several:
            found[provider] = OWN_DISTRIBUTION
        elif len(named) == 1 or len(several) == 1:
            found[provider] = (named or several)[0]
    return {**found, **{provider.lower(): OWN_DISTRIBUTION for provider in own}}


def named_for(distribution: str, name: str) -> bool:
    """Tell whether a distribution's own name says that a name is its: ``modelgraft-colours`` or ``colours`` for ``colours``."""
    project, wanted = (re.sub(r"[-_.]+", "-", text).lower() for text in (distribution, name))
    return project in (wanted, f"modelgraft-{wanted}")


def _winner(records: Sequence[Record], numbers: Sequence[int], name: str) -> int | None:
    own = [n for n in numbers if n < 0 or records[n]["distribution"] == OWN_DISTRIBUTION]
    if own:
        return own[0]
    named = [n for n in numbers if named_for(records[n]["distribution"], name)]
    same = {records[n]["distribution"] for n in numbers}
    return named[0] if named else numbers[0] if len(same) == 1 else None


def _who(records: Sequence[Record], number: int) -> str:
    return "modelgraft" if number < 0 else f"{records[number]['distribution']} {records[number]['version']}"


def _told(what: str, name: str, rivals: list[str], winner: int | None) -> str:
    brings = "brings already" if winner is not None else "brings too, so that neither is used"
    return f"brings the {what} {name!r}, which {' and '.join(rivals)} {brings}"


def _names(record: Mapping[str, Any], kind: str) -> Iterable[str]:
    return record["entries"].names if kind == "entries" else [item["name"] for item in record[kind]]


def _without(record: Record, kind: str, names: set[str]) -> Record:
    kept = [item for item in record[kind] if item["name"].lower() not in names]
    return {**record, kind: Table.of(kept) if kind == "entries" else kept}
