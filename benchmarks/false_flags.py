"""How often a table of equally good rows says of some row that it is worse than the best, and how often a worse row is seen.

    python benchmarks/false_flags.py [--tables 400]

Every bound is the one that `compare` shows; nothing is computed here but the answers. All rows answer the same 200 test items, of
which some are harder than others for all of them; with several seeds every draw of the labels makes a row a little better or
worse. "One by one" takes each row's own interval, as a reader of many tables of two rows would.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from measure import save
from modelgraft_adapters.metrics.many_rows import corrected
from modelgraft_adapters.metrics.paired import Answers, difference
from scipy.special import ndtr

ROWS = (3, 5, 10, 20)
ITEMS = 200
ACCURACY = 0.8
COMMON = 0.5
"""The part of the variance of what an item is answered that is the item's own."""
DRAWN = 0.02
"""Standard deviation of a row's accuracy over the draws of the labels."""
WORSE = (0.05, 0.10)


def table(rng: np.random.Generator, accuracies: np.ndarray, draws: int, items: int = ITEMS) -> list[list[Answers]]:
    """Answers of K rows, ``draws`` learnings each, whose accuracies over all items and draws are as given."""
    nothing = np.zeros((0, 0))
    hard = rng.normal(size=items) * np.sqrt(COMMON)
    rows = []
    for accuracy in accuracies:
        own = rng.normal(size=items) * np.sqrt((1 - COMMON) / 2)
        learnt = []
        for _ in range(draws):
            now = min(max(accuracy + (rng.normal(0, DRAWN) if draws > 1 else 0.0), 1e-3), 1 - 1e-3)
            noise = rng.normal(size=items) * np.sqrt((1 - COMMON) / 2)
            right = ndtr(hard + own + noise) < now
            learnt.append(Answers("single-label", right.astype(float), nothing, nothing))
        rows.append(learnt)
    return rows


def ranked(rows: list[list[Answers]]) -> tuple[list[list[Answers]], list[int]]:
    """The rows as a table has them, best first, and which each was."""
    order = sorted(range(len(rows)), key=lambda n: -float(np.mean([learnt.score for learnt in rows[n]])))
    return [rows[n] for n in order], order


def flags(rng: np.random.Generator, rows: int, draws: int, tables: int) -> dict[str, float]:
    """The part of tables of equally good rows that say of at least one that it is worse."""
    together = alone = 0
    for _ in range(tables):
        found, _ = ranked(table(rng, np.full(rows, ACCURACY), draws))
        together += any(one is not None and one.high < 0 for one in corrected(found))
        alone += any(difference(row, found[0]).high < 0 for row in found[1:])
    return {"corrected": together / tables, "one_by_one": alone / tables}


def power(rng: np.random.Generator, rows: int, draws: int, apart: float, tables: int) -> dict[str, float]:
    """The part of tables that say of one row that it is worse, which is by ``apart``; the other rows are equally good."""
    together = alone = 0
    for _ in range(tables):
        accuracies = np.full(rows, ACCURACY)
        accuracies[-1] -= apart
        found, order = ranked(table(rng, accuracies, draws))
        place = order.index(rows - 1)
        if place:
            one = corrected(found)[place]
            together += one is not None and one.high < 0
            alone += difference(found[place], found[0]).high < 0
    return {"corrected": together / tables, "one_by_one": alone / tables}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tables", type=int, default=400)
    options = arguments.parse_args()
    begin, rng, found = time.process_time(), np.random.default_rng(0), []
    for draws in (1, 3):
        for rows in ROWS:
            equal = flags(rng, rows, draws, options.tables)
            seen = {f"{apart:g}": power(rng, rows, draws, apart, options.tables // 4) for apart in WORSE}
            found.append({"rows": rows, "seeds": draws, "false": equal, "power": seen})
            print(found[-1], round(time.process_time() - begin, 1), flush=True)
    facts = {"items": ITEMS, "accuracy": ACCURACY, "drawn": DRAWN, "tables": options.tables}
    save("false_flags", {**facts, "rows": found, "cpu_s": time.process_time() - begin})


if __name__ == "__main__":
    main()
