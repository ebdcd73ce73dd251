"""A backbone with a head on it, as one module to train; what is frozen stays as it is, and that is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from modelgraft.errors import ModelgraftError
from torch import nn

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.finetuning.parameter_groups import Plan


class Grafted(nn.Module):
    """Logits of batches: ``head(embedding)``. ``body`` is the backbone's own module, trained in place."""

    whole = False
    """Whether the loss compares the rows of a step with each other: then a step is not taken in parts."""

    def __init__(self, backbone: Any, head: nn.Module) -> None:
        super().__init__()
        self.body: nn.Module = backbone.module
        self.head = head
        self.backbone: Any = backbone
        self.beside: nn.Module | None = None
        """What is trained with the head and takes no part in predicting."""
        self.learns = False
        """Whether something of the body is trained."""
        self._bad: torch.Tensor | None = None

    def forward(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, C) float32 of preprocessed images or tokens."""
        logits: torch.Tensor = self.head(self.embed(batch))
        return logits.float()

    def embed(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, D) float32 by the plugin, checked (`plugin_calls.embedding`); `finite` says afterwards whether all were numbers."""
        if torch.compiler.is_compiling():  # a graph has no room for checks; its first batch was checked outside of it
            found: torch.Tensor = self.backbone.embed(batch)
            return found
        found = plugin_calls.embedding(self.backbone, batch, self.learns)
        bad = ~torch.isfinite(found.detach()).all()
        self._bad = bad if self._bad is None else self._bad | bad
        return found

    def at(self, progress: float) -> None:
        """Get ready for a step; ``progress`` is the part of the run's steps that is done, from 0 to below 1."""

    def finite(self) -> bool:
        """Whether all embeddings since the last call were numbers."""
        bad, self._bad = self._bad, None
        return bad is None or not bool(bad)

    def open(self, plan: Plan) -> None:
        """Gradients for what the plan trains, and for nothing else."""
        self.learns = bool(plan.trained)
        for name, parameter in self.body.named_parameters():
            parameter.requires_grad_(name in plan.trained)
        self.head.requires_grad_(True)

    def train_by(self, norms_in_eval: bool) -> None:
        """Train mode where something is trained; eval mode, as without training, where nothing is.

        Dropout works beside weights that are trained. Running statistics move beside weights that are trained, unless
        ``norms_in_eval``.
        """
        self.train()
        for inner in self.body.modules():
            own = list(inner.parameters())
            if own:
                inner.training = any(p.requires_grad for p in own)
                for child in inner.children():
                    if not any(True for _ in child.parameters()):
                        child.train(inner.training)
        for inner in self.body.modules():
            if getattr(inner, "running_mean", None) is not None:
                direct = list(inner.parameters(recurse=False))
                inner.training = not norms_in_eval and any(p.requires_grad for p in direct)

    def by_batch(self) -> bool:
        """Whether layers normalise by the batch they see: then a step in parts is not the step of the whole."""
        kinds = nn.modules.batchnorm._BatchNorm
        return any(isinstance(m, kinds) and (m.training or m.running_mean is None) for m in self.modules())

    def frozen(self) -> Iterator[tuple[str, torch.Tensor]]:
        """What training must not move: parameters without gradients, and persistent buffers of modules in eval mode."""
        passing = self.passing()
        for name, parameter in self.body.named_parameters():
            if not parameter.requires_grad:
                yield name, parameter
        for prefix, inner in self.body.named_modules():
            if not inner.training:
                for name, buffer in inner.named_buffers(prefix, recurse=False):
                    if name not in passing:
                        yield name, buffer

    def live(self) -> dict[str, torch.Tensor]:
        """What training moves, by full name: trained parameters, the persistent buffers of modules in train mode, the head, and
        what is trained beside it."""
        left = {name for name, _ in self.frozen()} | self.passing().keys()
        body = {f"body.{n}": t for n, t in (*self.body.named_parameters(), *self.body.named_buffers()) if n not in left}
        body |= {f"head.{n}": t for n, t in self.head.state_dict(keep_vars=True).items()}
        beside = {} if self.beside is None else self.beside.state_dict(keep_vars=True)
        return body | {f"beside.{n}": t for n, t in beside.items()}

    def passing(self) -> dict[str, torch.Tensor]:
        """Buffers of the body that are no part of its state (``register_buffer(persistent=False)``): positions, what a model keeps
        for the next call. A model may put others, of another shape, in their place at any time."""
        return passing(self.body)


def passing(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's buffers that are no part of its state, by full name."""
    return {
        f"{prefix}.{name}" if prefix else name: inner._buffers[name]  # type: ignore[misc]
        for prefix, inner in module.named_modules()
        for name in sorted(inner._non_persistent_buffers_set)
        if inner._buffers.get(name) is not None
    }


class Passing:
    """What the buffers that are no part of the state were before training; those that hold other numbers since are saved too."""

    def __init__(self, grafted: Grafted) -> None:
        self._before = {name: (tensor.shape, _digest(tensor)) for name, tensor in grafted.passing().items()}

    def moved(self, grafted: Grafted) -> list[str]:
        """Names of those of the same shape with other numbers: of another shape they are made anew when they are wanted."""
        return [
            name
            for name, tensor in grafted.passing().items()
            if name in self._before
            and self._before[name][0] == tensor.shape
            and self._before[name][1] != _digest(tensor)
        ]


class Seal:
    """Digests of frozen tensors, taken before training and compared after it."""

    def __init__(self, grafted: Grafted) -> None:
        self._before = {name: _digest(tensor) for name, tensor in grafted.frozen()}

    def check(self, grafted: Grafted) -> None:
        """Every tensor that was frozen is still what it was, to the last bit.

        Raises:
            ModelgraftError: one moved; the text names it.
        """
        now = {**dict(grafted.body.named_buffers()), **dict(grafted.body.named_parameters())}
        moved = [name for name, digest in self._before.items() if name not in now or _digest(now[name]) != digest]
        if moved:
            more = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
            raise ModelgraftError(
                f"{moved[0]}{more} was to be frozen and has moved in training; the result is not to be trusted. Train the block "
                "it is in, or tell the author of the model's plugin"
            )

    @property
    def count(self) -> int:
        """Tensors that are sealed."""
        return len(self._before)


def _digest(tensor: torch.Tensor) -> bytes:
    content = tensor.detach().cpu().contiguous().flatten()
    return hashlib.blake2b(content.view(torch.uint8).numpy().data if content.numel() else b"", digest_size=16).digest()
