"""What there is in data, before anything is trained: one call over the features of a pretrained model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from modelgraft import Entry
from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.duplicates import near_duplicates
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.explore.clusters import (
    METHODS,
    Agreement,
    Clustering,
    Method,
    agreement,
    choose_k,
    kmeans,
    silhouette,
    unit,
)
from modelgraft_adapters.explore.neighbours import NEIGHBOURS, nearest, outlier_scores
from modelgraft_adapters.explore.projection import KINDS, PCA, Kind, project
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.media.texts import short

CENTRAL: Final = 6
"""Items shown of each cluster: those nearest to its centre."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The items most like one that was given."""

    item: str
    indices: np.ndarray
    """(k,) int64, of `Exploration.data`."""
    cosines: np.ndarray
    """(k,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Exploration:
    """What was found. All indices and rows are of ``data``, the N items that could be read."""

    model: str
    layer: str | None
    data: Dataset
    features: np.ndarray
    """(N, D): as the model gives them, or whitened."""
    clustering: Clustering
    silhouette: float
    """NaN where it has no meaning: one cluster, or as many as items."""
    chosen_by: str
    """How the number of clusters was found: ``given``, ``classes`` or ``silhouette``."""
    tried: tuple[tuple[int, float], ...]
    """(k, silhouette) of what was tried, where it was chosen so."""
    agreement: Agreement | None
    """With the labels, where there are some."""
    central: tuple[np.ndarray, ...]
    """Of each cluster the items nearest to its centre, the nearest first."""
    place: np.ndarray
    """(N, 2) float64: the map."""
    map: dict[str, Any]
    """What kind of map it is."""
    outliers: tuple[tuple[int, float], ...]
    """(item, mean cosine distance to its nearest others), the farthest first."""
    duplicates: tuple[tuple[str, str, str, float], ...]
    """(test item, train item, kind, distance) across the splits."""
    neighbours: tuple[Neighbours, ...]
    unreadable: dict[str, str]
    notes: tuple[str, ...]
    seed: int
    whitened: int | None = None
    """How many principal components the features were whitened to."""

    def label(self, index: int) -> str | None:
        """The class of an item."""
        if self.agreement is None or self.data.targets is None or self.data.targets[index] < 0:
            return None
        return self.data.classes[int(self.data.targets[index])]

    def clusters(self) -> list[dict[str, Any]]:
        """A record of each cluster: size, its most frequent class and that one's share of the labelled, central items."""
        out = []
        for number in range(len(self.clustering.centres)):
            members = np.flatnonzero(self.clustering.labels == number)
            record: dict[str, Any] = {"cluster": number, "items": len(members)}
            if self.agreement is not None and self.data.targets is not None:
                known = self.data.targets[members]
                known = known[known >= 0]
                counts = np.bincount(known, minlength=len(self.data.classes))
                best = int(counts.argmax())
                record["label"] = self.data.classes[best] if len(known) else None
                record["share"] = round(float(counts[best] / len(known)), 6) if len(known) else None
                matched = self.agreement.classes.get(number)
                record["matched"] = None if matched is None else self.data.classes[matched]
            record["central"] = [self.data.identity(int(n)) for n in self.central[number]]
            out.append(record)
        return out

    def record(self) -> dict[str, Any]:
        """Plain JSON types; what ``modelgraft explore --format json`` writes."""
        return {
            "model": self.model,
            "layer": self.layer,
            "modality": self.data.modality,
            "items": len(self.data),
            "numbers": int(self.features.shape[1]),
            "whitened": self.whitened,
            "seed": self.seed,
            "clustering": {
                "method": self.clustering.method,
                "k": len(self.clustering.centres),
                "chosen_by": self.chosen_by,
                "tried": [{"k": k, "silhouette": _number(value)} for k, value in self.tried],
                "objective": _number(self.clustering.objective),
                "silhouette": _number(self.silhouette),
                "accuracy": None if self.agreement is None else _number(self.agreement.accuracy),
                "nmi": None if self.agreement is None else _number(self.agreement.nmi),
                "ari": None if self.agreement is None else _number(self.agreement.ari),
                "clusters": self.clusters(),
            },
            "map": self.map,
            "points": [
                {
                    "item": self.data.identity(n),
                    "x": _number(x),
                    "y": _number(y),
                    "cluster": int(self.clustering.labels[n]),
                    "label": self.label(n),
                }
                for n, (x, y) in enumerate(self.place.tolist())
            ],
            "outliers": [{"item": self.data.identity(n), "score": _number(score)} for n, score in self.outliers],
            "duplicates": [
                {"test": test, "train": train, "kind": kind, "distance": _number(distance)}
                for test, train, kind, distance in self.duplicates
            ],
            "neighbours": [
                {
                    "of": one.item,
                    "items": [
                        {"item": self.data.identity(int(n)), "cosine": _number(float(c)), "label": self.label(int(n))}
                        for n, c in zip(one.indices, one.cosines, strict=True)
                    ],
                }
                for one in self.neighbours
            ],
            "unreadable": [{"item": name, "error": reason} for name, reason in self.unreadable.items()],
            "notes": list(self.notes),
        }


