"""The provider's catalogue: the models that the Sentence Transformers documentation lists, with its published facts.

The library itself carries no list of models, so this catalogue does not depend on the installed version.
``python -m modelgraft_sentence_transformers.catalogue`` rewrites ``catalogue.json`` from `published` and `towers`.
"""

from __future__ import annotations

from pathlib import Path

from modelgraft.entry import Entry
from modelgraft.shipped import read_catalogue, write_catalogue

SHIPPED = Path(__file__).with_name("catalogue.json")
LIBRARY = "sentence-transformers docs"


def entries(shipped: Path = SHIPPED) -> list[Entry]:
    """Every listed model, sorted by name. Pure data."""
    return read_catalogue(shipped)[1]


def main() -> None:
    """Rewrite the shipped catalogue; needs transformers, to count parameters, and no network."""
    import sys

    from modelgraft_sentence_transformers.describe import describe
    from modelgraft_sentence_transformers.published import VERSION

    found = describe()
    write_catalogue(SHIPPED, LIBRARY, VERSION, found)
    print(f"{len(found)} entries, {sum(e.params is None for e in found)} without parameters", file=sys.stderr)


if __name__ == "__main__":
    main()
