"""Which versions are installed, read from their metadata without importing anything, against what modelgraft needs."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from modelgraft.doctor.row import Row
from modelgraft.host.discovery import installed_version

OWN: Final = "modelgraft"
NEEDED: Final = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "open_clip_torch": "open_clip",
    "sentence-transformers": "sentence_transformers",
    "huggingface_hub": "huggingface_hub",
    "transformers": "transformers",
}
"""Distribution -> the module it brings."""


def rows() -> Iterator[Row]:
    """Python, modelgraft, and the libraries its own plugins stand on."""
    yield Row("python", "ok", f"{platform.python_version()} ({sys.executable}, {platform.platform()})")
    from modelgraft.version import __version__

    installed = version(OWN)
    if installed is None:
        yield Row(
            OWN,
            "fail",
            f"{__version__} is imported from a folder and not installed, so no plugin can be found",
            "pip install modelgraft (or pip install -e . in its checkout)",
        )
    elif installed != __version__:
        yield Row(
            OWN,
            "warn",
            f"{__version__} is imported, and {installed} is what is installed: two copies are on the path",
            "pip install --force-reinstall --no-deps modelgraft",
        )
    else:
        yield Row(OWN, "ok", installed)
    bounds = requirements()
    for distribution, module in NEEDED.items():
        yield library(distribution, module, bounds.get(_plain(distribution)))


def library(distribution: str, module: str, bound: Requirement | None = None) -> Row:
    """The row of one library; ``bound`` is what modelgraft asks of it."""
    found = version(distribution)
    there = _importable(module)
    cure = f"pip install '{bound}'" if bound else f"pip install {distribution}"
    if found is None and not there:
        return Row(distribution, "fail", "not installed", cure)
    if found is None:
        return Row(distribution, "warn", f"module {module} is there, without the metadata of an installation", cure)
    if not there:
        cure = f"pip install --force-reinstall {distribution}"
        return Row(distribution, "fail", f"{found} is installed, but its module {module} is gone", cure)
    try:
        fits = bound is None or bound.specifier.contains(Version(found), prereleases=True)
    except InvalidVersion:
        return Row(distribution, "warn", f"{found!r} is no version", f"pip install --force-reinstall {distribution}")
    if not fits:
        return Row(distribution, "fail", f"{found} is installed, and modelgraft needs {bound}", cure)
    return Row(distribution, "ok", found)


def requirements(distribution: str = OWN) -> dict[str, Requirement]:
    """What an installed distribution asks for, extras left out: plain name -> requirement. Empty if it is not installed."""
    try:
        texts = metadata.requires(distribution) or []
    except Exception:  # not there, or metadata that cannot be read
        return {}
    out = {}
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            out[_plain(requirement.name)] = requirement
    return out


def version(distribution: str) -> str | None:
    """The installed version; None if it is not installed or its metadata states none that can be read."""
    return installed_version(distribution)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
