"""From features and data to what a head learns from (`modelgraft.learning.Examples`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from modelgraft import Entry, Examples, HeadSpec, TextClasses, list_heads
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters import plugin_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.splitting import folds
from modelgraft_adapters.label_embeddings import embed_labels, label_texts
from modelgraft_adapters.templates import DEFAULT_BY_MODALITY, templates_for

ClassWeight = Literal["balanced"] | Mapping[str, float] | None


def head_spec(name: str) -> HeadSpec:
    """What a plugin announced under a head's name.

    Raises:
        UsageError: no plugin brings it.
    """
    known = {spec.name: spec for spec in list_heads()}
    if name not in known:
        raise UsageError(f"no installed plugin brings a head {name!r}; there are: {', '.join(known) or 'none'}")
    return known[name]


def wants_text(spec: HeadSpec, entry: Entry) -> bool:
    """Whether a head is to be given the classes' text embeddings: they cost a loaded model.

    Raises:
        UsageError: it cannot do without, and the model has no text tower.
    """
    has = "zero-shot" in entry.tasks
    if "text" in spec.needs and not has:
        raise UsageError(
            f"the head {spec.name!r} starts from the names of the classes, and {entry.name} has no text tower; "
            "'modelgraft list --task zero-shot' shows the models that have"
        )
    return has and "text" in (*spec.needs, *spec.uses)


def make_examples(
    features: np.ndarray,
    data: Dataset,
    *,
    device: torch.device,
    n_folds: int,
    seed: int,
    class_weight: ClassWeight,
    text: TextClasses | None,
    unlabelled: np.ndarray | None,
) -> Examples:
    """The examples of N labelled items with features (N, D), on a device; folds are drawn by ``seed``."""
    assert data.targets is not None
    weights = class_weights(data, class_weight)
    return Examples(
        features=_tensor(features, device),
        targets=torch.from_numpy(data.targets).to(device),
        task=data.task,
        classes=data.classes,
        folds=torch.from_numpy(folds(data.targets, data.task, n_folds, seed, data.groups)).to(device),
        seed=seed,
        class_weights=None if weights is None else _tensor(weights, device),
        text=text,
        unlabelled=None if unlabelled is None or not len(unlabelled) else _tensor(unlabelled, device),
    )


def text_classes(
    backbone: Any, classes: Sequence[str], templates: str | Sequence[str] | None, device: torch.device
) -> TextClasses:
    """The classes by their names, through the prompts that were given or that the model asks for."""
    entry: Entry = backbone.entry
    usual = DEFAULT_BY_MODALITY["text" if entry.modality == "text" else "image"]
    wanted = templates_for(templates or entry.templates or usual)
    with torch.inference_mode():
        weight = embed_labels(backbone, label_texts(classes, wanted, {}))
    return TextClasses(weight.to(device), plugin_calls.score_rule(backbone))


def class_weights(data: Dataset, given: ClassWeight) -> np.ndarray | None:
    """(C,) float32; ``balanced`` is N / (C * count), as scikit-learn's.

    Raises:
        UsageError: a name that is no class.
    """
    if given is None or data.task == "regression":
        return None
    assert data.targets is not None
    if isinstance(given, str):
        if given != "balanced":
            raise UsageError(f"class_weight={given!r}; it is 'balanced' or a factor for each class")
        single = data.task == "single-label"
        counts = np.bincount(data.targets, minlength=len(data.classes)) if single else data.targets.sum(axis=0)
        return (len(data) / (len(data.classes) * counts.clip(1))).astype(np.float32)
    if strangers := [name for name in given if name not in data.classes]:
        raise UsageError(f"class_weight names {', '.join(map(repr, strangers[:3]))}, which is no class of the data")
    return np.array([float(given.get(name, 1.0)) for name in data.classes], np.float32)


def aligned_targets(data: Dataset, classes: tuple[str, ...], task: Task) -> np.ndarray:
    """Targets of other data by the classes an adapter has; -1, or no column, for a class that it does not have.

    Raises:
        UsageError: data of another task.
    """
    assert data.targets is not None
    if data.task != task:
        raise UsageError(f"these data are {data.task}, and the adapter was trained on a {task} task")
    if data.classes == classes or task == "regression":
        return data.targets
    place = {name: n for n, name in enumerate(classes)}
    if task == "single-label":
        own = np.array([place.get(name, -1) for name in data.classes], np.int64)
        return np.where(data.targets >= 0, own[data.targets], -1)
    columns = np.zeros((len(data), len(classes)), np.float32)
    for n, name in enumerate(data.classes):
        if name in place:
            columns[:, place[name]] = data.targets[:, n]
    return columns


def _tensor(values: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32)).to(device)
