"""Two stages: the text tower alone, then both towers; every step may be the last before an interruption."""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modelgraft_embedded.model import Config, DualEncoder
from modelgraft_embedded.preprocess import SIZE, normalise
from modelgraft_embedded.training.batches import (
    TEMPERATURE,
    Batch,
    Source,
    everyday_groups,
    load_sources,
    make_batch,
)
from modelgraft_embedded.training.concepts import Concepts
from modelgraft_embedded.training.files import load_checkpoint, save_checkpoint, save_json
from modelgraft_embedded.training.texts import TEMPLATES, load_texts


@dataclass
class Plan:
    """Everything that decides the result besides the prepared files."""

    seed: int = 0
    steps: int = 6400
    text_steps: int = 1600
    sizes: tuple[int, int] = (80, 48)  #: CIFAR-10 pictures and views of larger pictures in a batch
    names_every: int = 8  #: steps between two embeddings of all names: these cost more than a batch of pictures
    texts: int = 256  #: texts that are distilled with them, so that unseen words keep their meanings
    text_batch: int = 512
    rate: float = 2e-3
    text_rate: float = 2e-3
    decay: float = 0.05
    #: from this part of the steps on, pictures have this side: what is learned small stays true large
    sides: tuple[tuple[float, int], ...] = ((0.0, 32), (0.35, 48), (0.75, 64))
    #: from this part on, half of the views come evenly from the everyday names; before, 30 times as many
    #: sharp pictures show dogs as cats, and every photograph looks a little like a dog
    balanced: float = 0.875
    tail: int = 400  #: steps after the planned ones, so that this part is long enough to matter
    ema: float = 0.998
    save_every: int = 200
    bfloat16: bool = True
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)


class TextTask:
    """Texts to distil: a name inside any template means what the bare name means."""

    def __init__(self, work: Path, model: DualEncoder, seed: int) -> None:
        self.texts, self.names, _, self.targets = load_texts(work)
        self.model, self.seed = model, seed

    def loss(self, step: int, count: int, stage: int) -> Tensor:
        """Of seven names to one definition: apart, because a batch is as wide as its longest text."""
        return 0.875 * self._loss(step, count * 7 // 8, stage, False) + 0.125 * self._loss(
            step, count // 8, stage, True
        )

    def _loss(self, step: int, count: int, stage: int, definitions: bool) -> Tensor:
        """1 - cosine to the text teacher, and the same for all similarities within the batch."""
        rng = random.Random(f"{self.seed}:{stage}:{definitions}:{step}")
        tokenizer = self.model.tokenizer
        rows, encoded = [], []
        for _ in range(count):
            is_name = not definitions or self.names == len(self.texts)
            row = rng.randrange(self.names) if is_name else rng.randrange(self.names, len(self.texts))
            text = self.texts[row]
            if is_name and rng.random() < 0.5:
                text = rng.choice(TEMPLATES).format(text)
            words = tokenizer.encode(text)
            if rng.random() < 0.3:
                # known words as letter groups now and then: that is how unknown words will come
                spelled = tokenizer.split(text)
                if spelled:
                    place = rng.randrange(min(len(spelled), len(words)))
                    words[place] = tokenizer.pieces(spelled[place])
            rows.append(row)
            encoded.append(words)
        vectors, mask = self.model.word_vectors(encoded)
        student = F.normalize(self.model.text(vectors, mask), dim=1)
        target = self.targets[rows]
        relations = (student @ student.T - target @ target.T).pow(2).mean()
        return (1 - (student * target).sum(1)).mean() + 4 * relations


class Names:
    """Embeddings of all concepts, each under one of its names in one of the templates, new every step."""

    def __init__(self, concepts: Concepts, model: DualEncoder, seed: int) -> None:
        self.concepts, self.model, self.seed = concepts, model, seed

    def embeddings(self, step: int | None) -> Tensor:
        """(concepts, D) unit vectors; usual names without a template where ``step`` is None."""
        if step is None:
            texts = [names[0] for names in self.concepts.names]
        else:
            rng = random.Random(f"{self.seed}:names:{step}")
            template = rng.choice(TEMPLATES)
            texts = [
                template.format(names[0] if rng.random() < 0.6 else rng.choice(names)) for names in self.concepts.names
            ]
        return F.normalize(self.model.encode_text(texts), dim=1)


