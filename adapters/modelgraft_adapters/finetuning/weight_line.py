"""Between weights: WiSE-FT's line from the pretrained to the fine-tuned, and averages over runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from modelgraft.errors import UsageError
from torch import nn

State = Mapping[str, torch.Tensor]
"""Full name -> tensor."""


def interpolate(start: State, end: State, alpha: float) -> dict[str, torch.Tensor]:
    """``(1 - alpha) * start + alpha * end`` (Wortsman et al. 2022, WiSE-FT, arXiv 2109.01903).

    At 0 and at 1 it is the one and the other to the last bit. Counts (of batches that a norm has seen) are not mixed: those of
    ``end`` are taken, but at 0. Running statistics of mixed weights are those of neither: see `recalibrate`.

    Raises:
        UsageError: states of different tensors.
    """
    _alike([start, end])
    if alpha in (0, 1):
        return {name: value.clone() for name, value in (end if alpha else start).items()}
    return {
        name: torch.lerp(value, end[name], alpha) if value.is_floating_point() else end[name].clone()
        for name, value in start.items()
    }


def soup(states: Sequence[State]) -> dict[str, torch.Tensor]:
    """The mean of the weights of several runs from one start (Wortsman et al. 2022, arXiv 2203.05482), taken in float64.

    Raises:
        UsageError: none, or states of different tensors.
    """
    if not states:
        raise UsageError("a soup takes the weights of at least one run")
    _alike(states)
    if len(states) == 1:
        return {name: value.clone() for name, value in states[0].items()}
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in states[0].items()
    }


def greedy_soup(states: Sequence[State], score: Callable[[State], float]) -> tuple[dict[str, torch.Tensor], list[int]]:
    """The soup of the runs that make it better: from the best one on, each is taken in if the mean then scores no worse.

    Args:
        score: higher is better; on items held out of training, never on the test split.

    Returns:
        the mean, and which runs are in it, the best first.
    """
    if not states:
        raise UsageError("a soup takes the weights of at least one run")
    alone = [score(state) for state in states]
    order = sorted(range(len(states)), key=lambda n: -alone[n])
    chosen, best = order[:1], alone[order[0]]
    for n in order[1:]:
        reached = score(soup([states[m] for m in (*chosen, n)]))
        if reached >= best:
            chosen, best = [*chosen, n], reached
    return soup([states[n] for n in chosen]), chosen


@torch.no_grad()
def recalibrate(module: nn.Module, batches: Iterable[Callable[[], object]]) -> int:
    """Running statistics anew, as the plain mean over batches of training items; of weights that were mixed.

    Args:
        batches: each runs the module forward once on a batch.

    Returns:
        layers that were recalibrated; with none no batch is run.
    """
    layers = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
    if not layers:
        return 0
    with _statistics(module, layers):
        for run in batches:
            run()
    return len(layers)


@contextmanager
def _statistics(module: nn.Module, layers: Sequence[nn.modules.batchnorm._NormBase]) -> Iterator[None]:
    """Everything in eval mode but these layers, which gather a plain mean from nothing."""
    modes = {inner: inner.training for inner in module.modules()}
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # type: ignore[assignment]
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for inner, training in modes.items():
            inner.training = training


def _alike(states: Sequence[State]) -> None:
    first = {name: value.shape for name, value in states[0].items()}
    for state in states[1:]:
        other = {name: value.shape for name, value in state.items()}
        if other != first:
            odd = next(name for name in {**first, **other} if first.get(name) != other.get(name))
            raise UsageError(f"the weights are not of one model trained in one way: {odd} is not in both, or not alike")
