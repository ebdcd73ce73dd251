"""The models that are taken when none is named. Apart from the classifiers, so that reading them imports no torch."""

from __future__ import annotations

from typing import Final

IMAGE_MODEL: Final = "embedded/sprig"
"""Comes inside the wheel: the first command needs no network."""
TEXT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
