"""Entries from the installed open_clip: what its pretrained configs state, and the figures of its architectures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import open_clip
from modelgraft.entry import Entry, Weights
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from modelgraft_open_clip.measure import Figures, measure
from modelgraft_open_clip.published import metrics
from modelgraft_open_clip.retired import RETIRED

PROVIDER = "open_clip"
SIGLIP_TEMPLATE = "This is a photo of {}."
"""The prompt that SigLIP's zero-shot evaluation uses (Zhai et al. 2023, section 4)."""


def describe(known: Iterable[Entry] = ()) -> list[Entry]:
    """An entry per model/tag pair of ``open_clip.list_pretrained()``, sorted by name.

    Args:
        known: entries of another version; an architecture found there is not built again for its figures.
    """
    shipped = {str(entry.loader["model"]): entry for entry in known}
    # Some versions list weights of an architecture that they have no configuration of, and so cannot build (2.26: ViTamin-L-384).
    pairs = [(model, tag) for model, tag in open_clip.list_pretrained() if _config(model) is not None]
    figures = {model: _figures(model, shipped.get(model)) for model, _ in pairs}
    found = [_entry(model, tag, figures[model]) for model, tag in pairs]
    aliases = _aliases(found)
    return sorted(
        (Entry.from_dict({**entry.to_dict(), "aliases": aliases.get(entry.name, ())}) for entry in found),
        key=lambda entry: entry.name,
    )


def _entry(model: str, tag: str, figures: Figures | None) -> Entry:
    config = _config(model)
    cfg = open_clip.get_pretrained_cfg(model, tag)
    preprocessing = merge_preprocess_dict(asdict(PreprocessCfg()), cfg)
    preprocessing["size"] = None if figures is None else list(figures.image_size)
    sigmoid = config.get("init_logit_bias") is not None
    # open_clip builds the activation that the architecture's name says, and only warns where the weights want the other.
    quick_gelu = bool(cfg.get("quick_gelu")) and not config.get("quick_gelu")
    loader: dict[str, Any] = {"model": model, "tag": tag}
    if quick_gelu:
        loader["quick_gelu"] = True
    if repos := _text_repos(config["text_cfg"]):
        loader["text_repos"] = repos
    return Entry(
        name=f"{PROVIDER}/{model}:{tag}",
        modality="image-text",
        tasks=("zero-shot", "features"),
        params=None if figures is None else figures.params,
        embed_dim=int(config["embed_dim"]),
        input_size=None if figures is None else (3, *figures.image_size),
        max_tokens=int(config["text_cfg"].get("context_length", DEFAULT_CONTEXT_LENGTH)),
        preprocessing={key: _plain(value) for key, value in preprocessing.items()},
        weights=_weights(cfg),
        retired=tuple(f"{PROVIDER}/{m}:{t}" for (m, t), now in RETIRED.items() if now == (model, tag)),
        score="sigmoid" if sigmoid else "softmax",
        templates=(SIGLIP_TEMPLATE,) if sigmoid and "siglip" in str(repos).lower() else (),
        metrics=metrics(model, tag, quick_gelu),
        note=_note(model, config, quick_gelu),
        loader=loader,
    )


def _figures(model: str, shipped: Entry | None) -> Figures | None:
    """Of the shipped entry where it is the same architecture, else measured; None where that cannot be done."""
    embed_dim = int(_config(model)["embed_dim"])
    if shipped is not None and shipped.params and shipped.input_size and shipped.embed_dim == embed_dim:
        return Figures(shipped.params, embed_dim, (shipped.input_size[1], shipped.input_size[2]))
    try:
        return measure(model)
    except Exception:  # an architecture of a newer version that cannot be built here is still listed
        return None


@cache
def _config(model: str) -> Mapping[str, Any]:
    config: Mapping[str, Any] = open_clip.get_model_config(model)
    return config


def _weights(cfg: Mapping[str, Any]) -> Weights:
    # open_clip spells 'org/name/filename', and 'org/name/' for its default file names.
    repo, _, filename = str(cfg.get("hf_hub") or "").rpartition("/")
    return Weights(repo=repo or None, filename=filename or None, url=cfg.get("url") or None)


def _text_repos(text_cfg: Mapping[str, Any]) -> list[str]:
    """Hub repositories that configure the text tower or its tokenizer: fetched beside the weights."""
    wanted = [text_cfg.get(key) for key in ("hf_model_name", "hf_tokenizer_name")]
    return list(dict.fromkeys(repo for repo in wanted if repo))


def _note(model: str, config: Mapping[str, Any], quick_gelu: bool) -> str | None:
    if quick_gelu:
        return f"trained with QuickGELU and loaded with it here: the same model as {model}-quickgelu"
    if "multimodal_cfg" in config:
        return "CoCa: the contrastive part gives the embeddings; its caption decoder is loaded and not used"
    if "nllb" in str(config["text_cfg"].get("hf_model_name")):
        return "multilingual text tower; its tokenizer reads every text as English (eng_Latn)"
    return None


def _aliases(found: list[Entry]) -> dict[str, tuple[str, ...]]:
    """Name -> aliases: the hub id, for the one entry it names best, and OpenAI's own spelling with a slash."""
    by_repo: dict[str, list[Entry]] = {}
    for entry in found:
        if entry.weights and entry.weights.repo:
            by_repo.setdefault(entry.weights.repo, []).append(entry)
    out: dict[str, tuple[str, ...]] = {}
    for repo, sharing in by_repo.items():
        best = min(sharing, key=lambda entry: _distance(repo, entry))
        out[best.name] = (repo,)
    for entry in found:
        model, tag = entry.loader["model"], entry.loader["tag"]
        if tag == "openai" and model.startswith("ViT-") and model.count("-") == 2:
            out[entry.name] = (*out.get(entry.name, ()), f"{PROVIDER}/ViT-{model[4:].replace('-', '/')}:openai")
    return out


def _distance(repo: str, entry: Entry) -> tuple[bool, bool, bool, str]:
    base = repo.rpartition("/")[2]
    model, tag = str(entry.loader["model"]), str(entry.loader["tag"])
    return (base != model, not base.endswith(tag), model.endswith("-quickgelu"), entry.name)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
