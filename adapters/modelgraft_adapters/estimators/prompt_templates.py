"""Prompt templates: the sentences a label name is put into before the text tower reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from modelgraft.errors import UsageError

from modelgraft_adapters.media.texts import reason_against

_SIMPLE = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
# The 80 templates of "Learning Transferable Visual Models From Natural Language Supervision" (Radford et al. 2021),
# published in openai/CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb (MIT).
_IMAGENET_80 = (
    "a bad photo of a {}.", "a photo of many {}.", "a sculpture of a {}.", "a photo of the hard to see {}.",
    "a low resolution photo of the {}.", "a rendering of a {}.", "graffiti of a {}.", "a bad photo of the {}.",
    "a cropped photo of the {}.", "a tattoo of a {}.", "the embroidered {}.", "a photo of a hard to see {}.",
    "a bright photo of a {}.", "a photo of a clean {}.", "a photo of a dirty {}.", "a dark photo of the {}.",
    "a drawing of a {}.", "a photo of my {}.", "the plastic {}.", "a photo of the cool {}.",
    "a close-up photo of a {}.", "a black and white photo of the {}.", "a painting of the {}.", "a painting of a {}.",
    "a pixelated photo of the {}.", "a sculpture of the {}.", "a bright photo of the {}.", "a cropped photo of a {}.",
    "a plastic {}.", "a photo of the dirty {}.", "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.",
    "a photo of the {}.", "a good photo of the {}.", "a rendering of the {}.", "a {} in a video game.",
    "a photo of one {}.", "a doodle of a {}.", "a close-up photo of the {}.", "a photo of a {}.",
    "the origami {}.", "the {} in a video game.", "a sketch of a {}.", "a doodle of the {}.",
    "a origami {}.", "a low resolution photo of a {}.", "the toy {}.", "a rendition of the {}.",
    "a photo of the clean {}.", "a photo of a large {}.", "a rendition of a {}.", "a photo of a nice {}.",
    "a photo of a weird {}.", "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.",
    "a sketch of the {}.", "a embroidered {}.", "a pixelated photo of a {}.", "itap of the {}.",
    "a jpeg corrupted photo of the {}.", "a good photo of a {}.", "a plushie {}.", "a photo of the nice {}.",
    "a photo of the small {}.", "a photo of the weird {}.", "the cartoon {}.", "art of the {}.",
    "a drawing of the {}.", "a photo of the large {}.", "a black and white photo of a {}.", "the plushie {}.",
    "a dark photo of a {}.", "itap of a {}.", "graffiti of the {}.", "a toy {}.",
    "itap of my {}.", "a photo of a cool {}.", "a photo of a small {}.", "a tattoo of the {}.",
)  # fmt: skip

ENSEMBLES: Final[dict[str, tuple[str, ...]]] = {
    "none": ("{}",),
    "photo": ("a photo of a {}.",),
    "siglip": ("This is a photo of {}.",),
    "simple": _SIMPLE,
    "imagenet-80": _IMAGENET_80,
    "nli": ("This example is {}.",),
}
"""Named ensembles. ``nli`` is the hypothesis template of zero-shot text classification (Yin et al. 2019)."""

DEFAULT_BY_MODALITY: Final = {"image": "photo", "text": "nli"}


def templates_for(given: str | Sequence[str]) -> tuple[str, ...]:
    """Templates from the name of an ensemble, one template, or a list of templates.

    Raises:
        UsageError: neither a known name nor a text with exactly one ``{}``.
    """
    if isinstance(given, str):
        if given in ENSEMBLES:
            return ENSEMBLES[given]
        given = [given]
    for template in given:
        if (reason := reason_against(template)) is not None:
            raise UsageError(f"the template {template!r} cannot be read: {reason}")
        if template.count("{}") != 1:
            raise UsageError(
                f"{template!r} is neither a template (a text with one {{}} where the label goes) nor one of the named "
                f"ensembles: {', '.join(ENSEMBLES)}"
            )
    if not given:
        raise UsageError("an empty list of templates; use 'none' for bare labels")
    return tuple(given)


def fill(template: str, label: str) -> str:
    """Return the template with the label in it. Not ``str.format``: a label may hold braces of its own.

    Raises:
        UsageError: a label that no model can read.
    """
    if (reason := reason_against(label)) is not None:
        raise UsageError(f"the label {label!r} cannot be read by name: {reason}")
    return template.replace("{}", label)
