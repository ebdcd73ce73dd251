"""A record: what the trial of one plugin found, in plain JSON types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelgraft.host.discovery import Found


def new_record(found: Found) -> dict[str, Any]:
    """The record of a plugin that brings nothing (yet)."""
    brings_nothing: dict[str, Any] = {"entries": [], "heads": [], "verbs": [], "sources": [], "watched": []}
    return {**found.to_dict(), "status": "ok", "error": None, "traceback": None, **brings_nothing}


def failed_record(found: Found, error: str, traceback: str | None) -> dict[str, Any]:
    """The record of a plugin that is left out."""
    return {**new_record(found), "status": "failed", "error": error, "traceback": traceback}


def key_of(record: Mapping[str, Any]) -> str:
    """`Found.key` of the plugin that a record is about."""
    return f"{record['distribution']}:{record['name']}"
