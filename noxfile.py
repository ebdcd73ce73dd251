"""The tasks of a developer, each in an environment of its own: ``nox -l`` lists them, ``nox -s check`` runs one."""

from __future__ import annotations

import nox

nox.options.sessions = ["check", "tests"]


@nox.session
def tests(session: nox.Session) -> None:
    """Install as the README says, and run all tests that a change must pass."""
    session.install(".[test]")
    session.run("pytest", "-m", "not slow", "-n", "auto", "--dist", "loadfile", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Say which lines the tests by default run, and fail where they are fewer than before (pyproject.toml)."""
    session.install("-e", ".[test]")
    session.run(
        "pytest", "-n", "auto", "--dist", "loadfile", "--cov", "--cov-report=term:skip-covered", *session.posargs
    )


@nox.session
def slow(session: nox.Session) -> None:
    """Run in full what the tests sample."""
    session.install(".[test]")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def check(session: nox.Session) -> None:
    """Look at style, types and layers."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pytest", "-q", "tests/test_layers.py")


@nox.session
def figures(session: nox.Session) -> None:
    """Write the figures of the pages anew from the raw results."""
    session.install("-e", ".[test]")
    session.chdir("benchmarks")
    session.run("python", "report.py")
