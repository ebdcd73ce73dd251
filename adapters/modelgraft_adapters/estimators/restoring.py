"""Saved adapters read back. What is read may be a stranger's or damaged: tensors are data, the card is checked field by field
(`card`), and the backbone must be the one the head was trained on, by the digests of its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from modelgraft import Entry
from modelgraft.contract import LocalWeights
from modelgraft.devices import device_of, dtype_of
from modelgraft.errors import (
    LockError,
    ModelgraftError,
    UsageError,
    WeightsUnavailableError,
)
from modelgraft.guard import plugin_code
from modelgraft.host.host import current_host
from modelgraft.opening import first_line
from modelgraft.project.files import short
from modelgraft.weights import local_weights
from modelgraft.weights.verifying import digest

from modelgraft_adapters.calls import head_calls
from modelgraft_adapters.estimators.tuned_weights import put_back
from modelgraft_adapters.metrics.calibration import Calibration
from modelgraft_adapters.saved.card import (
    Backbone,
    Card,
    is_saved_adapter,
    plain,
)
from modelgraft_adapters.saved.reading import SavedFiles, read
from modelgraft_adapters.saved.registry_entry import backbone_entry, backbone_names, find_adapter, folder_or_name

Make = Callable[..., Any]
"""Makes an estimator of a backbone, a head's name and the options of `FrozenAdapter`."""


def load_as(
    make: Make, name: str | Path | Entry, *, backbone: Any = None, model: Any = None, options: Mapping[str, Any]
) -> Any:
    """Return a saved adapter as an estimator that ``make`` makes, as `FrozenAdapter.load` has it.

    Args:
        make: called as `FrozenAdapter`.
        options: device, dtype, batch_size, workers, engine and store of the extractor.
    """
    dtype_of(options["dtype"], device_of(options["device"]))  # said before anything is fetched
    entry = name if isinstance(name, Entry) else find_adapter(name)
    if backbone is not None and model is not None:
        raise UsageError("backbone= and model= mean the same here; give one")
    model = _given(backbone if model is None else model)
    # With a backbone given, that of the card is not asked for.
    weights = local_weights(entry if model is None else replace(entry, loader={}))
    assert weights is not None
    return restored(make, entry, weights, model, options)


def _given(backbone: Any) -> Any:
    """What a user names, a folder as such; a saved adapter is none.

    Raises:
        UsageError: it is no backbone, or nothing has the name.
    """
    if isinstance(backbone, os.PathLike):
        backbone = f"file:{os.path.abspath(os.path.expanduser(os.fspath(backbone)))}"
    if not isinstance(backbone, str):
        return backbone
    entry = folder_or_name(backbone)
    if is_saved_adapter(entry):
        raise UsageError(f"{backbone!r} is a saved adapter itself, and no backbone")
    return entry


def restored(make: Make, entry: Entry, weights: LocalWeights, model: Any, options: Mapping[str, Any]) -> Any:
    """Return the adapter from its verified files: those of ``weights.parts[0]``. Arguments and errors as `load_as`."""
    where = entry.name.partition("/")[2]
    saved = read(weights.parts[0].files, where)
    card = saved.card
    adapter = _on_backbone(make, card, where, weights, model, options)
    if saved.trained is not None:
        put_back(adapter, saved.trained, card, hasattr(model, "module"), where)
    adapter.head_ = _head(saved, where, adapter.extractor.device)
    adapter.task, adapter.classes = card.task, card.classes
    if card.class_values is not None:
        dtype, values = card.class_values
        adapter.values_ = np.array(values, dtype)
    training = card.training
    report, facts = training.get("report"), training.get("data")
    adapter.report_ = dict(report) if isinstance(report, dict) else {}
    adapter.trained_on_ = dict(facts) if isinstance(facts, dict) else {}
    adapter.record_ = {key: value for key, value in training.items() if key not in ("report", "data")}
    adapter._spec, adapter._extractor = adapter.spec, adapter.extractor
    if saved.reference is not None and saved.reference.width != card.width:
        raise ModelgraftError(
            f"the reference of {where} is of features of {saved.reference.width} numbers, and its card says {card.width}; get a "
            "whole copy of the adapter"
        )
    adapter.saved_, adapter._reference = card, saved.reference
    if card.calibration is not None:
        temperature, strangeness, source = card.calibration
        adapter.calibration_ = Calibration(temperature, np.array(strangeness), source)
    return adapter


