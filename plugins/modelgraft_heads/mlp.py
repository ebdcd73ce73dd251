"""The MLP head: one hidden layer on standardised features, for one label, several labels or numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import torch
from modelgraft.errors import UsageError
from modelgraft.learning import Examples
from torch.nn import functional as F

from modelgraft_heads.base import ABSENT, FittedHead, Given, checked, overshot
from modelgraft_heads.choosing import choose, log_likelihood, unseen
from modelgraft_heads.prototype import absent_notes

STEPS = (25, 50, 100, 200, 400)
DECAYS = (1.0, 0.01)
"""What is tried: AdamW steps and decoupled weight decays; the shortest training with the strongest decay first."""
DEFAULT_STEPS, DEFAULT_DECAY = 200, 1.0
MOST_FOLDS = 3
"""Folds the settings are chosen by; a third of the time of ten, and as telling for two settings."""
BATCH = 128
GIANT = 1e12
"""Deviations from the mean beyond which a row is only known to be far away."""


class _Network(NamedTuple):
    """The parameters, by name as they are saved."""

    hidden_weight: torch.Tensor
    hidden_bias: torch.Tensor
    output_weight: torch.Tensor
    output_bias: torch.Tensor


class MLPHead(FittedHead):
    """``output(GELU(hidden((f − mean) · inverse_deviation)))``.

    Tensors: ``mean``, ``inverse_deviation`` (D,); ``hidden_weight`` (D, H), ``hidden_bias`` (H,), ``output_weight`` (H, C),
    ``output_bias`` (C,); ``present`` (C,) bool; of a regression ``shift`` and ``spread`` (C,) of the targets. How features and
    targets are scaled is float64, all else float32.
    """

    mean: torch.Tensor
    inverse_deviation: torch.Tensor
    hidden_weight: torch.Tensor
    hidden_bias: torch.Tensor
    output_weight: torch.Tensor
    output_bias: torch.Tensor
    present: torch.Tensor
    shift: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """Train with AdamW and dropout; the number of steps and the weight decay are chosen by (up to three) folds.

        Settings: ``steps``, ``decay`` (chosen), ``hidden`` (512), ``dropout`` (0.1), ``rate`` (1e-3). Chosen by the
        log-likelihood of held-out items, for a regression by minus the squared error in units of each column's variance.
        Class weights multiply the loss of the items (multi-label: of the columns).

        Raises:
            UsageError: as `checked`; a setting that cannot be.
        """
        checked(examples, "mlp", ("single-label", "multi-label", "regression"))
        given = Given("mlp", settings, ("steps", "decay", "hidden", "dropout", "rate"))
        steps, decay = given.whole("steps", 1), given.number("decay", 0)
        hidden = given.whole("hidden", 1) or 512
        drop = given.number("dropout", 0, 1, below=True) if "dropout" in given.values else 0.1
        rate = given.number("rate", 0, above=True) or 1e-3
        count = len(examples.classes)
        grid: list[dict[str, Any]] = [
            {"steps": s, "decay": d}
            for s in (STEPS if steps is None else (steps,))
            for d in (DECAYS if decay is None else (decay,))
        ]

        def trained(rows: torch.Tensor, some: list[int], d: float) -> tuple[list[_Network], _Scaling]:
            scaling = _Scaling.of(examples, rows)
            networks = _train(examples, rows, scaling, some, d, hidden, drop or 0.0, rate)
            if not all(bool(tensor.isfinite().all()) for network in networks for tensor in network):
                raise UsageError(
                    f"rate={rate:g} and decay={d:g} for the head 'mlp': training left all finite numbers; take lower ones"
                )
            return networks, scaling

        def scores(train: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
            wanted = sorted({s["steps"] for s in grid})
            found: dict[tuple[int, float], torch.Tensor] = {}
            for d in {s["decay"] for s in grid}:
                networks, scaling = trained(train, wanted, d)
                inputs = scaling.inputs(examples.features[held])
                targets = scaling.outputs(examples.targets[held])
                for n, network in zip(wanted, networks, strict=True):
                    outputs = _outputs(inputs, network)
                    if examples.task == "single-label":
                        seen = torch.bincount(examples.targets[train], minlength=count) > 0
                        score = log_likelihood(outputs.masked_fill(~seen, ABSENT), targets)
                        score = torch.where(unseen(examples.targets[train], targets, count), torch.nan, score)
                    else:
                        score = -_losses(outputs, targets, examples).mean(dim=1)
                    found[n, d] = score
            return torch.stack([found[s["steps"], s["decay"]] for s in grid])

        report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": []}
        if len(grid) > 1:
            weights = examples.class_weights
            single = examples.task == "single-label" and weights is not None
            choice = choose(
                examples.folds % MOST_FOLDS,
                len(grid),
                scores,
                weights[examples.targets] if single and weights is not None else None,
            )
            if choice is not None:
                steps, decay = grid[choice.best]["steps"], grid[choice.best]["decay"]
                report["curve"], report["notes"] = choice.curve(grid), choice.notes(grid)
        steps, decay = DEFAULT_STEPS if steps is None else steps, DEFAULT_DECAY if decay is None else decay
        (network,), scaling = trained(
            torch.arange(len(examples.features), device=examples.features.device), [steps], decay
        )
        present = torch.ones(count, dtype=torch.bool, device=examples.features.device)
        if examples.task == "single-label":
            present = torch.bincount(examples.targets, minlength=count) > 0
            report["notes"] += absent_notes(present, examples.classes)
        report["notes"] += _giants(examples.features)
        report["chosen"] = {"steps": steps, "decay": decay, "hidden": hidden, "dropout": drop, "rate": rate}
        head = cls(
            {**scaling._asdict(), **network._asdict(), "present": present}, {"task": examples.task, "report": report}
        )
        head.settings["report"]["notes"] += overshot(head, examples, given)
        return head

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32; of a regression the values, in the units of the targets."""
        network = _Network(self.hidden_weight, self.hidden_bias, self.output_weight, self.output_bias)
        scaling = _Scaling(self.mean, self.inverse_deviation, self.shift, self.spread)
        outputs = _outputs(scaling.inputs(features), network)
        if self.settings["task"] == "regression":
            return outputs.double() * self.spread.double() + self.shift.double()
        # Below all others however far from 0 these are.
        return torch.where(self.present, outputs, outputs.amin(dim=1, keepdim=True) + ABSENT)


