"""Candidates of a ranking, one after the other, in a process of its own: features, scores, what they cost.

Jobs come in on standard input; an answer goes out for each, a JSON line.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from modelgraft import load
from modelgraft.contract import Layered
from modelgraft.devices import device_of
from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.calls.child import MARK
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.metrics.costs import own_peak_mib, restart_peak
from modelgraft_adapters.ranking.scoring import OF_SOURCE, score_features

TIMED: Final = 16
"""Items that are encoded to see how long one takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One candidate on one sample."""

    model: str
    layer: str | None
    data: Dataset
    """The sample: single-label, every item with a label."""
    scores: tuple[str, ...]
    seed: int
    random: bool = False
    """Take the architecture with random weights, drawn by the seed."""
    curve: bool = False
    measure: bool = False
    """Find the time of an item, which takes a few passes beside."""
    device: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    threads: int | None = None
    """Of torch; None leaves them."""


def main(answers: int) -> None:
    """Do the jobs on standard input until there are no more.

    Args:
        answers: a descriptor for what became of them.
    """
    out = os.fdopen(answers, "w", encoding="utf-8")
    while True:
        try:
            job: Job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            line = work(job)
        except Exception as error:
            line = _told(error)
        out.write(f"\n{MARK}{json.dumps(line)}\n")
        out.flush()


def work(job: Job) -> dict[str, Any]:
    """Embed, score, measure. As plain JSON types; ``right`` as texts of 1, 0 and - for an item that could not be read.

    Raises:
        UsageError: what this model cannot do.
        ModelgraftError: what went wrong.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    gc.collect()  # of the candidate before
    restart_peak()
    extractor, data = _extractor(job), job.data
    asked = len(data)
    seconds = _seconds(extractor, data) if job.measure else None
    found = extractor.embed(data.items)
    good = found.good
    if good.sum() * 2 < asked:
        reason = next(filter(None, found.errors))
        raise ModelgraftError(f"{int((~good).sum())} of {asked} items could not be embedded; the first: {reason}")
    peak = own_peak_mib()
    kept = data.take(good)
    assert kept.targets is not None
    source = source_classes(job, kept) if set(job.scores) & set(OF_SOURCE) else None
    scored = score_features(
        _flat(found.features[good]),
        kept.targets,
        job.scores,
        groups=kept.groups,
        seed=job.seed,
        curve=job.curve,
        source=source,
    )
    return {
        "values": scored.values,
        "right": {name: _text(right, good) for name, right in scored.right.items()},
        "missing": scored.missing,
        "curve": [[labels, _text(right, good)] for labels, right in scored.curve],
        "unreadable": int((~good).sum()),
        "encoded": found.encoded,
        "seconds_per_item": seconds,
        "peak_mib": peak,
        "embed_dim": int(found.features[0].size),
        "notes": list(found.notes),
    }


def _extractor(job: Job, layer: str | None = None) -> FeatureExtractor:
    options: dict[str, Any] = {"modality": job.data.modality, "batch_size": job.batch_size, "workers": job.workers}
    options |= {"layer": layer or job.layer}
    if not job.random:
        return FeatureExtractor(job.model, device=job.device, **options)
    backbone: Any = load(job.model, device=device_of(job.device))
    plugin_calls.randomise(backbone, job.seed)
    return FeatureExtractor(backbone, **options)


def _seconds(extractor: FeatureExtractor, data: Dataset) -> float:
    """What an item takes in batches of `TIMED`, the model loaded and warm; nothing is read from the store."""
    fresh = FeatureExtractor(
        extractor.backbone,
        modality=extractor.modality,
        layer=extractor.layer,
        batch_size=TIMED,
        workers=extractor.workers,
        store=False,
    )
    sample = data.items[:TIMED]
    fresh.embed(sample[:2])  # the first pass of all sets things up
    began = time.perf_counter()
    fresh.embed(sample)
    return (time.perf_counter() - began) / max(len(sample), 1)


def source_classes(job: Job, data: Dataset) -> np.ndarray | None:
    """Return (N, Z), what the model predicts for its own classes; None where it has none.

    Raises:
        ModelgraftError: items that it embeds have no finite predictions.
    """
    if job.random or "classification" not in FeatureExtractor(job.model, modality=data.modality).entry.tasks:
        return None
    extractor = _extractor(replace(job, layer=None), "logits")
    backbone = extractor.backbone
    there = plugin_calls.layers(backbone, data.modality) if isinstance(backbone, Layered) else ()
    if "logits" not in there:
        return None
    found = extractor.embed(data.items)
    if not found.good.all():
        reason = next(filter(None, found.errors))
        raise ModelgraftError(f"its own classes are not predicted for {int((~found.good).sum())} items: {reason}")
    logits = torch.from_numpy(found.features.astype(np.float64))
    return logits.softmax(dim=1).numpy()


def _flat(features: np.ndarray) -> np.ndarray:
    """(N, D): a map of features is averaged over its places."""
    return features.mean(axis=(2, 3)) if features.ndim == 4 else features


def _text(right: np.ndarray, good: np.ndarray) -> str:
    signs = np.full(len(good), "-")
    signs[good] = np.where(right, "1", "0")
    return "".join(signs)


def _told(error: Exception) -> dict[str, str]:
    """A usage error is what a model cannot do; anything else went wrong."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, UsageError):
        return {"cannot": text}
    return {"failed": text if isinstance(error, ModelgraftError) else f"{type(error).__name__}: {text}"}
