"""How well features that were learned elsewhere fit labels, without training: pure functions of arrays."""

from __future__ import annotations

from modelgraft_adapters.relevance.evidence import log_evidence, log_evidence_of_labels
from modelgraft_adapters.relevance.h_score import h_score, shrunk_h_score
from modelgraft_adapters.relevance.overlap import gaussian_overlap
from modelgraft_adapters.relevance.source_classes import leep, nce

__all__ = [
    "gaussian_overlap",
    "h_score",
    "leep",
    "log_evidence",
    "log_evidence_of_labels",
    "nce",
    "shrunk_h_score",
]
