"""What must be right before anything is asked over the network: a proxy that can be spoken to, a token that a header can hold.

HTTP clients say it late and in words of their own, some with the token in them. No text here holds a proxy's address or a token.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from modelgraft.errors import ModelgraftError

__all__ = ["check_proxies", "check_token"]

_TOKEN: Final = re.compile(r"[!-~]+")
_KNOWN: Final = ("http", "https", "socks5", "socks5h")


def check_proxies() -> None:
    """Look at the proxies that the environment names.

    Raises:
        ModelgraftError: one that cannot be used: SOCKS without its package, or another kind.
    """
    found = getproxies()
    for kind in ("all", "https", "http"):
        address = found.get(kind) or ""
        scheme = urlsplit(address).scheme.lower() if "://" in address else "http"
        name = f"{kind.upper()}_PROXY"
        if scheme not in _KNOWN:
            raise ModelgraftError(
                f"{name} names a proxy of the kind {scheme!r}, which is not spoken here; there are {', '.join(_KNOWN)}"
            )
        if scheme.startswith("socks") and find_spec("socksio") is None:
            raise ModelgraftError(
                f"{name} names a SOCKS proxy, which needs a package that is not installed: pip install socksio "
                "(or unset it, and HF_HUB_OFFLINE=1 works with what is cached)"
            )


def check_token(token: str | None) -> None:
    """Look at a token of the hub before it is sent.

    Raises:
        ModelgraftError: it holds what no token has; the text does not say it.
    """
    if token and not _TOKEN.fullmatch(token):
        raise ModelgraftError(
            "the token (HF_TOKEN, --token or that of 'hf auth login') holds characters that no token has, such as accents or "
            "blanks; copy it anew"
        )
