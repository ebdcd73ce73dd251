"""One line of the doctor's findings."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

STATUSES: Final = ("ok", "warn", "fail", "skip")

_SECRETS: Final = ((re.compile(r"//[^/@\s]*@"), "//***@"), (re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{8,}"), "hf_***"))


@dataclass(frozen=True, slots=True)
class Row:
    """What one check found."""

    check: str
    status: str
    """``ok``; ``warn``: works, with something to know; ``fail``: will not work; ``skip``: does not apply here."""
    detail: str
    """One line, without passwords and tokens."""
    cure: str | None = None
    """What to do, where there is something to do."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(STATUSES)}")
        object.__setattr__(self, "detail", clean(self.detail))
        if self.cure is not None:
            object.__setattr__(self, "cure", clean(self.cure))

    def to_dict(self) -> dict[str, Any]:
        """``check``, ``status``, ``detail``, ``cure``."""
        return asdict(self)


def clean(text: str) -> str:
    """One line, with what looks like a password or a token replaced: errors of HTTP clients quote addresses and headers."""
    text = " ".join(text.split())
    for form, shown in _SECRETS:
        text = form.sub(shown, text)
    return text


def size(number: float) -> str:
    """Bytes for people: 21.8 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
