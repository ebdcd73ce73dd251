"""Which way of adapting to take, asked without a label of the target: by the way back, and by the target's own neighbourhoods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

RESAMPLES: Final = 1000
NEIGHBOURS: Final = 10
WORTH: Final = 1.05
"""A score that is less than this times the yardstick's is not worth leaving it."""
ONE_CLASS: Final = 0.95
"""Where the yardstick gives so large a share of the target one class, a move of the domain and a target of one class look alike."""
_LEVEL: Final = 0.025


@dataclass(frozen=True, slots=True)
class Seen:
    """What a method does without a label of the target being known."""

    right: np.ndarray
    """(N,) bool: items of the source, mapped as the method maps them, that a head trained on the target by the method's labels is
    right on."""
    labels: np.ndarray
    """(M,) int64: the class that the method gives each item of the target."""
    votes: np.ndarray
    """(M,) int64: the class that most of the item's nearest neighbours in the target are given."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How a method looks from the labels that there are."""

    way_back: float
    """Share of the source that is right on the way back."""
    neighbours: float
    """Cohen's kappa of the labels and the neighbours' votes: 1 where the labels follow the target's own clusters, 0 by chance."""
    ratio: float
    """The product of the two by the yardstick's."""
    low: float
    high: float
    """95 % interval of the ratio."""

    @property
    def score(self) -> float:
        """The product of the two."""
        return self.way_back * self.neighbours

    def record(self) -> dict[str, float]:
        """Plain JSON types."""
        names = ("way_back", "neighbours", "ratio", "low", "high")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and by what."""

    method: str
    why: str
    measures: Mapping[str, Measure]

    def record(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"why": self.why, "measures": {name: found.record() for name, found in self.measures.items()}}


def votes_of_neighbours(features: np.ndarray, labels: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """Return (M,) int64: the label that most of an item's nearest others have, by the cosine of centred features (M, D)."""
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(labels) - 1)
    near = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute").fit(features - features.mean(axis=0))
    tally = (labels[near.kneighbors(return_distance=False)][:, :, None] == np.arange(int(labels.max()) + 1)).sum(axis=1)
    return tally.argmax(axis=1).astype(np.int64)


def choose(found: Mapping[str, Seen], yardstick: str, seed: int = 0) -> Choice:
    """Return the method of the highest score, if it is above the yardstick's beyond chance; else the yardstick.

    The score is a product. Its first factor is reverse validation (Zhong, Fan, Yang, Verscheure and Ren 2010; as in Ganin et
    al. 2016, arXiv 1505.07818): a head is trained on the target with the labels that the method gives it, and asked of the
    labelled source; classes that were taken for others there are so here. Alone it believes a labelling that is wrong and
    consistent. The second says whether the labels follow the target's own neighbourhoods, which alone would believe any
    labelling by clusters.

    The interval is of the ratio to the yardstick, by resampling items of both domains, for all methods at once (paired percentile
    bootstrap, Efron 1979), at 95 % for the methods together (Bonferroni).
    """
    rng = np.random.default_rng(seed)
    first = found[yardstick]
    sources = rng.integers(0, len(first.right), (RESAMPLES, len(first.right)))
    targets = rng.integers(0, len(first.labels), (RESAMPLES, len(first.labels)))
    back = {name: float(seen.right.mean()) for name, seen in found.items()}
    near = {name: kappa(seen.labels, seen.votes) for name, seen in found.items()}
    drawn = {name: _resampled(seen, sources, targets) for name, seen in found.items()}
    level = 100 * _LEVEL / max(len(found) - 1, 1)
    measures = {}
    for name in found:
        low, high = np.percentile(_ratio(drawn[name], drawn[yardstick]), [level, 100 - level])
        ratio = float(_ratio(np.array(back[name] * near[name]), np.array(back[yardstick] * near[yardstick])))
        measures[name] = Measure(back[name], near[name], ratio, float(low), float(high))
    if np.bincount(first.labels).max() >= ONE_CLASS * len(first.labels):
        why = "it gives nearly all of the target one class, and no label says whether that is so"
        return Choice(yardstick, why, measures)
    sure = [name for name in found if name != yardstick and measures[name].low > 1 and measures[name].ratio >= WORTH]
    if not sure:
        return Choice(yardstick, "no method looks better than doing nothing, beyond chance", measures)
    best = max(sure, key=lambda name: measures[name].ratio)
    m = measures[best]
    return Choice(
        best, f"its score is {m.ratio:.2f} times that of {yardstick} (95 %: {m.low:.2f} to {m.high:.2f})", measures
    )


def kappa(one: np.ndarray, other: np.ndarray) -> float:
    """Return Cohen's (1960) kappa of two labellings (M,), not below 0; 0 where both give all items one class."""
    classes = int(max(one.max(), other.max())) + 1
    expected = float(
        (np.bincount(one, minlength=classes) / len(one)) @ (np.bincount(other, minlength=classes) / len(one))
    )
    return 0.0 if expected >= 1 else max(0.0, (float((one == other).mean()) - expected) / (1 - expected))


def _resampled(seen: Seen, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(RESAMPLES,): the score on each resample."""
    back = seen.right[sources].mean(axis=1)
    return back * np.array([kappa(seen.labels[rows], seen.votes[rows]) for rows in targets])


def _ratio(score: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The quotient; of two scores of 0 it is 1."""
    return (score + 1e-12) / (base + 1e-12)
