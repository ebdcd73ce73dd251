"""The pseudo-label head: a linear classifier that also trains on its own confident answers (Lee 2013; self-training).

Expect little: on frozen features pseudo-labels alone gain almost nothing over the same classifier without them (USB, Wang et al.
2022, arXiv 2208.07204: EuroSAT with 20 labels, error 26.5 supervised, 25.5 pseudo-labelled, 13.4 FixMatch). Label spreading is
usually the better way to use unlabelled items.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import torch
from modelgraft.learning import Examples

from modelgraft_heads.base import ABSENT, FittedHead, Given, checked, item_weights, unlabelled_of
from modelgraft_heads.choosing import choose, log_likelihood, unseen
from modelgraft_heads.prototype import absent_notes

INVERSE_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""C of the logistic regression: values that are tried, the most regularised first."""
DEFAULT = 1e-2
THRESHOLD = 0.95
ROUNDS = 10


class PseudoLabelHead(FittedHead):
    """Logits are ``((f − mean) · factor) @ weight + bias``.

    Tensors: ``mean`` (D,), ``factor`` (), ``weight`` (D, C), ``bias`` (C,) float32; ``present`` (C,) bool.
    """

    mean: torch.Tensor
    factor: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    present: torch.Tensor

    @classmethod
    def fit(cls, examples: Examples, **settings: Any) -> Self:
        """Fit a multinomial logistic regression; label anew what it is sure of, fit to all, until nothing changes.

        Settings: ``C`` (chosen by the log-likelihood of held-out labelled items, without pseudo-labels), ``threshold``
        (0.95), ``rounds`` (10 at most). In each round the pseudo-labels are made from scratch: of the items surer than the
        threshold, a class may have at most its share among the labelled ones, the surest first, so that no class floods the
        rest. `report` also gives ``rounds``: how many items each round took and how many of them are new or changed.

        Raises:
            UsageError: no unlabelled items; as `checked`; a setting that cannot be.
        """
        checked(examples, "pseudo-label")
        unlabelled = unlabelled_of(examples, "pseudo-label").double()
        given = Given("pseudo-label", settings, ("C", "threshold", "rounds"))
        inverse, most = given.number("C", 0, above=True), given.whole("rounds", 1) or ROUNDS
        threshold = given.number("threshold", 0, 1) if "threshold" in given.values else THRESHOLD
        assert threshold is not None
        everything = torch.cat([examples.features.double(), unlabelled])
        mean = everything.mean(dim=0)
        squared = float(((everything - mean) ** 2).mean())
        factor = squared**-0.5 if squared > 0 else 0.0
        inputs = ((everything - mean) * factor).cpu().numpy()
        known, count = len(examples.features), len(examples.classes)
        labelled, free = inputs[:known], inputs[known:]
        targets = examples.targets.cpu().numpy()
        weights = item_weights(examples)
        per_class = np.ones(count) if examples.class_weights is None else examples.class_weights.double().cpu().numpy()

        def scores(train: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
            rows, others = train.cpu().numpy(), held.cpu().numpy()
            unknown = unseen(examples.targets[train].cpu(), examples.targets[held].cpu(), count)
            found = []
            for c in INVERSE_STRENGTHS:
                weight, bias = _regression(labelled[rows], targets[rows], per_class, c)
                logits = torch.from_numpy(labelled[others] @ weight + bias)
                found.append(torch.where(unknown, torch.nan, log_likelihood(logits, examples.targets[held].cpu())))
            return torch.stack(found)

        report: dict[str, Any] = {"chosen": {}, "curve": [], "notes": [], "rounds": []}
        if inverse is None:
            choice = choose(examples.folds, len(INVERSE_STRENGTHS), scores, weights)
            inverse = DEFAULT if choice is None else INVERSE_STRENGTHS[choice.best]
            if choice is not None:
                grid = [{"C": c} for c in INVERSE_STRENGTHS]
                report["curve"], report["notes"] = choice.curve(grid), choice.notes(grid)
        weight, bias = _regression(labelled, targets, per_class, inverse)
        shares = np.bincount(targets, minlength=count) / known
        before = np.full(len(free), -1)
        for number in range(1, most + 1):
            labels = _confident(_softmax(free @ weight + bias), shares, threshold)
            changed = int((labels != before).sum())
            report["rounds"].append({"round": number, "taken": int((labels >= 0).sum()), "changed": changed})
            if not changed:
                break
            taken, before = labels >= 0, labels
            weight, bias = _regression(
                np.concatenate([labelled, free[taken]]), np.concatenate([targets, labels[taken]]), per_class, inverse
            )
        last = report["rounds"][-1]
        ending = "until nothing changed" if not last["changed"] else "and labels were still changing"
        report["notes"].append(
            f"{last['taken']} of {len(free)} unlabelled items taken at confidence {threshold:g}; "
            f"{len(report['rounds'])} rounds {ending}"
        )
        present = torch.bincount(examples.targets, minlength=count) > 0
        report["notes"] += absent_notes(present, examples.classes)
        report["chosen"] = {"C": inverse, "threshold": threshold}
        device = examples.features.device
        return cls(
            {
                "mean": mean.float(),
                "factor": torch.tensor(factor, dtype=torch.float32, device=device),
                "weight": torch.from_numpy(weight).float().to(device),
                "bias": torch.from_numpy(bias).float().to(device),
                "present": present,
            },
            {"task": examples.task, "report": report},
        )

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C) float32."""
        return ((features.float() - self.mean) * self.factor) @ self.weight + self.bias


def _regression(
    inputs: np.ndarray, targets: np.ndarray, per_class: np.ndarray, inverse: float
) -> tuple[np.ndarray, np.ndarray]:
    """(weight (D, C), bias (C,)) float64 of a multinomial logistic regression of strength C = ``inverse``, items weighted by class.
    Classes without items get a bias that puts them out."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weight, bias = np.zeros((inputs.shape[1], len(per_class))), np.full(len(per_class), ABSENT)
    found = np.unique(targets)
    if len(found) == 1:  # nothing to tell apart
        bias[found] = 0.0
        return weight, bias
    model = LogisticRegression(C=inverse, max_iter=1000, tol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 1000 iterations are near enough for a pseudo-label
        model.fit(inputs, targets, sample_weight=per_class[targets])
    if len(found) == 2:  # one column stands for both
        weight[:, found[1]], bias[found[1]] = model.coef_[0], model.intercept_[0]
        bias[found[0]] = 0.0
    else:
        weight[:, found], bias[found] = model.coef_.T, model.intercept_
    return weight, bias


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _confident(probabilities: np.ndarray, shares: np.ndarray, threshold: float) -> np.ndarray:
    """(M,) int64: the class of each item taken, -1 of the others. Of the items surer than ``threshold`` a class has at most its
    share (rounded up), the surest first."""
    sure, best = probabilities.max(axis=1), probabilities.argmax(axis=1)
    above = sure >= threshold
    labels = np.full(len(sure), -1)
    for number, share in enumerate(shares):
        mine = np.flatnonzero(above & (best == number))
        room = int(np.ceil(share * above.sum() - 1e-9))
        labels[mine[np.argsort(-sure[mine], kind="stable")[:room]]] = number
    return labels
