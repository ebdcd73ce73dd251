"""Entries from the installed timm: facts from its configs, figures measured or taken from a known catalogue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import timm
from modelgraft.entry import Entry, Weights
from timm.data.imagenet_info import infer_imagenet_subset
from timm.models._pretrained import PretrainedCfg
from timm.models._registry import get_arch_name, get_deprecated_models

from modelgraft_timm.configs import evaluation_config, pretrained_config, weights_url
from modelgraft_timm.measure import Figures, compute, measure
from modelgraft_timm.names import PROVIDER, entry_name, timm_name
from modelgraft_timm.published import metrics

_log = logging.getLogger(__name__)

# Licences that need no word of warning; every other one gets a note.
_PLAIN_LICENCES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"}
_NON_COMMERCIAL = {"cc-by-nc-4.0", "fair-noncommercial-research-license", "apple-amlr"}

_Build = tuple[str, int, tuple[int, ...]]
"""What a model's figures belong to: its name with the tag (a few architectures differ by tag), classes, image size."""


def describe(
    known: Iterable[Entry] = (),
    progress: Callable[[int, int], None] | None = None,
    patient: bool = False,
) -> list[Entry]:
    """An entry for each of ``timm.list_pretrained()``, sorted by name.

    Args:
        known: entries of another version; their figures are reused for the same name, classes and image size.
        progress: called with the number of models done and of all.
        patient: compute what cannot be measured at once. A listing does not wait for that.

    A model that cannot be measured is described without figures: one broken architecture must not hide the others.
    """
    names = timm.list_pretrained()
    configs: dict[str, PretrainedCfg] = {name: pretrained_config(name) for name in names}
    figures: dict[_Build, Figures | None] = {
        _build_of_entry(entry): Figures(entry.params, entry.embed_dim, entry.loader.get("built_as"))
        for entry in known
        if entry.params is not None and entry.embed_dim is not None
    }
    defaults = _defaults(configs)
    aliases, retired = _aliases(configs), _retired(configs, defaults)
    found = []
    for done, (name, config) in enumerate(configs.items(), 1):
        build = _build(name, config)
        if build not in figures:
            figures[build] = _try(compute if patient else measure, name)
        default = defaults[get_arch_name(name)] == name
        found.append(_entry(name, config, figures[build], aliases[name], retired.get(name, []), default))
        if progress is not None:
            progress(done, len(configs))
    return sorted(found, key=lambda entry: entry.name)


def _entry(
    name: str, config: PretrainedCfg, figures: Figures | None, aliases: list[str], retired: list[str], default: bool
) -> Entry:
    built_as = figures.built_as if figures else None
    note = _note(name, config)
    loader: dict[str, Any] = {"num_classes": config.num_classes}
    if built_as:  # the entry tells what a user gets, and does not answer to the repository it does not load
        aliases = [alias for alias in aliases if alias != config.hf_hub_id]
        config = pretrained_config(built_as)
        note = "; ".join(filter(None, (note, f"timm loads {built_as} under this name")))
        loader |= {"built_as": built_as, "own_input_size": list(pretrained_config(name).input_size)}
    data = evaluation_config(asdict(config))
    preprocessing: dict[str, Any] = {
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "interpolation": data["interpolation"],
        "crop_pct": data["crop_pct"],
        "crop_mode": data["crop_mode"],
    }
    if config.test_input_size is not None:
        preprocessing["test_input_size"] = list(config.test_input_size)
    if config.test_crop_pct is not None:
        preprocessing["test_crop_pct"] = config.test_crop_pct
    return Entry(
        name=entry_name(name),
        modality="image",
        tasks=("features",) if config.num_classes == 0 or _projects(name, config) else ("features", "classification"),
        params=figures.params if figures else None,
        embed_dim=figures.embed_dim if figures else None,
        input_size=tuple(data["input_size"]),
        licence=config.license,
        preprocessing=preprocessing,
        weights=Weights(repo=config.hf_hub_id or None, filename=config.hf_hub_filename, url=weights_url(config)),
        aliases=tuple(aliases),
        retired=tuple(retired),
        default=default,
        # A name that timm builds another model under: what was measured under it is of one of the two, and does not say which.
        metrics={} if built_as else metrics(name, data["input_size"][2]),
        note=note,
        loader=loader,
    )


def _build(name: str, config: PretrainedCfg) -> _Build:
    return name, config.num_classes, tuple(config.input_size)


def _build_of_entry(entry: Entry) -> _Build:
    return (
        timm_name(entry),
        entry.loader["num_classes"],
        tuple(entry.loader.get("own_input_size", entry.input_size or ())),
    )


def _try(find: Callable[[str], Figures], name: str) -> Figures | None:
    try:
        return find(name)
    except Exception as error:
        _log.warning("%s could not be measured: %s: %s", name, type(error).__name__, error)
        return None


def _projects(name: str, config: PretrainedCfg) -> bool:
    """Whether the model's last layer maps into a text-image space: timm calls the size of that space num_classes."""
    contrastive = "clip" in name or "_pe_core_" in name
    return config.num_classes > 0 and contrastive and infer_imagenet_subset(asdict(config)) is None


def _note(name: str, config: PretrainedCfg) -> str | None:
    notes = []
    if config.license in _NON_COMMERCIAL:
        notes.append(f"non-commercial licence ({config.license})")
    elif config.license is None or config.license == "unknown":
        notes.append("timm states no licence")
    elif config.license not in _PLAIN_LICENCES:
        notes.append(f"licence with terms of its own ({config.license})")
    if _projects(name, config):
        notes.append("image tower of a text-image model; embeddings are taken before its projection")
    if not config.hf_hub_id:
        notes.append("weights outside the hub")
    if any("QuickGELU" in note for note in config.notes or ()) and "quickgelu" not in name:
        notes.append("trained with QuickGELU: timm's quickgelu variant of it gives the original results")
    return "; ".join(notes) or None


def _defaults(configs: dict[str, PretrainedCfg]) -> dict[str, str]:
    """Architecture -> the name whose weights timm takes for the bare architecture."""
    defaults = {}
    for architecture in map(get_arch_name, configs):
        tag = pretrained_config(architecture).tag
        defaults[architecture] = f"{architecture}.{tag}" if tag else architecture
    return defaults


def _aliases(configs: dict[str, PretrainedCfg]) -> dict[str, list[str]]:
    """Other names of each model: timm's own spelling and its hub repository.

    A name that two models could claim goes to the one it spells: one repository serves CLIP with GELU and QuickGELU.
    """
    owners = {f"{PROVIDER}/{name}": name for name in configs}
    contested: set[str] = set()
    for name, config in configs.items():
        repo = config.hf_hub_id
        if repo and owners.setdefault(repo, name) != name and repo != f"{PROVIDER}/{owners[repo]}":
            contested.add(repo)
    aliases: dict[str, list[str]] = {name: [] for name in configs}
    for alias, name in owners.items():
        if alias not in contested and alias != entry_name(name):
            aliases[name].append(alias)
    return aliases


def _retired(configs: dict[str, PretrainedCfg], defaults: dict[str, str]) -> dict[str, list[str]]:
    """The names of each model that timm has deprecated."""
    retired: dict[str, list[str]] = {}
    for old, current in get_deprecated_models().items():
        name = defaults.get(current or "", current)
        if name in configs and old not in configs:  # timm's own list names two tags that are gone
            retired.setdefault(name, []).append(f"{PROVIDER}/{old}")
    return retired
