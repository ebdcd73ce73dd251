"""A saved adapter as an entry: how it is known by its card, and where its files and its backbone's are. Imports no torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from modelgraft.entry import Entry, Weights
from modelgraft.errors import BadNameError, ModelgraftError, UnknownModelError, UsageError
from modelgraft.project.files import short

from modelgraft_adapters.saved.card import (
    BACKBONE_FILE,
    CARD_FILE,
    HEAD_FILE,
    PROVIDER,
    REFERENCE_FILE,
    Backbone,
    is_saved_adapter,
    read_card,
)
from modelgraft_adapters.saved.folder_swap import recover

_GIVE: Final = "give yours: --backbone FOLDER, in Python FrozenAdapter.load(..., backbone=...)"


def entry_of(name: str, configs: Mapping[str, Any]) -> Entry | None:
    """The entry of the adapter whose folder or repository has these JSON files; None where there is no card.

    Args:
        name: ``file:...`` or ``hub:...``.

    Raises:
        ModelgraftError: there is a card, and it is wrong.
    """
    if CARD_FILE not in configs:
        return None
    card = read_card(configs[CARD_FILE], name)
    backbone = card.backbone
    return Entry(
        name=f"{PROVIDER}/{name}",
        modality=card.modality,
        tasks=("regression",) if card.task == "regression" else ("classification",),
        embed_dim=card.width,
        licence=backbone.licence,
        note=card.summary(),
        loader={
            "backbone": backbone_names(backbone, name)[0],
            "revision": backbone.commit or backbone.revision,
            "brought_by": f"{backbone.distribution} {backbone.version}".strip(),
        },
    )


def find_adapter(name: str | Path) -> Entry:
    """The entry of a saved adapter by its folder or name.

    Raises:
        UsageError: nothing has this name, or something else has.
    """
    if isinstance(name, Path):
        name = f"file:{name.expanduser().absolute()}"
    with contextlib.suppress(OSError, ModelgraftError):  # then there is none, which is told below
        recover(Path(os.path.realpath(Path(name.removeprefix("file:")).expanduser())))

    entry = folder_or_name(name)
    if not is_saved_adapter(entry):
        raise UsageError(
            f"{entry.name} is a backbone that was trained on no task of yours; 'modelgraft probe DATA --model {name} --save DIR' "
            "makes a saved adapter of it"
        )
    return entry


def folder_or_name(name: str) -> Entry:
    """The entry that a name means, or a folder; a name that means a model comes first. Errors as `modelgraft.resolve`."""
    from modelgraft.registry import resolve

    try:
        return resolve(name)
    except (UnknownModelError, BadNameError):
        if not os.path.isdir(name):
            raise
        return resolve(f"file:{os.path.abspath(name)}")


def places_of(entry: Entry) -> list[Weights]:
    """Where the files of a saved adapter are: its own, then those of its backbone, at the commit it was trained on.

    Without ``loader`` (a backbone is given by the user) its own alone. Errors as `backbone_entry`.
    """
    from modelgraft.weights.resolving import places

    assert entry.weights is not None
    found = [replace(entry.weights, files=(HEAD_FILE, CARD_FILE, BACKBONE_FILE, REFERENCE_FILE))]
    if entry.loader:
        where, about = entry.name.partition("/")[2], entry.loader
        backbone = backbone_entry(about["backbone"], about["revision"], about["brought_by"], where)
        for number, weights in enumerate(places(backbone)):
            own = (backbone.revision if number == 0 else None) or weights.revision
            found.append(replace(weights, revision=own))
    return found


def backbone_names(backbone: Backbone, where: str) -> list[str]:
    """The names that the backbone of a card may be found by here, best first.

    One in a folder is looked for where it lay as seen from the adapter, so that both can be moved together, and where it lay.

    Args:
        where: the adapter: ``file:...`` or ``hub:...``.
    """
    if not backbone.name.startswith("file:") or not where.startswith("file:") or backbone.beside is None:
        return [backbone.name]
    beside = os.path.normpath(os.path.join(os.path.realpath(unquote(where[5:])), backbone.beside))
    found = [f"file:{place}" for place in (beside, backbone.name[5:]) if os.path.exists(place)]
    return list(dict.fromkeys(found)) or [backbone.name]


def backbone_entry(name: str, revision: str | None, brought_by: str, where: str) -> Entry:
    """The entry of the backbone that a card names.

    Args:
        brought_by: distribution and version that brought it.
        where: what to call the adapter in an error.

    Raises:
        ModelgraftError: nobody knows it here, it is on another machine, or it is no backbone.
    """
    from modelgraft.registry import resolve

    if name.startswith("file:") and not where.startswith("file:"):
        raise ModelgraftError(f"the backbone of {where} lies in a folder of the machine it was made on; {_GIVE}")
    if name.startswith("file:") and not os.path.exists(name[5:]):
        raise ModelgraftError(
            f"the backbone of {where} is no longer where it was: there is no folder or file {name[5:]!r}; {_GIVE}"
        )
    try:
        entry = resolve(f"{name}@{revision}" if revision else name)
    except UnknownModelError as error:
        raise ModelgraftError(
            f"the backbone {short(name)} of {where} is not known here; install the distribution that brought it ({brought_by})"
        ) from error
    if is_saved_adapter(entry):
        raise ModelgraftError(f"the backbone {short(name)} of {where} is itself a saved adapter; its card is wrong")
    return entry
