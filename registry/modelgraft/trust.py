"""Whose code may run. Nobody's, unless a user names the one model: a repository's Python code is a stranger's program."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["OWN_CODE", "trusts_code_of"]

VARIABLE: Final = "MODELGRAFT_TRUST_REMOTE_CODE"
"""Environment: canonical names of models, separated by commas. ``--trust-remote-code NAME`` sets it for one command."""

OWN_CODE: Final = (
    "the model brings Python code of its own, which is not run unless you name it: read the code, then add "
    "'--trust-remote-code NAME' (or set MODELGRAFT_TRUST_REMOTE_CODE)"
)
"""Said of a model that asks for it."""


def trusts_code_of(name: str) -> bool:
    """Whether the user named this entry (its canonical name, in full; there is no pattern for all)."""
    return name in [word.strip() for word in os.environ.get(VARIABLE, "").split(",") if word.strip()]
