"""One object of a card, read field by field. Nothing in it is taken for granted, and nothing in it is run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from modelgraft.errors import ModelgraftError
from modelgraft.project.files import short

CARD_FILE: Final = "modelgraft_adapter.json"
"""Not ``modelgraft.json``: that is a project's file of aliases, and one may stand in the folder of an adapter and call it."""
DISTRIBUTION: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Fields:
    """One object of the card, and where it is."""

    def __init__(self, fields: Any, where: str, at: str) -> None:
        self._where, self._at = where, at
        if not isinstance(fields, dict):
            self.refuse("", f"{short(fields)} is no JSON object")
        self.fields: dict[str, Any] = fields

    def refuse(self, key: str, why: str) -> NoReturn:
        """Say what is wrong at a key."""
        at = ".".join(filter(None, (self._at, key)))
        at = short(at)[1:-1] if at else "its top"
        raise ModelgraftError(
            f"the card of the saved adapter {self._where} ({CARD_FILE}) is wrong at {at}: {why}; save the adapter again, or get a "
            "whole copy of it"
        )

    def value(self, key: str) -> Any:
        """The value at a key, which must be there."""
        if key not in self.fields:
            self.refuse(key, "it is missing")
        return self.fields[key]

    def object(self, key: str) -> Fields:
        """The object at a key."""
        return Fields(self.value(key), self._where, ".".join(filter(None, (self._at, key))))

    def optional_object(self, key: str) -> Fields | None:
        """The object at a key, or None where that stands there."""
        return None if self.value(key) is None else self.object(key)

    def text(self, key: str, *, empty: bool = False) -> str:
        """A text of one line."""
        value = self.value(key)
        if not isinstance(value, str) or not (value or empty) or not value.isprintable() or len(value) > 5000:
            self.refuse(key, f"{short(value)} is no text of one line")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text of one line, or None."""
        return None if self.value(key) is None else self.text(key)

    def revision(self, key: str) -> str | None:
        """A revision, or None."""
        value = self.optional_text(key)
        if value is not None and (not re.fullmatch(r"[\w.][\w./-]{0,250}", value, re.A) or ".." in value):
            self.refuse(key, f"{short(value)} is no revision")
        return value

    def distribution(self, key: str) -> str:
        """The name of a distribution."""
        value = self.text(key)
        if not DISTRIBUTION.fullmatch(value):
            self.refuse(key, f"{short(value)} is no name of a distribution")
        return value

    def digest(self, key: str) -> str:
        """A SHA-256 in hexadecimal."""
        value = self.text(key)
        if not DIGEST.fullmatch(value):
            self.refuse(key, f"{short(value)} is no SHA-256")
        return value

    def one_of(self, key: str, words: Sequence[str]) -> str:
        """One of some words."""
        value = self.value(key)
        if not isinstance(value, str) or value not in words:
            self.refuse(key, f"{short(value)} is none of {', '.join(words)}")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number between two others, both included."""
        value = self.value(key)
        if type(value) is not int or not low <= value <= high:
            self.refuse(key, f"{short(value)} is no whole number from {low} to {high}")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        value = self.value(key)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            self.refuse(key, f"{short(value)} is no list of texts")
        return value
