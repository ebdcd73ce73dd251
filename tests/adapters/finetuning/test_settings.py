"""What a user may say of a run: wrong words are answered in a line, lengths and rates are those that the pages state."""

from __future__ import annotations

import pytest
import torch
from modelgraft import devices
from modelgraft.errors import UsageError
from modelgraft_adapters.finetuning.accelerator import PAYS, in_products, make_accelerator
from modelgraft_adapters.finetuning.settings import STRATEGIES, Settings, parse_strategy
from torch import nn


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"strategy": "most"}, "no strategy 'most'; there are: full, last-N"),
        ({"strategy": "last-N"}, "no strategy 'last-N'"),
        ({"strategy": "last-0"}, "no strategy 'last-0'"),
        ({"strategy": "surgical"}, "takes the block to train"),
        ({"strategy": "full", "block": "0"}, "takes the block to train"),
        ({"optimiser": "sgd"}, "the setting optimiser is called optimizer"),
        ({"layer_decy": 0.5}, "no setting 'layer_decy' of fine-tuning; there are: strategy"),
        ({"epochs": "ten"}, "epochs is 'ten'; it takes float"),
        ({"epochs": 1, "steps": 1}, "epochs or steps, not both"),
        ({"steps": 0}, "steps must be above 0"),
        ({"lr": float("nan")}, "lr must be above 0"),
        ({"layer_decay": 1.5}, "layer_decay must be from 0 to 1"),
        ({"batch_size": 4, "accumulate": 5}, "4 items cannot go in 5 parts"),
        ({"strategy": "flyp", "accumulate": 2}, "cannot be taken in parts"),
        ({"strategy": "lora", "l2_sp": 0.1}, "which lora and dora do not move"),
        ({"compile": 1}, "compile is 1; it takes bool"),
        ({"augment": "blur"}, "augment is 'blur'; it takes none, flip"),
    ],
)
def test_wrong_words(given: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        Settings.of(given)


def test_the_length_of_a_run() -> None:
    assert Settings().total_steps(1000) == 312  # ten passes in steps of 32
    assert Settings().total_steps(40) == 100  # at least a hundred steps
    assert Settings(epochs=2).total_steps(40) == 2  # a pass is 1.25 steps
    assert Settings(steps=7).total_steps(1_000_000) == 7
    assert Settings().items_of_step(20) == 20  # never more than there are
    pairs = Settings(strategy="contrastive")
    assert pairs.total_steps(160) == 10 and pairs.items_of_step(160) == 16
    assert pairs.total_steps(10**9) == 2000


def test_norms_stand_still_where_that_keeps_what_was_known() -> None:
    assert Settings(strategy="lp-ft").norms_in_eval and not Settings(strategy="full").norms_in_eval
    assert Settings(strategy="full", norms="eval").norms_in_eval
    assert not Settings(strategy="lp-ft", norms="train").norms_in_eval


def test_what_is_recorded_makes_the_same_settings() -> None:
    given = Settings(strategy="last-2", lr=1e-3, mixup=0.2)
    assert given.record() == {"strategy": "last-2", "lr": 1e-3, "mixup": 0.2}
    assert Settings.of(given.record()) == given


def test_every_strategy_has_a_line() -> None:
    for name, line in STRATEGIES.items():
        assert line and (name == "last-N" or parse_strategy(name) == (name, 0))
    assert parse_strategy("last-12") == ("last-N", 12)


@pytest.mark.parametrize("has", [True, False])
def test_bf16_unasked_where_the_processor_computes_in_it(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(devices, "_processor_has", lambda what: has and what == "bf16")
    cpu, small = torch.device("cpu"), nn.Sequential(nn.Embedding(PAYS // 10, 20), nn.Linear(20, 20))
    large = nn.Linear(PAYS // 1000, 1000)
    assert (in_products(small), in_products(large)) == (400, PAYS)
    assert make_accelerator(cpu, None, large).mixed_precision == ("bf16" if has else "no")
    assert make_accelerator(cpu, None, small).mixed_precision == "no"
    assert make_accelerator(cpu, "fp32", large).mixed_precision == "no"
    assert make_accelerator(cpu, "bf16", small).mixed_precision == "bf16"
