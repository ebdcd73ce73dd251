"""The provider's catalogue: shipped as data for one timm version, described anew where another one is installed.

``python -m modelgraft_timm.catalogue`` rewrites ``catalogue.json`` from the installed timm.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from modelgraft.entry import Entry
from modelgraft.shipped import installed_entries, write_catalogue

LIBRARY = "timm"
SHIPPED = Path(__file__).with_name("catalogue.json")


def entries(shipped: Path = SHIPPED) -> list[Entry]:
    """Every pretrained model of the installed timm, sorted by name.

    Pure data while the installed version is the one that ``shipped`` was written for. For another version timm is
    imported and listed; parameters and embedding size come from ``shipped`` where it knows the same model.

    Raises:
        PluginError: timm is not installed.
    """
    return installed_entries(LIBRARY, shipped, _describe)


def _describe(known: list[Entry]) -> list[Entry]:
    from modelgraft_timm.describe import describe  # imports torch and timm

    return describe(known)


def main() -> None:
    """Measure every model anew and rewrite the shipped catalogue."""
    import sys
    import time

    from modelgraft_timm.describe import describe

    started = time.monotonic()
    found = describe(
        progress=lambda done, of: print(f"\r{done}/{of}", end="", file=sys.stderr, flush=True), patient=True
    )
    unmeasured = [entry.name for entry in found if entry.params is None]
    write_catalogue(SHIPPED, LIBRARY, importlib.metadata.version(LIBRARY), found)
    print(f"\r{len(found)} entries in {time.monotonic() - started:.0f} s", file=sys.stderr)
    if unmeasured:
        sys.exit(f"{len(unmeasured)} could not be measured: {', '.join(unmeasured)}")


if __name__ == "__main__":
    main()