class _Scaling(NamedTuple):
    """How features and, in a regression, targets are brought to mean 0 and variance 1."""

    mean: torch.Tensor
    inverse_deviation: torch.Tensor
    shift: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def of(cls, examples: Examples, rows: torch.Tensor) -> _Scaling:
        """By the examples ``rows``, summed in float64. A feature that is constant there becomes 0. A deviation far below the
        usual one (a tenth of the median) is what few items make of a feature by chance, and is taken as that tenth."""
        features = examples.features[rows].double()
        mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
        varies = deviation > 1e-6 * features.abs().amax(dim=0)
        floor = 0.1 * deviation[varies].median() if varies.any() else deviation.new_ones(())
        inverse = torch.where(varies, 1 / torch.maximum(deviation, floor), 0.0)
        shift, spread = torch.zeros(len(examples.classes)).to(mean), torch.ones(len(examples.classes)).to(mean)
        if examples.task == "regression":
            targets = examples.targets[rows].double()
            shift, spread = targets.mean(dim=0), targets.std(dim=0, correction=0)
            spread = torch.where(spread > 0, spread, 1.0)
        return cls(mean, inverse, shift, spread)

    def inputs(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D) float32, standardised."""
        found = (features.double() - self.mean) * self.inverse_deviation
        # Rows beyond all measure become shorter, their direction stays: what the network makes of them would leave float32.
        return (found / (found.abs().amax(dim=1, keepdim=True) / GIANT).clamp(min=1.0)).float()

    def outputs(self, targets: torch.Tensor) -> torch.Tensor:
        """Targets as the loss takes them: class numbers stay, the rest is float32, standardised in a regression."""
        return targets if targets.ndim == 1 else ((targets.double() - self.shift) / self.spread).float()


def _giants(features: torch.Tensor) -> list[str]:
    """A line for the user where single rows make the deviations, and hide what the others differ in."""
    sizes = features.abs().amax(dim=1)
    rows = (sizes > 1e6 * sizes.median()).nonzero().flatten().tolist() if bool(sizes.median() > 0) else []
    if not rows:
        return []
    return [
        f"{len(rows)} of {len(features)} items trained on have features over a million times the usual (the first: number "
        f"{rows[0]} of them), and hide what the others differ in; leave them out"
    ]


def _outputs(inputs: torch.Tensor, network: _Network) -> torch.Tensor:
    return F.gelu(inputs @ network.hidden_weight + network.hidden_bias) @ network.output_weight + network.output_bias


def _losses(outputs: torch.Tensor, targets: torch.Tensor, examples: Examples) -> torch.Tensor:
    """(B, C) of multi-label tasks and regressions, columns weighted."""
    if examples.task == "regression":
        return (outputs - targets) ** 2
    losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return losses if examples.class_weights is None else losses * examples.class_weights


def _train(
    examples: Examples,
    rows: torch.Tensor,
    scaling: _Scaling,
    steps: list[int],
    decay: float,
    hidden: int,
    dropout: float,
    rate: float,
) -> list[_Network]:
    """The network after each number of ``steps`` (ascending), trained on the examples ``rows``. Deterministic in the seed."""
    inputs, targets = scaling.inputs(examples.features[rows]), scaling.outputs(examples.targets[rows])
    generator = torch.Generator().manual_seed(examples.seed)
    width, count = inputs.shape[1], len(examples.classes)
    network = _Network(
        _normal((width, hidden), math.sqrt(1 / width), generator, inputs.device),
        torch.zeros(hidden, device=inputs.device, requires_grad=True),
        _normal((hidden, count), math.sqrt(1 / hidden), generator, inputs.device),
        torch.zeros(count, device=inputs.device, requires_grad=True),
    )
    decayed = [network.hidden_weight, network.output_weight]
    plain = [network.hidden_bias, network.output_bias]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
    found: list[_Network] = []
    order = torch.empty(0, dtype=torch.int64)
    seen = None
    if examples.task == "single-label":
        seen = torch.bincount(targets, minlength=count) > 0
    for step in range(1, steps[-1] + 1):
        if not len(order):
            order = torch.randperm(len(inputs), generator=generator)
        batch, order = order[:BATCH].to(inputs.device), order[BATCH:]
        middle = F.gelu(inputs[batch] @ network.hidden_weight + network.hidden_bias)
        kept = torch.rand(middle.shape, generator=generator).to(middle.device) >= dropout
        outputs = (middle * kept / (1 - dropout)) @ network.output_weight + network.output_bias
        if seen is not None:
            losses = F.cross_entropy(outputs.masked_fill(~seen, ABSENT), targets[batch], reduction="none")
            part = torch.ones_like(losses) if examples.class_weights is None else examples.class_weights[targets[batch]]
            loss = (losses * part).sum() / part.sum().clamp(min=1e-12)
        else:
            loss = _losses(outputs, targets[batch], examples).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in steps:
            found.append(_Network(*(tensor.detach().clone() for tensor in network)))
    return found


def _normal(shape: tuple[int, int], deviation: float, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Drawn on the CPU, so that every device starts alike."""
    return (torch.randn(shape, generator=generator) * deviation).to(device).requires_grad_(True)
