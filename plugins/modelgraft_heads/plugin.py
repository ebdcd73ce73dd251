"""What this package brings to the host."""

from __future__ import annotations

from modelgraft import HeadSpec, hookimpl

MODELGRAFT_API = 1


@hookimpl
def modelgraft_heads() -> list[HeadSpec]:
    """The heads, as data."""
    return [HeadSpec("text", "modelgraft_heads.text:TextHead", "Classes given by text embeddings (zero-shot).")]
