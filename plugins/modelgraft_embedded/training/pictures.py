"""Pictures to arrays: squares of CIFAR-10, random views of larger pictures, the teacher's answers to them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from modelgraft_embedded.preprocess import to_bytes, to_square
from modelgraft_embedded.training.concepts import HELD_FOLDERS, Concepts
from modelgraft_embedded.training.files import archive, save_tensors
from modelgraft_embedded.training.teachers import ImageTeacher

VIEW = 72  #: stored side of a view: SIZE and room for a random crop
TEACHER_SIDE = {"cifar": 96, "views": 128}
VIEWS = {"imagenet_samples": 10, "flowers5": 8, "ants_bees": 10, "pacs": 8}
TAUGHT = 3  #: the teacher sees every third picture of CIFAR-10; the others have their labels
VALIDATION = 0.02  #: of CIFAR-10's training pictures; a tenth of the small sets
FOLDER_NAMES = {"ants": "ant", "bees": "bee"}
SAME = 0.985  #: correlation of two thumbnails from which they count as one picture


def thumbnail(image: Image.Image) -> Tensor:
    """(256,) unit vector: 16x16 grey, mean removed. Two copies of a picture have nearly the same."""
    small = to_bytes(to_square(image, 16)).float().mean(0).flatten()
    return F.normalize(small - small.mean(), dim=0)


def test_thumbnails(data: Path) -> Tensor:
    """(N, 256) of every picture that is ever tested on."""
    found = []
    for name in ("cifar10", "flowers5", "ants_bees", "pacs"):
        found += [thumbnail(image) for path, image in archive(data, name) if path.startswith("test/")]
    return torch.stack(found)


def concept_of(concepts: Concepts, name: str, path: str) -> int | None:
    """The concept that a member of a training archive shows; None where it is held out."""
    parts = path.split("/")
    folder = parts[-2]
    if folder in HELD_FOLDERS.get(name, ()):
        return None
    return concepts.number(FOLDER_NAMES.get(folder, folder))


def cifar_pixels(data: Path, work: Path, concepts: Concepts, seed: int) -> None:
    """cifar.safetensors: pixels (N, 3, 64, 64) as `preprocess` makes them, label (N,), validation (N,)."""
    tests = test_thumbnails(data)
    pixels, labels, marks = [], [], []
    for path, image in archive(data, "cifar10_train_full"):
        pixels.append(to_bytes(to_square(image)))
        labels.append(concepts.number(path.split("/")[-2]))
        marks.append(thumbnail(image))
    seen = (torch.stack(marks) @ tests.T).amax(1) > SAME
    kept = torch.nonzero(~seen).flatten()
    generator = torch.Generator().manual_seed(seed)
    validation = torch.rand(len(kept), generator=generator) < VALIDATION
    print(f"cifar: {len(kept)} pictures, {int(seen.sum())} dropped as copies of test pictures", flush=True)
    stacked = torch.stack([pixels[i] for i in kept.tolist()])
    save_tensors(
        work / "cifar.safetensors",
        {"pixels": stacked, "label": torch.tensor(labels)[kept], "validation": validation},
    )


def cifar_teacher(data: Path, work: Path, pixels: Tensor, part: int = 4000, batch: int = 64) -> None:
    """cifar_teacher-<first>.safetensors: features and scores of every third picture; in parts, to resume."""
    teacher = ImageTeacher(data)
    pixels = pixels[::TAUGHT]
    for first in range(0, len(pixels), part):
        path = work / f"cifar_teacher-{first:06d}.safetensors"
        if path.exists():
            continue
        start, side = time.monotonic(), TEACHER_SIDE["cifar"]
        answers = []
        for index in range(first, min(first + part, len(pixels)), batch):
            chosen = pixels[index : min(index + batch, first + part)].float()
            larger = F.interpolate(chosen, (side, side), mode="bilinear", align_corners=False)
            answers.append(teacher(larger))
        features, scores = (torch.cat(column) for column in zip(*answers, strict=True))
        save_tensors(path, {"features": features, "scores": scores})
        print(f"cifar teacher {first}: {len(features) / (time.monotonic() - start):.0f}/s", flush=True)


def random_box(size: tuple[int, int], rng: random.Random) -> tuple[float, float, float, float]:
    """A random part of 30 to 100 % of the picture's area, of about its own shape or a square."""
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(0.3, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
            return left, top, left + across, top + down
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def training_pictures(data: Path, concepts: Concepts, name: str) -> Iterator[tuple[str, Image.Image, int]]:
    """Path, picture and concept of everything in an archive that may be trained on."""
    synsets: list[str] = []
    for path, image in archive(data, name):
        if name == "imagenet_samples":
            # one picture a class: the rank of the folder name is the class number
            synsets = synsets or sorted({p.split("/")[-2] for p, _ in archive(data, name)})
            concept = concepts.of_imagenet(synsets.index(path.split("/")[-2]))
        elif path.startswith("train/"):
            concept = concept_of(concepts, name, path)
        else:
            concept = None
        if concept is not None:
            yield path, image, concept


def view_set(data: Path, work: Path, concepts: Concepts, name: str, seed: int) -> None:
    """views-<name>.safetensors: pixels (N, 3, 72, 72), label, validation, features, scores."""
    teacher, tests = ImageTeacher(data), test_thumbnails(data)
    start, dropped = time.monotonic(), 0
    side = TEACHER_SIDE["views"]
    columns: dict[str, list[Tensor]] = {"pixels": [], "features": [], "scores": []}
    labels, validation, waiting = [], [], []
    for path, image, concept in training_pictures(data, concepts, name):
        if float((tests @ thumbnail(image)).max()) > SAME:
            dropped += 1
            continue
        rng = random.Random(f"{seed}:{name}:{path}")
        held_back = name != "imagenet_samples" and rng.random() < 0.1
        whole = (0.0, 0.0, float(image.width), float(image.height))
        for view in range(VIEWS[name]):
            # the first view is the centre, which is what a user's picture goes through
            square = min(image.size)
            left, top = (image.width - square) / 2, (image.height - square) / 2
            box = (left, top, left + square, top + square) if view == 0 else random_box(image.size, rng)
            box = tuple(
                max(low, min(high, value))
                for value, low, high in zip(box, (0, 0, 0, 0), (*whole[2:], *whole[2:]), strict=True)
            )  # type: ignore[assignment]
            columns["pixels"].append(to_bytes(image.resize((VIEW, VIEW), Image.Resampling.BICUBIC, box=box)))
            waiting.append(to_bytes(image.resize((side, side), Image.Resampling.BICUBIC, box=box)))
            labels.append(concept)
            validation.append(held_back)
        if len(waiting) >= 64:
            _ask(teacher, waiting, columns)
    _ask(teacher, waiting, columns)
    save_tensors(
        work / f"views-{name}.safetensors",
        {
            "pixels": torch.stack(columns["pixels"]),
            "features": torch.cat(columns["features"]),
            "scores": torch.cat(columns["scores"]),
            "label": torch.tensor(labels),
            "validation": torch.tensor(validation),
        },
    )
    rate = len(labels) / (time.monotonic() - start)
    print(f"{name}: {len(labels)} views, {dropped} pictures dropped as copies, {rate:.0f}/s", flush=True)


def _ask(teacher: ImageTeacher, waiting: list[Tensor], columns: dict[str, list[Tensor]]) -> None:
    if waiting:
        features, scores = teacher(torch.stack(waiting))
        columns["features"].append(features)
        columns["scores"].append(scores)
        waiting.clear()
