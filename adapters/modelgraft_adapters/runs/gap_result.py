"""What `runs.gap.measure_gap` found, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.metrics.intervals import Interval
from modelgraft_adapters.shift.apart import Apart
from modelgraft_adapters.shift.frechet import Frechet
from modelgraft_adapters.shift.mmd import Discrepancy

LEVEL: Final = 0.05
"""A gap is said to be there at p-values up to this."""
SMALL: Final = 0.4
"""Up to this A-distance (an error of 40 % and more) a gap is called small, from `LARGE` (10 % and less) on large."""
LARGE: Final = 1.6
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class ClassShift:
    """One class on both sides."""

    name: str
    items: tuple[int, int]
    """Labelled items in the source and in the target."""
    mmd: float
    """Squared MMD, unbiased, by the kernel of the whole."""
    p_value: float
    """By permutations within the class, corrected for the number of classes (Holm)."""


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How frequent one class is."""

    name: str
    source: float
    target: float
    low: float
    high: float
    """95 % interval of ``target``, of this class by itself."""

    @property
    def moved(self) -> bool:
        """Whether the interval leaves out the share in the source."""
        return not self.low <= self.source <= self.high


@dataclass(frozen=True, slots=True)
class LabelShift:
    """The frequencies of the classes on both sides."""

    how: Literal["counted", "estimated"]
    """``counted`` where the target has labels; ``estimated`` from the answers of a classifier of the source."""
    shares: tuple[ClassShare, ...]
    p_value: float
    """Of a permutation test that classes (or the classifier's answers) are as frequent on both sides."""
    explains: float | None = None
    """Of estimates: the p-value of a test that source items in the estimated shares are like the target's, as they are if
    nothing but the classes' frequencies differs, which estimates take for granted. None where it could not be made."""

    @property
    def there(self) -> bool:
        """Whether it is beyond chance."""
        return self.p_value <= LEVEL

    @property
    def dependable(self) -> bool:
        """Whether nothing speaks against the shares."""
        return self.how == "counted" or (self.explains is not None and self.explains > LEVEL)


