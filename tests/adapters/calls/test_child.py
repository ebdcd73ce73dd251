"""Processes that work for another: how they end is said in a line."""

from __future__ import annotations

import io

import pytest
from modelgraft_adapters.calls import child as children
from modelgraft_adapters.calls.child import NoProcessError, child, how_it_ended


def test_how_a_process_ended() -> None:
    assert how_it_ended(3, io.BytesIO(b"")) == "its process left with 3"
    assert (
        how_it_ended(-9, io.BytesIO(b"one\nlast \xff\n\n"))
        == "its process ended by signal 9, out of memory?: last \ufffd"
    )
    assert how_it_ended(-11, io.BytesIO(b"x" * 1000)).count("x") == 300


def test_it_does_not_outlive_the_with() -> None:
    with child("modelgraft_adapters.ranking.worker", None) as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_where_no_process_starts_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(children.subprocess, "Popen", refuse)
    with pytest.raises(NoProcessError, match="no process could be started for it"), child("json", None):
        pass
