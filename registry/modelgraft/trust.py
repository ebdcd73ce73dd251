"""Whose code may run. Nobody's, unless a user names the one model: a repository's Python code is a stranger's program."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "MODELGRAFT_TRUST_REMOTE_CODE"
"""Environment: canonical names of models, separated by commas. ``--trust-remote-code NAME`` sets it for one command."""


def trusts_code_of(name: str) -> bool:
    """Whether the user named this entry (its canonical name, in full; there is no pattern for all)."""
    return name in [word.strip() for word in os.environ.get(VARIABLE, "").split(",") if word.strip()]
