"""What a step sees is a function of the seed and its number: passes are whole, resumed runs and processes share them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from modelgraft_adapters.finetuning.batches import Batches, PictureItems, TextItems, seed_of, shuffled
from PIL import Image

SIZE, ITEMS = 8, 30


def test_every_pass_has_every_item_once() -> None:
    seen = [place for step in range(15) for place in _pictures().places(step, SIZE, seed=3)]
    assert len(seen) == 120 and Counter(seen) == Counter((p, i) for p in range(4) for i in range(ITEMS))
    orders = [[i for p, i in seen if p == number] for number in range(4)]
    assert len({tuple(order) for order in orders}) == 4  # each in an order of its own
    assert _pictures().places(5, SIZE, seed=4) != _pictures().places(5, SIZE, seed=3)


def test_a_step_larger_than_the_data_goes_through_them_again() -> None:
    assert sorted(Counter(i for _, i in shuffled(0, 7, 3, seed=0)).values()) == [2, 2, 3]


def _pictures(transform=None) -> PictureItems:
    rng = np.random.default_rng(0)
    items = [Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)) for _ in range(ITEMS)]

    def noisy(image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return pixels + torch.rand(pixels.shape)

    return PictureItems(items, transform or noisy, seed=5)


def test_steps_from_the_middle_are_those_of_the_whole_run() -> None:
    batches = Batches(_pictures(), SIZE, seed=1)
    whole = list(batches.span(0, 6))
    torch.manual_seed(123)  # what the process drew before is nothing to the step
    rest = list(batches.span(3, 6))
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.index, other.index) and torch.equal(one.inputs, other.inputs)


def test_reading_ahead_changes_nothing() -> None:
    plain = list(Batches(_pictures(), SIZE, seed=1).span(0, 3))
    ahead = list(Batches(_pictures(), SIZE, seed=1, workers=1).span(0, 3))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(plain, ahead, strict=True))


def test_processes_share_a_step() -> None:
    alone = next(iter(Batches(_pictures(), SIZE, seed=1).span(2, 3)))
    parts = [next(iter(Batches(_pictures(), SIZE, 1, rank, 2).span(2, 3))) for rank in range(2)]
    rows = {int(i): x for part in parts for i, x in zip(part.index, part.inputs, strict=True)}
    assert sorted(rows) == sorted(alone.index.tolist())
    assert all(torch.equal(rows[int(i)], x) for i, x in zip(alone.index, alone.inputs, strict=True))


def test_what_cannot_be_read_is_named() -> None:
    items = _pictures()
    broken = PictureItems([*items.items[:2], "/no/such/picture.jpg"], items.transform, seed=0)
    batch = broken.collate([broken[0, n] for n in range(3)])
    assert batch.index.tolist() == [0, 1] and len(batch) == 2 and batch.inputs.shape == (2, 3, 8, 8)
    assert [item for item, _ in batch.broken] == [2] and "no such file" in batch.broken[0][1]
    texts = TextItems(["a", " ", "b"], lambda rows: {"ids": torch.zeros(len(rows), 4)})
    batch = texts.collate([texts[0, n] for n in range(3)])
    assert batch.index.tolist() == [0, 2] and batch.broken == ((1, "the text is empty"),)


def test_seeds_differ() -> None:
    assert len({seed_of(a, b) for a in range(50) for b in range(50)}) == 2500
    assert seed_of(1, 2) == seed_of(1, 2) and 0 <= seed_of(1, 2) < 2**63
