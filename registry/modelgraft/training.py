"""What a backbone that can be trained further and the adapters promise each other. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

__all__ = [
    "Block",
    "Trainable",
    "modules_of",
]


@dataclass(frozen=True, slots=True)
class Block:
    """A step of the way from input to embedding that is trained, frozen, or given a learning rate as a whole."""

    name: str
    """Where it lies in the module, such as ``layer3.5`` or ``blocks.11``; ``stem`` and ``final`` for what is before and after."""
    parameters: tuple[str, ...]
    """Full names, as ``module.named_parameters()`` has them."""


@runtime_checkable
class Trainable(Protocol):
    """A backbone whose weights an adapter may change. Nothing has to be subclassed; what lacks `blocks` or `embed` stays frozen.

    `token_batch` is of text towers; without `recompute` and `randomise` the settings of these names are not there.
    """

    def blocks(self, modality: Literal["image", "text"] | None = None) -> tuple[Block, ...]:
        """The tower's blocks from input to embedding. ``modality`` says which tower; None is that of images where there is one.

        A parameter that two modules share may go by either name. Every parameter that the embedding depends on is in exactly one
        block; those it does not depend on (the other tower, the published classifier, the scale of the scores) are in none.
        """
        ...

    def token_batch(self, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Texts as the text tower reads them, padded to the longest: tensors on the CPU, rows in the order given."""
        ...

    def embed(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Embeddings (B, D) float32 that gradients flow through, of preprocessed images or a `token_batch`, any device.

        The module stays in the mode it is in. In eval mode they are those of `encode_image` or `encode_text`.
        """
        ...

    def recompute(self, on: bool) -> bool:
        """Keep activations of a training step (off), or compute them again in the backward pass (Chen et al. 2016, arXiv
        1604.06174), which takes less memory and more time. False where the model cannot; it then stays as it was."""
        ...

    def randomise(self, seed: int) -> None:
        """Draw all weights anew, in place, as the source library initialises a model that is trained from nothing."""
        ...


def modules_of(groups: Sequence[Sequence[str]]) -> list[str]:
    """A name for each group of parameters, as a model's library states them: the outermost module that holds of all groups only
    this one's parameters, and the most of them.

    Args:
        groups: full names of parameters, as ``named_parameters`` has them.

    Returns:
        dotted names of modules, as many as there are groups; that of the innermost where none is the group's own, and then not
        unlike another's.
    """
    modules = [[tuple(name.split(".")[:-1]) for name in group] for group in groups]
    places = []
    for number, own in enumerate(modules):
        others = [path for other in modules[:number] + modules[number + 1 :] for path in other]
        place: tuple[str, ...] = ()
        while not place or any(path[: len(place)] == place for path in others):
            below = [path[: len(place) + 1] for path in own if path[: len(place)] == place and len(path) > len(place)]
            if not below:
                break
            place = max(dict.fromkeys(below), key=below.count)
        while (step := _only_step(own, place)) and step.isdigit() and place != ("stem",):
            place = (*place, step)
        places.append(".".join(place))
    return places


def _only_step(paths: Sequence[tuple[str, ...]], place: tuple[str, ...]) -> str | None:
    """The one step that all paths take below a place; None where they part."""
    steps = {path[len(place)] if path[: len(place)] == place and len(path) > len(place) else None for path in paths}
    return steps.pop() if len(steps) == 1 else None
