"""Whom the token is told: the hub itself, over its own scheme, host and port; and what no redirect may do.

The hub client sends the token along with requests that it builds itself and with redirects within one host, whatever the scheme
(huggingface_hub 2.4 compares hosts, not origins). Here every request that leaves through its HTTP client is looked at last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from huggingface_hub import constants, get_token
from huggingface_hub.utils import _http, get_session, set_client_factory
from modelgraft.errors import ModelgraftError, UnsafeWeightsError
from modelgraft.network import check_proxies, check_token
from modelgraft.opening import first_line

from modelgraft_sources.client import http

_REDIRECTS: Final = 20
"""As many as the HTTP library itself follows."""
_PORTS: Final = {"http": 80, "https": 443}
_lock = threading.Lock()
_inside = threading.local()


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address, in small letters and with the port that the scheme implies."""
    split = urlsplit(url)
    return split.scheme.lower(), (split.hostname or "").lower(), split.port or _PORTS.get(split.scheme.lower())


def is_hub(url: str) -> bool:
    """Tell whether an address is of the hub itself: same scheme, host and port as ``HF_ENDPOINT``."""
    return origin(url) == origin(constants.ENDPOINT)


@contextmanager
def guarded() -> Iterator[None]:
    """While files of models are asked for in this thread: every request of the hub client goes through the hooks below.

    Other users of the client in this process are left alone: they may have business with other hosts.

    Raises:
        ModelgraftError: a proxy or a token that cannot be used.
    """
    check_proxies()
    check_token(get_token())
    _guard_client()
    before = getattr(_inside, "on", False)
    _inside.on, _inside.led = True, 0
    try:
        yield
    finally:
        _inside.on = before


def _guard_client() -> None:
    """Hook the client that there is, and those that it will be replaced by, as it is after a broken connection."""
    with _lock:
        made_by = _http._GLOBAL_CLIENT_FACTORY  # there is no public way to ask; one that a program has set is kept
        if not getattr(made_by, "guarded", False):

            def factory() -> Any:
                return _hooked(made_by())

            factory.guarded = True  # type: ignore[attr-defined]
            set_client_factory(factory)
        try:
            client = get_session()
        except Exception as error:  # what is wrong with a proxy is found when the client is made
            raise ModelgraftError(f"the HTTP client cannot be made ({first_line(error)}); check HTTPS_PROXY") from error
        _hooked(client)


def _hooked(client: Any) -> Any:
    hooks = client.event_hooks
    if _without_token not in hooks["request"]:
        client.event_hooks = {
            "request": [*hooks["request"], _without_token],
            "response": [*hooks["response"], _led_safely],
        }
    return client


def _without_token(request: Any) -> None:
    """Take the token out of a request to anybody but the hub."""
    if getattr(_inside, "on", False) and not is_hub(str(request.url)):
        request.headers.pop("authorization", None)


def _led_safely(response: Any) -> None:
    """Refuse to be led from https to http, where anybody on the way can read and change what is sent, and in a circle.

    huggingface_hub 1.28 follows redirects within a host itself, and for ever.
    """
    target = response.headers.get("location")
    if not getattr(_inside, "on", False):
        return
    if not target or not 300 <= response.status_code < 400:
        _inside.led = 0
        return
    check_downgrade(str(response.request.url), target)
    _inside.led += 1
    if _inside.led > _REDIRECTS:
        raise http.TooManyRedirects(f"{_REDIRECTS} redirects, one after the other", request=response.request)


def check_downgrade(url: str, target: str) -> None:
    """See that a redirect from ``url`` does not leave https.

    Raises:
        UnsafeWeightsError: it does.
    """
    if urlsplit(url).scheme == "https" and urlsplit(urljoin(url, target)).scheme != "https":
        raise UnsafeWeightsError(
            f"{urlsplit(url).hostname} redirects from https to http, where anybody could read along; it is refused - check "
            "HF_ENDPOINT and the proxy"
        )
