"""The catalogue of what is installed."""

from __future__ import annotations

from modelgraft.host.host import Host, current_host
from modelgraft.listing.catalogue import Catalogue

_known: tuple[Host, Catalogue] | None = None


def catalogue() -> Catalogue:
    """All entries of all working plugins; the same object until the installed plugins change."""
    global _known
    host = current_host()
    if _known is None or _known[0] is not host:
        _known = (host, Catalogue.of(host.tables(), host.owners, host.contested))
    return _known[1]
