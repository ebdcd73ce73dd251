"""A small sketch of features, by which later items and batches are said to be like them or not.

Mean, the leading principal components and the variance of what they leave over: a Gaussian of low rank (Tipping and Bishop 1999,
"Probabilistic principal component analysis"). How strange an item is, is its Mahalanobis distance there. What such a distance
means is known from items of the training data that were held out of the sketch: a conformal p-value (Vovk et al. 2005; Bates et
al. 2023, arXiv 2104.08279).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from modelgraft.errors import UsageError
from scipy.special import ndtr

from modelgraft_adapters.shift.sides import drawn

LEAST_ITEMS: Final = 50
"""Training items that a reference is made of. Of fewer there is none."""
MOST_ITEMS: Final = 2000
"""Training items that are looked at, drawn by the seed where there are more."""
LEAST_BATCH: Final = 20
"""Items of a batch that is judged. Of fewer, nothing is said."""
LEVEL: Final = 0.01
"""How often a batch from where the training items come from is called unlike them, at most."""
_NUMBERS: Final = 1 << 14
"""Of the components, half precision: 32 KiB."""
_QUANTILES: Final = 513
_FOLDS: Final = 10
_LEAST_SHARE: Final = 1e-9
"""Of the mean variance: what the components leave over has at least this."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The sketch of N items with features of D numbers."""

    mean: np.ndarray
    """(D,) float32."""
    components: np.ndarray
    """(R, D) float16: rows that are orthonormal but for their rounding."""
    variances: np.ndarray
    """(R,) float32: along the components, above 0."""
    left: float
    """Mean variance of each of the other D - R directions, above 0."""
    distances: np.ndarray
    """(Q,) float32, ascending: of held-out items, or, of more than Q of them, quantiles at even steps."""
    items: int
    """N: items that the distances are of."""

    @property
    def width(self) -> int:
        """D."""
        return len(self.mean)

    @cached_property
    def _basis(self) -> np.ndarray:
        return _orthonormal(self.components)

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance (B,) float64 of features (B, D); infinite where they are not finite.

        Raises:
            UsageError: features of another width.
        """
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise UsageError(f"features of the shape {rows.shape}; the reference has {self.width} numbers an item")
        return _mahalanobis(rows - self.mean.astype(np.float64), self._basis, self.variances, self.left)

    def shares(self, features: np.ndarray) -> np.ndarray:
        """Return for each item (B,) float64 the share of training items that are at least as strange, itself counted among them:
        about uniform in (0, 1] for items from where those come from, and as small as 1 / (N + 1) for strange ones."""
        return self.shares_of(self.distance(features))

    def shares_of(self, distances: np.ndarray) -> np.ndarray:
        """Return the same for distances (B,)."""
        known = self.distances.astype(np.float64)
        given = distances.astype(np.float32).astype(np.float64)  # as the known ones are
        if len(known) == self.items:
            below = np.searchsorted(known, given, side="left").astype(np.float64)
        else:
            below = np.interp(given, known, np.linspace(0, self.items - 1, len(known)), right=self.items)
        found: np.ndarray = (1 + self.items - below) / (1 + self.items)
        return np.where(np.isfinite(distances), found, 1 / (1 + self.items))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays that it is made from again by `from_tensors`."""
        return {
            "components": self.components,
            "distances": self.distances,
            "left": np.array([self.left], np.float64),
            "mean": self.mean,
            "variances": self.variances,
        }

    @staticmethod
    def from_tensors(tensors: Mapping[str, Any], items: int) -> Reference:
        """Return the reference that `tensors` was asked of. They may be a stranger's.

        Raises:
            ValueError: they are none; the text says why, in a few words.
        """
        names = {"components", "distances", "left", "mean", "variances"}
        if set(tensors) != names:
            raise ValueError(f"it has not just the tensors {', '.join(sorted(names))}")
        found = {name: np.asarray(value) for name, value in tensors.items()}
        kinds = {"components": np.float16, "distances": np.float32, "left": np.float64, "mean": np.float32}
        for name, value in found.items():
            if value.dtype != kinds.get(name, np.float32) or not np.isfinite(value).all():
                raise ValueError(f"its tensor {name} is of another dtype, or not finite")
        mean, components, variances = found["mean"], found["components"], found["variances"]
        distances, left = found["distances"], found["left"]
        fits = mean.ndim == 1 and components.ndim == 2 and components.shape[1] == len(mean)
        if not fits or variances.shape != components.shape[:1] or left.shape != (1,) or distances.ndim != 1:
            raise ValueError("its tensors do not fit each other")
        if not (variances > 0).all() or not left[0] > 0 or not (distances >= 0).all() or (np.diff(distances) < 0).any():
            raise ValueError("its variances are not above 0, or its distances not ascending")
        if items < LEAST_ITEMS or len(distances) != min(items, _QUANTILES):
            raise ValueError(f"it states {items} items and has {len(distances)} distances")
        return Reference(mean, components, variances, float(left[0]), distances, items)


@dataclass(frozen=True, slots=True)
class BatchTest:
    """Whether a batch is like the training items."""

    p_value: float
    """Of the hypothesis that its items are no stranger than training items that were held out."""
    items: int
    strange: int
    """Items at least as strange as all but one in a hundred training items."""

    @property
    def unlike(self) -> bool:
        """Whether that is refuted at `LEVEL`."""
        return self.p_value <= LEVEL


