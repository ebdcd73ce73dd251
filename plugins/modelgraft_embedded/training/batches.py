"""Batches as a pure function of (seed, step): an interrupted run ends as an uninterrupted one does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from modelgraft_embedded.preprocess import MEAN, SIZE, STD
from modelgraft_embedded.training.pictures import TAUGHT

SHIFT = 8  #: CIFAR-10 squares move by up to this many of their 64 pixels (4 of their own 32)


@dataclass
class Source:
    """One pool of pictures with its labels and the teacher's answers."""

    pixels: Tensor  #: uint8 (N, 3, H, W)
    label: Tensor
    answer: Tensor  #: row of the teacher's answer in the two below; -1 where it was not asked
    features: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass
class Batch:
    """Float pictures (B, 3, S, S); the other label of a mixed one has weight ``1 - share``."""

    pixels: Tensor
    label: Tensor
    other: Tensor
    share: Tensor
    features: Tensor
    teacher: Tensor
    taught: Tensor  #: 1.0 where the teacher answered
    weak: Tensor  #: True where the label is that of a random part of one of 1,000 pictures


def stepwise(seed: int, stage: int, step: int) -> torch.Generator:
    """Random numbers that depend on nothing but these three."""
    return torch.Generator().manual_seed((seed * 7 + stage) * 10_000_019 + step)


def load_sources(work: Path) -> tuple[Source, Source, Source, Source]:
    """(CIFAR-10, larger pictures) to train on and the same two to watch."""
    cifar = load_file(work / "cifar.safetensors")
    parts = [load_file(path) for path in sorted(work.glob("cifar_teacher-*.safetensors"))]
    answers = {key: torch.cat([part[key] for part in parts]) for key in ("features", "scores")}
    # -1 as the answers' row: the teacher was not asked
    answered = torch.full_like(cifar["label"], -1)
    answered[::TAUGHT] = torch.arange(len(answered[::TAUGHT]))
    cifar["answer"] = answered
    files = [load_file(path) for path in sorted(work.glob("views-*.safetensors"))]
    views = {key: torch.cat([file[key] for file in files]) for key in files[0]}
    views["answer"] = torch.arange(len(views["label"]))

    def pick(table: dict[str, Tensor], given: dict[str, Tensor], validation: bool) -> Source:
        rows = torch.nonzero(table["validation"] == validation).flatten()
        pixels, label, answer = (table[key][rows] for key in ("pixels", "label", "answer"))
        return Source(pixels, label, answer, given["features"], given["scores"])

    return (
        pick(cifar, answers, False),
        pick(views, views, False),
        pick(cifar, answers, True),
        pick(views, views, True),
    )


def rows_of(count: int, step: int, batch: int, seed: int, stage: int) -> Tensor:
    """Row numbers of one step, drawn without replacement within each pass over the pool."""
    first = step * batch
    chosen: list[int] = []
    while len(chosen) < batch:
        turn, offset = divmod(first + len(chosen), count)
        order = torch.randperm(count, generator=stepwise(seed, stage, turn))
        chosen += order[offset : offset + batch - len(chosen)].tolist()
    return torch.tensor(chosen)


