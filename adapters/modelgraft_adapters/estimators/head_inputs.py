"""From features and data to what a head trains on (`modelgraft.learning.Examples`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Final, Literal

import numpy as np
import torch
from modelgraft import Entry, Examples, HeadSpec, TextClasses, list_heads
from modelgraft.errors import UsageError
from modelgraft.learning import Task

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.names import some
from modelgraft_adapters.data.own_labels import place_of, places
from modelgraft_adapters.data.splitting import folds
from modelgraft_adapters.defaults import is_whole
from modelgraft_adapters.estimators.label_embeddings import embed_labels, label_texts
from modelgraft_adapters.estimators.prompt_templates import DEFAULT_BY_MODALITY, templates_for

_LARGEST: Final = float(np.finfo(np.float32).max)
ClassWeight = Literal["balanced"] | Mapping[Any, float] | None


def head_spec(name: str) -> HeadSpec:
    """What a plugin announced under a head's name.

    Raises:
        UsageError: no plugin brings it.
    """
    known = {spec.name: spec for spec in list_heads()}
    if name not in known:
        raise UsageError(f"no installed plugin brings a head {name!r}; there are: {', '.join(known) or 'none'}")
    return known[name]


def checked_seed(seed: Any) -> int:
    """Return the random seed; one of the system's where None is given.

    Raises:
        UsageError: no whole number from 0 to 2**32 - 1.
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if not is_whole(seed) or not 0 <= int(seed) < 1 << 32:
        raise UsageError(f"seed={seed!r}: a whole number from 0 to {(1 << 32) - 1}, or None for one that is drawn")
    return int(seed)


def wants_text(spec: HeadSpec, entry: Entry | None) -> bool:
    """Whether a head is to be given the classes' text embeddings: they cost a loaded model.

    Raises:
        UsageError: it cannot do without, and the model has no text tower.
    """
    has = entry is not None and "zero-shot" in entry.tasks
    if "text" in spec.needs and entry is None:
        raise UsageError(
            f"the head {spec.name!r} starts from the names of the classes; give the adapter a model with a text tower"
        )
    if "text" in spec.needs and entry is not None and not has:
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
    item_weights: np.ndarray | None = None,
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
        item_weights=None if item_weights is None else _tensor(item_weights, device),
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
    if not isinstance(given, Mapping):
        raise UsageError(f"class_weight={given!r}; it is 'balanced' or a factor for each class")
    there = places(data.classes, data.values)
    factors = np.ones(len(data.classes), np.float32)
    for name, factor in given.items():
        if (place := there.get(name, there.get(str(name), -1))) < 0:
            raise UsageError(f"class_weight names {name!r}, which is no class of the data: {some(data.classes)}")
        if isinstance(factor, (bool, str)) or not isinstance(factor, Real) or not 0 <= factor <= _LARGEST:
            raise UsageError(
                f"class_weight of {name!r} is {factor!r}; a factor is a number of 0 or more, to {_LARGEST:.1e}"
            )
        factors[place] = factor
    if not factors.any():
        raise UsageError(f"class_weight={dict(given)!r} leaves nothing to train on: a class needs a factor above 0")
    return factors


def aligned_targets(
    data: Dataset, classes: tuple[str, ...], task: Task, values: np.ndarray | None = None
) -> np.ndarray:
    """Targets of other data by the classes an adapter has; -1, or no column, for a class that it does not have.

    Args:
        values: (C,), the classes as the labels that the adapter trained on are; None where they are the names.

    Raises:
        UsageError: data of another task.
    """
    assert data.targets is not None
    if data.task != task:
        raise UsageError(f"these data are {data.task}, and the adapter was trained on a {task} task")
    if data.classes == classes or task == "regression":
        return data.targets
    there = places(classes, values)
    others: list[Any] = [None] * len(data.classes) if data.values is None or values is None else data.values.tolist()
    own = np.array([place_of(*one, there) for one in zip(data.classes, others, strict=True)], np.int64)
    if len(data.classes) and (own < 0).all():
        warnings.warn(
            f"none of the classes of these data ({some(data.classes)}) is one that was trained ({some(classes)})",
            stacklevel=3,
        )
    if task == "single-label":
        return np.where(data.targets >= 0, own[data.targets], -1) if len(own) else data.targets
    columns = np.zeros((len(data), len(classes)), np.float32)
    for n in np.flatnonzero(own >= 0):
        columns[:, own[n]] = data.targets[:, n]
    return columns


def _tensor(values: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32)).to(device)
