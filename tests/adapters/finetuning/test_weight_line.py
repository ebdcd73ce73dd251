"""Between weights: the ends of WiSE-FT's line to the last bit, counts not mixed, statistics gathered anew, soups."""

from __future__ import annotations

import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters.finetuning.weight_line import greedy_soup, interpolate, recalibrate, soup
from torch import nn


def _states(count: int = 2) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"w": torch.randn(5, 3, generator=generator) / 3, "norm.num_batches_tracked": torch.tensor(n + 7)}
        for n in range(count)
    ]


def test_the_ends_are_the_two_models_to_the_last_bit() -> None:
    start, end = _states()
    for alpha, wanted in ((0, start), (1, end), (0.0, start), (1.0, end)):
        found = interpolate(start, end, alpha)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert all(found[name] is not wanted[name] for name in wanted)


def test_between_them_is_the_line_and_counts_stay_counts() -> None:
    start, end = _states()
    found = interpolate(start, end, 0.3)
    torch.testing.assert_close(found["w"], 0.7 * start["w"] + 0.3 * end["w"])
    assert found["norm.num_batches_tracked"].dtype == torch.int64  # a naive mix makes it a float
    assert int(found["norm.num_batches_tracked"]) == 8


def test_states_of_other_models_are_refused() -> None:
    start, end = _states()
    with pytest.raises(UsageError, match="not of one model trained in one way: w is not in both"):
        interpolate(start, {**end, "w": torch.zeros(2)}, 0.5)


def test_a_soup_is_the_mean() -> None:
    states = _states(3)
    torch.testing.assert_close(soup(states)["w"], sum(s["w"] for s in states) / 3)
    assert torch.equal(soup(states[:1])["w"], states[0]["w"])


def test_the_greedy_soup_takes_what_makes_it_no_worse() -> None:
    """Scores by closeness to 1: the best alone (0.9), then 1.2 makes (0.9 + 1.2) / 2 = 1.05 better, 3 would spoil it."""
    states = [{"w": torch.tensor([value])} for value in (3.0, 0.9, 1.2)]
    mixed, chosen = greedy_soup(states, lambda state: -abs(float(state["w"]) - 1))
    assert chosen == [1, 2] and float(mixed["w"]) == pytest.approx(1.05)


def test_statistics_are_the_plain_mean_over_batches() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.1), nn.Dropout(0.5)).eval()
    batches = [torch.randn(6, 3, 5, 5) for _ in range(4)]
    assert recalibrate(module, [lambda b=b: module(b) for b in batches]) == 1
    inner = [module[0](b) for b in batches]
    torch.testing.assert_close(module[1].running_mean, torch.stack([x.mean((0, 2, 3)) for x in inner]).mean(0))
    torch.testing.assert_close(module[1].running_var, torch.stack([x.var((0, 2, 3)) for x in inner]).mean(0))
    assert module[1].momentum == 0.1 and not module[1].training
    assert recalibrate(nn.Linear(2, 2), [lambda: pytest.fail("no batch is run")]) == 0
