"""What only POSIX has is asked for before it is imported or called; elsewhere something else is done."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from modelgraft_adapters.storage.records import RecordStore

from tests.conftest import ROOT

POSIX = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "tty", "posix", "syslog"}
CALLS = {
    "pread",
    "pwrite",
    "fork",
    "killpg",
    "setsid",
    "sched_getaffinity",
    "statvfs",
    "getuid",
    "geteuid",
    "mkfifo",
    "fchmod",
}
FILES = [file for root in ("registry", "adapters", "plugins") for file in sorted((ROOT / root).rglob("*.py"))]
ON_LINUX_ALONE = {"registry/modelgraft/host/trial_server.py"}
"""It forks where it can only, which its ``main`` asks."""


def _of_module(tree: ast.Module) -> set[str]:
    """Modules that an import of this module imports: not those of functions, of ``try`` or below an ``if``."""
    return {
        name.partition(".")[0]
        for node in tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }


def test_posix_is_asked_for() -> None:
    calls = 0
    for file in FILES:
        where, tree = file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))
        assert not _of_module(tree) & POSIX, where
        if where in ON_LINUX_ALONE:
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.unparse(node)
                used = [call for call in CALLS if f"os.{call}(" in text]
                calls += len(used)
                assert all(f"hasattr(os, '{call}')" in text for call in used), f"{where}:{node.lineno}"
    assert calls > 5


def test_records_without_positioned_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the same rows, from files of either way of writing."""
    rows = {bytes([n]) * 16: bytes([n]) * 8 for n in range(20)}
    names = list(rows)
    RecordStore(tmp_path, 8).append(names[:10], [rows[name] for name in names[:10]])
    monkeypatch.delattr(os, "pread")
    monkeypatch.delattr(os, "pwrite")
    store = RecordStore(tmp_path, 8)
    store.append(names[10:15], [rows[name] for name in names[10:15]])
    store.append(names[15:], [rows[name] for name in names[15:]])
    assert store.get(names) == list(rows.values())
    monkeypatch.undo()
    assert RecordStore(tmp_path, 8).get(names) == list(rows.values())