class PictureTask:
    """The losses of a picture batch."""

    def __init__(self, concepts: Concepts, dim: int, features: int) -> None:
        count = len(concepts.names)
        self.open = torch.ones(count, count, dtype=torch.bool)  # [label, name]: may this name be a wrong answer?
        for a, b in concepts.related():
            self.open[a, b] = False
        self.wider = torch.arange(count)
        for member, wide in concepts.wider.items():
            self.wider[member] = wide
        self.columns = torch.tensor(concepts.imagenet)
        self.head = nn.Linear(dim, features)  # to the teacher's features; thrown away after training

    def label_loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """(B,) smoothed cross-entropy among the names that can be wrong for the label."""
        allowed = self.open[label]
        logp = logits.masked_fill(~allowed, float("-inf")).log_softmax(1)
        true = -logp.gather(1, label[:, None])[:, 0]
        smooth = -logp.masked_fill(~allowed, 0).sum(1) / allowed.sum(1)
        return 0.95 * true + 0.05 * smooth

    def loss(
        self, batch: Batch, pooled: Tensor, embedded: Tensor, names: Tensor, scale: Tensor, wide_weight: float
    ) -> dict[str, Tensor]:
        """Means over the batch, weighted."""
        logits = scale.exp().clamp(max=100) * F.normalize(embedded, dim=1) @ names.T
        share = batch.share
        label = share * self.label_loss(logits, batch.label) + (1 - share) * self.label_loss(logits, batch.other)
        wider = self.wider[batch.label]
        has_wider = (wider != batch.label).float() * share
        wide = has_wider * self.label_loss(logits, wider)
        student = (logits[:, : len(self.columns)] / TEMPERATURE).log_softmax(1)
        kl = F.kl_div(student, batch.teacher, reduction="none").sum(1)
        guess = self.head(pooled)
        feature = 1 - F.cosine_similarity(guess, batch.features.sqrt(), dim=1)
        strength = torch.where(batch.weak, 0.3, 1.0)
        return {
            "label": (strength * label).mean(),
            "wider": wide_weight * wide.mean(),
            "teacher": (batch.taught * kl).mean(),
            "feature": 2.0 * (batch.taught * feature).mean(),
        }


def last_rate(step: int, plan: Plan) -> float:
    """`rate_at`, but slower to reach 0 in the balanced part, which goes on for `Plan.tail` steps."""
    start, end = round(plan.balanced * plan.steps), plan.steps + plan.tail
    if step < start:
        return rate_at(step, plan.steps)
    return rate_at(start, plan.steps) * max(0.02, (end - step) / (end - start))


def rate_at(step: int, steps: int) -> float:
    """One cycle: up over the first 8 %, then down to nearly 0, linearly."""
    warm = max(1, round(0.08 * steps))
    return (step + 1) / warm if step < warm else max(0.01, (steps - step) / (steps - warm))


def side_at(step: int, plan: Plan) -> int:
    """The pictures' side at a step."""
    return max(side for start, side in plan.sides if step >= start * plan.steps)


