"""The adapters on frozen features by the names users know them by. Each is `FrozenAdapter` with one head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from modelgraft_adapters.frozen import FrozenAdapter


class LinearProbe(FrozenAdapter):
    """Logistic regression on frozen features, solved to a certified optimum; ridge regression for numbers.

    C is chosen over 24 values and all folds in one batched solve (the objective is scikit-learn's). Radford et al. 2021
    (arXiv 2103.00020) and Oquab et al. 2023 (arXiv 2304.07193) evaluate backbones by it.

    Args:
        C: inverse strength of the penalty; None chooses by the folds.
        Cs: what to choose among; None is 1e-6 to 1e5.
        alpha: of a regression, the penalty; None chooses by the exact leave-one-out error.
        options: as `FrozenAdapter`'s.
    """

    def __init__(
        self,
        model: Any,
        *,
        C: float | None = None,
        Cs: Sequence[float] | None = None,
        alpha: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, "linear", **options, **_given(C=C, Cs=Cs, alpha=alpha))


class KNNClassifier(FrozenAdapter):
    """Cosine k-NN with softmax(similarity / temperature) weights (Wu et al. 2018; DINOv2's evaluation, arXiv 2304.07193).

    Args:
        k: neighbours; None chooses by the folds.
        temperature: None is the papers' 0.07.
        options: as `FrozenAdapter`'s.
    """

    def __init__(self, model: Any, *, k: int | None = None, temperature: float | None = None, **options: Any) -> None:
        super().__init__(model, "knn", **options, **_given(k=k, temperature=temperature))


class PrototypeClassifier(FrozenAdapter):
    """The nearest class mean by cosine (Snell et al. 2017, arXiv 1703.05175).

    Args:
        temperature: of the probabilities; None chooses by the folds.
        options: as `FrozenAdapter`'s.
    """

    def __init__(self, model: Any, *, temperature: float | None = None, **options: Any) -> None:
        super().__init__(model, "prototype", **options, **_given(temperature=temperature))


class FewShotClassifier(FrozenAdapter):
    """A few labelled items and the classes' names: for dual encoders, and for sentence encoders on texts.

    Args:
        method: ``clap`` (a cosine head that starts at the text embeddings and is held near them: Silva-Rodriguez et al.,
            CVPR 2024), ``tip-adapter`` or ``tip-adapter-f`` (Zhang et al., ECCV 2022). All settings are chosen by folds of the
            examples themselves, without a validation set.
        options: as `FrozenAdapter`'s, and the head's settings.
    """

    def __init__(
        self, model: Any, *, method: Literal["clap", "tip-adapter", "tip-adapter-f"] = "clap", **options: Any
    ) -> None:
        super().__init__(model, "cosine" if method == "clap" else method, **options)


class SemiSupervisedClassifier(FrozenAdapter):
    """A few labelled items and many without a label.

    Args:
        method: ``label-spreading`` on a sparse nearest-neighbour graph (Zhou et al. 2004), or ``pseudo-label`` (Lee 2013).
        options: as `FrozenAdapter`'s, and the head's settings.
    """

    def __init__(
        self, model: Any, *, method: Literal["label-spreading", "pseudo-label"] = "label-spreading", **options: Any
    ) -> None:
        super().__init__(model, method, **options)


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
