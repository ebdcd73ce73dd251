"""A fine-tuned model moved on the line to the pretrained one (WiSE-FT), and averages of several runs: what was lost comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Final, Protocol, TypeVar

import torch
from modelgraft.errors import UsageError

from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.batches import Batches
from modelgraft_adapters.finetuning.loop import Loop, to_device
from modelgraft_adapters.finetuning.model import Grafted
from modelgraft_adapters.finetuning.weight_line import State, greedy_soup, interpolate, recalibrate, soup
from modelgraft_adapters.metrics.scores import Evaluation

ALPHAS: Final = tuple(n / 10 for n in range(11))
_RECALIBRATION_STEPS: Final = 20


@dataclass(frozen=True, slots=True)
class WisePoint:
    """The model at one place of the line."""

    alpha: float
    """0 is the model before the first step, 1 the fine-tuned one."""
    evaluations: tuple[Evaluation, ...]
    """One for each of the data that were given."""


class Movable(Protocol):
    """What a fitted tuner has by which its weights can be moved: `FineTuner` and `MultiTaskTuner`."""

    run_: Any
    start_: Any
    end_: Any
    """The weights that training began with, and those it ended with."""
    alpha_: float
    report_: dict[str, Any]

    def settle(self, alpha: float = 1.0) -> None:
        """Take over what follows from the weights as they are now."""


Tuner = TypeVar("Tuner", bound=Movable)


def move(tuner: Tuner, alpha: float) -> Tuner:
    """Put a fitted tuner's weights at ``alpha`` between those it began with (0) and those it trained (1), head included.

    Wortsman et al. 2022 (WiSE-FT): 0.5 keeps most of both. Begin with ``lp-ft``, so that the model at 0 is the probe. Where running
    statistics were trained they are gathered anew from training items, for 0 < alpha < 1; at the ends the weights are the two
    models' own, to the last bit.

    Raises:
        UsageError: nothing was trained yet, or it was loaded: only a tuner that was fitted here knows where it began.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 <= alpha <= 1:
        raise UsageError(f"alpha must be from 0 to 1, not {alpha!r}")
    run = _run(tuner)
    _put(run, interpolate(tuner.start_, tuner.end_, alpha), _statistics_moved(run) and 0 < alpha < 1)
    tuner.settle(alpha=alpha)
    return tuner


def wise_curve(tuner: Any, data: Sequence[Any], alphas: Sequence[float] = ALPHAS) -> list[WisePoint]:
    """The scores along the line on each of ``data`` (what `Adapter.evaluate` takes); the tuner is left where it was.

    Choose alpha on data held out of training, or on none (0.5), never on the test split. Errors as `move`.
    """
    with _left_as_it_was(tuner):
        return [WisePoint(alpha, tuple(move(tuner, alpha).evaluate(part) for part in data)) for alpha in alphas]


def souped(tuners: Sequence[Any], held_out: Any = None) -> Any:
    """The average of several runs of one model and start (seeds, rates ...), in the first of the tuners, which it returns.

    Wortsman et al. 2022, "Model soups" (arXiv 2203.05482): of all runs, or with items ``held_out`` of training of those that make
    it better there (the greedy soup).

    Raises:
        UsageError: runs that trained different tensors, or that have no common start.
    """
    if not tuners:
        raise UsageError("a soup takes at least one run")
    first, states = tuners[0], [tuner.end_ for tuner in tuners]
    run = _run(first)
    for tuner in tuners[1:]:
        _run(tuner)
        if tuner.classes != first.classes or tuner.entry.name != first.entry.name:
            raise UsageError("a soup takes runs of one model on the same classes")
        if not _same_start(tuner, first):
            raise UsageError(
                "a soup takes runs that began from the same weights, and these did not: their mean is no model"
            )
    statistics, several = _statistics_moved(run), len(tuners)
    if held_out is None:
        mixed = soup(states)
    else:

        def score(state: State) -> float:
            _put(run, state, statistics)
            first.settle()
            return first.evaluate(held_out).score.value

        with _left_as_it_was(first):
            mixed, chosen = greedy_soup(states, score)
        several = len(chosen)
    _put(run, mixed, statistics)
    first.end_ = {name: value.detach().cpu().clone() for name, value in run.live.items()}
    first._changes = {}  # a mean of changes of low rank is of higher rank
    first.settle()
    first.report_ = {**first.report_, "souped": several}
    return first


def _same_start(one: Any, other: Any) -> bool:
    """Whether two runs began from the same backbone."""
    assert one.tuned_ is not None and other.tuned_ is not None
    if one.tuned_.identity["weights"] != other.tuned_.identity["weights"]:
        return False
    body = [name for name in one.start_ if name.startswith("body.") and name in other.start_]
    return all(
        one.start_[name].shape == other.start_[name].shape and torch.equal(one.start_[name], other.start_[name])
        for name in body
    )


def _run(tuner: Movable) -> Loop:
    if tuner.run_ is None:
        raise UsageError("only a tuner that was fitted here knows where it began; fit it anew")
    return tuner.run_


def _statistics_moved(run: Loop) -> bool:
    """Whether running statistics were trained."""
    return any(name.endswith("running_mean") for name in run.live)


@contextmanager
def _left_as_it_was(tuner: Any) -> Iterator[None]:
    """Afterwards, and after an error, the weights are again those of before, with what was measured on them."""
    run, measured = _run(tuner), (tuner.evaluation_, tuner.report_)
    kept = tuner.alpha_, {name: value.detach().cpu().clone() for name, value in run.live.items()}
    try:
        yield
    finally:
        _put(run, kept[1], False)
        tuner.settle(kept[0])
        tuner.evaluation_, tuner.report_ = measured


@torch.no_grad()
def _put(run: Loop, state: State, statistics: bool) -> None:
    for name, value in run.live.items():
        value.copy_(state[name])
    if statistics:
        gather(run.grafted, run.batches, run.accelerator.device)


def gather(grafted: Grafted, batches: Batches, device: torch.device) -> None:
    """Running statistics anew, from training items as a step sees them."""
    steps = min(_RECALIBRATION_STEPS, max(1, len(batches.data.items) // batches.size))
    found = (batch for batch in batches.span(0, steps) if len(batch))
    recalibrate(grafted, (lambda b=batch: grafted(to_device(b.inputs, device)) for batch in found))  # type: ignore[misc]


def zero_shot_kept(tuner: Any, X: Any, y: Any = None) -> tuple[Evaluation, Evaluation]:
    """Zero-shot classification, by names alone, before and after fine-tuning: of classes that were not trained on it says what the
    model still knows beyond its task.

    Args:
        X, y: as `Adapter.evaluate`'s, of any classes.

    Returns:
        the pretrained model's evaluation, and that of the model as it is now.

    Raises:
        UsageError: no dual encoder, or as `Adapter.evaluate`.
    """
    from modelgraft_adapters.estimators.frozen import FrozenAdapter

    data = X if isinstance(X, Dataset) and y is None else read_data(X, y, modality=tuner.extractor.modality)
    data = data.part("test") if "test" in data.split_names else data
    data = replace(data.take(data.labelled), split=None)
    found = []
    with _left_as_it_was(tuner):
        for alpha in (0.0, tuner.alpha_):
            move(tuner, alpha)
            judge = FrozenAdapter(tuner.extractor.backbone, "text", modality=data.modality, store=False)
            features = judge.extractor.embed(data.items)
            judge.fit_features(features.features[features.good], data.take(features.good))
            found.append(judge.evaluate_features(features, data))
    return found[0], found[1]
