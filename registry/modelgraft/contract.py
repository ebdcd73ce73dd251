"""What the host, the plugins and the adapters promise each other. Types only: importing this imports no torch.

A plugin's ``modelgraft_load`` returns an object that has the members of `ImageBackbone`, of `TextBackbone`, or of both (a
dual encoder). Nothing has to be subclassed. Adapters use these members and never ask which provider it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from modelgraft.entry import Entry, Weights
from modelgraft.resolution import Part
from modelgraft.specs import EngineSpec as EngineSpec
from modelgraft.specs import HeadSpec as HeadSpec
from modelgraft.specs import SourceSpec as SourceSpec
from modelgraft.specs import VerbSpec as VerbSpec

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = [
    "BackboneBase",
    "Engine",
    "EngineSpec",
    "Head",
    "Held",
    "ImageBackbone",
    "Layered",
    "Limited",
    "LocalPart",
    "LocalWeights",
    "Progress",
    "ScoreRule",
    "Source",
    "SourceSpec",
    "Store",
    "Stored",
    "TextBackbone",
    "Tokenises",
]


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How a dual encoder turns the similarity of an image (or text) and a label into a score, as it was trained.

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
    """A backbone for images."""

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """The provider's own evaluation preprocessing of one upright RGB image: float32 (C, H, W), on the CPU.

        Called from several threads at once.
        """
        ...

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) float32 on `device`, not normalised, of preprocessed images (B, C, H, W), any device."""
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


@runtime_checkable
class Limited(Protocol):
    """A text backbone that reads a text up to some number of tokens, and says which texts are longer. Adapters count them over
    all texts, also over those whose features are stored."""

    @property
    def text_limit(self) -> int | None:
        """Tokens that are read of a text, special ones included; None where there is no limit."""
        ...

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before it is cut, special ones (and the prompt) included."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A backbone whose embeddings can be taken at more than one place."""

    def layers(self, modality: Literal["image", "text"] | None = None) -> tuple[str, ...]:
        """Names of what can be taken, the default (what `encode_image` or `encode_text` gives) first.

        ``modality`` says of which tower of a dual encoder; None is that of images where there is one.

        The names in use: ``pooled`` (as the model itself pools), ``cls`` (class token), ``mean`` (over patches or words), ``max``,
        ``projected`` and ``unprojected`` (in the common space of a dual encoder, and before), ``logits`` (of the published
        classifier), ``map`` (one embedding for each place of the image).
        """
        ...

    def encode_layer(self, batch: Any, layer: str) -> torch.Tensor:
        """As `encode_image` (``batch`` is a tensor) or `encode_text` (a sequence of str), taken at ``layer``.

        Returns:
            (B, D) float32 on `device`; for ``map`` (B, D, h, w).
        """
        ...


class Engine(Protocol):
    """What runs a model in place of torch. It is given a traced model and never its plugin's code."""

    def version(self) -> str:
        """What converted models depend on beside the model: the library's version. Models of another one are converted anew.

        Raises:
            UsageError: the library is not installed; the text says which to install.
        """
        ...

    def convert(self, program: torch.export.ExportedProgram, inputs: Sequence[str], folder: Path) -> None:
        """Write a traced model into an empty folder as the engine reads it, in float32.

        Args:
            program: images (B, C, H, W) float32, or tensors of tokens, to embeddings (B, D) float32. B, and the lengths of texts,
                are free.
            inputs: the names of its tensors, in their order; of images ``pixels``.
        """
        ...

    def open(
        self, folder: Path, threads: int, dtype: torch.dtype
    ) -> Callable[[torch.Tensor | Mapping[str, torch.Tensor]], torch.Tensor]:
        """Return what runs a converted model: (B, D) float32 on the CPU.

        Args:
            folder: as `convert` left it.
            threads: of the processor; those of other work are not taken.
            dtype: to compute in: float32, or bfloat16 where the processor has it.

        Raises:
            UsageError: the engine does not compute in it.
        """
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
class Stored:
    """Where a source has put files."""

    folder: Path
    """The files lie below it under their own paths."""
    root: Path
    """What they may lie in once links are followed: the source's own store."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a source keeps on disk of one place at one revision."""

    part: Part
    """Its files, with the digests they are stored under."""
    stored: Stored
    size: int
    """Bytes on disk."""
    last_used: float
    """Seconds since the epoch."""


Progress = Callable[[int], None]
"""Told the bytes that have come in since the last call."""


@runtime_checkable
class Store(Protocol):
    """A source that can tell what it keeps, and let go of it: what ``modelgraft cache`` works on."""

    def held(self) -> list[Held]:
        """Everything that is stored."""
        ...

    def discard(self, part: Part) -> int:
        """Delete what is stored of a place at a revision; the bytes that became free."""
        ...


class Source(Protocol):
    """A place that weights come from. What it gives is not trusted: modelgraft itself checks names, sizes and digests."""

    def resolve_weights(self, weights: Weights, revision: str | None) -> Part:
        """Everything that lies at a place now: the exact commit, every file with size and digest.

        Asks the network, or offline what is stored. ``revision`` is a commit, branch or tag; None is the newest.

        Raises:
            WeightsUnavailableError: the place cannot be asked, or is not there; the text says what to do.
        """
        ...

    def fetch_weights(self, part: Part, progress: Progress) -> Stored:
        """Put the files of ``part`` on disk, unless they are there; resumes what was interrupted.

        Raises:
            WeightsUnavailableError: as above.
        """
        ...

    def set_aside(self, part: Part, path: str) -> Path | None:
        """Move a stored file that is not what it should be out of the way, so that it is never read again; where it is now."""
        ...


@dataclass(frozen=True, slots=True)
class LocalPart:
    """The verified files of one place, on disk."""

    location: str
    revision: str | None
    folder: Path
    files: Mapping[str, Path]
    """Path in the place -> path on disk."""


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """What `modelgraft_load` is given: every file of the entry, on disk, its size and digest checked."""

    parts: tuple[LocalPart, ...]
    """In the order of `modelgraft_weights`."""

    @property
    def file(self) -> Path:
        """The one file of weights of the first part: safetensors before anything else."""
        files = self.parts[0].files
        ranked = sorted(files, key=lambda path: (not path.endswith(".safetensors"), path.endswith(".json"), path))
        return files[ranked[0]]

    def part(self, location: str) -> LocalPart | None:
        """The part from a location, None if there is none."""
        return next((part for part in self.parts if part.location == location), None)
