"""The two spellings of a model: timm's ``ARCH.TAG`` and the registry's ``timm/ARCH:TAG``."""

from __future__ import annotations

from modelgraft.entry import Entry
from modelgraft.names import Name

PROVIDER = "timm"


def entry_name(name: str) -> str:
    """``timm/resnet50:a1_in1k`` for timm's ``resnet50.a1_in1k``; ``timm/resnet50`` for a name without a tag."""
    architecture, _, tag = name.partition(".")
    return str(Name(PROVIDER, architecture, tag or None))


def timm_name(entry: Entry) -> str:
    """The inverse of `entry_name`."""
    name = Name.parse(entry.name)
    return name.model + (f".{name.tag}" if name.tag else "")
