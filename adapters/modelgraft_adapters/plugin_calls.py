"""Calls into backbones and heads, which may be anybody's: who is to blame is named, and what comes back is checked before use.

One row too many shifts every label by one, and a number that is not finite makes the first label the best: wrong answers without
a word. So shapes, counts and kinds are checked here, once, for all adapters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from modelgraft.contract import ScoreRule, TextBackbone, Tokenises
from modelgraft.errors import PluginError, UnreadableItemError
from modelgraft.guard import plugin_code
from modelgraft.host.discovery import OWN_DISTRIBUTION
from modelgraft.host.host import current_host
from modelgraft.learning import Examples
from PIL import Image

_UNIT: Final = 1e-3
"""How far a probability may lie beyond [0, 1], and a row of them from the sum 1: half precision rounds."""


def owner(made: Any) -> str:
    """Name who brought a backbone: the key of its plugin, else the module of its class."""
    entry = getattr(made, "entry", None)
    return str(getattr(entry, "plugin", "")) or type(made).__module__


@contextmanager
def _asked(backbone: Any, what: str) -> Iterator[None]:
    with plugin_code(owner(backbone), f"{what} with {backbone.entry.name}"):
        yield


def _wrong(backbone: Any, what: str) -> PluginError:
    return PluginError(f"plugin {owner(backbone)} is wrong: {backbone.entry.name} {what}; tell its author")


def preprocess(backbone: Any, image: Image.Image) -> torch.Tensor:
    """Return one image as the backbone reads it: float (C, H, W).

    Raises:
        UnreadableItemError: this image cannot be preprocessed (one of 1x5000 pixels breaks some transforms).
        PluginError: the backbone gives no such tensor.
    """
    try:
        with _asked(backbone, "preprocessing an image"):
            pixels = backbone.preprocess(image.copy())  # what a plugin does to its image is its own affair
    except PluginError as error:
        if not isinstance(error.__cause__, Exception) or isinstance(error.__cause__, StopIteration):
            raise
        told = " ".join(str(error.__cause__).split())[:200] or type(error.__cause__).__name__
        plugin = getattr(backbone.entry, "plugin", "")
        by = f" (plugin {plugin})" if plugin and not plugin.startswith(f"{OWN_DISTRIBUTION}:") else ""
        raise UnreadableItemError(f"cannot be preprocessed: {told}{by}") from error
    if not isinstance(pixels, torch.Tensor) or pixels.ndim != 3 or not pixels.is_floating_point():
        raise _wrong(backbone, f"preprocesses an image to {_shown(pixels)}, not to floats (C, H, W)")
    if not torch.isfinite(pixels).all():
        raise UnreadableItemError(f"{owner(backbone)} preprocesses it to numbers that are not finite")
    return pixels


def encode_images(backbone: Any, pixels: Sequence[torch.Tensor], layer: str | None = None) -> torch.Tensor:
    """Return embeddings (B, D) float32 of B preprocessed images; at a layer (B, ...). Rows may hold what is not finite.

    Raises:
        PluginError: the backbone fails, or gives anything else.
    """
    shapes = {tuple(one.shape) for one in pixels}
    if len(shapes) > 1:
        raise _wrong(backbone, f"preprocesses images to different shapes: {', '.join(map(str, sorted(shapes)))}")
    batch = torch.stack(list(pixels))
    with _asked(backbone, "encoding images"):
        found = backbone.encode_image(batch) if layer is None else backbone.encode_layer(batch, layer)
    return _rows(backbone, found, len(pixels), "images", layer)


def encode_texts(backbone: Any, texts: Sequence[str], layer: str | None = None) -> torch.Tensor:
    """Return embeddings (N, D) float32 of N texts, in their order; at a layer (N, ...). Errors as `encode_images`."""
    given = list(texts)  # of its own: a plugin may do with it what it likes
    with _asked(backbone, "encoding texts"):
        found = backbone.encode_text(given) if layer is None else backbone.encode_layer(given, layer)
    return _rows(backbone, found, len(texts), "texts", layer)


def _rows(backbone: Any, found: Any, count: int, what: str, layer: str | None) -> torch.Tensor:
    if not isinstance(found, torch.Tensor) or not found.is_floating_point() or found.layout != torch.strided:
        raise _wrong(backbone, f"gives {_shown(found)} for {count} {what}, not a tensor of floats")
    if found.device.type == "meta":
        raise _wrong(backbone, f"gives a tensor without numbers (device meta) for {count} {what}")
    width = (backbone.embed_dim,) if layer is None else tuple(found.shape[1:])
    if found.ndim < 2 or tuple(found.shape) != (count, *width):
        raise _wrong(backbone, f"gives {_shown(found)} for {count} {what}, where {(count, *width)} was announced")
    return found.detach().to(torch.float32, copy=True)  # a backbone may use its buffer again for the next batch


def finite_texts(backbone: Any, rows: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
    """Return ``rows`` if all their numbers are finite.

    Raises:
        PluginError: a text without an embedding: every score with it would be wrong.
    """
    bad = (~torch.isfinite(rows).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        text = texts[bad[0]][:80]
        what = f"gives no finite embedding for the text {text!r} ({len(bad)} of {len(texts)})"
        if torch.float16 in _dtypes(backbone):
            raise PluginError(
                f"{backbone.entry.name} ({owner(backbone)}) {what}; a wider dtype may help (--dtype float32)"
            )
        raise _wrong(backbone, what)
    return rows


def _dtypes(backbone: Any) -> Iterator[torch.dtype]:
    module = getattr(backbone, "module", None)
    if isinstance(module, torch.nn.Module):
        yield from (one.dtype for one in module.parameters() if one.is_floating_point())


def not_finite(backbone: Any) -> str:
    """Return the reason why an item whose output is not finite has no answer."""
    return f"the output of {backbone.entry.name} ({owner(backbone)}) for it is not finite; a wider dtype may help"


def score_rule(backbone: TextBackbone) -> ScoreRule:
    """Return how a backbone turns similarities into scores.

    Raises:
        PluginError: it fails, or gives no rule that scores can be made with.
    """
    with _asked(backbone, "asking for the rule of scores"):
        rule = backbone.score_rule()
    good = isinstance(rule, ScoreRule) and rule.kind in ("softmax", "sigmoid") and rule.similarity in ("cosine", "dot")
    numbers = [rule.scale, rule.bias] if good else [math.nan]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers) or rule.scale <= 0:
        raise _wrong(backbone, f"has the rule of scores {str(rule)[:200]}, which makes none")
    return rule


def text_notes(backbone: Any, texts: Sequence[str]) -> list[str]:
    """Return what a user should know of how texts are read, a line each; none where the backbone does not say."""
    if not callable(getattr(backbone, "text_notes", None)):
        return []
    with _asked(backbone, "asking how texts are read"):
        return [str(note) for note in backbone.text_notes(list(texts))]


def tokens(backbone: Tokenises, texts: Sequence[str]) -> list[list[int]]:
    """Return the numbers that a backbone reads for each text. Errors as `encode_texts`."""
    with _asked(backbone, "tokenising texts"):
        rows = [[int(token) for token in row] for row in backbone.tokens(list(texts))]
    if len(rows) != len(texts):
        raise _wrong(backbone, f"tokenises {len(texts)} texts to {len(rows)} rows")
    return rows


def layers(backbone: Any, modality: Any) -> tuple[str, ...]:
    """Return the names of the layers that embeddings can be taken at. Errors as `encode_texts`."""
    with _asked(backbone, "asking for its layers"):
        return tuple(map(str, backbone.layers(modality)))


# Heads


def head_owner(name: str) -> str:
    """Name who brings a head: the key of its plugin; the head's own name where nobody does."""
    _, plugin = current_host().heads().get(name, (None, name))
    return plugin


