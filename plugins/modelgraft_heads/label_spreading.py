"""The label-spreading head: labels spread over a graph of labelled and unlabelled items, (1 − α)(I − αS)⁻¹Y.

Zhou et al., NeurIPS 2004; graph of nearest neighbours by cosine as in Iscen et al., CVPR 2019 (arXiv 1904.04717), sparse, so
that it scales past 10,000 items. With ``graph="rbf"`` it is scikit-learn's LabelSpreading, solved exactly instead of iterated.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples

from modelgraft_heads.base import FittedHead, Given, checked, tiles, unit, unlabelled_of
from modelgraft_heads.choosing import chosen, splits
from modelgraft_heads.graph import (
    POWER,
    distributions,
    knn_affinity,
    nearest,
    normalised,
    rbf_affinity,
    spread,
)

NEIGHBOURS = (50, 20, 10, 5)
ALPHAS = (0.99, 0.9, 0.5)
"""What is tried, the smoothest first."""
DEFAULT_NEIGHBOURS, DEFAULT_ALPHA = 10, 0.9
GAMMA = 20.0
"""scikit-learn's default."""
MOST_DENSE = 5000
"""Items a dense graph may have: 200 MB in float64."""


class LabelSpreadingHead(FittedHead):
    """A new item takes the mean distribution of the graph's items, weighted by affinity (of its k nearest, or of all with RBF).

    Tensors: ``nodes`` (N + M, D) float32, labelled items first (of length 1 in a k-NN graph); ``distributions``
    (N + M, C) float64, what the labels became.
    """

    nodes: torch.Tensor
    distributions: torch.Tensor

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """Build the graph and spread; k and α are chosen by hiding the labels of each fold in turn, the items staying in the graph.

        Settings: ``graph`` ("knn", or "rbf": dense, on features as they are, at most 5,000 items), ``k`` and ``alpha``
        (chosen, by hits), ``gamma`` (of "rbf", 20). Class weights multiply the labels. A class without an example is never
        predicted, nor does an item that no label reaches prefer any class.

        Raises:
            UsageError: no unlabelled items; as `checked`; a setting that cannot be.
        """
        checked(examples, "label-spreading")
        unlabelled = unlabelled_of(examples, "label-spreading")
        given = Given("label-spreading", settings, ("graph", "k", "alpha", "gamma"))
        kind = given.one_of("graph", ("knn", "rbf")) or "knn"
        for name, other in (("k", "rbf"), ("gamma", "knn")):
            if kind == other and name in given.values:
                raise UsageError(
                    f"{name} for the head 'label-spreading' has no meaning with graph={kind!r}; leave it out"
                )
        alpha = given.number("alpha", 0, 1, above=True, below=True)
        points = torch.cat([examples.features.float(), unlabelled.float()])
        known, count = len(examples.features), len(examples.classes)
        labels = np.zeros((len(points), count))
        targets = examples.targets.cpu().numpy()
        labels[np.arange(known), targets] = 1.0
        if examples.class_weights is not None:
            labels *= examples.class_weights.double().cpu().numpy()
        if kind == "rbf":
            if len(points) > MOST_DENSE:
                raise UsageError(
                    f"graph='rbf' is dense and holds at most {MOST_DENSE} items, not {len(points)}; take graph='knn'"
                )
            gamma = given.number("gamma", 0, above=True) or GAMMA
            dense = normalised(rbf_affinity(points.double().cpu().numpy(), gamma))
            grid: list[dict[str, Any]] = [{"alpha": a} for a in (ALPHAS if alpha is None else (alpha,))]
            graphs: dict[int | None, Any] = {None: dense}
            settings_of_kind: dict[str, Any] = {"gamma": gamma}
        else:
            points = unit(points)
            wanted = given.whole("k", 1)
            most = len(points) - 1
            ks = sorted({min(k, most) for k in (NEIGHBOURS if wanted is None else (wanted,))}, reverse=True)
            grid = [{"k": k, "alpha": a} for k in ks for a in (ALPHAS if alpha is None else (alpha,))]
            cosines, indices = nearest(points, max(ks))
            graphs = {k: normalised(knn_affinity(cosines[:, :k], indices[:, :k])) for k in ks}
            settings_of_kind = {}
        best, report = _choose(examples, graphs, labels, grid)
        tensors = {"nodes": points, "distributions": torch.empty(0)}
        found = distributions(spread(graphs[best.get("k")], labels, best["alpha"]))
        tensors["distributions"] = torch.from_numpy(found).to(points.device)
        report["chosen"] = {"graph": kind, **best, **settings_of_kind}
        return cls(tensors, {**report["chosen"], "task": examples.task, "report": report})

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: the weighted mean of the distributions."""
        vote = self._rbf if self.settings["graph"] == "rbf" else self._knn
        parts = [vote(features[rows].float()) for rows in tiles(len(features), len(self.nodes))]
        return torch.cat(parts).float() if parts else self.nodes.new_zeros(0, self.distributions.shape[1])

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: logarithms of `probabilities`, at least that of the smallest normal float32."""
        return self.probabilities(features).clamp(min=torch.finfo(torch.float32).tiny).log()

    def _knn(self, features: torch.Tensor) -> torch.Tensor:
        # One more than k in the graph would do for an item that is a node itself; it then votes for itself, as in scikit-learn.
        top = (unit(features) @ self.nodes.T).topk(min(self.settings["k"], len(self.nodes)), dim=1)
        weights = top.values.double().clamp(min=0).pow(POWER)
        votes = torch.einsum("bk,bkc->bc", weights, self.distributions[top.indices])
        total = weights.sum(dim=1, keepdim=True)
        return torch.where(total > 0, votes / total.clamp(min=1e-300), 1 / votes.shape[1])

    def _rbf(self, features: torch.Tensor) -> torch.Tensor:
        # softmax: the same ratio as of the kernel's values, also where all of them underflow
        squared = torch.cdist(features.double(), self.nodes.double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2
        return (-self.settings["gamma"] * squared).softmax(dim=1) @ self.distributions


def _choose(
    examples: Examples, graphs: dict[int | None, Any], labels: np.ndarray, grid: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(setting, report). The folds are columns side by side: one solution per setting serves all of them."""
    report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": []}
    default: dict[str, Any] = {"alpha": DEFAULT_ALPHA if len({s["alpha"] for s in grid}) > 1 else grid[0]["alpha"]}
    if "k" in grid[0]:
        default = {"k": min((s["k"] for s in grid), key=lambda k: abs(k - DEFAULT_NEIGHBOURS)), **default}
    parts = splits(examples.folds) if len(grid) > 1 else []
    targets, count = examples.targets.cpu().numpy(), labels.shape[1]
    hidden, items, owners = [], [], []
    for number, (train, held) in enumerate(parts):
        rows = held.cpu().numpy()
        part = labels.copy()
        part[rows] = 0.0
        hidden.append(part)
        rows = rows[np.isin(targets[rows], targets[train.cpu().numpy()])]
        items.append(rows)
        owners.append(np.full(len(rows), number))
    if not parts or not sum(len(rows) for rows in items):
        return default, report
    stacked = np.concatenate(hidden, axis=1)
    scores = np.empty((len(grid), sum(len(rows) for rows in items)))
    for place, setting in enumerate(grid):
        found = spread(graphs[setting.get("k")], stacked, setting["alpha"], tolerance=1e-4)
        scores[place] = np.concatenate(
            [
                _expected_hits(distributions(found[rows, n * count : (n + 1) * count]), targets[rows])
                for n, rows in enumerate(items)
            ]
        )
    weights = None
    if examples.class_weights is not None:
        weights = examples.class_weights.double().cpu()[torch.from_numpy(targets[np.concatenate(items)])]
    choice = chosen(torch.from_numpy(scores), torch.from_numpy(np.concatenate(owners)), weights)
    report["curve"], report["notes"] = choice.curve(grid), choice.notes(grid)
    return grid[choice.best], report


def _expected_hits(found: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """1 where the item's class alone has the highest share, 1/m where m classes tie with it (an item no label reached), else 0."""
    highest = found == found.max(axis=1, keepdims=True)
    return highest[np.arange(len(found)), targets] / highest.sum(axis=1)
