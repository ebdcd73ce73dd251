"""The cosine head: trained class vectors of length 1, starting at the class names where the model embeds texts.

ZS-LP and CLAP (Silva-Rodríguez et al., CVPR 2024, arXiv 2312.12730): a linear probe initialised with the zero-shot class embeddings
t, cross-entropy + mean over c of α_c‖w_c − t_c‖², α_c the mean zero-shot probability of class c on its own examples; SGD with rate
0.1, momentum 0.9, batch 256, 300 epochs, cosine schedule. It needs no validation set. Beyond the paper, the result is drawn
towards zero-shot as in WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903), as far as held-out folds do not contradict.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from modelgraft.contract import ScoreRule
from modelgraft.errors import UsageError
from modelgraft.learning import Examples
from torch.nn import functional as F

from modelgraft_heads.base import (
    ABSENT,
    SHARPEST,
    FittedHead,
    Given,
    checked,
    item_weights,
    one_hot,
    overshot,
    text_of,
    unit,
)
from modelgraft_heads.choosing import chosen, log_likelihood, splits
from modelgraft_heads.prototype import absent_notes, class_means

LENGTH = 10.0
"""Length of the class vectors while they are trained. The published rate and constraint belong to class embeddings as CLIP gives
them, about 10 long; a step turns a vector by rate / length², so on vectors of length 1 they would be another method."""
BLENDS = tuple(n / 10 for n in range(11))
"""Shares of what was trained that are tried; 0 is zero-shot."""
UNTRIED_BLEND = 0.5
"""The share where there is nothing to choose by: WiSE-FT's recommendation without further knowledge."""
SCALES = (10.0, 30.0, 100.0)
"""Logit scales that are tried where no text tower brings one."""
MOMENTUM = 0.9
MOST_STEPS = 6000
"""Epochs are cut so that training takes no more steps; the recipe is for few examples."""


@dataclass(frozen=True, slots=True)
class _Schedule:
    rate: float
    epochs: int
    batch: int
    seed: int


