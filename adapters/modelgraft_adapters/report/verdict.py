"""What the table of a comparison says, in words, and which rows may be as good as the best."""

from __future__ import annotations

from collections.abc import Callable

from modelgraft_adapters.compare.results import Comparison, Row


def sentence(result: Comparison, name: Callable[[Row], str]) -> str:
    """What the table says, in words."""
    if not result.done:
        return "Nothing could be trained: the reasons are below."
    if not known(result):
        why = next((row.score.note for row in result.done if row.score is not None and row.score.note), "")
        return f"{result.metric} is undefined on these test items{f': {why}' if why else ''}. No row is better than another."
    same = [name(row) for row in as_good(result)[1:]]
    text = f"With {most(result)} {name(result.done[0])} does best."
    if len(known(result)) == 1:
        return text
    if not same:
        return f"{text} Every other is worse beyond chance."
    return f"{text} Not told apart from it by these items and seeds: {', '.join(same)}."


def as_good(result: Comparison) -> list[Row]:
    """The best row and those whose difference to it may be none, all rows being looked at."""
    return [row for row in known(result) if row.difference is None or not _worse(row)]


def known(result: Comparison) -> list[Row]:
    """Rows whose score the test items define."""
    return [row for row in result.done if row.score is not None and row.score.defined]


def _worse(row: Row) -> bool:
    apart = row.difference
    return apart is not None and (apart.high < 0 if apart.corrected is None else apart.corrected.worse)


def most(result: Comparison) -> str:
    """How many labels the table is about."""
    if result.shots[-1] is None:
        return "all labels"
    return f"{result.shots[-1]} labels{'' if result.task == 'regression' else ' of each class'}"


def zero(row: Row) -> bool:
    """Whether a row takes no labels."""
    return bool(row.points) and row.points[0].shots == 0