class Explorer:
    """Clusters, a map, neighbours and outliers of data, by the features of a pretrained model.

    Nothing is trained; labels are optional.

    >>> sorted(Explorer("embedded/sprig").explore("docs/photos").duplicates)
    []

    Args:
        model: a name (see `modelgraft.resolve`), an entry, or a loaded backbone.
        layer: where the features are taken; None is the model's own embedding.
        options: as `FeatureExtractor`'s: modality, device, dtype, batch_size, workers, store.

    Raises:
        UsageError: no such model.
    """

    def __init__(self, model: Any, *, layer: str | None = None, **options: Any) -> None:
        self.model = model
        self.layer = layer
        self.options = options
        self._extractor: FeatureExtractor | None = None

    @property
    def extractor(self) -> FeatureExtractor:
        """Where the features come from; made for images or texts by the first data it sees."""
        if self._extractor is None:
            self._extractor = FeatureExtractor(self.model, layer=self.layer, **self.options)
        return self._extractor

    @property
    def entry(self) -> Entry:
        """The model's entry."""
        return self.extractor.entry

    def explore(
        self,
        data: Any,
        *,
        clusters: int | None = None,
        method: Method = "spherical",
        map: Kind = "pca",
        whiten: int | None = None,
        like: Sequence[Any] = (),
        neighbours: int = NEIGHBOURS,
        outliers: int = 10,
        duplicates: bool = True,
        seed: int = 0,
    ) -> Exploration:
        """Look at data.

        Args:
            data: a `Dataset`, whatever `read_data` reads, or items. All splits are looked at together.
            clusters: how many; None takes the number of classes where there are labels, else the largest silhouette.
            method: ``spherical`` (by cosine) or ``kmeans``.
            map: ``pca`` or ``umap``.
            whiten: look at this many principal components of the features, each with variance 1, in place of the features: what
                all items have in common then counts for nothing, and rare directions as much as frequent ones.
            like: items to find the neighbours of.
            neighbours: how many, and how many the outlier score looks at.
            outliers: how many to name.
            duplicates: look for test items in the training data, where the data are split so.
            seed: of the clusters' starts and the map.

        Raises:
            UsageError: too few items, a number of clusters or a map that cannot be.
            ModelgraftError: no item could be read.
        """
        if method not in METHODS or map not in KINDS:
            raise UsageError(f"method={method!r}, map={map!r}; there are {', '.join(METHODS)} and {', '.join(KINDS)}")
        if neighbours < 1 or outliers < 0:
            raise UsageError(f"{neighbours} neighbours and {outliers} outliers; at least 1 and 0 are needed")
        found = self._read(data)
        embedded = self.extractor.embed(found.items)
        if not embedded.good.any():
            reason = next(filter(None, embedded.errors), "there are none")
            raise ModelgraftError(f"none of the {len(found)} items could be read: {reason}")
        unreadable = {found.identity(n): str(e) for n, e in enumerate(embedded.errors) if e is not None}
        notes = [*found.notes, *embedded.notes]
        whole, found, features = found, found.take(embedded.good), embedded.features[embedded.good]
        if features.ndim != 2:
            raise UsageError(
                f"the layer {self.layer!r} gives {features.ndim - 1}-dimensional features; take one that gives a row"
            )
        if len(found) < 2:
            raise UsageError("one item has no clusters and no neighbours; give two or more")
        whitening = None if whiten is None else PCA.fit(features, whiten)
        if whitening is not None:
            features = whitening.transform(features, whiten=True)
        unit(features)  # a row without a direction is told before minutes of work
        targets = found.targets if found.task == "single-label" else None
        if found.targets is not None and targets is None:
            notes.append(f"the labels are {found.task}: clusters are compared with single labels only")
        labelled = targets is not None and bool((targets >= 0).any())
        tried: list[tuple[int, float]] = []
        if clusters is not None:
            k, chosen_by = clusters, "given"
        elif targets is not None and labelled:
            k, chosen_by = len(np.unique(targets[targets >= 0])), "classes"
        elif len(found) < 3:
            k, chosen_by = 1, "given"
        else:
            (k, tried), chosen_by = choose_k(features, method, seed), "silhouette"
        clustering = kmeans(features, k, method, seed)
        scores = outlier_scores(features, neighbours)
        place, about = project(features, map, seed)
        return Exploration(
            model=self.entry.name,
            layer=self.layer,
            data=found,
            features=features,
            clustering=clustering,
            silhouette=silhouette(features, clustering.labels, method, seed),
            chosen_by=chosen_by,
            tried=tuple(tried),
            agreement=agreement(clustering.labels, targets) if targets is not None and labelled else None,
            central=_central(features, clustering),
            place=place,
            map=about,
            outliers=tuple((int(n), float(scores[n])) for n in np.argsort(-scores, kind="stable")[:outliers]),
            duplicates=_across(whole) if duplicates else (),
            neighbours=self._like(like, features, neighbours, whitening),
            unreadable=unreadable,
            notes=tuple(dict.fromkeys(notes)),
            seed=seed,
            whitened=whiten,
        )

    def _read(self, data: Any) -> Dataset:
        known = self._extractor.modality if self._extractor is not None else self.options.get("modality")
        found = data if isinstance(data, Dataset) else read_data(data, modality=known)
        if self._extractor is None:
            self.options["modality"] = found.modality
        elif self._extractor.modality != found.modality:
            raise UsageError(
                f"these are {found.modality}s, and {self.entry.name} is used on {self._extractor.modality}s here"
            )
        return found

    def _like(
        self, items: Sequence[Any], features: np.ndarray, count: int, whitening: PCA | None
    ) -> tuple[Neighbours, ...]:
        if not items:
            return ()
        asked = self.extractor.embed(list(items))
        for item, error in zip(items, asked.errors, strict=True):
            if error is not None:
                raise UsageError(f"neighbours of {short(item)!r}: {error}")
        rows = asked.features if whitening is None else whitening.transform(asked.features, whiten=True)
        indices, cosines = nearest(features, rows, count)
        return tuple(Neighbours(short(item), i, c) for item, i, c in zip(items, indices, cosines, strict=True))


def _central(features: np.ndarray, clustering: Clustering) -> tuple[np.ndarray, ...]:
    rows = np.asarray(features, np.float64)
    if clustering.method == "spherical":
        rows = unit(rows)
    distance = np.linalg.norm(rows - clustering.centres[clustering.labels], axis=1)
    order = np.argsort(distance, kind="stable")
    return tuple(order[clustering.labels[order] == number][:CENTRAL] for number in range(len(clustering.centres)))


def _across(data: Dataset) -> tuple[tuple[str, str, str, float], ...]:
    if not {"train", "test"} <= set(data.split_names):
        return ()
    train, test = data.train, data.test
    return tuple(
        (test.identity(pair.test_index), train.identity(pair.train_index), pair.kind, pair.distance)
        for pair in near_duplicates(train, test)
    )


def _number(value: float) -> float | None:
    """Six digits; JSON has no NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
