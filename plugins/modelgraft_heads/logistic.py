"""Penalised logistic regression, many problems in one batch: all folds, and where classes are few several strengths of the penalty.

The objective of problem k, over items i with weights s_ki that sum to 1::

    sum_i s_ki loss(x_i W + b, y_i) + penalty_k / 2 |W|^2            the intercept b is not penalised

with the multinomial cross-entropy or, for labels that stand alone, the logistic loss. The method is L-BFGS (Liu and Nocedal 1989)
over all problems at once, with a diagonal preconditioner renewed at every step from the variances of the `Design`, and an
exact line search: along a direction the loss is a convex function of one number, whose slope needs no pass over the features.
An iteration is two matrix products of width (problems x classes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from modelgraft_heads.certificate import Exact
from modelgraft_heads.design import Design

MEMORY: Final = 12
"""Pairs that L-BFGS keeps."""
REFRESH: Final = 50
"""Steps after which the logits are computed anew, against rounding that adds up."""
RAREST: Final = 1e-6
"""The share of a class that is not there, where the intercepts start."""
LINE_STEPS: Final = 8
SLOPE: Final = 0.3
"""A step is taken once the slope is down to this part of what it was (the curvature condition of Wolfe)."""
PATIENCE: Final = {torch.float32: 100, torch.float64: 500}
"""Steps without a new smallest decrement after which the dtype's precision is used up. With many classes and a weak penalty the
estimate rises for tens of steps far from the optimum, while probabilities get near 0 and 1 and so the curvature falls."""
LARGEST_BATCH: Final = 1 << 26
"""Logits held at once (items x problems x classes); more problems are solved batch after batch."""


@dataclass(frozen=True, slots=True)
class Problems:
    """K problems over the same N items."""

    penalties: torch.Tensor
    """(K,) float64, each > 0."""
    weights: torch.Tensor
    """(K, N) float, each row >= 0 with sum 1; 0 keeps an item out (it is in another fold)."""
    targets: torch.Tensor
    """(N,) int64 class numbers (multinomial), or (K, N) float of 0 and 1: each problem one label that stands alone."""
    classes: int
    """Classes of the multinomial loss; 1 for labels that stand alone."""

    def take(self, which: torch.Tensor) -> Problems:
        """Some of the problems."""
        targets = self.targets if self.targets.ndim == 1 else self.targets[which]
        return Problems(self.penalties[which], self.weights[which], targets, self.classes)

    def __len__(self) -> int:
        return len(self.penalties)


@dataclass(frozen=True, slots=True)
class Solution:
    """What was found, a problem a row. Weights are those of the rotated features: see `Design.unrotate`."""

    weight: torch.Tensor
    """(K, C, R), of the design's dtype."""
    bias: torch.Tensor
    """(K, C)."""
    certificate: torch.Tensor
    """(K,) float64: no weights whatever have an objective lower by more than this, in nats. With b minimised exactly the objective
    is ``penalty``-strongly convex in W, so the distance to the optimum is at most ``|gradient|^2 / (2 penalty)``. Infinite where it
    was not asked for."""
    objective: torch.Tensor
    """(K,) float64; NaN without certificate."""
    iterations: int


