"""Rates, the pull towards the start, and the average, against their formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from modelgraft.training import Block
from modelgraft_adapters.finetuning.optimizer import Average, Held, Schedule, make_optimizer
from modelgraft_adapters.finetuning.parameter_groups import HEAD, make_plan, open_blocks
from modelgraft_adapters.finetuning.settings import Settings
from torch import nn

STEPS = 100


class _Grafted(nn.Module):
    """Three blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.beside = None
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))
        self.head = nn.Linear(3, 2)

    @property
    def blocks(self) -> list[Block]:
        names = [name for name, _ in self.body.named_parameters()]
        return [Block(str(n), tuple(name for name in names if name.startswith(f"{n}."))) for n in range(3)]


def test_the_rate_rises_and_falls() -> None:
    schedule = Schedule.of(Settings(warmup=0.1), STEPS)
    rates = [schedule.at(step) for step in range(STEPS)]
    assert rates[:10] == pytest.approx([(n + 1) / 11 for n in range(10)])
    assert max(rates) == rates[10] == 1.0 and rates[55] == pytest.approx(0.5)
    assert all(a > b > 0 for a, b in pairwise(rates[10:]))
    assert {Schedule.of(Settings(schedule="constant", warmup=0.0), STEPS).at(n) for n in range(STEPS)} == {1.0}


def test_layer_decay_one_is_plain_and_less_is_a_power_of_the_distance() -> None:
    grafted = _Grafted()
    plain = make_plan(grafted.body, grafted.blocks, grafted.head, Settings(strategy="full", lr=1.0))
    assert {group.rate for group in plain.groups} == {1.0}
    decayed = make_plan(grafted.body, grafted.blocks, grafted.head, Settings(strategy="full", lr=1.0, layer_decay=0.5))
    rates = {group.block: group.rate for group in decayed.groups}
    assert rates == {"0": 0.125, "1": 0.25, "2": 0.5, HEAD: 1.0}


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    grafted = _Grafted()
    plan = make_plan(grafted.body, grafted.blocks, grafted.head, Settings(strategy="full", weight_decay=0.1))
    decays = {name: group.weight_decay for group in plan.groups if group.block != HEAD for name in group.parameters}
    assert decays == {"0.weight": 0.1, "0.bias": 0, "1.weight": 0, "1.bias": 0, "2.weight": 0.1, "2.bias": 0}
    optimizer = make_optimizer(grafted, plan, Settings(strategy="full"))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(grafted.parameters()))


def test_gradual_opens_from_the_last_block_to_the_first() -> None:
    blocks = ["stem", "1", "2", "final"]
    opened = [open_blocks(blocks, step, STEPS) for step in range(STEPS)]
    assert opened[0] == frozenset() and opened[10] == {"final"} and opened[50] == frozenset(blocks)
    assert all(a <= b for a, b in pairwise(opened))


def test_l2_sp_is_the_proximal_step() -> None:
    """w0 + (w - w0) / (1 + rate * alpha): the minimum of (v - w)^2 / (2 rate) + alpha / 2 (v - w0)^2."""
    grafted = _Grafted()
    settings = Settings(strategy="full", lr=0.1, l2_sp=3.0, l2_head=2.0)
    optimizer = make_optimizer(grafted, make_plan(grafted.body, grafted.blocks, grafted.head, settings), settings)
    start = {name: p.detach().clone() for name, p in grafted.named_parameters()}
    held = Held(optimizer, settings.l2_sp, settings.l2_head)
    with torch.no_grad():
        for p in grafted.parameters():
            p += 1.0
    held.pull()
    for name, p in grafted.named_parameters():
        if name == "head.bias":
            wanted = start[name] + 1
        elif name == "head.weight":
            wanted = (start[name] + 1) / (1 + 0.1 * 2.0)
        else:
            wanted = start[name] + 1 / (1 + 0.1 * 3.0)
        torch.testing.assert_close(p.detach(), wanted)


def test_the_average_is_the_moving_average() -> None:
    live = {"w": torch.zeros(3), "count": torch.tensor(0)}
    average = Average(live, decay=0.9)
    expected = torch.zeros(3)
    for step in range(200):
        live["w"] = torch.full((3,), math.sin(step))
        average.update(live, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * live["w"]
    torch.testing.assert_close(average.values["w"], expected)
    assert set(average.values) == {"w"}


def test_what_is_trained_beside_the_head_has_a_group_of_its_own_before_the_others() -> None:
    """Ten times the rate, no decay; the others and the last, which is the head's, stay as they are."""
    model = _Grafted()
    plan = make_plan(model.body, model.blocks, model.head, Settings(strategy="full", lr=0.1))
    without = make_optimizer(model, plan, Settings(strategy="full", lr=0.1)).param_groups
    model.beside = nn.Linear(2, 1)
    groups = make_optimizer(model, plan, Settings(strategy="full", lr=0.1)).param_groups
    assert (groups[0]["block"], groups[0]["rate"], groups[0]["weight_decay"]) == ("beside", 1.0, 0.0)
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in model.beside.parameters()]
    assert [one["block"] for one in groups[1:]] == [one["block"] for one in without] and groups[-1]["block"] == "head"
