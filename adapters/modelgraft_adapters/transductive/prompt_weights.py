"""Weights of prompt templates from unlabelled items."""

from __future__ import annotations

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.transductive.checks import checked_features, unit


def prompt_weights(features: np.ndarray, texts: np.ndarray, scale: float) -> np.ndarray:
    """Return the weight of each template (T,) float64, sum 1, by how surely it decides among the items.

    Zero-shot prompt ensembling (Allingham et al. 2023): the logit of a class under a template less its mean over the items, which
    is what the words of the template favour whatever the item; the largest over the classes, its mean over the items as the
    template's score, and the softmax of the scores. The published method also takes off the mean over pretraining images, which
    are not here. One item has no mean but itself, and gives even weights.

    Args:
        features: (N, D), of the items.
        texts: (C, T, D), class by template.
        scale: of the cosine, as the model was trained.

    Raises:
        UsageError: as `checked_features`; texts of another shape or with numbers that are not finite.
    """
    texts = np.asarray(texts, np.float64)
    if texts.ndim != 3 or not texts.shape[0] or not texts.shape[1]:
        raise UsageError(f"the texts have the shape {texts.shape}, not (classes, templates, numbers)")
    if not np.isfinite(texts).all():
        raise UsageError("the embedding of a text is not finite; take another template or label")
    features = checked_features(features, texts.shape[2])
    scores = np.empty(texts.shape[1])
    for number in range(texts.shape[1]):  # one at a time: 80 templates of 1,000 classes at once would fill the memory
        logits = scale * features @ unit(texts[:, number]).T
        scores[number] = (logits - logits.mean(axis=0)).max(axis=1).mean()
    weights = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum())


def weighted_classes(texts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return class embeddings (C, D) float64 of length 1: the weighted mean over templates of texts (C, T, D) of length 1."""
    return unit(np.einsum("ctd,t->cd", unit(np.asarray(texts, np.float64)), weights))