@dataclass(frozen=True, slots=True)
class StrangeItem:
    """A target item that is far from the source."""

    index: int
    """In ``Gap.target``."""
    item: str
    distance: float
    """Mahalanobis, in the source's Gaussian of low rank."""
    ood: float
    """Share of source items that are at least as strange."""


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """How far a target is from a source, by the features of a model."""

    model: str
    layer: str | None
    source: Dataset
    """The items that could be read."""
    target: Dataset
    compared: tuple[int, int]
    """Items of each side that MMD and A-distance were taken of, drawn by the seed where there are more."""
    mmd: Discrepancy
    """RBF kernel: its p-value is what the verdict goes by."""
    linear: Discrepancy
    apart: Apart
    apart_interval: Interval
    """95 %, of the A-distance."""
    frechet: Frechet
    labels: LabelShift | None
    classes: tuple[ClassShift, ...]
    """The largest shift first; where both sides have labels."""
    only_in_target: tuple[str, ...]
    """Classes that the source has not, where both sides have labels."""
    strangest: tuple[StrangeItem, ...]
    oods: tuple[float, ...]
    """Of each target item: `StrangeItem.ood`; empty where the source is too small for it."""
    shared: int
    """Target items that are in the source too."""
    unreadable: dict[str, str]
    notes: tuple[str, ...]
    seed: int

    @property
    def there(self) -> bool:
        """Whether a gap is beyond chance, at `LEVEL`."""
        return self.mmd.p_value is not None and self.mmd.p_value <= LEVEL

    @property
    def strange(self) -> float | None:
        """Share of target items that are as strange as the strangest hundredth of the source: a hundredth, about, without a gap."""
        return sum(ood <= 0.01 for ood in self.oods) / len(self.oods) if self.oods else None

    def verdict(self) -> list[str]:
        """What the figures say, a sentence or two a line."""
        if len(self.target) == self.shared:
            return ["All target items are in the source too: nothing is compared with anything else."]
        return [line for line in (self._whole(), self._of_labels(), self._of_classes()) if line]

    def record(self) -> dict[str, Any]:
        """Plain JSON types: a contract (docs/command-line.md)."""
        return {
            "model": self.model,
            "layer": self.layer,
            "modality": self.source.modality,
            "seed": self.seed,
            "source": {"items": len(self.source)},
            "target": {"items": len(self.target)},
            "compared": {"source": self.compared[0], "target": self.compared[1]},
            "gap": self.there,
            "level": LEVEL,
            "verdict": self.verdict(),
            "mmd": {"rbf": _mmd(self.mmd), "linear": _mmd(self.linear)},
            "a_distance": {
                "value": _number(self.apart.distance),
                "low": _number(self.apart_interval[0]),
                "high": _number(self.apart_interval[1]),
                "error": _number(self.apart.error),
            },
            "frechet": {
                "value": _number(self.frechet.value),
                "by_chance": _number(self.frechet.by_chance),
                "beyond_chance": _number(self.frechet.beyond_chance),
                "of_means": _number(self.frechet.of_means),
            },
            "labels": None if self.labels is None else _labels(self.labels),
            "classes": [
                {
                    "class": c.name,
                    "source": c.items[0],
                    "target": c.items[1],
                    "mmd": _number(c.mmd),
                    "p_value": _number(c.p_value),
                }
                for c in self.classes
            ],
            "only_in_target": list(self.only_in_target),
            "strange": None if self.strange is None else _number(self.strange),
            "strangest": [
                {"item": one.item, "distance": _number(one.distance), "ood": _number(one.ood)} for one in self.strangest
            ],
            "shared": self.shared,
            "unreadable": [{"item": name, "error": reason} for name, reason in self.unreadable.items()],
            "notes": list(self.notes),
        }

    def _whole(self) -> str:
        count = f"{self.compared[0]:,} and {self.compared[1]:,} items"
        if not self.there:
            return (
                f"No gap is seen with {count} (p = {self.mmd.p_value:.2g}); one that is there is no larger than chance."
            )
        size = "small" if self.apart.distance < SMALL else "large" if self.apart.distance >= LARGE else "moderate"
        text = (
            f"There is a {size} gap (p = {self.mmd.p_value:.2g}): a linear classifier takes {_percent(self.apart.error)} of the "
            "items for the other side's, where 50 % is chance."
        )
        if self.strange is not None and self.strange >= 0.05:
            text += f" {_percent(self.strange)} of the target items are as strange as the strangest 1 % of the source."
        return text + (" Do not rely on scores of the source." if size == "large" else "")

    def _of_labels(self) -> str:
        if self.labels is None or not self.labels.there:
            return ""
        moved = sorted((s for s in self.labels.shares if s.moved), key=lambda s: -abs(s.target - s.source))
        named = ", ".join(f"{s.name} {_percent(s.source)} to {_percent(s.target)}" for s in moved[:_NAMED])
        named, p = f": {named}" if named else "", f"p = {self.labels.p_value:.2g}"
        if self.labels.how == "counted":
            return f"The classes are not as frequent as in the source ({p}){named}."
        if self.labels.dependable:
            return (
                f"The classes are not as frequent as in the source ({p}, by the answers of a classifier of it){named}."
            )
        return (
            f"A classifier of the source answers otherwise on the target ({p}), but more than the frequencies of classes differs: "
            "its estimates of them are not to be relied on."
        )

    def _of_classes(self) -> str:
        lines = []
        if moved := [c.name for c in self.classes if c.p_value <= LEVEL]:
            which = "All classes look" if len(moved) == len(self.classes) > 1 else f"{_names(moved)} looks"
            if 1 < len(moved) < len(self.classes):
                which = f"{len(moved)} of {len(self.classes)} classes look"
            lines.append(f"{which} different on the two sides" + (f", {moved[0]} most." if len(moved) > 1 else "."))
        if self.only_in_target:
            lines.append(f"The source has no items of {_names(self.only_in_target)}.")
        return " ".join(lines)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1f} %"


def _mmd(found: Discrepancy) -> dict[str, Any]:
    return {
        "value": _number(found.value),
        "biased": _number(found.biased),
        "bandwidth": None if found.bandwidth is None else _number(found.bandwidth),
        "p_value": None if found.p_value is None else _number(found.p_value),
        "permutations": found.permutations,
    }


def _labels(found: LabelShift) -> dict[str, Any]:
    shares = [
        {
            "class": s.name,
            "source": _number(s.source),
            "target": _number(s.target),
            "low": _number(s.low),
            "high": _number(s.high),
        }
        for s in found.shares
    ]
    return {
        "how": found.how,
        "p_value": _number(found.p_value),
        "explains_p_value": None if found.explains is None else _number(found.explains),
        "dependable": found.dependable,
        "shares": shares,
    }


def _number(value: float) -> float | None:
    """Six digits; JSON has no NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
