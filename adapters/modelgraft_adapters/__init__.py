"""Adapters: a pretrained backbone joined to a head in one way of transfer, with scikit-learn's habits.

>>> from modelgraft_adapters import LinearProbe, ZeroShotClassifier
>>> ZeroShotClassifier("embedded/sprig", labels=["cat", "rocket"]).predict(["docs/photos/cat.jpg"]).tolist()
['cat']
>>> photos, kinds = ["docs/photos/cat.jpg", "docs/photos/rocket.jpg"], ["animal", "machine"]
>>> LinearProbe("embedded/sprig").fit(photos, kinds).predict(photos).tolist()
['animal', 'machine']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelgraft_adapters.data.dataset import Dataset
    from modelgraft_adapters.data.reading import read_data
    from modelgraft_adapters.estimators.adaptation import DomainAdapter
    from modelgraft_adapters.estimators.base import Adapter
    from modelgraft_adapters.estimators.frozen import FrozenAdapter
    from modelgraft_adapters.estimators.predicting import UnlikeTrainingWarning
    from modelgraft_adapters.estimators.prediction import Prediction
    from modelgraft_adapters.estimators.probes import (
        FewShotClassifier,
        KNNClassifier,
        LinearProbe,
        PrototypeClassifier,
        SemiSupervisedClassifier,
    )
    from modelgraft_adapters.estimators.transductive import TransductiveZeroShotClassifier
    from modelgraft_adapters.estimators.zero_shot import ZeroShotClassifier
    from modelgraft_adapters.features.extractor import FeatureExtractor
    from modelgraft_adapters.finetuning.multitask_tuner import MultiTaskTuner
    from modelgraft_adapters.finetuning.tuner import FineTuner
    from modelgraft_adapters.metrics.scores import Evaluation
    from modelgraft_adapters.ranking.results import Ranking
    from modelgraft_adapters.ranking.runner import rank_models
    from modelgraft_adapters.runs.gap import measure_gap
    from modelgraft_adapters.runs.gap_result import Gap

_WHERE = {
    "Adapter": "estimators.base",
    "Dataset": "data.dataset",
    "DomainAdapter": "estimators.adaptation",
    "Evaluation": "metrics.scores",
    "FeatureExtractor": "features.extractor",
    "FewShotClassifier": "estimators.probes",
    "FineTuner": "finetuning.tuner",
    "FrozenAdapter": "estimators.frozen",
    "Gap": "runs.gap_result",
    "KNNClassifier": "estimators.probes",
    "LinearProbe": "estimators.probes",
    "Prediction": "estimators.prediction",
    "MultiTaskTuner": "finetuning.multitask_tuner",
    "PrototypeClassifier": "estimators.probes",
    "Ranking": "ranking.results",
    "SemiSupervisedClassifier": "estimators.probes",
    "TransductiveZeroShotClassifier": "estimators.transductive",
    "UnlikeTrainingWarning": "estimators.predicting",
    "ZeroShotClassifier": "estimators.zero_shot",
    "measure_gap": "runs.gap",
    "rank_models": "ranking.runner",
    "read_data": "data.reading",
}

__all__ = [
    "Adapter",
    "Dataset",
    "DomainAdapter",
    "Evaluation",
    "FeatureExtractor",
    "FewShotClassifier",
    "FineTuner",
    "FrozenAdapter",
    "Gap",
    "KNNClassifier",
    "LinearProbe",
    "MultiTaskTuner",
    "Prediction",
    "PrototypeClassifier",
    "Ranking",
    "SemiSupervisedClassifier",
    "TransductiveZeroShotClassifier",
    "UnlikeTrainingWarning",
    "ZeroShotClassifier",
    "measure_gap",
    "rank_models",
    "read_data",
]


def __getattr__(name: str) -> Any:
    # The adapters need torch; the package itself is also imported for its plugin and must stay light.
    if name in _WHERE:
        import importlib

        return getattr(importlib.import_module(f"modelgraft_adapters.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'modelgraft_adapters' has no attribute {name!r}")
