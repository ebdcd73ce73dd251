"""The linear probe: penalised logistic regression on frozen features, at the strength that folds of the train split choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples, progress
from torch import nn

from modelgraft_heads.base import Given, checked
from modelgraft_heads.certificate import Exact, Kept, keep
from modelgraft_heads.design import Design
from modelgraft_heads.logistic import LARGEST_BATCH, Problems, Solution, solve
from modelgraft_heads.path import Start, follow
from modelgraft_heads.ridge import refine, solve_ridge

STRENGTHS: Final = tuple(10 ** (-6 + 11 * n / 23) for n in range(24))
"""24 values of C from 1e-6 to 1e5: the range of CLIP's and DINOv2's sweeps."""
SELECTION: Final = 1e-8
"""Nats within which the objective of a fold is minimised, in float32. Ten times that moves held-out log losses by some 5e-4."""
FINAL: Final = 1e-11
"""Nats within which the chosen model is certified, in float64."""
CONVERGED: Final = 1e-6
"""Nats within which the model that is kept must be of the optimum to be called converged."""
ATTEMPTS: Final = 4
DEFAULT_C: Final = 1.0
FLOAT32: Final = float(torch.finfo(torch.float32).max)


class LinearHead(nn.Module):
    """``logits = x W + b``, the minimum of ``C * sum_i loss_i + |W|^2 / 2``: scikit-learn's ``LogisticRegression(C)``.

    single-label: the multinomial loss; multi-label: a logistic loss for each class alone, one C for all; regression: ridge
    with the exact leave-one-out error in place of folds. Made by `fit`.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, task: str, found: Mapping[str, Any]) -> None:
        super().__init__()
        self.task = task
        self._found = dict(found)
        self.register_buffer("weight", weight.float().contiguous())
        self.register_buffer("bias", bias.double().contiguous())

    @classmethod
    def fit(
        cls,
        examples: Examples,
        *,
        C: float | None = None,
        Cs: Sequence[float] = STRENGTHS,
        alpha: float | None = None,
        **unknown: Any,
    ) -> Self:
        """The head at the best strength.

        Args:
            C: inverse strength of the penalty, as scikit-learn's; None chooses among ``Cs`` by the folds: the highest mean accuracy
                (multi-label: the lowest log loss), among equals the lowest log loss to three digits, then the stronger penalty.
            alpha: of a regression, the penalty as scikit-learn's ``Ridge``; None chooses by leave-one-out.

        Raises:
            UsageError: features that are not finite, C or alpha not above 0, a setting that does not exist.
        """
        given = Given("linear", {"C": C, "Cs": Cs, "alpha": alpha, **unknown}, ("C", "Cs", "alpha"))
        checked(examples, "linear", ("single-label", "multi-label", "regression"))
        strength, strengths = given.number("C", 0, above=True), given.numbers("Cs", 0)
        penalty = given.number("alpha", 0, above=True)
        of_classes = strength is not None or (strengths is not None and Cs is not STRENGTHS)
        if of_classes if examples.task == "regression" else penalty is not None:
            raise UsageError("C and Cs are of classification, alpha of regression")
        if examples.task == "regression":
            return cls._fit_ridge(examples, penalty)
        wanted = [strength] if strength is not None else sorted(set(strengths or STRENGTHS))
        return cls._fit_logistic(examples, wanted)

    @classmethod
    def _fit_logistic(cls, examples: Examples, strengths: list[float]) -> Self:
        design = Design.of(examples.features, torch.float64)
        sweep = Sweep(design.to(torch.float32), examples)
        notes: list[str] = []
        folds = examples.folds.unique().tolist()
        curve: list[dict[str, Any]] = []
        if len(strengths) > 1 and len(folds) > 1:
            curve = sweep.curve(strengths, folds)
            order = sorted(curve, key=lambda point: (-point["score"], round(point["log_loss"], 3), point["C"]))
            best = order[0]
            ties = [p["C"] for p in curve if p["score"] >= best["score"] - best["standard_error"]]
            chosen = best["C"]
            if chosen in (strengths[0], strengths[-1]) and len(ties) < len(curve):
                notes.append(f"the best C, {chosen:.3g}, is at the end of the range that was tried")
        else:
            chosen, ties = (strengths[0] if len(strengths) == 1 else DEFAULT_C), []
            if len(strengths) > 1:
                notes.append(f"too few examples to choose C by folds: C = {chosen:g}")
        kept, centre = sweep.exact(design, chosen)
        gap = max(one.gap for one in kept)
        if gap > CONVERGED:
            notes.append(
                f"not converged: the objective may be {gap:.1g} nats above the optimum at C = {chosen:.3g}; leave out rows of "
                "giant numbers, or take a smaller C"
            )
        weight = torch.cat([one.weight for one in kept])
        bias = torch.cat([one.bias for one in kept]) - weight @ centre
        found = {
            "chosen": {"C": chosen},
            "ties": ties,
            "curve": curve,
            "certificate": gap if math.isfinite(gap) else None,
            "converged": gap <= CONVERGED,
            "objective": sum(one.objective for one in kept) / len(kept),
            "notes": notes,
        }
        return cls(weight, bias, examples.task, found)

    @classmethod
    def _fit_ridge(cls, examples: Examples, alpha: float | None) -> Self:
        design = Design.of(examples.features, torch.float64)
        targets = examples.targets.double()
        mean = targets.mean(dim=0)
        targets = targets - mean
        top = len(examples.features) * design.scale**2
        grid = [alpha] if alpha is not None else [top * 10 ** (-8 + 10 * n / 40) for n in range(41)]
        path = solve_ridge(design, targets, torch.tensor(grid, dtype=torch.float64, device=design.mean.device))
        # Columns count alike whatever their units: each error as a part of the column's variance.
        variance = targets.var(dim=0, correction=0).clamp_min(1e-300)
        relative = (path.errors / variance).mean(dim=1)
        best = int(relative.argmin())
        weight, _ = design.unrotate(path.weights[best], path.bias)
        centred = examples.features.double() - design.mean
        weight, gap = refine(centred, targets, weight, grid[best], design)
        weight = weight.float().double()
        bias = mean - weight @ design.mean
        curve = [{"alpha": a, "score": 1 - float(r)} for a, r in zip(grid, relative, strict=True)]
        notes = []
        if gap > CONVERGED:
            notes.append(f"not converged: the objective may be {gap:.1g} of the targets' squares above the optimum")
        found = {
            "chosen": {"alpha": grid[best]},
            "curve": curve if len(grid) > 1 else [],
            "leave_one_out_mse": path.errors[best].tolist(),
            "certificate": gap if math.isfinite(gap) else None,
            "converged": gap <= CONVERGED,
            "notes": notes,
        }
        return cls(weight, bias, examples.task, found)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for features (B, D); of a regression the predicted values (B, K) float64."""
        found = self._sums(features)
        return found if self.task == "regression" else found.clamp(-FLOAT32, FLOAT32).float()

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32: rows sum to 1 for single-label tasks; multi-label classes stand alone."""
        sums = self._sums(features)  # giant features have sums beyond float32; what they are a softmax of is not
        return (sums.sigmoid() if self.task == "multi-label" else sums.softmax(dim=-1)).float()

    def _sums(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float64."""
        # In float64: of features far from 0 the sum is a small difference of large numbers.
        return torch.addmm(self.bias, features.double(), self.weight.double().T)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As `logits`."""
        return self.logits(features)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """``weight`` (C, D) and ``bias`` (C,) float32; the task and how it was found."""
        return {"weight": self.weight, "bias": self.bias}, {"task": self.task, "found": self._found}

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Self:
        """The head that gave this `state`."""
        return cls(tensors["weight"], tensors["bias"], str(settings["task"]), settings["found"])

    def report(self) -> dict[str, Any]:
        """``chosen``, ``ties`` (values within one standard error of the best), ``curve``, ``certificate`` (nats), ``notes``."""
        return dict(self._found)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The problems of one set of examples: a strength and a fold each."""

    design: Design
    examples: Examples

    def curve(self, strengths: list[float], folds: list[int]) -> list[dict[str, Any]]:
        """Held-out scores of every strength: each item is scored by the model that has not seen its fold."""
        inside = torch.stack([self.examples.folds != fold for fold in folds])
        labels, each = self._labels(), len(strengths) * len(folds)

        def tell(before: int) -> Callable[[int], None]:
            furthest = before

            def say(done: int) -> None:
                nonlocal furthest  # a problem that seemed solved may be taken up again
                furthest = max(furthest, before + done)
                progress("choosing the strength", furthest, each * len(labels))

            return say

        found = [self._held_out(strengths, inside, label, tell(each * n)) for n, label in enumerate(labels)]
        progress("choosing the strength", each * len(labels), each * len(labels))
        hits = torch.stack([right for right, _ in found]).mean(dim=0)
        losses = torch.stack([loss for _, loss in found]).mean(dim=0)
        weights = self.examples.item_weights
        return [_point(c, hits[n], losses[n], self.examples.task, weights) for n, c in enumerate(strengths)]

    def _held_out(
        self, strengths: list[float], inside: torch.Tensor, label: int | None, tell: Callable[[int], None] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hits and log losses (strengths, N) float64: every item by the model that has not seen its fold."""
        right = torch.zeros(len(strengths), inside.shape[1], dtype=torch.float64, device=inside.device)
        loss = torch.zeros_like(right)
        for places, solution in self.path(strengths, inside, label, tell):
            shape = (places.stop - places.start, len(inside), solution.weight.shape[1])
            weight, bias = solution.weight.view(*shape, self.design.rotated.shape[1]), solution.bias.view(shape)
            rows = max(1, LARGEST_BATCH // (len(weight) * shape[2]))
            for n in range(len(inside)):
                for held in (~inside[n]).nonzero()[:, 0].split(rows):
                    logits = torch.einsum("nr,scr->snc", self.design.rotated[held], weight[:, n]) + bias[:, n][:, None]
                    targets = self.examples.targets[held] if label is None else self.examples.targets[held, label]
                    scores = _scores(logits, targets)
                    right[places, held], loss[places, held] = (found.double() for found in scores)
        return right, loss

    def path(
        self,
        strengths: list[float],
        inside: torch.Tensor,
        label: int | None,
        tell: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[slice, Solution]]:
        """Places of some strengths, and the models of each with every fold; strengths rise."""
        before = 0

        def solve_group(group: list[float], start: Start | None) -> Solution:
            nonlocal before
            done, before = before, before + len(group) * len(inside)
            further = None if tell is None else lambda more: tell(done + more)
            return self._solve(self.design, group, inside, SELECTION, label, start, further)

        classes = len(self.examples.classes) if label is None else 1
        return follow(strengths, len(inside), classes, solve_group)

    def exact(self, design: Design, strength: float) -> tuple[list[Kept], torch.Tensor]:
        """All examples at one strength, to the end of float64's precision: a model a label (one where classes exclude each other),
        and the point (D,) float64 that features are taken less.

        It is certified on the features as they were given, and gone on with until that holds or nothing more is gained.

        Args:
            design: of the same features, in float64.
        """
        everything = torch.ones(1, len(design.rotated), dtype=torch.bool, device=design.rotated.device)
        # The median of each feature. Any point serves, the intercept is free; the mean is far from all rows where one is giant, and
        # logits that are differences of giants are known to a few digits.
        features = self.examples.features.double()
        centre = features.median(dim=0).values
        centred = features - centre
        found = []
        for label in self._labels():
            solution = self._solve(self.design, [strength], everything, SELECTION, label)
            problems = self._problems(design, [strength], everything, label)
            judge = Exact(problems.classes, centred, problems.targets)
            best: Kept | None = None
            for _ in range(ATTEMPTS):
                solution = self._solve(design, [strength], everything, FINAL, label, (solution.weight, solution.bias))
                weight = solution.weight[0].double() @ design.axes.T / design.scale
                bias = solution.bias[0].double() + weight @ (centre - design.mean)
                penalty = problems.penalties[0] * design.scale**2
                now = keep(judge, weight, bias, penalty, problems.weights[0].double())
                gained = best is None or now.gap < 0.5 * best.gap
                best = now if best is None or now.gap < best.gap else best
                if best.gap <= CONVERGED or not gained:
                    break
            assert best is not None
            found.append(best)
        return found, centre

    def _problems(self, design: Design, strengths: list[float], inside: torch.Tensor, label: int | None) -> Problems:
        """Every strength with every fold, in this order."""
        x, targets = design.rotated, self.examples.targets
        classes = len(self.examples.classes) if label is None else 1
        raw = inside.double() * self._item_weights(label)
        total = raw.sum(dim=1).clamp_min(1e-300)
        # scikit-learn's two-class model has one vector where softmax has two: the same model has half the C.
        penalty = (2.0 if classes == 2 else 1.0) / total / design.scale**2
        scale = torch.tensor(strengths, dtype=torch.float64, device=x.device)
        count = len(strengths) * len(inside)
        return Problems(
            (penalty[None, :] / scale[:, None]).flatten(),
            (raw / total[:, None]).to(x.dtype).repeat(len(strengths), 1),
            targets if label is None else targets[:, label].to(x.dtype).expand(count, -1),
            classes,
        )

    def _solve(
        self,
        design: Design,
        strengths: list[float],
        inside: torch.Tensor,
        tolerance: float,
        label: int | None,
        start: tuple[torch.Tensor, torch.Tensor] | None = None,
        tell: Callable[[int], None] | None = None,
    ) -> Solution:
        """Every strength with every fold, in this order."""
        problems = self._problems(design, strengths, inside, label)
        final = design.rotated.dtype == torch.float64
        return solve(design, problems, tolerance=tolerance, certified=final, certify=final, start=start, tell=tell)

    def _labels(self) -> list[int | None]:
        """The labels that are trained apart: each of a multi-label task; None, once, where classes exclude each other."""
        return [None] if self.examples.task == "single-label" else list(range(self.examples.targets.shape[1]))

    def _item_weights(self, label: int | None) -> torch.Tensor:
        """(N,) float64."""
        targets, given, of_items = self.examples.targets, self.examples.class_weights, self.examples.item_weights
        own = (
            torch.ones(len(targets), dtype=torch.float64, device=targets.device)
            if of_items is None
            else of_items.double()
        )
        if given is None:
            return own
        if label is None:
            return own * given.double()[targets]
        # A weight of a label that stands alone is on the items that have it.
        return own * torch.where(targets[:, label] > 0.5, given.double()[label], 1.0)


def _scores(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Hits and log losses (S, N) of logits (S, N, C); C is 1 for a label that stands alone."""
    if logits.shape[-1] > 1:
        index = targets.expand(len(logits), -1)[..., None]
        return logits.argmax(dim=-1) == targets, -logits.log_softmax(dim=-1).gather(-1, index)[..., 0]
    z = logits[..., 0]
    return (z > 0) == (targets > 0.5), nn.functional.softplus(z) - z * targets


def _point(
    strength: float, hits: torch.Tensor, losses: torch.Tensor, task: str, weights: torch.Tensor | None
) -> dict[str, Any]:
    """A point of the curve with a 95 % interval: Wilson's (1927) for accuracy, the normal one for a log loss. Of items that count
    unlike, weighted means, and Kish's effective number of items in the intervals."""

    def mean(values: torch.Tensor) -> float:
        return float(values.mean() if weights is None else (values * weights).sum() / weights.double().sum())

    count = len(hits) if weights is None else float(weights.double().sum() ** 2 / (weights.double() ** 2).sum())
    loss = mean(losses)
    if task == "single-label":
        score = mean(hits)
        z = 1.959964
        middle = (score + z * z / (2 * count)) / (1 + z * z / count)
        half = z / (1 + z * z / count) * math.sqrt(score * (1 - score) / count + z * z / (4 * count * count))
        low, high, error = middle - half, middle + half, math.sqrt(max(score * (1 - score), 0.0) / count)
    else:
        error = math.sqrt(mean((losses - loss) ** 2) / (count - 1)) if count > 1 else 0.0
        score, low, high = -loss, -loss - 1.959964 * error, -loss + 1.959964 * error
    return {"C": strength, "score": score, "low": low, "high": high, "standard_error": error, "log_loss": loss}
