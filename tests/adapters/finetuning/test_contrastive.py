"""Contrastive tuning: the pairs are setfit's, streamed; the loss and its gradient are sentence_transformers'."""

from __future__ import annotations

import copy
import tracemalloc
from collections import Counter
from typing import Any

import modelgraft
import numpy as np
import pytest
import torch
from modelgraft.errors import UsageError
from modelgraft_adapters.finetuning.accelerator import make_accelerator
from modelgraft_adapters.finetuning.batches import Batches, PictureItems, TextItems
from modelgraft_adapters.finetuning.contrastive import CosineObjective, PairItems, PairSampler, Siamese, shuffled
from modelgraft_adapters.finetuning.loop import Loop
from modelgraft_adapters.finetuning.parameter_groups import make_plan
from modelgraft_adapters.finetuning.settings import Settings
from PIL import Image
from torch import nn

from tests.sentence_transformers.conftest import minilm_folder

RNG = np.random.default_rng(0)
LABELS: dict[str, np.ndarray] = {
    "eight texts, two classes": np.array([0, 0, 0, 0, 1, 1, 1, 1]),
    "unsorted, five classes": RNG.integers(0, 5, 23),
    "one against many": np.array([0, 0, 1, 0, 0, 0]),
    "all different": np.arange(6),
    "two items": np.array([1, 0]),
}
SETS: dict[str, np.ndarray] = {
    "some without a class": (RNG.random((17, 4)) < 0.3).astype(np.float32),
    "many classes each": np.concatenate([(RNG.random((12, 3)) < 0.6), np.eye(3)]).astype(np.float32),
    "every set its own": np.array([[n >> bit & 1 for bit in range(4)] for n in range(1, 16)], np.float32),
}
SAMPLINGS = ("oversampling", "undersampling", "unique")


def _setfit(targets: np.ndarray, multi: bool, sampling: str) -> tuple[set[tuple[int, int, int]], int, int]:
    """(all pairs there are, positives of a pass, negatives of a pass), by setfit's own sampler."""
    from setfit.sampler import ContrastiveDataset  # slow to import

    names = [str(n) for n in range(len(targets))]
    theirs = ContrastiveDataset(names, list(targets), multi, sampling_strategy=sampling)
    pairs = {(int(p["sentence_1"]), int(p["sentence_2"]), int(p["label"])) for p in theirs.pos_pairs + theirs.neg_pairs}
    return pairs, theirs.len_pos_pairs, theirs.len_neg_pairs


def _pass(sampler: PairSampler, number: int = 0) -> list[tuple[int, int, int]]:
    return [tuple(sampler.pair(number, k)) for k in range(len(sampler))]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("name", LABELS)
def test_the_pairs_of_a_pass_are_those_of_setfit(name: str, sampling: Any) -> None:
    pairs, positives, negatives = _setfit(LABELS[name], False, sampling)
    ours = PairSampler(LABELS[name], "single-label", 3, sampling)
    found = Counter(_pass(ours, 2))
    assert ours.counts == {1: positives, 0: negatives} and sum(found.values()) == len(ours) == positives + negatives
    assert sum(n for pair, n in found.items() if pair[2]) == positives
    assert set(found) <= pairs if sampling == "undersampling" else set(found) == pairs
    for same in (0, 1):  # none comes again before all others have come
        times = [n for pair, n in found.items() if pair[2] == same]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("name", SETS)
def test_of_several_classes_each_they_are_setfits_too(name: str, sampling: Any) -> None:
    """But for one thing: an item without a class is no negative of itself."""
    pairs, _, _ = _setfit(SETS[name], True, sampling)
    pairs -= {(n, n, 0) for n in range(len(SETS[name]))}
    kinds = Counter(same for _, _, same in pairs)
    each = {"oversampling": max(kinds.values()), "undersampling": min(kinds.values())}.get(sampling)
    found = _pass(PairSampler(SETS[name], "multi-label", 3, sampling))
    assert Counter(same for _, _, same in found) == (kinds if each is None else {1: each, 0: each})
    assert set(found) <= pairs if sampling == "undersampling" else set(found) == pairs


