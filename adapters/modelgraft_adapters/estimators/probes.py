"""The adapters on frozen features by the names users know them by. Each is `FrozenAdapter` with one head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from modelgraft.errors import UsageError

from modelgraft_adapters.estimators.frozen import FrozenAdapter


class OneHead(FrozenAdapter):
    """With a head that the class chooses, by its own parameters."""

    @classmethod
    def _get_param_names(cls) -> list[str]:
        shared = [name for name in FrozenAdapter._get_param_names() if name != "head"]
        return sorted({*super()._get_param_names(), *shared})

    @property
    def settings(self) -> dict[str, Any]:
        """The head's own settings that were given."""
        own = {name: getattr(self, name) for name in self._own}
        return {name: value for name, value in {**own, **super().settings}.items() if value is not None}

    _own: tuple[str, ...] = ()
    """Parameters that are settings of the head."""


class LinearProbe(OneHead):
    """Logistic regression on frozen features, solved to a certified optimum; ridge regression for numbers.

    C is chosen over 24 values and all folds in one batched solve (the objective is scikit-learn's). Radford et al. 2021
    (arXiv 2103.00020) and Oquab et al. 2023 (arXiv 2304.07193) evaluate backbones by it.

    Args:
        C: inverse strength of the penalty; None chooses by the folds.
        Cs: what to choose among; None is 1e-6 to 1e5.
        alpha: of a regression, the penalty; None chooses by the exact leave-one-out error.
        options: as `FrozenAdapter`'s.
    """

    _own = ("C", "Cs", "alpha")

    def __init__(
        self,
        model: Any = None,
        *,
        C: float | None = None,
        Cs: Sequence[float] | None = None,
        alpha: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, "linear", **options)
        self.C = C
        self.Cs = Cs
        self.alpha = alpha


class KNNClassifier(OneHead):
    """Cosine k-NN with softmax(similarity / temperature) weights (Wu et al. 2018; DINOv2's evaluation, arXiv 2304.07193).

    Args:
        k: neighbours; None chooses by the folds.
        temperature: None is the papers' 0.07.
        options: as `FrozenAdapter`'s.
    """

    _own = ("k", "temperature")

    def __init__(
        self, model: Any = None, *, k: int | None = None, temperature: float | None = None, **options: Any
    ) -> None:
        super().__init__(model, "knn", **options)
        self.k = k
        self.temperature = temperature


class PrototypeClassifier(OneHead):
    """The nearest class mean by cosine (Snell et al. 2017, arXiv 1703.05175).

    Args:
        temperature: of the probabilities; None chooses by the folds.
        options: as `FrozenAdapter`'s.
    """

    _own = ("temperature",)

    def __init__(self, model: Any = None, *, temperature: float | None = None, **options: Any) -> None:
        super().__init__(model, "prototype", **options)
        self.temperature = temperature


class _ByMethod(OneHead):
    """With one of several heads, chosen by ``method``."""

    _heads: ClassVar[dict[str, str]]
    method: str

    @property
    def head(self) -> str:  # type: ignore[override]
        """The head that the method stands for."""
        if self.method not in self._heads:
            raise UsageError(f"method={self.method!r}; there are: {', '.join(self._heads)}")
        return self._heads[self.method]

    @head.setter
    def head(self, head: str) -> None:
        """Say nothing: it follows from the method."""


class FewShotClassifier(_ByMethod):
    """A few labelled items and the classes' names: for dual encoders, and for sentence encoders on texts.

    Args:
        method: ``clap`` (a cosine head that starts at the text embeddings and is held near them: Silva-Rodriguez et al.,
            CVPR 2024), ``tip-adapter`` or ``tip-adapter-f`` (Zhang et al., ECCV 2022). All settings are chosen by folds of the
            examples themselves, without a validation set.
        options: as `FrozenAdapter`'s, and the head's settings.
    """

    _heads: ClassVar = {"clap": "cosine", "tip-adapter": "tip-adapter", "tip-adapter-f": "tip-adapter-f"}

    def __init__(
        self, model: Any = None, *, method: Literal["clap", "tip-adapter", "tip-adapter-f"] = "clap", **options: Any
    ) -> None:
        self.method = method
        super().__init__(model, self.head, **options)


class SemiSupervisedClassifier(_ByMethod):
    """A few labelled items and many without a label.

    Args:
        method: ``label-spreading`` on a sparse nearest-neighbour graph (Zhou et al. 2004), or ``pseudo-label`` (Lee 2013).
        options: as `FrozenAdapter`'s, and the head's settings.
    """

    _heads: ClassVar = {"label-spreading": "label-spreading", "pseudo-label": "pseudo-label"}

    def __init__(
        self,
        model: Any = None,
        *,
        method: Literal["label-spreading", "pseudo-label"] = "label-spreading",
        **options: Any,
    ) -> None:
        self.method = method
        super().__init__(model, self.head, **options)
