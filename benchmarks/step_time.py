"""The time of a fine-tuning step against a loop written by hand over the same model, images and augmentation.

    python benchmarks/step_time.py [--steps 8] [--rounds 3] [--batch-size 32] [--models vit_base_patch32_224]

The loop by hand is what one writes without a library: a torch DataLoader over the same files with the same transform, timm's
model in float32, cross-entropy, AdamW, clipping, a cosine. Both read, augment and train for the same steps in turn in one process,
and the ratio is of the medians of the steps; the step's own loss is read every step by both. mobilenetv2_100 has its ImageNet
weights and reads 96 pixels; of the others the weights are random, which changes no time. Ours trains as it does unasked (bf16 where
the processor computes in it), and in float32.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import statistics
import tarfile
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from finetuning import small_mobilenet
from measure import save
from modelgraft.devices import is_native
from modelgraft_adapters import FineTuner
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.finetuning.augmentation import training_transform
from modelgraft_adapters.media.images import FORMATS
from PIL import Image
from quality import DATA
from torch.utils.data import DataLoader, Dataset


class Files(Dataset[Any]):
    """Images and their classes, as one reads them by hand."""

    def __init__(self, paths: list[str], targets: list[int], transform: Any) -> None:
        self.paths, self.targets, self.transform = paths, targets, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index], formats=FORMATS) as image:
            return self.transform(image.convert("RGB")), self.targets[index]


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--batch-size", type=int, default=32)
    arguments.add_argument("--models", nargs="*", default=["mobilenetv2_100", "resnet50", "vit_base_patch32_224"])
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(options.data / "flowers5.tar") as tar:
            for member in tar.getmembers():
                if member.isfile() and member.name.startswith("train/"):
                    path = Path(folder, "images", *Path(member.name).parts[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(io.BytesIO(tar.extractfile(member).read()).getvalue())
        data = read_data(Path(folder) / "images")
        found = {name: of_model(name, Path(folder) / name, data, options) for name in options.models}
    said = {key: value for key, value in vars(options).items() if key != "data"}
    native = is_native(torch.bfloat16, torch.device("cpu"))
    save("step_time", {"options": said, "unasked": "bf16" if native else "fp32", "models": found})


def of_model(name: str, folder: Path, data: Any, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds of a model."""
    folder.mkdir()
    model = small_mobilenet(options.data, folder) if name == "mobilenetv2_100" else random_model(name, folder)
    found: dict[str, list[float]] = {"modelgraft": [], "modelgraft, fp32": [], "by hand": []}
    losses: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for way, precision in (("modelgraft", None), ("modelgraft, fp32", "fp32")):
            tuner, times = ours(model, data, precision, options)
            found[way] += times
            losses[way] = tuner.report_["losses"]
        times, losses["by hand"] = by_hand(name, tuner, data, options)
        found["by hand"] += times
        print(f"{name}, round {number + 1}: {ratio(found, 'modelgraft'):.3f}", flush=True)
    return {
        "seconds_of_steps": {way: [round(value, 4) for value in times] for way, times in found.items()},
        "losses_of_last_round": losses,
        "ratio": {way: ratio(found, way) for way in found if way != "by hand"},
    }


def random_model(name: str, folder: Path) -> str:
    """A folder of a model that nobody has trained."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    save_for_hf(timm.create_model(name), str(folder))
    return str(folder)


def ratio(found: dict[str, list[float]], way: str) -> float:
    """Of the medians over all steps: a machine shared with others slows single steps by a half."""
    return statistics.median(found[way]) / statistics.median(found["by hand"])


def ours(model: str, data: Any, precision: str | None, options: argparse.Namespace) -> tuple[FineTuner, list[float]]:
    """(what is trained, seconds of each step but the first): from the end of a step to the end of the next, reading included."""
    ends: list[float] = []
    tuner = FineTuner(
        model,
        "full",
        steps=options.steps,
        batch_size=options.batch_size,
        lr=3e-4,
        workers=0,
        precision=precision,
        tell=lambda _: ends.append(time.perf_counter()),
    )
    tuner.fit(data)
    return tuner, [later - earlier for earlier, later in pairwise(ends)]


def by_hand(name: str, tuner: FineTuner, data: Any, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """(seconds of each step but the first, losses); the weights and the head begin as the tuner's began."""
    import timm

    model = timm.create_model(name, num_classes=len(data.classes))
    place = model.default_cfg["classifier"]
    start = {n.removeprefix("body."): v for n, v in tuner.start_.items() if n.startswith("body.")}
    model.load_state_dict(
        {n: v for n, v in start.items() if not n.startswith(f"{place}.")}
        | {re.sub("^head", place, n): v for n, v in tuner.start_.items() if n.startswith("head.")},
        strict=False,  # buffers
    )
    torch.manual_seed(0)
    files = Files(list(data.items), data.targets.tolist(), training_transform(tuner.extractor.backbone, "crop"))
    loader = DataLoader(files, batch_size=options.batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.5 * (1 + math.cos(math.pi * n / options.steps)))
    model.train()
    ends, losses = [], []
    while len(ends) < options.steps:
        for pixels, targets in loader:
            loss = torch.nn.functional.cross_entropy(model(pixels), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            ends.append(time.perf_counter())
            if len(ends) == options.steps:
                break
    return [later - earlier for earlier, later in pairwise(ends)], losses


if __name__ == "__main__":
    main()
