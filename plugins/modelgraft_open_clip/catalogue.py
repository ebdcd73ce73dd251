"""The provider's catalogue: shipped as data for one open_clip version, described anew where another one is installed.

``python -m modelgraft_open_clip.catalogue`` rewrites ``catalogue.json`` from the installed open_clip.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from modelgraft.entry import Entry
from modelgraft.shipped import installed_entries, write_catalogue

LIBRARY = "open_clip_torch"
SHIPPED = Path(__file__).with_name("catalogue.json")


def entries(shipped: Path = SHIPPED) -> list[Entry]:
    """Every pretrained model/tag pair of the installed open_clip, sorted by name.

    Pure data while the installed version is the one that ``shipped`` was written for. For another version open_clip is
    imported and listed; parameters and input size come from ``shipped`` where it knows the same architecture.

    Raises:
        PluginError: open_clip is not installed.
    """
    return installed_entries(LIBRARY, shipped, _describe, name="open_clip")


def _describe(known: list[Entry]) -> list[Entry]:
    from modelgraft_open_clip.describe import describe  # imports torch and open_clip

    return describe(known)


def main() -> None:
    """Measure every architecture anew and rewrite the shipped catalogue."""
    import sys

    from modelgraft_open_clip.describe import describe

    found = describe()
    write_catalogue(SHIPPED, LIBRARY, importlib.metadata.version(LIBRARY), found)
    unmeasured = [entry.name for entry in found if entry.params is None]
    print(f"{len(found)} entries", file=sys.stderr)
    if unmeasured:
        sys.exit(f"{len(unmeasured)} could not be measured: {', '.join(unmeasured)}")


if __name__ == "__main__":
    main()