def test_positives_and_negatives_come_in_turn() -> None:
    found = _pass(PairSampler(LABELS["unsorted, five classes"], "single-label", 0))
    assert [same for _, _, same in found] == [1, 0] * (len(found) // 2)
    rest = _pass(PairSampler(LABELS["unsorted, five classes"], "single-label", 0, "unique"))
    assert [same for _, _, same in rest] == [1, 0] * 68 + [0] * (208 - 68)


def test_seed_and_pass_make_the_order() -> None:
    labels = LABELS["unsorted, five classes"]
    first = _pass(PairSampler(labels, "single-label", 1), 4)
    assert first == _pass(PairSampler(labels, "single-label", 1), 4)
    assert first != _pass(PairSampler(labels, "single-label", 2), 4)
    assert first != _pass(PairSampler(labels, "single-label", 1), 5)


def test_an_order_without_a_list_is_a_permutation_and_no_place_is_preferred() -> None:
    for count in (1, 2, 3, 17, 64, 65, 1000):
        assert sorted(shuffled(place, count, 9) for place in range(count)) == list(range(count))
    firsts = np.bincount([shuffled(0, 10, key) for key in range(5000)], minlength=10)
    assert ((firsts - 500) ** 2 / 500).sum() < 27.9  # chi-squared with 9 degrees, p = 0.001


@pytest.mark.parametrize("classes", [None, 12])
def test_memory_grows_with_the_items_not_with_the_pairs(classes: int | None) -> None:
    peaks = {}
    for items in (200, 20_000):
        rng = np.random.default_rng(0)
        targets = rng.integers(0, 5, items) if classes is None else np.eye(classes)[rng.integers(0, classes, items)]
        tracemalloc.start()
        sampler = PairSampler(targets, "single-label" if classes is None else "multi-label", 0)
        for k in range(min(len(sampler), 1000)):
            sampler.pair(0, k)
        peaks[items] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(sampler) > 300_000_000
    assert peaks[200] < 200_000 and peaks[20_000] < 8_000_000  # a list of 300 million pairs would have gigabytes


def test_a_whole_pass_keeps_nothing() -> None:
    sampler = PairSampler(np.arange(60) % 4, "single-label", 0)
    tracemalloc.start()
    count = sum(sampler.pair(0, k).same for k in range(len(sampler)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1350 == len(sampler) // 2 and peak < 50_000


def test_what_gives_no_pairs_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match="pairs of different classes, and these 5 items have none"):
        PairSampler(np.zeros(5, np.int64), "single-label", 0)
    with pytest.raises(UsageError, match="pairs of one class"):
        PairSampler(np.zeros((5, 3), np.float32), "multi-label", 0)
    with pytest.raises(UsageError, match="numbers"):
        PairSampler(np.zeros((5, 1), np.float32), "regression", 0)
    with pytest.raises(IndexError, match="40 pairs"):
        PairSampler(LABELS["eight texts, two classes"], "single-label", 0).pair(0, 40)


WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a of the photo drawing dog cat horse bird frog deer car truck ship bus train airplane"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small BERT with random weights and a vocabulary of its own, as a backbone."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    made, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("model")
    (made / "vocab.txt").write_text("\n".join(WORDS.split()), encoding="utf-8")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS.split()), max_position_embeddings=32, **sizes)).save_pretrained(made)
    BertTokenizer(str(made / "vocab.txt")).save_pretrained(made)
    SentenceTransformer(modules=[Transformer(str(made)), Pooling(16)], device="cpu").save(str(folder))
    return modelgraft.load(str(folder), device="cpu")


def _pairs(encoder: Any, texts: tuple[list[str], list[str]], seed: int = 0) -> PairItems:
    targets = np.array([int(label == "vehicle") for label in texts[1]])
    return PairItems(TextItems(texts[0], encoder.token_batch), PairSampler(targets, "single-label", seed))


TARGETS = torch.tensor([0.0, 1.0])


