"""What plugins announce as data (heads, verbs, sources, engines), each by a name and the place of its code. Read at every start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["HEAD_TASKS"]

HEAD_TASKS: Final = ("single-label", "multi-label", "regression")
HEAD_NEEDS: Final = ("text", "unlabelled")
HEAD_USES: Final = (*HEAD_NEEDS, "item-weights")


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head as a plugin announces it: found by name, imported only when used."""

    name: str
    target: str
    """``package.module:Class`` of the head."""
    help: str
    tasks: tuple[str, ...] = ("single-label",)
    """What it can learn: some of ``single-label``, ``multi-label``, ``regression``."""
    needs: tuple[str, ...] = ()
    """What it cannot do without beside examples: ``text`` (a dual encoder's class embeddings), ``unlabelled`` (items)."""
    uses: tuple[str, ...] = ()
    """Of the same, what it makes use of where it can be had; and ``item-weights``, where items can count unlike."""


@dataclass(frozen=True, slots=True)
class VerbSpec:
    """A verb of the command line as a plugin announces it: listed by name, imported only when run."""

    name: str
    target: str
    """``package.module:function``; the function is typed as a Typer command."""
    help: str


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source of weights as a plugin announces it: chosen by the scheme of a location, imported only when used."""

    scheme: str
    """What stands before the first colon of the locations it answers for: ``hf``, ``https``, ``file``, ``s3`` ..."""
    target: str
    """``package.module:Class``; called without arguments it gives a `modelgraft.contract.Source`."""
    help: str

    @property
    def name(self) -> str:
        """The scheme."""
        return self.scheme


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine as a plugin announces it: what runs a model in place of torch. Found by name, imported only when used."""

    name: str
    target: str
    """``package.module:Class``; called without arguments it gives a `modelgraft.contract.Engine`."""
    help: str
