"""A page as a reader has it: its texts in their order, with numbers and digests masked, which machines decide."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SHOWN = {"h1", "h2", "h3", "p", "th", "td", "caption", "figcaption", "summary", "li", "text", "a", "button", "label"}
_SILENT = {"script", "style"}


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._tags and self._tags.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not _SILENT & set(self._tags):
            tag = next((one for one in reversed(self._tags) if one in _SHOWN), "")
            self.lines.append(f"{tag}: {' '.join(data.split())}")


def outline(page: str) -> str:
    """Return one line for each text of an HTML page, with its element; lines that say the same are there once."""
    texts = _Texts()
    texts.feed(page)
    nameless = [re.sub(r"\b[0-9a-f]{12,}\b", "(digest)", line) for line in texts.lines]
    masked = [re.sub(r"[\d.,−+-]*\d", "#", line) for line in nameless]
    return "\n".join(dict.fromkeys(masked))