def solve(
    design: Design,
    problems: Problems,
    *,
    tolerance: float,
    certified: bool = False,
    certify: bool = True,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
    max_iterations: int = 2000,
    tell: Callable[[int], None] | None = None,
) -> Solution:
    """Minimise every problem, in the dtype of the design, on its device.

    Args:
        tolerance: stop a problem when its objective is within this of the optimum, in nats: by the Newton decrement with the
            preconditioner for Hessian (an estimate), or with ``certified`` by the certificate (a bound).
        certify: find the certificates and objectives at the end, in float64.
        tell: told now and then how many problems are done.
        start: (K, C, R) and (K, C) to start from; None starts at the model without features.

    A problem that stops for another reason (``max_iterations``, the end of the dtype's precision) is told by its certificate.
    """
    width = max(1, LARGEST_BATCH // max(1, problems.classes * len(design.rotated)))
    parts = torch.arange(len(problems), device=design.rotated.device).split(width)
    found: list[Solution] = []
    for which in parts:
        begin = None if start is None else (start[0][which], start[1][which])
        batch = _Batch(design, problems.take(which), begin)
        if tell is not None:
            batch.tell = _after(tell, sum(len(s.bias) for s in found))
        found.append(batch.run(tolerance, certified, certify, max_iterations))
    return Solution(
        torch.cat([s.weight for s in found]),
        torch.cat([s.bias for s in found]),
        torch.cat([s.certificate for s in found]),
        torch.cat([s.objective for s in found]),
        sum(s.iterations for s in found),
    )


def _after(tell: Callable[[int], None], before: int) -> Callable[[int], None]:
    return lambda done: tell(before + done)


class _Batch:
    """One batch under way. Arrays are (C, K, N) and (C, K, R + 1), classes first: sums over classes then run along contiguous
    items. The last coordinate of the parameters is the intercept."""

    tell: Callable[[int], None] = staticmethod(lambda done: None)

    def __init__(self, design: Design, problems: Problems, start: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        x = design.rotated
        self.x, self.xt = x, x.T.contiguous()
        self.classes, self.rank = problems.classes, x.shape[1]
        self.penalties = problems.penalties.to(x)
        self.weights = problems.weights.to(x)
        self.targets = problems.targets
        self.variances = design.variances.to(x)
        shape = (self.classes, len(problems), self.rank + 1)
        self.point = torch.zeros(shape, dtype=x.dtype, device=x.device)
        if start is None:
            self.point[..., -1] = self._priors()
        else:
            self.point[..., :-1] = start[0].to(x).transpose(0, 1)
            self.point[..., -1] = start[1].to(x).T
        self.alive = torch.arange(len(problems), device=x.device)
        self.done_point = self.point.clone()

    def run(self, tolerance: float, certified: bool, certify: bool, max_iterations: int) -> Solution:
        """Iterate until every problem has stopped; what is left of a batch shrinks as they do."""
        everything = (self.penalties, self.weights, self.targets)
        z = self._logits(self.point)
        p = self._probabilities(z)
        gradient = self._gradient(p, self.point)
        steps: list[torch.Tensor] = []
        changes: list[torch.Tensor] = []
        best = torch.full_like(self.penalties, torch.inf)
        stalled = torch.zeros_like(self.alive)
        iteration = 0
        while True:
            scale = self._inverse_curvature(p)
            decrement = 0.5 * (gradient * gradient * scale).sum(dim=(0, 2))
            size = self._bound(gradient) if certified else decrement
            stalled = torch.where(decrement < best, 0, stalled + 1)
            best = torch.minimum(best, decrement)
            going = (size > tolerance) & (stalled < PATIENCE[self.x.dtype])
            if not bool(going.any()) or iteration >= max_iterations:
                break
            self.tell(len(everything[0]) - int(going.sum()))
            if int(going.sum()) <= 0.85 * len(going):
                keep = going.nonzero().squeeze(1)
                self._retire(keep)
                steps, changes = [s[:, keep] for s in steps], [c[:, keep] for c in changes]
                z, p, gradient = z[:, keep].contiguous(), p[:, keep].contiguous(), gradient[:, keep]
                scale, stalled, best = scale[:, keep], stalled[keep], best[keep]
            iteration += 1
            direction = -_two_loop(gradient, steps, changes, scale)
            slope = (direction * gradient).sum(dim=(0, 2))
            if bool((slope >= 0).any()):  # rounding has spoilt the memory of a problem: it takes the plain step
                plain = -gradient * scale
                direction = torch.where((slope >= 0)[None, :, None], plain, direction)
                slope = (direction * gradient).sum(dim=(0, 2))
            zd = self._logits(direction)
            step, p = self._line_search(z, zd, p, direction, slope)
            moved = direction * step[None, :, None]
            self.point = self.point + moved
            z = self._logits(self.point) if iteration % REFRESH == 0 else z.addcmul_(zd, step[None, :, None])
            new_gradient = self._gradient(p, self.point)
            steps.append(moved)
            changes.append(new_gradient - gradient)
            del steps[:-MEMORY], changes[:-MEMORY]
            gradient = new_gradient
        self._retire(torch.arange(0, device=self.x.device))
        self.point, (self.penalties, self.weights, self.targets) = self.done_point, everything
        return self._finish(iteration) if certify else self._found(iteration)

    def _priors(self) -> torch.Tensor:
        """(C, K): the intercepts of a model without features. A class that a fold does not have starts far down."""
        if self.classes == 1:
            share = (self.weights * self.targets).sum(dim=1, keepdim=True).T.clamp(RAREST, 1 - RAREST)
            return share.logit()
        shares = self.weights.new_zeros(len(self.weights), self.classes)
        shares.scatter_add_(1, self.targets.expand(len(self.weights), -1), self.weights)
        logs = shares.clamp_min(RAREST).log().T
        return logs - logs.mean(dim=0)

    def _retire(self, keep: torch.Tensor) -> None:
        """Put the points of all problems away; go on with those at ``keep``."""
        self.done_point[:, self.alive] = self.point
        self.alive, self.point = self.alive[keep], self.point[:, keep]
        self.penalties, self.weights = self.penalties[keep], self.weights[keep].contiguous()
        if self.targets.ndim == 2:
            self.targets = self.targets[keep]

    def _logits(self, point: torch.Tensor) -> torch.Tensor:
        """(C, K, N)."""
        flat = point.reshape(-1, self.rank + 1)
        z = torch.addmm(flat[:, -1:], flat[:, :-1], self.xt)
        return z.view(self.classes, -1, self.x.shape[0])

    def _probabilities(self, z: torch.Tensor) -> torch.Tensor:
        """(C, K, N)."""
        return torch.softmax(z, dim=0) if self.classes > 1 else torch.sigmoid(z)

    def _residual(self, p: torch.Tensor, which: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """(p - y) s: (C, K, N). Overwrites nothing."""
        s = self.weights[which]
        if self.classes > 1:
            return (p * s).scatter_add_(0, self.targets.expand(1, p.shape[1], -1), -s[None])
        return (p - self.targets[which][None]) * s

    def _gradient(self, p: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        """(C, K, R + 1) of the whole objective."""
        r = self._residual(p)
        gradient = torch.empty_like(point)
        gradient[..., :-1] = (r.view(-1, r.shape[-1]) @ self.x).view(*point.shape[:2], -1)
        gradient[..., :-1] += self.penalties[None, :, None] * point[..., :-1]
        gradient[..., -1] = r.sum(dim=2)
        return gradient

    def _inverse_curvature(self, p: torch.Tensor) -> torch.Tensor:
        """(1, K, R + 1): the inverse of a diagonal stand-in for the Hessian, h * variance + penalty.

        h is the mean curvature of the loss: mean_i (1 - sum_c p_ic^2) / C, or mean_i p (1 - p) for labels that stand alone.
        """
        spread = 1 - p.square().sum(dim=0) if self.classes > 1 else p[0] * (1 - p[0])
        h = ((spread * self.weights).sum(dim=1) / self.classes).clamp_min(1e-12)
        diagonal = torch.empty(len(h), self.rank + 1, dtype=p.dtype, device=p.device)
        diagonal[:, :-1] = h[:, None] * self.variances + self.penalties[:, None]
        diagonal[:, -1] = h
        return diagonal.reciprocal()[None]

    def _line_search(
        self, z: torch.Tensor, zd: torch.Tensor, p: torch.Tensor, direction: torch.Tensor, slope: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Step lengths (K,) from probabilities ``p``, and the probabilities there. Newton's method, kept in a bracket.

        After the first trial only those problems go on whose slope is not yet down.
        """
        plain, d = self.point[..., :-1], direction[..., :-1]
        across, square = (plain * d).sum(dim=(0, 2)) * self.penalties, (d * d).sum(dim=(0, 2)) * self.penalties
        step = (-slope / self._bend(p, zd, slice(None)).add_(square)).clamp(1e-3, 1e3)
        low, high = torch.zeros_like(step), torch.full_like(step, torch.inf)
        after = torch.empty_like(p)
        todo: torch.Tensor | slice = slice(None)
        for attempt in range(LINE_STEPS):
            here_zd = zd[:, todo]
            trial = self._probabilities(torch.addcmul(z[:, todo], here_zd, step[todo][None, :, None]))
            here = (self._residual(trial, todo) * here_zd).sum(dim=(0, 2)) + across[todo] + step[todo] * square[todo]
            after[:, todo] = trial
            open_ = here.abs() > SLOPE * slope[todo].abs()
            if attempt == LINE_STEPS - 1 or not bool(open_.any()):
                break
            curvature = self._bend(trial, here_zd, todo) + square[todo]
            now = step[todo]
            low[todo] = torch.where(here < 0, now, low[todo])
            high[todo] = torch.where(here > 0, now, high[todo])
            wanted = now - here / curvature.clamp_min(torch.finfo(now.dtype).tiny)
            middle = torch.where(high[todo].isinf(), 4 * now, (low[todo] + high[todo]) / 2)
            inside = (wanted > low[todo]) & (wanted < torch.minimum(high[todo], 8 * now))
            step[todo] = torch.where(open_, torch.where(inside, wanted, middle), now)
            todo = open_.nonzero()[:, 0] if isinstance(todo, slice) else todo[open_]
        return step, after

    def _bend(self, p: torch.Tensor, zd: torch.Tensor, which: torch.Tensor | slice) -> torch.Tensor:
        """(K,): the second derivative of the loss along a direction whose logits are ``zd``."""
        pz = p * zd
        mean = pz.sum(dim=0)
        square = pz.mul_(zd).sum(dim=0)
        bend = square - mean.square() if self.classes > 1 else square * (1 - p[0])
        return (bend * self.weights[which]).sum(dim=1)

    def _bound(self, gradient: torch.Tensor) -> torch.Tensor:
        """(K,): |gradient of W|^2 / (2 penalty), rigorous where b is minimised."""
        return gradient[..., :-1].square().sum(dim=(0, 2)) / (2 * self.penalties)

    def _found(self, iterations: int) -> Solution:
        """As it is, nothing claimed."""
        unknown = self.penalties.new_full((len(self.penalties),), torch.inf, dtype=torch.float64)
        weight, bias = self.point[..., :-1].transpose(0, 1), self.point[..., -1].T
        return Solution(weight, bias, unknown, unknown * torch.nan, iterations)

    def _finish(self, iterations: int) -> Solution:
        """Minimise b exactly for the W found, in float64, and certify."""
        x = self.x.double()
        weight = self.point[..., :-1].double()
        weight -= weight.mean(dim=0, keepdim=True) if self.classes > 1 else 0.0
        bias = self.point[..., -1].double()
        certificates, objectives, biases = [], [], []
        exact = Exact(self.classes, x, self.targets)
        for k in range(weight.shape[1]):
            c, o, b = exact.certify(k, weight[:, k], bias[:, k], self.penalties[k].double(), self.weights[k].double())
            certificates.append(c)
            objectives.append(o)
            biases.append(b)
        return Solution(
            weight.transpose(0, 1).to(self.x.dtype),
            torch.stack(biases).to(self.x.dtype),
            torch.stack(certificates),
            torch.stack(objectives),
            iterations,
        )


def _two_loop(
    gradient: torch.Tensor, steps: list[torch.Tensor], changes: list[torch.Tensor], scale: torch.Tensor
) -> torch.Tensor:
    """The L-BFGS direction's negative for every problem: Nocedal and Wright 2006, algorithm 7.4, with ``scale`` for H0."""
    q = gradient.clone()
    kept = []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        curvature = (s * y).sum(dim=(0, 2))
        # A pair that rounding has emptied would divide by nothing: it is passed over, problem by problem.
        rho = torch.where(curvature > 0, curvature.clamp_min(torch.finfo(q.dtype).tiny).reciprocal(), 0.0)
        rho = torch.where(rho.isfinite(), rho, 0.0)
        a = rho * (s * q).sum(dim=(0, 2))
        q = q.addcmul_(y, a[None, :, None], value=-1)
        kept.append((rho, a))
    q = q * scale
    for (rho, a), s, y in zip(reversed(kept), steps, changes, strict=True):
        b = rho * (y * q).sum(dim=(0, 2))
        q = q.addcmul_(s, (a - b)[None, :, None])
    return q
