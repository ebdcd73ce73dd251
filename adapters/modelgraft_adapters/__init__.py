"""Adapters: a pretrained backbone joined to a head in one way of transfer, with scikit-learn's habits.

>>> from modelgraft_adapters import ZeroShotClassifier
>>> ZeroShotClassifier("embedded/sprig", labels=["cat", "dog"]).predict(["photo.jpg"])   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelgraft_adapters.zero_shot import Prediction, ZeroShotClassifier

__all__ = ["Prediction", "ZeroShotClassifier"]


def __getattr__(name: str) -> Any:
    # The classifiers need torch; the package itself is also imported for its plugin and must stay light.
    if name in __all__:
        from modelgraft_adapters import zero_shot

        return getattr(zero_shot, name)
    raise AttributeError(f"module 'modelgraft_adapters' has no attribute {name!r}")
