"""Shell completion of model names: the catalogue's, as data."""

from __future__ import annotations

__all__ = ["model_names"]


def model_names(incomplete: str) -> list[str]:
    """Names that begin with, or after the provider's part begin with, what is typed. Never raises: a shell is waiting."""
    try:
        from modelgraft.listing.installed import catalogue

        typed = incomplete.lower()
        names = catalogue().names()
        return [n for n in names if n.lower().startswith(typed)] or [
            n for n in names if n.partition("/")[2].lower().startswith(typed)
        ]
    except Exception:
        return []