def crop_and_flip(pixels: Tensor, shift: int, random: torch.Generator) -> Tensor:
    """uint8 (B, 3, H, W) to uint8 (B, 64, 64, 3): shifted (mirrored at the edge), half of them flipped."""
    count, _, height, _ = pixels.shape
    room = height - SIZE + 2 * shift + 1
    corners = torch.randint(0, room, (2, count, 1), generator=random) - shift
    where = corners + torch.arange(SIZE)
    where = where.abs()
    where = torch.where(where >= height, 2 * height - 2 - where, where)
    rows, columns = where[0], where[1]
    flip = torch.rand(count, 1, generator=random) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    # one gather does crop, mirror edge and flip, and gives channels-last memory
    return pixels.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def jitter(pixels: Tensor, random: torch.Generator) -> Tensor:
    """uint8 (B, S, S, 3) to normalised float (B, 3, S, S) of random brightness, contrast and saturation."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255)
    brightness, contrast, saturation = torch.rand(3, len(x), 1, 1, 1, generator=random) * 2 - 1
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (1 + 0.3 * saturation)
    level = grey.mean((2, 3), keepdim=True)
    x = (x - level) * (1 + 0.25 * contrast) + level + 0.1 * brightness
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def cut_and_paste(batch: Batch, random: torch.Generator) -> None:
    """CutMix, in place: a box of each picture replaced by that of its neighbour in the batch."""
    size = batch.pixels.shape[-1]
    share = torch.rand(1, generator=random).item() ** 0.5  # mostly small boxes
    side = round(size * (1 - share) ** 0.5)
    top, left = (int(torch.randint(0, size - side + 1, (1,), generator=random)) for _ in range(2))
    box = (slice(None), slice(None), slice(top, top + side), slice(left, left + side))
    batch.pixels[box] = batch.pixels.roll(1, 0)[box]
    kept = 1 - (side / size) ** 2
    batch.other = batch.label.roll(1, 0)
    batch.share = torch.full_like(batch.share, kept)
    batch.features = kept * batch.features + (1 - kept) * batch.features.roll(1, 0)
    batch.teacher = kept * batch.teacher + (1 - kept) * batch.teacher.roll(1, 0)


def half_batch(
    source: Source, columns: Tensor, rows: Tensor, weak_below: int, shift: int, random: torch.Generator
) -> Batch:
    """Augmented pictures of ``source`` with softened teacher probabilities over ``columns``."""
    pixels = jitter(crop_and_flip(source.pixels[rows], shift, random), random)
    label = source.label[rows]
    answer = source.answer[rows]
    teacher = (source.scores[answer][:, columns].float() / TEMPERATURE).softmax(1)
    features = F.relu(source.features[answer].float())
    taught = (answer >= 0).float()
    return Batch(pixels, label, label, torch.ones(len(rows)), features, teacher, taught, label < weak_below)


TEMPERATURE = 2.0


def everyday_groups(views: Source, wider: Tensor, first: int) -> list[Tensor]:
    """Rows of ``views`` for each name from ``first`` on that they show, by themselves or as a wider name."""
    group = torch.where(views.label >= first, views.label, wider[views.label])
    return [torch.nonzero(group == number).flatten() for number in group.unique().tolist() if number >= first]


def make_batch(
    cifar: Source,
    views: Source,
    columns: Tensor,
    weak_below: int,
    step: int,
    sizes: tuple[int, int],
    seed: int,
    groups: list[Tensor] | None = None,
) -> Batch:
    """The training batch of a step: ``sizes`` pictures of CIFAR-10 and views of larger pictures.

    With ``groups`` (rows of ``views`` by everyday name) half of the views come evenly from all groups.
    """
    random = stepwise(seed, 1, step)
    view_rows = rows_of(len(views), step, sizes[1], seed, 3)
    if groups:
        for place in range(sizes[1] // 2):
            group = groups[int(torch.randint(0, len(groups), (1,), generator=random))]
            view_rows[place] = group[int(torch.randint(0, len(group), (1,), generator=random))]
        # a cut-and-paste pair must not always join an even half with another
        view_rows = view_rows[torch.randperm(sizes[1], generator=random)]
    small = half_batch(cifar, columns, rows_of(len(cifar), step, sizes[0], seed, 2), 0, SHIFT, random)
    large = half_batch(views, columns, view_rows, weak_below, 0, random)
    # a third of the views as coarse as CIFAR-10's pictures, so that coarseness says nothing about content
    coarse = torch.rand(sizes[1], generator=random) < 0.33
    blurred = F.interpolate(F.avg_pool2d(large.pixels[coarse], 2), scale_factor=2, mode="bilinear")
    large.pixels[coarse] = blurred
    if torch.rand(1, generator=random).item() < 0.5:
        cut_and_paste(large, random)
    both = [torch.cat(pair) for pair in zip(vars(small).values(), vars(large).values(), strict=True)]
    return Batch(*both)