def _head(saved: SavedFiles, where: str, device: torch.device) -> Any:
    """The head, tried on features of zeros: what does not fit together is told here and not at the first image."""
    card = saved.card
    fitted_for = card.head_settings.get("task", card.task)
    if fitted_for != card.task:
        raise ModelgraftError(
            f"the head of {where} was fitted for the task {short(fitted_for)}, and its card says {card.task}; get a whole copy"
        )
    plugin = head_calls.head_owner(card.head)
    try:
        with plugin_code(plugin, f"making the head {card.head} again"):
            head = saved.head_class.restore(saved.head, dict(card.head_settings)).to(device)
        with torch.inference_mode():
            zeros = torch.zeros(1, card.width, device=device)
            found = head_calls.outputs(head, zeros, card.task, plugin)
        shape = tuple(found.shape)
        if not torch.isfinite(found).all():
            raise ValueError("its outputs are not finite")
    except Exception as error:  # a head may be anybody's, and so may what it is made from
        raise ModelgraftError(
            f"the head {card.head!r} cannot be made from {where} ({first_line(error)}); was it saved by {card.head_distribution} "
            f"{card.head_version}, and is it whole?"
        ) from error
    if shape != (1, len(card.classes)):
        raise ModelgraftError(
            f"the head of {where} gives outputs of shape {shape} for {len(card.classes)} classes; its card is wrong"
        )
    return head


def _on_backbone(
    make: Make, card: Card, where: str, weights: LocalWeights, model: Any, options: Mapping[str, Any]
) -> Any:
    """An adapter without a head, on the backbone of the card, whose weights have been found to be the right ones."""

    def on(given: Any) -> Any:
        dtype = card.dtype if options["dtype"] is None else options["dtype"]
        made = make(
            given,
            card.head,
            layer=card.layer,
            modality=card.modality,  # type: ignore[arg-type]
            **{**options, "dtype": dtype},  # type: ignore[arg-type]
        )
        made.set_params(**_parameters(card))
        made._keep(_settings(card, made))
        if card.layer is not None:
            try:
                _ = made.extractor.backbone  # which looks whether the layer is there
            except UsageError as error:
                raise UsageError(f"the saved adapter {where}: {error}") from error
        why = _other_weights(card.backbone, made)
        if why is not None:
            raise _OtherWeights(
                f"the saved adapter {where} was trained on {card.backbone.name}, and its weights here are others ({why}); give the "
                "backbone it was trained on (--backbone, in Python backbone=), or train it anew"
            )
        made.notes_ = _notes(card, made)
        return made

    if model is not None:
        return on(model)
    revisions = dict.fromkeys((card.backbone.revision, card.backbone.commit))
    stated = [(name, revision) for name in backbone_names(card.backbone, where) for revision in revisions]
    for number, (name, revision) in enumerate(stated, 1):
        try:
            return on(_backbone(card, where, name, revision))
        except LockError:
            if len(weights.parts) == 1 and card.backbone.weights is not None:
                raise
            return on(_locked_backbone(card, where, weights, options))
        except (WeightsUnavailableError, _OtherWeights):
            # The newest is not what it was, or is not here: then the commit that it was.
            if number == len(stated):
                raise
    raise AssertionError("unreachable")


def _parameters(card: Card) -> dict[str, Any]:
    """The parameters that it was trained with, so that a fit learns as before. A card is anybody's: what cannot be is left out."""
    training = card.training
    found = {key: training[key] for key in ("seed", "n_folds") if type(training.get(key)) is int}
    return {**found, "class_weight": training.get("class_weight"), "templates": training.get("templates")}


def _settings(card: Card, made: Any) -> dict[str, Any]:
    """The head's own settings; those of a tuned backbone are no head's."""
    settings = card.training.get("settings")
    if card.tuned is not None or not isinstance(settings, dict):
        return {}
    return {name: value for name, value in settings.items() if name not in made._parameters()}


class _OtherWeights(ModelgraftError):
    """The backbone is not the one the head was trained on."""


