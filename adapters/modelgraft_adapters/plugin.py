"""What the adapters bring to the host: verbs of the command line."""

from __future__ import annotations

from modelgraft import VerbSpec, hookimpl

MODELGRAFT_API = 1


@hookimpl
def modelgraft_verbs() -> list[VerbSpec]:
    """The verbs, as data."""
    return [
        VerbSpec(
            "classify",
            "modelgraft_adapters.classify_verb:classify",
            "Classify pictures or texts by label names, without training.",
        )
    ]
