"""What tests of comparisons share: a second model of real weights, and a comparison that is made up to the last column."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from modelgraft_adapters.compare.results import Comparison, Row
from modelgraft_adapters.metrics.paired import Difference, Reach
from modelgraft_adapters.metrics.scores import Score
from modelgraft_adapters.metrics.spread import CurvePoint


def mobilenet(shared_data: Path, folder: Path) -> str:
    """ImageNet's MobileNetV2 as timm saves a model, at 64 pixels, which is quick: a folder that the registry recognises."""
    import timm

    folder.mkdir(parents=True, exist_ok=True)
    config = timm.get_pretrained_cfg("mobilenetv2_100").to_dict()
    stated = {key: config[key] for key in ("interpolation", "crop_pct", "mean", "std", "num_classes")}
    stated |= {"classifier": "classifier", "first_conv": "conv_stem", "input_size": [3, 64, 64]}
    about = {"architecture": "mobilenetv2_100", "num_classes": 1000, "num_features": 1280, "pretrained_cfg": stated}
    (folder / "config.json").write_text(json.dumps(about))
    weights = shared_data / "weights" / "mobilenetv2_100.coral_in1k_plain.safetensors"
    shutil.copy(weights, folder / "model.safetensors")
    return str(folder)


def made_up(hostile: str = "") -> Comparison:
    """Every column and every kind of row; ``hostile`` is in each text that comes from outside."""

    def row(model: str, strategy: str, means: tuple[float, ...], apart: float | None) -> Row:
        shots = (4, 16, None) if len(means) > 1 else (0,)
        points = [
            CurvePoint(s, {0: 0, 4: 20, 16: 80, None: 500}[s], m, m - 0.04, min(m + 0.04, 1), (m - 0.01, m, m + 0.01))
            for s, m in zip(shots, means, strict=True)
        ]
        last = points[-1]
        return Row(
            model,
            strategy,
            "done",
            points=points,
            score=Score("accuracy", last.mean, last.low, last.high),
            difference=None if apart is None else Difference(apart, apart - 0.02, apart + 0.02, None),
            reach=Reach(None) if means[-1] < 0.8 else Reach(12.3456),
            learning=3.21 + 400 * (strategy == "full"),
            testing=1.5,
            joules=1234.5,
            peak_mib=1234.5,
            gpu_peak_mib=812.3,
            notes=[f"a note {hostile}"],
        )

    clip, net = f"open_clip/ViT-B-32:laion2b_s34b_b79k{hostile}", "timm/resnet50.a1_in1k"
    rows = [
        row(clip, "full", (0.7, 0.85, 0.93), None),
        row(clip, "probe", (0.75, 0.86, 0.92), -0.01),
        row(net, "lp-ft", (0.6, 0.8, 0.9), -0.03),
        row(net, "probe", (0.55, 0.75, 0.85), -0.08),
        row(clip, "zero-shot", (0.72,), -0.21),
        Row(net, "zero-shot", "cannot", "no text tower"),
        Row(net, "full", "failed", f"its process ended by signal 9, out of memory? {hostile}"),
    ]
    return Comparison(
        task="single-label",
        metric="accuracy",
        classes=("a", "b", "c", "d", f"e{hostile}"),
        learnt=5,
        train=500,
        test=250,
        shots=(4, 16, None),
        seeds=(0, 1, 2),
        wanted=0.8,
        chance=0.2,
        rows=rows,
        ran=30,
        kept=7,
        energy="package-0",
        settings={"fine-tuning": {"steps": 200}},
        versions={"torch": "2"},
        notes=[f"a note {hostile}"],
    )
