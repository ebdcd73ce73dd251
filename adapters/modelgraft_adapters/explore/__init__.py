"""Looking at data through a pretrained model without training: clusters, a map, neighbours, outliers."""

from __future__ import annotations

from modelgraft_adapters.explore.clusters import Agreement, Clustering, agreement, choose_k, kmeans
from modelgraft_adapters.explore.explorer import Exploration, Explorer
from modelgraft_adapters.explore.neighbours import nearest, outlier_scores
from modelgraft_adapters.explore.projection import PCA, project

__all__ = [
    "PCA",
    "Agreement",
    "Clustering",
    "Exploration",
    "Explorer",
    "agreement",
    "choose_k",
    "kmeans",
    "nearest",
    "outlier_scores",
    "project",
]
