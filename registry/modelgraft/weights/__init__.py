"""From an entry to its files on disk: asked for at a source, pinned, fetched, verified. Imports no torch and no hub client."""

from __future__ import annotations

from modelgraft.weights.fetching import fetch_weights, local_weights
from modelgraft.weights.resolving import resolve_weights

__all__ = ["fetch_weights", "local_weights", "resolve_weights"]
