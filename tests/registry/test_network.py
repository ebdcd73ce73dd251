"""Proxies and tokens that cannot be used are said before anything is asked, and never shown."""

from __future__ import annotations

import os

import pytest
from modelgraft.errors import ModelgraftError
from modelgraft.network import check_proxies, check_token


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "http_proxy"])
def test_proxies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_proxies()
    for good in ("", "http://user:secret@proxy:3128", "https://proxy", "proxy:3128"):
        monkeypatch.setenv(name, good)
        check_proxies()
    monkeypatch.setattr("modelgraft.network.find_spec", lambda name: None)
    for bad, said in (
        ("socks5://user:secret@proxy:1", "pip install socksio"),
        ("SOCKS5H://user:secret@proxy", "pip install socksio"),
        ("socks4://user:secret@proxy", "kind 'socks4'"),
        ("ftp://secret@proxy", "kind 'ftp'"),
    ):
        monkeypatch.setenv(name, bad)
        with pytest.raises(ModelgraftError, match=name.upper()) as caught:
            check_proxies()
        assert said in str(caught.value) and "secret" not in str(caught.value)
    monkeypatch.setattr("modelgraft.network.find_spec", lambda name: object())
    monkeypatch.setenv(name, "socks5://proxy:1")
    check_proxies()


def test_tokens() -> None:
    for good in (None, "", "hf_abcABC123", "sk-!~"):
        check_token(good)
    for bad in ("hf_sécret", "hf_secret ", "a secret", "secret\n", "secret\x7f", "secret\udcff", "ｈf_secret"):
        with pytest.raises(ModelgraftError, match="no token has") as caught:
            check_token(bad)
        assert "ecret" not in str(caught.value)
