"""Principal components, whitening, and maps of features in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
from modelgraft.errors import UsageError

Kind = Literal["pca", "umap"]
KINDS: Final = ("pca", "umap")


@dataclass(frozen=True, slots=True)
class PCA:
    """Principal components (Hotelling 1933) of N rows."""

    mean: np.ndarray
    """(D,)."""
    components: np.ndarray
    """(K, D), orthonormal, the largest variance first; the entry of the largest size of each is positive."""
    variances: np.ndarray
    """(K,): along the components, with N - 1 in the denominator."""
    total: float
    """The variance in all directions."""

    @classmethod
    def fit(cls, features: np.ndarray, count: int | None = None) -> Self:
        """Of features (N, D) in float64; ``count`` None keeps all min(N, D).

        Raises:
            UsageError: fewer than 2 rows, or more components than there are.
        """
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2 or len(rows) < 2:
            raise UsageError(f"principal components take 2 or more items, not features of shape {rows.shape}")
        most = min(rows.shape)
        if count is not None and not 1 <= count <= most:
            raise UsageError(f"{count} components; features of shape {rows.shape} have 1 to {most}")
        mean = rows.mean(axis=0)
        centred = rows - mean
        if len(rows) > rows.shape[1]:  # D x D is the small side
            values, vectors = np.linalg.eigh(centred.T @ centred / (len(rows) - 1))
            variances, components = values[::-1].clip(0), vectors[:, ::-1].T
        else:
            _, singular, components = np.linalg.svd(centred, full_matrices=False)
            variances = singular**2 / (len(rows) - 1)
        largest = np.abs(components).argmax(axis=1)
        components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
        kept = most if count is None else count
        return cls(mean, components[:kept], variances[:kept], float((centred**2).sum() / (len(rows) - 1)))

    def transform(self, features: np.ndarray, *, whiten: bool = False) -> np.ndarray:
        """Coordinates (N, K) float64 along the components; ``whiten`` gives each variance 1.

        Directions without variance (below 1e-12 of the largest) are 0 when whitened: there is nothing but rounding to enlarge.
        """
        found = (np.asarray(features, np.float64) - self.mean) @ self.components.T
        if not whiten:
            return np.asarray(found)
        real = self.variances > 1e-12 * max(float(self.variances.max(initial=0.0)), 1e-300)
        return np.where(real, found / np.sqrt(np.where(real, self.variances, 1.0)), 0.0)

    @property
    def explained(self) -> np.ndarray:
        """(K,): shares of the whole variance."""
        return self.variances / self.total if self.total > 0 else np.zeros_like(self.variances)


def project(features: np.ndarray, kind: Kind = "pca", seed: int = 0) -> tuple[np.ndarray, dict[str, object]]:
    """A map (N, 2) float64 of features (N, D), and what to know of it.

    ``pca``: the first two principal components of the normalised rows; linear, so distances mean something. ``umap``: McInnes,
    Healy and Melville 2018 (arXiv 1802.03426) by cosine; neighbourhoods are kept, distances between groups are not.
    Deterministic in ``seed``.

    Raises:
        UsageError: no such map, UMAP without umap-learn, too few items.
    """
    if kind not in KINDS:
        raise UsageError(f"no map {kind!r}; there are {', '.join(KINDS)}")
    rows = np.asarray(features, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(length > 0, length, 1)
    if kind == "pca":
        if min(rows.shape) < 2:
            raise UsageError(
                f"a map takes 2 items or more and 2 numbers or more of each, not features of shape {rows.shape}"
            )
        found = PCA.fit(rows, 2)
        return found.transform(rows), {"kind": "pca", "explained": [round(float(v), 6) for v in found.explained]}
    try:
        import umap
    except ImportError:
        raise UsageError("--map umap needs umap-learn: pip install 'modelgraft[map]'") from None
    neighbours = min(15, len(rows) - 1)
    if len(rows) < 4:
        raise UsageError(f"UMAP takes 4 items or more, not {len(rows)}; --map pca takes 2")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "n_jobs overridden by random_state": that is what a seed is for
        reducer = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, init="pca")
        place = reducer.fit_transform(rows.astype(np.float32))
    return np.asarray(place, np.float64), {"kind": "umap", "neighbours": neighbours}