class CosineHead(FittedHead):
    """Logits are ``scale * similarity + bias`` with trained class vectors, by the model's own rule.

    Under a sigmoid rule (SigLIP) the logits keep scale and bias; as the classes exclude each other, training and
    probabilities use the softmax, to which the bias makes no difference. Under a dot product nothing is normalised.

    Tensors: ``weight`` (C, D) float32; ``present`` (C,) bool, classes that can be predicted.
    """

    weight: torch.Tensor
    present: torch.Tensor

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """Train the class vectors; a class without examples keeps its text embedding (without text: is never predicted).

        Settings: ``constraint`` ("clap", "none", or one α for all classes) and ``blend`` in [0, 1], the share of what was trained
        against zero-shot: chosen by folds, by log-likelihood; of all within one standard error of the best zero-shot (0) comes
        first, then CLAP's constraint, then none, the smaller share before the larger. Without folds CLAP's and 0.5.
        ``scale`` (without text only; chosen by folds from 10, 30, 100); ``epochs`` (300), ``rate`` (0.1), ``batch`` (256). The
        constraint is applied as a proximal step, which is stable however strong it is.

        Raises:
            UsageError: as `checked`; a setting that cannot be.
        """
        checked(examples, "cosine")
        given = Given("cosine", settings, ("constraint", "blend", "scale", "epochs", "rate", "batch"))
        batch = given.whole("batch", 1) or 256
        steps = math.ceil(len(examples.features) / batch)
        schedule = _Schedule(
            rate=given.number("rate", 0, above=True) or 0.1,
            epochs=given.whole("epochs", 1) or max(1, min(300, MOST_STEPS // steps)),
            batch=batch,
            seed=examples.seed,
        )
        constraint = given.values.get("constraint", "none" if examples.text is None else "clap")
        strength = None if constraint in ("clap", "none") else given.number("constraint", 0)
        if examples.text is None:
            for name, wrong in (("blend", "blend" in given.values), ("constraint", constraint == "clap")):
                if wrong:
                    raise UsageError(
                        f"{name} for the head 'cosine' is about class names, and this model embeds no texts; leave it out"
                    )
            return cls._from_means(examples, given, schedule, strength)._looked_at(examples, given)
        if "scale" in given.values:
            raise UsageError("scale for the head 'cosine' is the model's own where it embeds texts; leave it out")
        return cls._from_text(examples, given, schedule, str(constraint), strength)._looked_at(examples, given)

    def _looked_at(self, examples: Examples, given: Given) -> Self:
        self.settings["report"]["notes"] += overshot(self, examples, given)
        return self

    @classmethod
    def _from_text(
        cls, examples: Examples, given: Given, schedule: _Schedule, constraint: str, strength: float | None
    ) -> Self:
        text = text_of(examples, "cosine")
        rule, count = text.rule, len(examples.classes)
        cosine = rule.similarity == "cosine"
        start = unit(text.weight.float()) if cosine else text.weight.float()
        features = unit(examples.features.float()) if cosine else examples.features.float()
        zero_shot = features @ start.T * rule.scale
        blend = given.number("blend", 0, 1)
        parts = splits(examples.folds) if blend is None else []
        included = _included(examples, parts)
        labels = one_hot(examples.targets, count)
        sizes = included.float() @ labels
        # (M, C): mean zero-shot probability of the true class over the class's examples in each model's part
        clap = included.float() @ (zero_shot.softmax(dim=1) * labels) / sizes.clamp(min=1)
        kinds: list[str | float] = [constraint if strength is None else strength]
        if parts and "constraint" not in given.values:
            kinds = ["clap", "none"]
        found: dict[str | float, torch.Tensor] = {}
        for kind in kinds:
            alpha = clap if kind == "clap" else torch.full_like(sizes, strength or 0.0)
            starts = start.expand(len(included), -1, -1)
            found[kind] = _train(features, examples, starts, included, alpha, rule.scale, cosine, schedule)
        chosen_kind = kinds[0]
        report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": []}
        if blend is None:
            blend = UNTRIED_BLEND
            if parts:
                # At a blend of 0 every constraint is the same.
                pairs = [(k, share) for k in kinds for share in BLENDS if share > 0 or k == kinds[0]]
                grid = [{"constraint": k, "blend": share} for k, share in pairs]
                scores, owners = [], []
                for number, (_, held) in enumerate(parts):
                    trained = {k: features[held] @ w[number + 1].T * rule.scale for k, w in found.items()}
                    mixed = torch.stack([(1 - share) * zero_shot[held] + share * trained[k] for k, share in pairs])
                    scores.append(log_likelihood(mixed, examples.targets[held]))
                    owners.append(torch.full((len(held),), number))
                order = torch.cat([held for _, held in parts])
                weights = item_weights(examples)
                choice = chosen(
                    torch.cat(scores, dim=1).double().cpu(),
                    torch.cat(owners),
                    None if weights is None else weights[order].double().cpu(),
                )
                chosen_kind, blend = pairs[choice.best]
                report["curve"], report["notes"] = choice.curve(grid), choice.notes(grid)
            else:
                report["notes"].append(
                    f"too few examples to choose by folds: half zero-shot, half trained (blend {blend})"
                )
        missing = [examples.classes[n] for n in (sizes[0] == 0).nonzero().flatten().tolist()]
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            report["notes"].append(f"no example of {shown}: zero-shot by name")
        if blend == 0:
            report["notes"].append(
                "what was trained is not better than zero-shot beyond chance: this head is zero-shot"
            )
        report["chosen"] = {"constraint": chosen_kind, "blend": blend}
        learnt = found[chosen_kind]
        weight = start if blend == 0 else learnt[0] if blend == 1 else (1 - blend) * start + blend * learnt[0]
        return cls(
            {"weight": weight, "present": torch.ones_like(sizes[0], dtype=torch.bool)},
            {"rule": asdict(rule), "task": examples.task, "report": report},
        )

    @classmethod
    def _from_means(cls, examples: Examples, given: Given, schedule: _Schedule, strength: float | None) -> Self:
        count = len(examples.classes)
        features = unit(examples.features.float())
        scale = given.number("scale", 0, SHARPEST, above=True)
        parts = splits(examples.folds) if scale is None else []
        included = _included(examples, parts)
        start = torch.stack([class_means(features[rows], examples.targets[rows], count) for rows in included])
        sizes = included.float() @ one_hot(examples.targets, count)
        alpha = torch.full_like(sizes, strength or 0.0)
        report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": []}
        weight: torch.Tensor | None = None
        if parts:
            found = {s: _train(features, examples, start, included, alpha, s, True, schedule) for s in SCALES}
            scores, owners, items = [], [], []
            for number, (_, held) in enumerate(parts):
                known = held[sizes[number + 1][examples.targets[held]] > 0]
                logits = torch.stack([features[known] @ found[s][number + 1].T * s for s in SCALES])
                logits = logits.masked_fill(sizes[number + 1] == 0, ABSENT)
                scores.append(log_likelihood(logits, examples.targets[known]))
                owners.append(torch.full((len(known),), number))
                items.append(known)
            if sum(len(item) for item in items):
                weights = item_weights(examples)
                choice = chosen(
                    torch.cat(scores, dim=1).double().cpu(),
                    torch.cat(owners),
                    None if weights is None else weights[torch.cat(items)].double().cpu(),
                )
                grid = [{"scale": s} for s in SCALES]
                scale = SCALES[choice.best]
                weight = found[scale][0]
                report["curve"], report["notes"] = choice.curve(grid), choice.notes(grid)
        scale = scale or SCALES[1]
        if weight is None:
            weight = _train(features, examples, start[:1], included[:1], alpha[:1], scale, True, schedule)[0]
        present = sizes[0] > 0
        report["notes"] += absent_notes(present, examples.classes)
        report["chosen"] = {"scale": scale, "constraint": "none" if strength is None else strength}
        rule = ScoreRule("softmax", scale)
        return cls(
            {"weight": weight, "present": present}, {"rule": asdict(rule), "task": examples.task, "report": report}
        )

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D), which need not be normalised."""
        rule = ScoreRule(**self.settings["rule"])
        measured = unit(features.float()) if rule.similarity == "cosine" else features.float()
        logits = measured @ self.weight.T * rule.scale + rule.bias
        return logits.masked_fill(~self.present, ABSENT)


def _included(examples: Examples, parts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """(1 + folds, N) bool: the examples each model trains on; the first trains on all."""
    included = torch.ones(1 + len(parts), len(examples.features), dtype=torch.bool, device=examples.features.device)
    for number, (_, held) in enumerate(parts):
        included[number + 1, held] = False
    return included


def _train(
    features: torch.Tensor,
    examples: Examples,
    start: torch.Tensor,
    included: torch.Tensor,
    alpha: torch.Tensor,
    scale: float,
    cosine: bool,
    schedule: _Schedule,
) -> torch.Tensor:
    """Class vectors (M, C, D) of M models, trained side by side in the same batches: folds are columns of one matrix product.

    Args:
        features: (N, D), of length 1 for the cosine.
        start: (M, C, D), where they start and what the constraint draws them to.
        included: (M, N) bool, the examples of each model. A class without any stays where it starts.
        alpha: (M, C), strength of the constraint.
    """
    models, count, width = start.shape
    targets = examples.targets
    weights = item_weights(examples)
    weights = included.float() if weights is None else included.float() * weights
    fixed = (included.float() @ one_hot(targets, count) == 0)[:, :, None]
    seen = ~fixed.squeeze(2)
    seen |= start.abs().amax(dim=2) > 0  # of a class without any trace (no text, no example) there is no logit either
    size = 1.0 if cosine else float(start.norm(dim=2).mean().clamp(min=torch.finfo(torch.float32).tiny))
    anchor = start * (LENGTH / size)
    inputs = features if cosine else features * (size / LENGTH)
    rate = schedule.rate
    if not cosine:
        # Without lengths fixed at 1 the curvature of the loss is at most scale² · |f|² / 2, and the step must fit it.
        rate = min(rate, 2 / max(scale**2 * float(inputs.norm(dim=1).max()) ** 2, 1e-12))
    weight, velocity = anchor.clone(), torch.zeros_like(anchor)
    generator = torch.Generator().manual_seed(schedule.seed)
    steps = schedule.epochs * math.ceil(len(inputs) / schedule.batch)
    step = 0
    for _ in range(schedule.epochs):
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for rows in order.split(schedule.batch):
            weight.requires_grad_(True)
            vectors = F.normalize(weight, dim=2) if cosine else weight
            logits = (inputs[rows] @ vectors.reshape(-1, width).T).view(-1, models, count) * scale
            logits = logits.masked_fill(~seen, ABSENT)
            losses = F.cross_entropy(
                logits.flatten(0, 1), targets[rows].repeat_interleave(models), reduction="none"
            ).view(-1, models)
            part = weights[:, rows].T
            loss = ((losses * part).sum(dim=0) / part.sum(dim=0).clamp(min=1e-12)).sum()
            (gradient,) = torch.autograd.grad(loss, weight)
            with torch.no_grad():
                now = rate * (1 + math.cos(math.pi * step / steps)) / 2
                velocity = MOMENTUM * velocity + gradient.masked_fill(fixed, 0.0)
                # Momentum takes each gradient ten times in all; so must the constraint be, or the minimum is another.
                pull = (2 * now / (1 - MOMENTUM) / count * alpha)[:, :, None]
                weight = (weight.detach() - now * velocity + pull * anchor) / (1 + pull)
            step += 1
    weight = torch.where(fixed, anchor, weight.detach())
    return unit(weight) if cosine else weight * (size / LENGTH)
