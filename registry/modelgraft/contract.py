"""What the host, the plugins and the adapters promise each other. Types only: importing this imports no torch.

A plugin's ``modelgraft_load`` returns an object that has the members of `ImageBackbone`, of `TextBackbone`, or of both (a
dual encoder). Nothing has to be subclassed. Adapters use these members and never ask which provider it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from modelgraft.entry import Entry

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How a dual encoder turns the similarity of a picture (or text) and a label into a score, as it was trained.

    ``logit = scale * similarity + bias``; then softmax over the labels (CLIP, Radford et al. 2021) or a sigmoid for each label
    alone (SigLIP, Zhai et al. 2023). ``scale`` is the factor itself, not its logarithm. ``similarity`` is the cosine, or for
    models whose embeddings' lengths mean something (Hofstätter et al. 2021, TAS-B) the dot product as it is.
    """

    kind: Literal["softmax", "sigmoid"]
    scale: float
    bias: float = 0.0
    similarity: Literal["cosine", "dot"] = "cosine"


@runtime_checkable
class BackboneBase(Protocol):
    """What every backbone has."""

    entry: Entry
    module: torch.nn.Module
    """The model itself, in eval mode, on `device`: parameters, buffers, blocks."""
    device: torch.device
    embed_dim: int


@runtime_checkable
class ImageBackbone(BackboneBase, Protocol):
    """A backbone for pictures."""

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """The provider's own evaluation preprocessing of one upright RGB picture: float32 (C, H, W), on the CPU.

        Called from several threads at once.
        """
        ...

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) float32 on `device`, not normalised, of preprocessed pictures (B, C, H, W), any device."""
        ...


@runtime_checkable
class TextBackbone(BackboneBase, Protocol):
    """A backbone for texts."""

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings (N, D) float32 on `device`, in the order given, as the source library returns them."""
        ...

    def text_notes(self, texts: Sequence[str]) -> list[str]:
        """What a user should know of how these texts are read, a line each: cut at the context length, words unknown."""
        ...

    def score_rule(self) -> ScoreRule:
        """How similarities become scores."""
        ...


@runtime_checkable
class Tokenises(Protocol):
    """A text backbone that also says how it reads texts. Adapters keep its label embeddings on disk, no other's: the same
    weights behind another tokenizer are another model."""

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers the model reads for each text, prompt and special ones included; equal numbers, equal embeddings."""
        ...


class Head(Protocol):
    """What sits on features."""

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D)."""
        ...

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 in [0, 1]; rows sum to 1 only where the classes exclude each other."""
        ...


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head as a plugin announces it: found by name, imported only when used."""

    name: str
    target: str
    """``package.module:Class`` of the head."""
    help: str


@dataclass(frozen=True, slots=True)
class VerbSpec:
    """A verb of the command line as a plugin announces it: listed by name, imported only when run."""

    name: str
    target: str
    """``package.module:function``; the function is typed as a Typer command."""
    help: str
