"""WiSE-FT's line and soups on a fitted tuner: its ends, its middle, where it is left; the learning-rate range test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters import FineTuner, LinearProbe
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.finetuning.weight_averaging import move, souped, wise_curve, zero_shot_kept

from tests.adapters.finetuning.conftest import photographs

MODEL = "embedded/sprig"


@pytest.fixture(scope="module")
def tuner(train: Dataset) -> FineTuner:
    """From the probe on, so that the model at 0 is the probe."""
    return FineTuner(MODEL, "lp-ft", steps=12, lr=1e-3, norms="train", batch_size=16).fit(train)


def _state(tuner: FineTuner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in tuner.run_.live.items()}


@pytest.mark.full
def test_the_ends_are_the_two_models_bitwise(tuner: FineTuner, train: Dataset, test: Dataset) -> None:
    end = tuner.predict_proba(test)
    move(tuner, 0)
    assert all(torch.equal(value, tuner.start_[name]) for name, value in _state(tuner).items())
    probe = LinearProbe(MODEL, dtype="float32").fit(train)
    np.testing.assert_allclose(tuner.predict_proba(test), probe.predict_proba(test), atol=2e-6)
    move(tuner, 1)
    assert all(torch.equal(value, tuner.end_[name]) for name, value in _state(tuner).items())
    assert np.array_equal(tuner.predict_proba(test), end)


def test_the_middle_is_the_mean_with_statistics_of_its_own(tuner: FineTuner) -> None:
    move(tuner, 0.5)
    state = _state(tuner)
    weight = next(name for name in state if name.endswith(".0.weight"))
    torch.testing.assert_close(state[weight], (tuner.start_[weight] + tuner.end_[weight]) / 2)
    mean = next(name for name in state if name.endswith("running_mean"))
    line = torch.stack([tuner.start_[mean], tuner.end_[mean]]).mean(dim=0)
    assert not torch.allclose(state[mean], line, atol=1e-4)  # gathered, not mixed
    again = _state(move(tuner, 0.5))
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    move(tuner, 1)


def test_the_curve_has_the_ends_and_leaves_the_tuner_where_it_was(tuner: FineTuner, test: Dataset) -> None:
    points = wise_curve(tuner, [test], alphas=(0, 0.5, 1))
    assert [point.alpha for point in points] == [0, 0.5, 1]
    assert points[2].evaluations[0].score.value == tuner.score(test) and tuner.alpha_ == 1.0
    with pytest.raises(UsageError, match="alpha must be from 0 to 1"):
        move(tuner, 1.5)


@pytest.mark.full
def test_a_setting_ends_there(train: Dataset, tuner: FineTuner) -> None:
    wise = FineTuner(MODEL, "lp-ft", steps=12, lr=1e-3, norms="train", batch_size=16, wise=0.5).fit(train)
    assert wise.alpha_ == 0.5
    move(tuner, 0.5)
    assert all(torch.equal(value, _state(tuner)[name]) for name, value in _state(wise).items())
    move(tuner, 1)


@pytest.mark.full
def test_soups_of_runs(train: Dataset, test: Dataset) -> None:
    runs = [FineTuner(MODEL, "lp-ft", steps=6, lr=1e-3, seed=seed).fit(train) for seed in range(2)]
    ends = [dict(run.end_) for run in runs]
    mixed = souped(runs)
    name = next(name for name in ends[0] if name.endswith("weight") and ends[0][name].ndim == 4)
    torch.testing.assert_close(mixed.end_[name], (ends[0][name] + ends[1][name]) / 2)
    assert mixed.predict_proba(test).shape == (90, 3)
    with pytest.raises(UsageError, match="fitted here"):
        souped([FineTuner(MODEL)])


@pytest.mark.full
def test_zero_shot_of_classes_that_were_not_trained_on(train: Dataset, shared_data) -> None:
    """Before and after on the same images; a tuner that trained nothing has lost nothing."""
    others = photographs(shared_data, "test", 20, ("airplane", "dog", "ship"))
    still = FineTuner(MODEL, "head-only", steps=1).fit(train)
    before, after = zero_shot_kept(still, others)
    assert before.score.value == after.score.value > 1 / 3
    broken = FineTuner(MODEL, "full", steps=12, batch_size=16, lr=3e-2, norms="train").fit(train)
    before_too, lost = zero_shot_kept(broken, others)
    assert before_too.score.value == before.score.value
    assert lost.score.value < before.score.value


@pytest.mark.full
def test_a_rate_is_found_between_the_ends(train: Dataset) -> None:
    found = FineTuner(MODEL, "full", batch_size=4).find_rate(train)
    assert 1e-6 < found.chosen < 0.3
    assert found.rates[0] == pytest.approx(1e-7) and len(found.rates) == len(found.losses)
    least = found.rates[int(np.argmin(found.losses))]
    assert found.chosen == pytest.approx(least / 10)