def make_reference(features: np.ndarray, seed: int = 0) -> Reference | None:
    """Return the sketch of features (N, D), or None where none can be made: fewer than `LEAST_ITEMS` rows, or rows that are no
    vectors, are not finite, or do not vary.

    Args:
        seed: of the items that are looked at, and of the folds that are held out in turn for the distances.
    """
    if features.ndim != 2 or len(features) < LEAST_ITEMS or not features.shape[1]:
        return None
    rng = np.random.default_rng(seed)
    rows = np.asarray(features[drawn(len(features), MOST_ITEMS, rng)], np.float64)
    if not np.isfinite(rows).all():
        return None
    part = np.empty(len(rows), np.int64)
    part[rng.permutation(len(rows))] = np.arange(len(rows)) % _FOLDS
    whole = _sketch(rows, seed)
    if whole is None:
        return None
    distances = np.empty(len(rows))
    for fold in range(_FOLDS):
        held = part == fold
        if (found := _sketch(rows[~held], seed)) is None:
            return None
        mean, components, variances, left = found
        distances[held] = _mahalanobis(rows[held] - mean, _orthonormal(components), variances, left)
    known = np.sort(distances).astype(np.float32)
    if not np.isfinite(known).all():
        return None
    if len(known) > _QUANTILES:
        places = np.linspace(0, len(known) - 1, _QUANTILES)
        known = np.interp(places, np.arange(len(known)), known).astype(np.float32)
    mean, components, variances, left = whole
    return Reference(mean, components, variances, left, known, len(rows))


def judge(shares: np.ndarray, items: int) -> BatchTest | None:
    """Return whether a batch is stranger than training items: the rank-sum test (Mann and Whitney 1947), one-sided, on the
    shares (B,) that `Reference.shares` gives; None where there are fewer than `LEAST_BATCH`.

    The distances of N held-out items are not independent of the sketch, which is of the same items: they are counted as the N / 2
    that would be, had half of the items made the sketch and the other half the distances (exact, with a worse sketch; the
    guarantee of cross-conformal p-values has the same factor: Barber et al. 2021, arXiv 1905.02928). One-sided, so that a batch
    of items that were trained on, which are less strange than held-out ones, is not called unlike.

    Args:
        items: N of the reference.
    """
    count = len(shares)
    if count < LEAST_BATCH:
        return None
    middle = (items + 2) / (2 * (items + 1))
    known = items / 2
    spread = np.sqrt((count + known + 1) / (12 * count * known))
    p_value = float(ndtr((float(np.mean(shares)) - middle) / spread))
    return BatchTest(p_value, count, int((np.asarray(shares) <= 0.01).sum()))


_Sketch = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def _sketch(rows: np.ndarray, seed: int) -> _Sketch | None:
    """Mean, components as they are stored, variances, and what is left; None of rows that do not vary."""
    count, width = rows.shape
    mean = rows.mean(axis=0).astype(np.float32)
    centred = rows - mean
    total = float(np.einsum("nd,nd->", centred, centred)) / (count - 1)
    if not float(np.finfo(np.float32).tiny) < total < float(np.finfo(np.float32).max):
        return None
    least = _LEAST_SHARE * total / width
    rank = max(1, min(_NUMBERS // width, count // 10, width))
    components = _leading(centred, rank, seed).astype(np.float16)
    basis = _orthonormal(components)
    variances = np.maximum(((centred @ basis.T) ** 2).sum(axis=0) / (count - 1), least).astype(np.float32)
    left = float(_left_over(centred, basis).sum()) / (count - 1) / max(width - rank, 1)
    return mean, components, variances, max(left, least)


def _leading(centred: np.ndarray, rank: int, seed: int) -> np.ndarray:
    """(R, D) the leading right singular vectors."""
    if min(centred.shape) <= 256 or 4 * rank >= min(centred.shape):
        return np.asarray(np.linalg.svd(centred, full_matrices=False)[2][:rank])
    from sklearn.utils.extmath import randomized_svd

    return np.asarray(randomized_svd(centred, rank, n_iter=4, random_state=seed % (1 << 32))[2])


def _orthonormal(components: np.ndarray) -> np.ndarray:
    """The orthonormal rows (R, D) float64 nearest to the components (Loewdin 1950). Rounding would else add a thousandth of the
    largest variance to what the components leave over, which can be all that is there."""
    rows = components.astype(np.float64)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    found: np.ndarray = (vectors / np.sqrt(np.maximum(values, 1e-6))) @ vectors.T @ rows
    return found


def _left_over(centred: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(B,) squared length of what the components leave over."""
    if len(basis) == basis.shape[1]:
        return np.zeros(len(centred))
    rest = centred - (centred @ basis.T) @ basis
    return np.asarray(np.einsum("nd,nd->n", rest, rest))


def _mahalanobis(centred: np.ndarray, basis: np.ndarray, variances: np.ndarray, left: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        along = (centred @ basis.T) ** 2 / variances.astype(np.float64)
        found = np.sqrt(along.sum(axis=1) + _left_over(centred, basis) / left)
    return np.where(np.isfinite(found), found, np.inf)