def groups(modules: list[tuple[nn.Module, float]], decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: weight decay on matrices only."""
    found = []
    for module, factor in modules:
        parameters = [p for p in module.parameters() if p.requires_grad]
        matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim < 2]
        found.append({"params": matrices, "weight_decay": decay, "factor": factor})
        found.append({"params": vectors, "weight_decay": 0.0, "factor": factor})
    return [group for group in found if group["params"]]


def optimize(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One step at this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 5.0)
    optimizer.step()


def text_stage(work: Path, model: DualEncoder, plan: Plan) -> None:
    """The text tower, word table included, from random to the text teacher's meanings."""
    path, done_path = work / "text.ckpt", work / "text_done.ckpt"
    if done_path.exists():
        model.load_state_dict(load_checkpoint(done_path)["model"])
        return
    task = TextTask(work, model, plan.seed)
    optimizer = torch.optim.AdamW(groups([(model.text, 1.0)], 0.01), lr=plan.text_rate)
    step = 0
    if path.exists():
        state = load_checkpoint(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    model.train()
    started = time.monotonic()
    while step < plan.text_steps:
        loss = task.loss(step, plan.text_batch, 4)
        optimize(optimizer, loss, plan.text_rate * rate_at(step, plan.text_steps))
        step += 1
        if step % 100 == 0 or step == plan.text_steps:
            print(
                f"text {step}/{plan.text_steps} loss {loss.item():.4f} {time.monotonic() - started:.0f} s",
                flush=True,
            )
        if step % plan.save_every == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            save_checkpoint(path, state)
    save_checkpoint(done_path, {"model": model.state_dict()})


@torch.inference_mode()
def watch(
    model: DualEncoder, names: Tensor, sources: dict[str, Source], concepts: Concepts, side: int
) -> dict[str, float]:
    """Accuracy on pictures held back from training, among the names that occur there."""
    model.eval()
    report = {}
    for key, source in sources.items():
        if not len(source):
            continue
        labels = source.label.unique()
        right = 0
        for first in range(0, len(source), 256):
            margin = (source.pixels.shape[-1] - SIZE) // 2
            pixels = source.pixels[first : first + 256, :, margin : margin + SIZE, margin : margin + SIZE]
            embedded = model.encode_image(F.interpolate(normalise(pixels), side, mode="bilinear", antialias=True))
            best = labels[(embedded @ names[labels].T).argmax(1)]
            right += int((best == source.label[first : first + 256]).sum())
        report[key] = round(right / len(source), 4)
    model.train()
    return report


def train(work: Path, out: Path, plan: Plan) -> None:
    """Run or continue both stages and write ``out``."""
    torch.manual_seed(plan.seed)
    concepts = Concepts.load(work / "concepts.json")
    _, _, words, _ = load_texts(work)
    concept_names = list(dict.fromkeys(name for group in concepts.names for name in group))
    config = Config(words=words, concepts=concept_names, widths=plan.widths)
    model = DualEncoder(config)
    task = PictureTask(concepts, plan.widths[-1], 1280)
    nn.init.normal_(model.text.table.weight, std=0.3)
    text_stage(work, model, plan)
    # the words keep their meanings while the layers above them meet the pictures
    model.text.table.weight.requires_grad_(False)
    cifar, views, cifar_watch, views_watch = load_sources(work)
    groups_of_views = everyday_groups(views, task.wider, len(task.columns))
    names, texts = Names(concepts, model, plan.seed), TextTask(work, model, plan.seed)
    model.image.to(memory_format=torch.channels_last)
    scale = nn.ParameterList([model.logit_scale])
    optimizer = torch.optim.AdamW(
        groups([(model.image, 1.0), (task.head, 1.0), (scale, 1.0), (model.text, 0.5)], plan.decay),
        lr=plan.rate,
    )
    averaged = {k: v.clone() for k, v in model.state_dict().items() if k != "text.table.weight"}
    step, seconds, total = 0, 0.0, plan.steps + plan.tail
    path = work / "train.ckpt"
    if path.exists():
        state = load_checkpoint(path)
        if state["plan"] != _plain(plan):
            raise SystemExit(f"{path} belongs to another plan: {state['plan']}; remove it or use its options")
        model.load_state_dict(state["model"])
        task.head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        averaged, step, seconds = state["averaged"], state["step"], state["seconds"]
    if plan.save_every % plan.names_every:
        raise ValueError("a checkpoint must fall on a step that embeds the names anew")
    model.train()
    last = time.monotonic()
    concept_vectors = torch.empty(0)
    while step < total:
        even = groups_of_views if step >= plan.balanced * plan.steps else None
        batch = make_batch(cifar, views, task.columns, len(task.columns), step, plan.sizes, plan.seed, even)
        side = side_at(step, plan)
        pixels = batch.pixels
        if side == SIZE // 2:
            pixels = F.avg_pool2d(pixels, 2)  # the same to the eye, and cheaper
        elif side != SIZE:
            pixels = F.interpolate(pixels, side, mode="bilinear", antialias=True)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bfloat16):
            pooled = model.image.features(pixels)
        pooled = pooled.float()
        wide = 0.5 if even is None else 1.0
        anew = step % plan.names_every == 0
        concept_vectors = names.embeddings(step) if anew else concept_vectors.detach()
        parts = task.loss(batch, pooled, model.image.project(pooled), concept_vectors, model.logit_scale, wide)
        if anew:
            parts["text"] = texts.loss(step, plan.texts, 5)
        optimize(optimizer, torch.stack(list(parts.values())).sum(), plan.rate * last_rate(step, plan))
        step += 1
        decay = min(plan.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            current = model.state_dict()
            for key, value in averaged.items():
                if value.is_floating_point():
                    value.lerp_(current[key], 1 - decay)
        if step % 50 == 0 or step == total:
            seconds, last = seconds + time.monotonic() - last, time.monotonic()
            shown = " ".join(f"{key} {value.item():.3f}" for key, value in parts.items())
            print(
                f"{step}/{total} {side}px {seconds:.0f} s {shown} scale {model.logit_scale.exp():.1f}",
                flush=True,
            )
        if step % plan.save_every == 0 or step == total:
            state = {
                "plan": _plain(plan),
                "model": model.state_dict(),
                "head": task.head.state_dict(),
                "optimizer": optimizer.state_dict(),
                "averaged": averaged,
                "step": step,
                "seconds": seconds,
            }
            save_checkpoint(path, state)
        if step % 1000 == 0 or step == total:
            live = {k: v.clone() for k, v in model.state_dict().items()}
            model.load_state_dict(averaged, strict=False)
            with torch.inference_mode():
                report = watch(
                    model,
                    names.embeddings(None),
                    {"cifar": cifar_watch, "views": views_watch},
                    concepts,
                    side,
                )
            model.load_state_dict(live)
            print(f"held back: {report}", flush=True)
    model.load_state_dict(averaged, strict=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out, {"training": {**_plain(plan), "seconds": round(seconds)}})
    save_json(work / "done.json", {"steps": step, "seconds": seconds})


def _plain(plan: Plan) -> dict[str, Any]:
    """The plan as JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return plain