def fit_head(name: str, kind: Any, examples: Examples, settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a head fitted to examples, and its report.

    Raises:
        PluginError: it fails, or reports what is none.
        UsageError: what the head itself says of its settings.
    """
    plugin = head_owner(name)
    with plugin_code(plugin, f"fitting the head {name}"):
        head = kind.fit(examples, **settings)
        report = head.report()
    if not isinstance(report, Mapping):
        raise _bad_head(plugin, f"reports {_shown(report)}, not a mapping")
    return head, dict(report)


def outputs(head: Any, features: torch.Tensor, task: str, plugin: str) -> torch.Tensor:
    """Return what a head gives for features (B, D): a row each; of a regression the values, else probabilities.

    Raises:
        PluginError: the head fails, or gives something else.
    """
    with plugin_code(plugin, "predicting"):
        found = head.logits(features) if task == "regression" else head.probabilities(features)
    good = isinstance(found, torch.Tensor) and found.is_floating_point() and found.ndim == 2
    if not good or len(found) != len(features):
        raise _bad_head(plugin, f"gives {_shown(found)} for {len(features)} items")
    return found


def probabilities(head: Any, features: torch.Tensor, count: int, task: str, plugin: str) -> torch.Tensor:
    """Return what a head gives for features (B, D), checked: (B, ``count``) float32 on the CPU.

    Args:
        task: of a regression the values are asked for, else probabilities.

    Raises:
        PluginError: the head fails, or gives other rows, columns, or no probabilities.
    """
    found = outputs(head, features, task, plugin)
    if found.shape[1] != count:
        raise _bad_head(plugin, f"gives {_shown(found)} for {len(features)} items and {count} classes")
    out = found.detach().to("cpu", torch.float32, copy=True)
    if not torch.isfinite(out).all():
        raise _bad_head(plugin, "gives numbers that are not finite")
    if task != "regression" and len(out):
        if out.min() < -_UNIT or out.max() > 1 + _UNIT:
            raise _bad_head(plugin, f"gives probabilities from {out.min():.3g} to {out.max():.3g}")
        sums = out.sum(dim=1)
        if task == "single-label" and (sums - 1).abs().max() > _UNIT * max(1, count**0.5):
            raise _bad_head(plugin, f"gives probabilities that sum to {sums[(sums - 1).abs().argmax()]:.3g}, not to 1")
    return out


def _bad_head(plugin: str, what: str) -> PluginError:
    return PluginError(f"plugin {plugin} is wrong: its head {what}; tell its author")


def _shown(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"{type(value).__name__} {' '.join(repr(value).split())[:60]}"