def test_loss_and_gradient_are_those_of_sentence_transformers(bert: Any, texts: tuple[list[str], list[str]]) -> None:
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    items = _pairs(bert, texts)
    places = [(0, k) for k in range(16)]
    batch = items.collate([items[place] for place in places])
    siamese, objective = Siamese(bert, nn.Identity()), CosineObjective()
    cosines, targets = siamese(batch.inputs), TARGETS[batch.index]
    assert cosines.shape == (16,) and cosines.dtype == torch.float32 and targets.tolist() == [1, 0] * 8
    losses = objective(cosines, targets)
    assert torch.equal(losses, (cosines - targets) ** 2)
    losses.sum().div(len(batch)).backward()
    ours = {name: p.grad.clone() for name, p in bert.module.named_parameters() if p.grad is not None}
    bert.module.zero_grad()

    sides = [[texts[0][items.sampler.pair(*place)[side]] for place in places] for side in (0, 1)]
    loss = CosineSimilarityLoss(bert.module)([bert.module.preprocess(side) for side in sides], targets)
    loss.backward()
    torch.testing.assert_close(losses.mean(), loss, rtol=1e-5, atol=1e-7)
    theirs = {name: p.grad for name, p in bert.module.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys() and len(ours) > 30
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert max(float(g.abs().max()) for g in theirs.values()) > 1e-3


@pytest.mark.parametrize("parts", [1, 3])
def test_the_loop_trains_pairs_and_parts_of_a_step_give_the_same_step(
    bert: Any, texts: tuple[list[str], list[str]], parts: int
) -> None:
    """Through the loop of all strategies: accelerate, AdamW, the schedule. Against AdamW by hand, pair by pair."""
    settings = Settings(strategy="contrastive", steps=3, accumulate=parts, schedule="constant", warmup=0.0, lr=1e-3)
    backbone, plain = copy.deepcopy(bert), copy.deepcopy(bert)
    items, siamese = _pairs(backbone, texts), Siamese(backbone, nn.Identity())
    plan = make_plan(siamese.body, backbone.blocks("text"), siamese.head, settings)
    siamese.open(plan)
    siamese.eval()  # no dropout, to compare
    batches = Batches(items, settings.items_of_step(len(items.items)), seed=0)
    accelerator = make_accelerator(torch.device("cpu"), "fp32")
    loop = Loop(siamese, plan, settings, 3, CosineObjective(), batches, TARGETS, None, accelerator)
    told: list[Any] = []
    assert loop.run(3, tell=told.append)

    named = {n: p for n, p in plain.module.named_parameters() if n in plan.trained}
    decayed = {n for g in plan.groups if g.weight_decay for n in g.parameters}
    groups = [
        {"params": [p for n, p in named.items() if (n in decayed) == kind], "weight_decay": 0.05 * kind}
        for kind in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    for step, progress in enumerate(told):
        optimizer.zero_grad()
        losses, right = [], 0
        for k in range(16 * step, 16 * step + 16):
            pair = items.sampler.pair(0, k)
            first, second = plain.embed(plain.token_batch([texts[0][pair.first], texts[0][pair.second]]))
            cosine = first @ second / first.norm() / second.norm()
            losses.append((cosine - pair.same) ** 2)
            right += int((cosine > 0.5) == bool(pair.same))
        loss = torch.stack(losses).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        assert progress.loss == pytest.approx(loss.item(), rel=1e-4) and progress.accuracy == right / 16
    moved = 0
    for (name, ours), theirs in zip(backbone.module.named_parameters(), plain.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)
        moved += not torch.equal(ours, dict(bert.module.named_parameters())[name])
    assert moved > 30


def test_right_are_the_pairs_nearer_to_their_target() -> None:
    cosines, targets = torch.tensor([0.9, 0.2, 0.6, -0.5]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert int(CosineObjective().right(cosines, targets)) == 2


def test_steps_are_pairs_of_tokens_padded_alike(bert: Any, texts: tuple[list[str], list[str]]) -> None:
    items = _pairs(bert, texts)
    batches = Batches(items, 16, seed=0)
    steps = list(batches.span(0, 3))
    assert len(items.items) == 2 * max(2 * 18 * 19 // 2, 18 * 18)
    for batch in steps:
        shapes = {tuple(value.shape) for value in batch.inputs.values()}
        assert len(shapes) == 1 and next(iter(shapes))[:2] == (16, 2) and batch.index.shape == (16,)
    last = len(items.items) - 3  # pairs come in the order of their numbers, pass after pass
    assert items.places(1, last, seed=0)[:4] == [(0, last), (0, last + 1), (0, last + 2), (1, 0)]
    again = next(iter(batches.span(2, 3)))
    assert torch.equal(again.inputs["input_ids"], steps[2].inputs["input_ids"])


def test_pairs_with_an_empty_text_are_left_out_and_the_text_is_named(bert: Any) -> None:
    items = _pairs(bert, (["a dog", " ", "a car", "the truck"], ["animal", "animal", "vehicle", "vehicle"]))
    sampled = [items.sampler.pair(0, k) for k in range(len(items.items))]
    batch = items.collate([items[0, k] for k in range(len(items.items))])
    kept = [pair for pair in sampled if 1 not in pair[:2]]
    assert 0 < len(kept) < len(sampled)
    assert batch.index.tolist() == [pair.same for pair in kept] and len(batch.inputs["input_ids"]) == len(kept)
    assert batch.broken == ((1, "the text is empty"),)
    nothing = items.collate([items[0, k] for k, pair in enumerate(sampled) if 1 in pair[:2]])
    assert len(nothing) == 0 and nothing.broken == batch.broken


def test_pictures_go_in_pairs_too() -> None:
    """Of an image with itself the two sides are changed at random apart, and as much the same when asked again."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)) for _ in range(4)]

    def noisy(image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return pixels + torch.rand(pixels.shape)

    sampler = PairSampler(np.array([0, 0, 1, 1]), "single-label", 0)
    items = PairItems(PictureItems(pictures, noisy, seed=1), sampler)
    batch = items.collate([items[0, k] for k in range(len(sampler))])
    assert batch.inputs.shape == (len(sampler), 2, 3, 8, 8)
    alike = next(k for k in range(len(sampler)) if sampler.pair(0, k)[0] == sampler.pair(0, k)[1])
    assert not torch.equal(batch.inputs[alike, 0], batch.inputs[alike, 1])
    assert torch.equal(items.collate([items[0, alike]]).inputs[0], batch.inputs[alike])

    class Flat:
        module = nn.Flatten()
        embed = nn.Flatten()
        embed_dim = 192

    cosines = Siamese(Flat(), nn.Identity())(batch.inputs)
    first, second = batch.inputs.flatten(2).unbind(1)
    torch.testing.assert_close(cosines, torch.cosine_similarity(first, second))


def test_real_minilm_draws_classes_apart(texts: tuple[list[str], list[str]]) -> None:
    """Cosines before are those of SentenceTransformer.similarity; a few steps raise those of a class and lower the others."""
    encoder: Any = modelgraft.load(str(minilm_folder()), device="cpu")
    few = ([*texts[0][:4], *texts[0][18:22]], [*texts[1][:4], *texts[1][18:22]])
    items = _pairs(encoder, few)
    siamese, objective = Siamese(encoder, nn.Identity()), CosineObjective()

    def look() -> tuple[torch.Tensor, float, float]:
        batch = items.collate([items[0, k] for k in range(len(items.items))])
        with torch.no_grad():
            found = siamese(batch.inputs)
        return found, float(found[batch.index == 1].mean()), float(found[batch.index == 0].mean())

    found, positive, negative = look()
    embedded = encoder.module.encode(few[0], convert_to_tensor=True)
    table = encoder.module.similarity(embedded, embedded)
    pairs = [items.sampler.pair(0, k) for k in range(len(items.items))]
    torch.testing.assert_close(found, torch.stack([table[p.first, p.second] for p in pairs]), rtol=1e-4, atol=1e-5)

    optimizer = torch.optim.AdamW(siamese.parameters(), lr=2e-5)
    for batch in Batches(items, 8, seed=0).span(0, 5):
        optimizer.zero_grad()
        objective(siamese(batch.inputs), TARGETS[batch.index]).mean().backward()
        optimizer.step()
    _, positive_after, negative_after = look()
    assert positive_after > positive + 0.02 and negative_after < negative - 0.05
