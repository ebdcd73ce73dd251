"""What more labels bring: known power laws come back, and intervals hold what comes."""

from __future__ import annotations

import numpy as np
import pytest
from modelgraft.errors import UsageError
from modelgraft_adapters.ranking.gain import forecast

SIZES = [100, 200, 400, 800]


def law(n: np.ndarray) -> np.ndarray:
    return 1 - (0.05 + 2.0 * n**-0.5)


def test_a_power_law_without_noise_comes_back() -> None:
    right = np.zeros((4, 10_000))
    for row, accuracy in zip(right, law(np.array(SIZES, float)), strict=True):
        row[: round(accuracy * 10_000)] = 1
    found = forecast(SIZES, right, [800, 1600, 3200])
    assert [one.value for one in found] == pytest.approx(law(np.array([800.0, 1600, 3200])).tolist(), abs=2e-3)
    assert all(one.low <= one.value <= one.high for one in found)
    assert found[2].high - found[2].low > found[0].high - found[0].low, "farther away less is known"


def test_intervals_hold_what_comes() -> None:
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        hard = rng.random(400)
        right = np.stack([hard < law(np.array(float(n))) for n in SIZES])
        (one,) = forecast(SIZES, right, [1600], seed)
        held += one.low <= law(np.array(1600.0)) <= one.high
    assert held >= 88


def test_nothing_to_gain_is_said() -> None:
    right = np.tile((np.arange(200) % 10 > 0).astype(float), (4, 1))
    (one,) = forecast(SIZES, right, [10_000])
    assert one.value == pytest.approx(0.9, abs=1e-6)
    (one,) = forecast(SIZES, np.ones((4, 50)), [10_000])
    assert one.value == pytest.approx(1.0)


def test_seed_alone_decides() -> None:
    right = np.random.default_rng(0).random((4, 60)) < 0.7
    assert forecast(SIZES, right, [999], 5) == forecast(SIZES, right, [999], 5)


def test_wrong_curves_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        forecast([1, 2, 3], np.ones((3, 5)), [9])
    with pytest.raises(UsageError, match="a row for each"):
        forecast(SIZES, np.ones((3, 5)), [9])
