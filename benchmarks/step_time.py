"""The time of a fine-tuning step against a loop written by hand over the same model, images and augmentation.

    python benchmarks/step_time.py [--steps 12] [--rounds 9] [--batch-size 32]

The loop by hand is what one writes without a library: a torch DataLoader over the same files with the same transform, timm's
model, cross-entropy, AdamW, clipping, a cosine. Both read, augment and train for the same steps in turn in one process, and the
ratio is of the medians of the steps; the step's own loss is read every step by both.
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
    arguments.add_argument("--steps", type=int, default=12)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--batch-size", type=int, default=32)
    options = arguments.parse_args()
    found: dict[str, list[float]] = {"modelgraft": [], "by hand": []}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").mkdir()
        model = small_mobilenet(options.data, Path(folder) / "model")
        with tarfile.open(options.data / "flowers5.tar") as tar:
            for member in tar.getmembers():
                if member.isfile() and member.name.startswith("train/"):
                    path = Path(folder, "pictures", *Path(member.name).parts[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(io.BytesIO(tar.extractfile(member).read()).getvalue())
        data = read_data(Path(folder) / "pictures")
        for number in range(options.rounds):
            tuner, times = ours(model, data, options)
            found["modelgraft"] += times
            losses["modelgraft"] = tuner.report_["losses"]
            times, losses["by hand"] = by_hand(tuner, data, options)
            found["by hand"] += times
            print(f"round {number + 1}: {ratio(found):.3f}", flush=True)
    save(
        "step_time",
        {
            "options": {key: value for key, value in vars(options).items() if key != "data"},
            "seconds_of_steps": {name: [round(value, 4) for value in times] for name, times in found.items()},
            "losses_of_last_round": losses,
            "ratio": ratio(found),
        },
    )


def ratio(found: dict[str, list[float]]) -> float:
    """Of the medians over all steps: a machine shared with others slows single steps by a half."""
    return statistics.median(found["modelgraft"]) / statistics.median(found["by hand"])


def ours(model: str, data: Any, options: argparse.Namespace) -> tuple[FineTuner, list[float]]:
    """(what is trained, seconds of each step but the first): from the end of a step to the end of the next, reading included."""
    ends: list[float] = []
    tuner = FineTuner(
        model,
        "full",
        steps=options.steps,
        batch_size=options.batch_size,
        lr=3e-4,
        workers=0,
        tell=lambda _: ends.append(time.perf_counter()),
    )
    tuner.fit(data)
    return tuner, [later - earlier for earlier, later in pairwise(ends)]


def by_hand(tuner: FineTuner, data: Any, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """(seconds of each step but the first, losses); the weights and the head begin as the tuner's began."""
    import timm

    model = timm.create_model("mobilenetv2_100", num_classes=len(data.classes))
    model.load_state_dict({re.sub("^head", "classifier", n.removeprefix("body.")): v for n, v in tuner.start_.items()})
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