def _backbone(card: Card, where: str, name: str, revision: str | None) -> Entry:
    backbone = card.backbone
    return backbone_entry(name, revision, f"{backbone.distribution} {backbone.version}".strip(), where)


def _locked_backbone(card: Card, where: str, weights: LocalWeights, options: Mapping[str, Any]) -> Any:
    """The backbone from the files that the lock names for the adapter: the lock need not name it by itself."""
    entry = _backbone(card, where, backbone_names(card.backbone, where)[0], card.backbone.commit)
    device = device_of(options["device"])
    return current_host().call(
        entry.plugin,
        "modelgraft_load",
        f"loading {entry.name}",
        entry=entry,
        device=device,
        dtype=dtype_of(options["dtype"] or card.dtype, device),
        weights=LocalWeights(weights.parts[1:]) if len(weights.parts) > 1 else None,
    )


def _other_weights(backbone: Backbone, adapter: Any) -> str | None:
    """Why the weights are not those of the card, or None."""
    found = adapter.extractor.card
    there = found["weights"]
    if isinstance(backbone.weights, str):
        if not isinstance(there, str) or there == "in the plugin":
            from modelgraft_adapters.features.identity import weights_digest

            there = weights_digest(adapter.extractor.backbone.module)
        return None if there == backbone.weights else f"{there[:12]}... where {backbone.weights[:12]}... was used"
    if isinstance(backbone.weights, list) and isinstance(there, list):
        stated, has = _digests(backbone.weights), _digests(there)
        for path in {**stated, **has}.keys() - _unstated(stated, has):
            one, other = stated.get(path, "nothing"), has.get(path, "nothing")
            if "nothing" not in (one, other) and one.startswith("blob ") != other.startswith("blob "):
                other = _of_kind("blob" if one.startswith("blob ") else "sha256", path, adapter)
            if one != other:
                return f"{path}: {other[:12]}... where {one[:12]}... was used"
    if backbone.sha256 and found.get("sha256") and backbone.sha256 != found["sha256"]:
        return f"{found['sha256'][:12]}... where {backbone.sha256[:12]}... was used"
    return None


def _of_kind(kind: str, path: str, adapter: Any) -> str:
    """The digest of the other kind, taken of the file itself: one source states SHA-256, another git's."""
    number, _, name = path.partition(":")
    local = local_weights(adapter.entry)
    assert local is not None
    found = digest(local.parts[int(number)].files[name], kind)
    return f"blob {found}" if kind == "blob" else found


def _digests(parts: list[Any]) -> dict[str, str]:
    return {f"{number}:{path}": value for number, part in enumerate(parts) for path, value in part["files"].items()}


def _unstated(stated: Mapping[str, str], has: Mapping[str, str]) -> set[str]:
    """Configurations of places of which the card states none: an earlier modelgraft did not write them down."""
    silent = {path.partition(":")[0] for path in has} - {
        path.partition(":")[0] for path in stated if path.endswith(".json")
    }
    return {path for path in has.keys() - stated.keys() if path.endswith(".json") and path.partition(":")[0] in silent}


def _notes(card: Card, adapter: Any) -> list[str]:
    backbone, found = card.backbone, adapter.extractor.card
    notes = []
    if plain(found["preprocessing"]) != backbone.preprocessing:
        notes.append(
            f"{backbone.name} preprocesses otherwise here than when the adapter was trained; results can differ"
        )
    version = found["provider"]["version"] or ""
    if version != backbone.version:
        notes.append(
            f"trained with {backbone.distribution} {backbone.version}, and here is {version or 'an unknown version'}"
        )
    elif backbone.code is not None and found["provider"].get("code") != backbone.code:
        notes.append(
            f"the code of {backbone.distribution} {version} is not that which the adapter was trained with (installed anew, or "
            "edited); if predictions differ, train it anew"
        )
    if isinstance(backbone.weights, list) and isinstance(found["weights"], list):
        if _unstated(_digests(backbone.weights), _digests(found["weights"])):
            notes.append(
                f"the card is an earlier version's and states no configuration of {backbone.name}: that it is that of "
                "the training was not checked; save the adapter again"
            )
    elif isinstance(backbone.weights, list):
        notes.append(f"a loaded backbone was given: that its weights are those of {backbone.name} was not checked")
    return notes
