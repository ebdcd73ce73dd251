"""Small made images of three classes, and a ranking that is made up to the last column."""

from __future__ import annotations

import numpy as np
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.metrics.paired import Corrected, Difference
from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.ranking.gain import Forecast
from modelgraft_adapters.ranking.halving import Rung
from modelgraft_adapters.ranking.results import Ranking, Row


def made(items: int = 60, seed: int = 0, noise: float = 60.0) -> Dataset:
    """Images of 16 x 16 pixels whose class is their colour, more or less."""
    rng = np.random.default_rng(seed)
    targets = np.arange(items) % 3
    colours = np.array([[170, 90, 90], [90, 170, 90], [90, 90, 170]])
    pixels = colours[targets][:, None, None, :] + rng.normal(size=(items, 1, 1, 3)) * noise
    pixels = pixels + rng.normal(size=(items, 16, 16, 3)) * 30
    images = [image for image in pixels.clip(0, 255).astype(np.uint8)]  # noqa: C416  # a list of arrays, not of rows
    return Dataset(images, "image", "single-label", targets, ("red", "green", "blue"))


def made_up(hostile: str = "") -> Ranking:
    """Every column and every kind of row; ``hostile`` is in each text that comes from outside."""

    def row(name: str, status: str, value: float, seconds: float, **more: object) -> Row:
        score = Score("accuracy of a linear probe", value, value - 0.05, value + 0.04)
        return Row(
            f"{name}{hostile}",
            None,
            status,
            items=200 if status == "ranked" else 100,
            score=score,
            first=score,
            values={"probe": value, "knn": value - 0.1, "logme": -0.4},
            rank_low=1,
            rank_high=2,
            best_of=0.7,
            seconds_per_item=seconds,
            peak_mib=812.0,
            params=3_000_000,
            size=12_000_000,
            licence=f"mit{hostile}",
            **more,  # type: ignore[arg-type]
        )

    worse, close = Corrected(-0.2, -0.05, 0.001, 3), Corrected(-0.04, 0.02, 0.6, 2)
    rows = [
        row("timm/best", "ranked", 0.9, 0.02, pareto=True, control=0.5, over_control=Difference(0.4, 0.3, 0.5, 0.0)),
        row(
            "timm/next",
            "ranked",
            0.89,
            0.03,
            difference=close,
            control=0.95,
            over_control=Difference(-0.1, -0.2, -0.05, 0.01),
        ),
        row("timm/small", "dropped", 0.6, 0.005, pareto=True, difference=worse, reason=f"in the worse half {hostile}"),
        Row(f"timm/broken{hostile}", None, "failed", f"its process ended by signal 9 {hostile}"),
        Row("embedded/sprig", "mean", "cannot", f"no layer {hostile}"),
    ]
    return Ranking(
        by="probe",
        metric="accuracy of a linear probe",
        modality="image",
        classes=("a", f"b{hostile}"),
        available=400,
        rungs=(Rung(100, 3), Rung(200, 2)),
        rows=rows,
        embedded=500,
        of_random=200,
        everything=600,
        encoded=700,
        seconds=12.3,
        gain=[Forecast(400, 0.92, 0.88, 0.95), Forecast(800, 0.93, 0.88, 0.96)],
        curve=[(20, 0.6), (40, 0.7), (80, 0.8), (160, 0.9)],
        seed=0,
        versions={"torch": "2"},
        notes=[f"a note {hostile}"],
    )
