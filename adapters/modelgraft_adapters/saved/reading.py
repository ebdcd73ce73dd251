"""The files of a saved adapter, read and checked, before any backbone is asked for. They may be a stranger's or damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from modelgraft import load_head
from modelgraft.errors import ModelgraftError
from modelgraft.project.files import read_json

from modelgraft_adapters.calls.head_calls import brought_by
from modelgraft_adapters.saved.card import BACKBONE_FILE, CARD_FILE, HEAD_FILE, REFERENCE_FILE, Card, read_card
from modelgraft_adapters.saved.tensors import checked_tensors
from modelgraft_adapters.shift.reference import Reference


@dataclass(frozen=True, slots=True)
class SavedFiles:
    """What a saved adapter's files hold."""

    card: Card
    head_class: Any
    """The class that restores the head: a plugin's."""
    head: dict[str, torch.Tensor]
    trained: dict[str, torch.Tensor] | None
    """What was trained of the backbone, as it is stored; None of a frozen one."""
    reference: Reference | None = None
    """Of the training features; None of an adapter without."""


def read(files: Mapping[str, Path], where: str) -> SavedFiles:
    """Read the files, by their names in the folder.

    Args:
        where: the adapter, for errors.

    Raises:
        UnsafeWeightsError: a file is not the one that the card names.
        ModelgraftError: the adapter is damaged, or its head is not installed.
    """

    def refuse(what: str) -> ModelgraftError:
        return ModelgraftError(f"the card of the saved adapter {where} ({CARD_FILE}) {what}")

    card = read_card(read_json(files[CARD_FILE], refuse), where)
    kind = _head_class(card, where)
    head = checked_tensors(files[HEAD_FILE], card.head_sha256, dict(card.tensors), where)
    reference = _reference(card, files, where)
    if card.tuned is None:
        return SavedFiles(card, kind, head, None, reference)
    if BACKBONE_FILE not in files:
        raise ModelgraftError(f"{where} lacks {BACKBONE_FILE}; get a whole copy of the adapter")
    sha256, stated = card.tuned
    return SavedFiles(card, kind, head, checked_tensors(files[BACKBONE_FILE], sha256, dict(stated), where), reference)


def _reference(card: Card, files: Mapping[str, Path], where: str) -> Reference | None:
    if card.reference is None:
        return None
    items, sha256, stated = card.reference
    if REFERENCE_FILE not in files:
        raise ModelgraftError(f"{where} lacks {REFERENCE_FILE}; get a whole copy of the adapter")
    tensors = checked_tensors(files[REFERENCE_FILE], sha256, dict(stated), where)
    try:
        return Reference.from_tensors({name: tensor.numpy() for name, tensor in tensors.items()}, items)
    except (ValueError, TypeError) as error:  # NumPy has no bfloat16 and the like
        raise ModelgraftError(
            f"{REFERENCE_FILE} of {where} is no reference of training features: {error}; get a whole copy of the adapter"
        ) from None


def _head_class(card: Card, where: str) -> Any:
    distribution, version = brought_by(card.head)
    if not distribution:
        raise ModelgraftError(
            f"the head {card.head!r} of {where} is not installed; it was brought by the distribution "
            f"{card.head_distribution} {card.head_version}: install that (pip install {card.head_distribution})"
        )
    if distribution != card.head_distribution:
        raise ModelgraftError(
            f"the head {card.head!r} of {where} is that of the distribution {card.head_distribution}, and here {distribution} "
            f"{version} brings one of this name; install the one and remove the other"
        )
    return load_head(card.head)
