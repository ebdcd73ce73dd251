"""Engines, in a process of their own: a worker that had run them among hundreds of other tests ended minutes later, silently."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SOME = "embedded_as_torch_does or made_anew or something_else or fewer_threads or command_line"
"""At every change: same numbers, damage, an engine that is wrong, threads kept."""


@pytest.mark.parametrize(
    ("chosen", "least"),
    [pytest.param(SOME, 14, marks=pytest.mark.full), pytest.param("", 36, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_engines(chosen: str, least: int) -> None:
    """The tests are those of ``engines_alone.py``."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/adapters/features/engines_alone.py", *(["-k", chosen] if chosen else [])],
        cwd=ROOT,
        env={**env, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None and int(found[1]) >= least
