"""Calls into backbones and heads, which may be anybody's: who is to blame is named, and what comes back is checked before use.

One row too many shifts every label by one, and a number that is not finite makes the first label the best: wrong answers without
a word. So shapes, counts and kinds are checked here, once, for all adapters.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from modelgraft.contract import ScoreRule, TextBackbone, Tokenises
from modelgraft.errors import PluginError, UnreadableItemError, UsageError
from modelgraft.guard import plugin_code
from modelgraft.host.discovery import OWN_DISTRIBUTION
from modelgraft.training import Block
from PIL import Image

_SAME: Final = 0.02
"""Part of its length by which an embedding may differ between two ways to compute it: kernels and TF32 round otherwise."""


def owner(made: Any) -> str:
    """Name who brought a backbone: the key of its plugin, else the module of its class."""
    entry = getattr(made, "entry", None)
    return str(getattr(entry, "plugin", "")) or type(made).__module__


def _name(backbone: Any) -> str:
    entry = getattr(backbone, "entry", None)
    return str(getattr(entry, "name", "")) or type(backbone).__name__


@contextmanager
def _asked(backbone: Any, what: str) -> Iterator[None]:
    with plugin_code(owner(backbone), f"{what} with {_name(backbone)}"):
        yield


def _wrong(backbone: Any, what: str) -> PluginError:
    return PluginError(f"plugin {owner(backbone)} is wrong: {_name(backbone)} {what}; tell its author")


@contextmanager
def _evaluating(backbone: Any) -> Iterator[None]:
    """Dropout is off and batch norm goes by its kept statistics, and leaves them alone, whatever mode a backbone is in.

    The flags alone are turned: what `train` and `eval` do beside is the module's own affair (some merge weights).
    """
    training = [part for part in backbone.module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


_steady: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
"""Modules whose backbones have preprocessed an image alike."""
_TRIES: Final = 3


def preprocess(backbone: Any, image: Image.Image) -> torch.Tensor:
    """Return one image as the backbone reads it: float (C, H, W).

    The first image of a backbone is preprocessed again: transforms of training, which crop at random, answer otherwise each time.

    Raises:
        UnreadableItemError: this image cannot be preprocessed (one of 1x5000 pixels breaks some transforms).
        PluginError: the backbone gives no such tensor, or another one for the same image.
    """
    pixels = _preprocess(backbone, image)
    if not owner(backbone).startswith(f"{OWN_DISTRIBUTION}:") and backbone.module not in _steady:
        if not all(torch.equal(pixels, _preprocess(backbone, image)) for _ in range(_TRIES)):
            raise _wrong(
                backbone, "preprocesses the same image otherwise each time; give it the transforms for evaluation"
            )
        _steady.add(backbone.module)
    return pixels


def _preprocess(backbone: Any, image: Image.Image) -> torch.Tensor:
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
        raise _wrong(backbone, f"preprocesses an image to {shown(pixels)}, not to floats (C, H, W)")
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
    with _asked(backbone, "encoding images"), _evaluating(backbone):
        found = backbone.encode_image(batch) if layer is None else backbone.encode_layer(batch, layer)
    return _rows(backbone, found, len(pixels), "images", layer)


def encode_texts(backbone: Any, texts: Sequence[str], layer: str | None = None) -> torch.Tensor:
    """Return embeddings (N, D) float32 of N texts, in their order; at a layer (N, ...). Errors as `encode_images`."""
    given = list(texts)  # of its own: a plugin may do with it what it likes
    with _asked(backbone, "encoding texts"), _evaluating(backbone):
        found = backbone.encode_text(given) if layer is None else backbone.encode_layer(given, layer)
    return _rows(backbone, found, len(texts), "texts", layer)


def _rows(backbone: Any, found: Any, count: int, what: str, layer: str | None) -> torch.Tensor:
    if not isinstance(found, torch.Tensor) or not found.is_floating_point() or found.layout != torch.strided:
        raise _wrong(backbone, f"gives {shown(found)} for {count} {what}, not a tensor of floats")
    if found.device.type == "meta":
        raise _wrong(backbone, f"gives a tensor without numbers (device meta) for {count} {what}")
    width = (backbone.embed_dim,) if layer is None else tuple(found.shape[1:])
    if found.ndim < 2 or tuple(found.shape) != (count, *width):
        raise _wrong(backbone, f"gives {shown(found)} for {count} {what}, where {(count, *width)} was announced")
    return found.detach().to(torch.float32, copy=True)  # a backbone may use its buffer again for the next batch


def finite_texts(backbone: Any, rows: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
    """Return ``rows`` if all their numbers are finite.

    Raises:
        PluginError: a text without an embedding: every score with it would be wrong.
    """
    bad = (~torch.isfinite(rows).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        text = texts[bad[0]][:80]
        what = f"gives no finite embedding for the text {text!r} ({len(bad)} of {len(texts)}); a wider dtype may help"
        raise _wrong(backbone, what)
    return rows


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


# Training further


def check_trainable(backbone: Any, modality: str) -> None:
    """Check that a backbone has what training it on such items takes.

    Raises:
        UsageError: its plugin lacks a method, or it has no parameters.
    """
    needed = ("blocks", "embed", "token_batch") if modality == "text" else ("blocks", "embed")
    name = backbone.entry.name
    if lacking := [one for one in needed if not callable(getattr(backbone, one, None))]:
        raise UsageError(
            f"{name} cannot be trained further on {modality}s: its plugin {owner(backbone)} gives it no "
            f"{' and no '.join(f'{one}()' for one in lacking)}; train a head on it ('modelgraft probe')"
        )
    module = getattr(backbone, "module", None)
    if not isinstance(module, torch.nn.Module) or not any(p.is_floating_point() for p in module.parameters()):
        raise UsageError(
            f"{name} cannot be trained further: it has no parameters in torch; train a head on it ('modelgraft probe')"
        )


def blocks(backbone: Any, modality: Any) -> tuple[Block, ...]:
    """Return a tower's blocks, checked; a parameter that several modules share goes by the name ``named_parameters()`` has for it.

    Raises:
        PluginError: it fails, or names what is no parameter, or one in two blocks.
    """
    with _asked(backbone, "asking for its blocks"):
        found = [(str(block.name), [str(name) for name in block.parameters]) for block in backbone.blocks(modality)]
    parameters = dict(backbone.module.named_parameters(remove_duplicate=False))
    first = {id(value): name for name, value in reversed(parameters.items())}
    said: set[str] = set()
    taken: set[str] = set()
    out = []
    for block, names in found:
        own = []
        for name in names:
            if name not in parameters:
                raise _wrong(backbone, f"names in its block {block!r} a parameter {name!r} that its module has not")
            if name in said:
                raise _wrong(backbone, f"names the parameter {name!r} twice in its blocks")
            if not parameters[name].is_floating_point():
                raise _wrong(
                    backbone, f"names in its block {block!r} {name!r}, which is no floats and cannot be trained"
                )
            said.add(name)
            if (one := first[id(parameters[name])]) not in taken:
                taken.add(one)
                own.append(one)
        out.append(Block(block, tuple(own)))
    if not taken:
        raise _wrong(backbone, f"has no blocks with parameters for {modality}s")
    return tuple(out)


def token_batch(backbone: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return texts as a text tower reads them: tensors with a row a text.

    Raises:
        PluginError: it fails, or gives something else.
    """
    given = list(texts)
    with _asked(backbone, "tokenising texts for training"):
        found = backbone.token_batch(given)
    if not isinstance(found, Mapping) or not found:
        raise _wrong(backbone, f"gives {shown(found)} as a token_batch of {len(texts)} texts, not tensors by name")
    for name, value in found.items():
        if not isinstance(value, torch.Tensor) or value.ndim < 1 or len(value) != len(texts):
            raise _wrong(backbone, f"gives in its token_batch of {len(texts)} texts {name} as {shown(value)}")
    return dict(found)


