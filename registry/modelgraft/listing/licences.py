"""What licences permit, by group: the question a user asks before taking a model into a product.

A table, not legal advice: it says what the licence's own text says, and stays silent where that text is. A licence that is
not in the table, or an entry that states none, is ``unknown`` and never ``commercial``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

GROUPS: Final = ("commercial", "permissive", "copyleft", "non-commercial", "unknown")
"""Groups a user can ask for. ``commercial``: the licence permits commercial use, if under conditions of its own."""


class Licence(NamedTuple):
    """What one licence permits."""

    commercial: bool | None
    """Whether it permits commercial use; None where its text does not settle that, which counts as no."""
    kind: str
    """``permissive``, ``copyleft``, ``non-commercial`` or ``own`` (terms of its own: read them)."""
    reason: str
    """What in the text says so."""


_ASCL: Final = (
    "Apple's sample code licence: a personal grant that does not mention commercial use or patents; on the hub Apple has put "
    "some of these weights under its research-only licence since"
)

LICENCES: Final[dict[str, Licence]] = {
    # Stated in the shipped catalogues.
    "apache-2.0": Licence(True, "permissive", "SPDX, OSI-approved; section 2 grants use without a limit of field"),
    "mit": Licence(True, "permissive", "SPDX, OSI-approved; 'without restriction', to sell included"),
    "bsd-3-clause": Licence(True, "permissive", "SPDX, OSI-approved; redistribution and use are permitted"),
    "cc-by-4.0": Licence(True, "permissive", "SPDX; any purpose, 'even commercially', with attribution"),
    "cc-by-nc-4.0": Licence(False, "non-commercial", "SPDX; NonCommercial purposes only (section 2.a.1)"),
    "fair-noncommercial-research-license": Licence(False, "non-commercial", "Meta: noncommercial research uses only"),
    "apple-amlr": Licence(
        False, "non-commercial", "Apple Machine Learning Research Model: 'exclusively for Research Purposes'"
    ),
    "seer-license": Licence(False, "non-commercial", "Meta SEER: 'solely for your non-commercial research purposes'"),
    "dinov3-license": Licence(
        True, "own", "Meta DINOv3, section 1: use without a limit to research; no military, nuclear or weapons use"
    ),
    "nvidia-open-model-license": Licence(True, "own", "'Models are commercially usable'; conditions on guardrails"),
    "gemma": Licence(True, "own", "Gemma Terms of Use: any use outside Google's Prohibited Use Policy"),
    "apple-ascl": Licence(None, "own", _ASCL),
    "cvnets-license": Licence(None, "own", _ASCL),
    "fastvit-license": Licence(None, "own", _ASCL),
    "mobileone-license": Licence(None, "own", _ASCL),
    "sapiens2-license": Licence(
        None, "own", "Meta Sapiens2: long lists of barred uses; its text was not read for this"
    ),
    "qwen-community-1.0": Licence(None, "own", "Qwen Community License; its text was not read for this"),
    # SPDX ids that plugins may state.
    "0bsd": Licence(True, "permissive", "SPDX, OSI-approved"),
    "bsd-2-clause": Licence(True, "permissive", "SPDX, OSI-approved"),
    "isc": Licence(True, "permissive", "SPDX, OSI-approved"),
    "cc0-1.0": Licence(True, "permissive", "SPDX; a public-domain dedication"),
    "unlicense": Licence(True, "permissive", "SPDX, OSI-approved"),
    "cc-by-3.0": Licence(True, "permissive", "SPDX; with attribution"),
    "cc-by-sa-4.0": Licence(True, "copyleft", "SPDX; any purpose, share alike"),
    "mpl-2.0": Licence(True, "copyleft", "SPDX, OSI-approved; per file"),
    "lgpl-2.1": Licence(True, "copyleft", "SPDX, OSI-approved"),
    "lgpl-3.0": Licence(True, "copyleft", "SPDX, OSI-approved"),
    "gpl-2.0": Licence(True, "copyleft", "SPDX, OSI-approved"),
    "gpl-3.0": Licence(True, "copyleft", "SPDX, OSI-approved"),
    "agpl-3.0": Licence(True, "copyleft", "SPDX, OSI-approved; service over a network counts as distribution"),
    "cc-by-nc-sa-4.0": Licence(False, "non-commercial", "SPDX; NonCommercial purposes only"),
    "cc-by-nc-nd-4.0": Licence(False, "non-commercial", "SPDX; NonCommercial purposes only"),
}
"""Licence id, lower-cased -> what it permits."""


def known(licence: str | None) -> Licence | None:
    """What the table says of a licence as an entry states it; None for one that it does not have, and for none."""
    if licence is None:
        return None
    return LICENCES.get(licence.strip().lower().removesuffix("-only").removesuffix("-or-later"))


def in_group(licence: str | None, group: str) -> bool:
    """Whether a licence, as an entry states it, belongs to one of `GROUPS`.

    Raises:
        ValueError: no such group.
    """
    if group not in GROUPS:
        raise ValueError(f"no group of licences {group!r}; there are {', '.join(GROUPS)}")
    about = known(licence)
    if group == "unknown":
        return about is None
    if about is None:
        return False
    return about.commercial is True if group == "commercial" else about.kind == group
