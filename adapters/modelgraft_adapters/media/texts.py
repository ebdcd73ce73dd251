"""The one way that texts come in: bytes to text, text to lines, and whether a text is one that a model can read.

Whatever a text came by (an argument, standard input, a file, a table, Python), it is asked `reason_against` before a model
reads it: half of a surrogate pair, or bytes that are no UTF-8, would end the whole run in some tokenizer, and a tokenizer in C
may stop at a NUL. An item that is refused is a row with the reason.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Any, Final

from modelgraft.errors import UnreadableItemError

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNSEEN: Final = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and signs that show nothing."""
_LOOKED_AT: Final = 8192
"""Bytes in which a NUL makes a file binary, as git and grep have it."""


def decoded(content: bytes, encoding: str = "utf-8") -> str:
    """Return the text of a file, by its byte order mark (UTF-8, UTF-16, UTF-32), else by ``encoding``.

    Bytes that are none of it stay in the text as lone surrogates, so that the lines they stand in can be refused, and no others.
    """
    named = next((named for mark, named in _MARKS if content.startswith(mark)), encoding)
    try:
        return content.decode(named)
    except UnicodeDecodeError:
        if not named.startswith(("utf-16", "utf-32")):
            return content.decode(named, "surrogateescape")
    try:
        return content.decode(named, "surrogatepass")
    except UnicodeDecodeError:  # cut within a character
        return content.decode("utf-8", "surrogateescape")


def is_binary(content: bytes) -> bool:
    """Return whether bytes are no text at all: a NUL near the beginning, and no mark of UTF-16 or UTF-32."""
    return b"\0" in content[:_LOOKED_AT] and not any(content.startswith(mark) for mark, _ in _MARKS[1:])


def lines(text: str) -> list[str]:
    r"""Return the lines of a text, without their ends: ``\n``, ``\r\n`` or ``\r``, as Python opens text files.

    Not ``str.splitlines``: a form feed, a vertical tab, NEL or U+2028 stands within a line, and would shift all that follow.
    """
    found = _LINE_END.split(text)
    return found[:-1] if not found[-1] else found


def reason_against(text: Any) -> str | None:
    """Return why a model cannot read something as a text; None where it can."""
    if not isinstance(text, str):
        return f"not a text but {type(text).__name__}"
    if not text.strip() or not any(unicodedata.category(c) not in _UNSEEN and c not in _BLANK for c in text):
        return "the text is empty" if not text.strip() else "the text is empty: nothing in it can be seen"
    if not text.isascii() and (found := _SURROGATE.search(text)):
        code, place = ord(found.group()), found.start() + 1
        if 0xDC80 <= code <= 0xDCFF:
            return f"the text is not UTF-8: byte 0x{code - 0xDC00:02X} at character {place:,}"
        return f"the text is not Unicode: half of a surrogate pair, U+{code:04X}, at character {place:,}"
    if "\0" in text:
        return f"the text holds a NUL at character {text.index(chr(0)) + 1:,}: binary, or UTF-16 without its mark"
    return None


def read_text(item: Any) -> str:
    """Return a text that a model can read.

    Raises:
        UnreadableItemError: it cannot, by `reason_against`.
    """
    if (reason := reason_against(item)) is not None:
        raise UnreadableItemError(reason)
    return str(item)


def short(item: Any) -> str:
    """An item in a message: not more than a line of it."""
    text = str(item)
    return text if len(text) <= 100 else text[:97] + "..."