def embedding(backbone: Any, batch: Any, learns: bool) -> torch.Tensor:
    """Return the embeddings (B, D) float32 of a training batch of B rows: images (B, C, H, W), or a `token_batch`.

    Args:
        learns: something of the backbone is trained: gradients must flow.

    Raises:
        PluginError: it fails, or gives other rows, another width, or what no gradient flows through.
    """
    rows = len(batch) if isinstance(batch, torch.Tensor) else len(next(iter(batch.values())))
    with _asked(backbone, "embedding a training batch"):
        found = backbone.embed(batch)
    wanted = (rows, backbone.embed_dim)
    if not isinstance(found, torch.Tensor) or not found.is_floating_point() or tuple(found.shape) != wanted:
        raise _wrong(backbone, f"embeds a training batch to {shown(found)}, where {wanted} was announced")
    if learns and torch.is_grad_enabled() and not found.requires_grad:
        raise _wrong(backbone, "embeds a training batch without gradients, so that nothing of it would be trained")
    return found.float()


def check_embedding(backbone: Any, inputs: Sequence[Any]) -> None:
    """Check that what is trained (`embed`) is what predicts (`encode_image`, `encode_text`), in eval mode.

    Args:
        inputs: a few preprocessed images of one shape, or texts.

    Raises:
        PluginError: they differ, or one of them fails.
    """
    texts = isinstance(inputs[0], str)
    with torch.no_grad():
        predicts = encode_texts(backbone, inputs) if texts else encode_images(backbone, inputs)
        trained = embedding(backbone, token_batch(backbone, inputs) if texts else torch.stack(list(inputs)), False)
    apart, size = (trained.to(predicts.device) - predicts).norm(), predicts.norm()
    if not bool(torch.isfinite(apart)):
        raise _wrong(backbone, "gives embeddings of training items that are not finite")
    if apart > _SAME * size:
        other = "encode_text" if texts else "encode_image"
        raise _wrong(
            backbone, f"trains by embed(), which differs from {other}() by {float(apart / size):.1%} for the same items"
        )


def recompute(backbone: Any) -> bool:
    """Have a backbone compute activations again in the backward pass; False where it cannot. Errors as `blocks`."""
    if not callable(getattr(backbone, "recompute", None)):
        return False
    with _asked(backbone, "asking to compute activations again"):
        return bool(backbone.recompute(True))


def randomise(backbone: Any, seed: int) -> None:
    """Draw all weights anew, in place. Errors as `blocks`; UsageError where the plugin cannot."""
    if not callable(getattr(backbone, "randomise", None)):
        raise UsageError(f"{backbone.entry.name} cannot begin from random weights: its plugin gives it no randomise()")
    with _asked(backbone, "drawing random weights"):
        backbone.randomise(seed)


def shown(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"{type(value).__name__} {' '.join(repr(value).split())[:60]}"
