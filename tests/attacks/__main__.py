"""Run all attacks, or the kinds named, and print the counts: ``python -m tests.attacks [KIND ...]``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.attacks.harness import Place, Verdict, place, report
from tests.conftest import ROOT


def listed(at: Place) -> list[Verdict]:
    """Plugins, when they are tried."""
    from tests.attacks import listed

    return listed.run(at, ROOT / "docs" / "photos")


def used(at: Place) -> list[Verdict]:
    """Plugins, when they are used."""
    from tests.attacks import used

    return used.run(at, ROOT / "docs" / "photos")


def folders(at: Place) -> list[Verdict]:
    """Folders of models."""
    from tests.attacks import folders
    from tests.sentence_transformers.conftest import minilm_folder

    return folders.run(at, ROOT / "docs" / "photos", minilm_folder())


def saved(at: Place) -> list[Verdict]:
    """Saved adapters."""
    from tests.attacks import saved

    return saved.run(at)


def items(at: Place) -> list[Verdict]:
    """Images, tables, texts, terminals."""
    from tests.attacks import items

    return items.run(at, ROOT / "docs" / "photos")


KINDS: dict[str, Callable[[Place], list[Verdict]]] = {
    "listed": listed,
    "used": used,
    "folders": folders,
    "saved": saved,
    "items": items,
}


def run(kinds: list[str]) -> list[Verdict]:
    """The verdicts of some kinds, each in a place of its own."""
    verdicts = []
    for kind in kinds:
        with place() as at:
            verdicts += KINDS[kind](at)
    return verdicts


if __name__ == "__main__":
    found = run(sys.argv[1:] or list(KINDS))
    print(report(found))
    sys.exit(any(verdict.faults for verdict in found))
