"""Adapters: a pretrained backbone joined to a head in one way of transfer, with scikit-learn's habits.

>>> from modelgraft_adapters import LinearProbe, ZeroShotClassifier
>>> ZeroShotClassifier("embedded/sprig", labels=["cat", "dog"]).predict(["photo.jpg"])   # doctest: +SKIP
>>> LinearProbe("embedded/sprig").fit("flowers/").score("flowers/")                      # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelgraft_adapters.adapter import Adapter
    from modelgraft_adapters.data.dataset import Dataset
    from modelgraft_adapters.data.reading import read_data
    from modelgraft_adapters.estimators import (
        FewShotClassifier,
        KNNClassifier,
        LinearProbe,
        PrototypeClassifier,
        SemiSupervisedClassifier,
    )
    from modelgraft_adapters.features.embedding import FeatureExtractor
    from modelgraft_adapters.finetuning.multitask_tuner import MultiTaskTuner
    from modelgraft_adapters.finetuning.tuner import FineTuner
    from modelgraft_adapters.frozen import FrozenAdapter
    from modelgraft_adapters.predictions import Prediction
    from modelgraft_adapters.scores import Evaluation
    from modelgraft_adapters.zero_shot import ZeroShotClassifier

_WHERE = {
    "Adapter": "adapter",
    "Dataset": "data.dataset",
    "Evaluation": "scores",
    "FeatureExtractor": "features.embedding",
    "FewShotClassifier": "estimators",
    "FineTuner": "finetuning.tuner",
    "FrozenAdapter": "frozen",
    "KNNClassifier": "estimators",
    "LinearProbe": "estimators",
    "Prediction": "predictions",
    "MultiTaskTuner": "finetuning.multitask_tuner",
    "PrototypeClassifier": "estimators",
    "SemiSupervisedClassifier": "estimators",
    "ZeroShotClassifier": "zero_shot",
    "read_data": "data.reading",
}

__all__ = [
    "Adapter",
    "Dataset",
    "Evaluation",
    "FeatureExtractor",
    "FewShotClassifier",
    "FineTuner",
    "FrozenAdapter",
    "KNNClassifier",
    "LinearProbe",
    "MultiTaskTuner",
    "Prediction",
    "PrototypeClassifier",
    "SemiSupervisedClassifier",
    "ZeroShotClassifier",
    "read_data",
]


def __getattr__(name: str) -> Any:
    # The adapters need torch; the package itself is also imported for its plugin and must stay light.
    if name in _WHERE:
        import importlib

        return getattr(importlib.import_module(f"modelgraft_adapters.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'modelgraft_adapters' has no attribute {name!r}")
