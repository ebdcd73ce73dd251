"""The one spelling of a model's name: ``provider/model[:tag][@revision]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelgraft.errors import BadNameError

__all__ = ["Name"]

# The model part may hold slashes (hub ids do), never ':' or '@', which end it; no part holds blanks.
_FORM = re.compile(
    r"(?:(?P<provider>[A-Za-z0-9][A-Za-z0-9._-]*)/)?"
    r"(?P<model>[^\s:@/]+(?:/[^\s:@/]+)*)"
    r"(?::(?P<tag>[^\s:@]+))?"
    r"(?:@(?P<revision>[^\s@:]+))?"
)


@dataclass(frozen=True, slots=True)
class Name:
    """A parsed name. ``provider`` is None for a short name such as ``ViT-B-32:openai``."""

    provider: str | None
    model: str
    tag: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read a name as a user writes it.

        Raises:
            BadNameError: the text does not have the form of a name.
        """
        match = _FORM.fullmatch(text.strip())
        if (
            match is None or not text.strip().isprintable()
        ):  # what hides or turns a line around makes two names look like one
            raise BadNameError(f"{text!r} is not a model name; names read provider/model[:tag][@revision]")
        return cls(match["provider"], match["model"], match["tag"], match["revision"])

    def __str__(self) -> str:
        return (
            (f"{self.provider}/" if self.provider else "")
            + self.model
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.revision}" if self.revision else "")
        )

    @property
    def unrevised(self) -> str:
        """The name without its revision: what catalogues are keyed by."""
        return str(Name(self.provider, self.model, self.tag))
