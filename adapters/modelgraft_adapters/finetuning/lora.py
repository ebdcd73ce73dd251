"""LoRA (Hu et al. 2022, arXiv 2106.09685) and DoRA (Liu et al. 2024, arXiv 2402.09353): low-rank matrices beside frozen weights.

A weight W (out, in) becomes W + alpha / rank * B A with A (rank, in) and B (out, rank), of which only A and B are trained; DoRA
trains the lengths of the rows apart. The matrices are peft's, put into the backbone's own module, and merged at the end.

peft's layers stand in for a layer's ``forward``. Some models read its ``weight`` and never call it (torch's attention, the
attention pool of CLIP's ResNets, Swin v2, BEIT and EVA with their split biases): there peft's matrices would have no gradient. So
here ``weight`` of an injected layer is the sum, with gradients. peft's own layer for ``nn.MultiheadAttention`` is not used: it
adds to the frozen weights and subtracts again in every pass, which moves them by rounding, it adds the second projection's matrices
twice (https://github.com/huggingface/peft/pull/3774), and it has no DoRA.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from modelgraft.errors import UsageError
from modelgraft.training import Block
from torch import nn

from modelgraft_adapters.saved.low_rank import LowRankChange

Kind = Literal["lora", "dora"]
NAME: Final = "default"
"""peft's for a set of matrices that is the only one."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """What was put into a module."""

    blocks: tuple[Block, ...]
    """The blocks that were given, each with the names of the low-rank matrices in it; with none where nothing of it is adapted."""
    base_names: tuple[str, ...]
    """The weights that merging changes, by their full names before and after."""
    layer_names: tuple[str, ...]
    """The layers that the matrices lie beside, in the same order."""

    def merge(self, module: nn.Module) -> dict[str, LowRankChange]:
        """Add the matrices to the weights, in place and in float64, and take peft's layers out: names, types and order of
        everything in the module are again those of before. Outputs stay the same up to rounding.

        Args:
            module: the one that they were put into, or a copy of it.

        Returns:
            what was added, by the full names of the weights.
        """
        weights = dict(zip(self.layer_names, self.base_names, strict=True))
        added = {}
        for name, layer in list(_injected(module)):
            base, change = layer.get_base_layer(), _change(layer)
            with torch.no_grad():
                base.weight.copy_(change.exactly_onto(base.weight))
            added[weights[name]] = change.kept()
            base.train(layer.training)
            _place(module, name, base)
        for name, inner in list(module.named_modules()):
            if isinstance(inner, _Unfolded):
                original = inner.folded
                original.train(inner.training)
                _place(module, name, original)
        return added


@dataclass(frozen=True, slots=True)
class _Target:
    """A layer that takes low-rank matrices."""

    layer: str
    """Full name; ``in_proj`` of an attention exists once that is unfolded."""
    weight: str
    """Full name of its weight in the module as it is given."""
    block: str
    convolution: bool
    size: int
    """Numbers in the weight."""


def inject(
    module: nn.Module, blocks: Sequence[Block], *, kind: Kind, rank: int, alpha: float, dropout: float, seed: int
) -> LowRank:
    """Put low-rank matrices beside the weights of linear layers and attentions, in place.

    Where convolutions hold most of the weights they are taken too, pointwise ones as well; depthwise, grouped and dilated ones
    and those with a forward of their own (weight standardisation) are not, as peft's matrices could not be merged into them.
    Neither is a weight that the two matrices would be no smaller than; with dora one that has a row of zeros, which has no
    direction. As B is zero, outputs are those of before, to the bit where torch computes with the same kernels; it has others
    where nothing requires gradients. Everything but the matrices stops requiring gradients.

    Args:
        module: a backbone's, in float32.
        blocks: its `modelgraft.training.Trainable.blocks`; what lies in none is not touched.
        rank: of the matrices.
        alpha: what they add is times ``alpha / rank``.
        dropout: of what goes into A; 0 where a model reads the weight in place of calling the layer.
        seed: of A, which is drawn as torch draws a linear layer's weights. torch's own generators stay as they are.

    Raises:
        UsageError: peft is not installed, nothing to put them beside, or a rank, alpha or dropout that cannot be.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UsageError(f"{kind} needs the library peft ({error}): pip install 'modelgraft[lora]'") from None
    _check(module, rank, alpha, dropout)
    targets = _targets(module, blocks, rank, kind)
    for target in targets:
        if target.layer.endswith(".in_proj") and target.weight.endswith(".in_proj_weight"):
            _place(module, name := target.layer.removesuffix(".in_proj"), _Unfolded(module.get_submodule(name)))
    # As one pattern: peft takes a name in a list for the end of names as well, which text towers have in common with others.
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        use_dora=kind == "dora",
        target_modules="|".join(re.escape(target.layer) for target in targets),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of what peft sets right itself, for layers that hold their weight the other way round
        inject_adapter_in_model(config, module)
    vars(module).pop("peft_config", None)
    layers = dict(_injected(module))
    readable = {kind: _readable(kind) for kind in {type(layer) for layer in layers.values()}}
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[str]] = {block.name: [] for block in blocks}
    for target in targets:
        layer = layers[target.layer]
        layer.train(layer.get_base_layer().training)
        _draw(layer.lora_A[NAME].weight, generator)
        layer.__class__ = readable[type(layer)]
        found[target.block] += [f"{target.layer}.{n}" for n, _ in layer.named_parameters() if n.startswith("lora_")]
    return LowRank(
        tuple(Block(block.name, tuple(found[block.name])) for block in blocks),
        tuple(target.weight for target in targets),
        tuple(target.layer for target in targets),
    )


def _check(module: nn.Module, rank: int, alpha: float, dropout: float) -> None:
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise UsageError(f"the rank of low-rank matrices is a whole number above 0, not {rank!r}")
    if not 0 < alpha < math.inf:
        raise UsageError(f"lora_alpha must be above 0, not {alpha!r}")
    if not 0 <= dropout < 1:
        raise UsageError(f"lora_dropout must be from 0 to below 1, not {dropout!r}")
    if any(True for _ in _injected(module)):
        raise UsageError("the model holds low-rank matrices already; merge them first, or take the model without them")


def _targets(module: nn.Module, blocks: Sequence[Block], rank: int, kind: Kind) -> list[_Target]:
    """The layers to adapt, in the order of the module.

    Raises:
        UsageError: there are none.
    """
    where = {name: block.name for block in blocks for name in block.parameters}
    times = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    linear: list[_Target] = []
    convolutions: list[_Target] = []
    small = 0
    for prefix, inner in module.named_modules():
        for layer, name, matrix, convolution in _weights(inner) if prefix else ():
            layer, name = (f"{prefix}.{part}".strip(".") for part in (layer, name))
            weight = module.get_parameter(name)
            if name not in where or times[id(weight)] > 1 or not weight.is_floating_point():
                continue
            if rank * sum(matrix.shape) >= matrix.numel():
                small += 1
            elif kind == "lora" or bool((matrix.norm(dim=1) > 0).all()):
                target = _Target(layer, name, where[name], convolution, weight.numel())
                (convolutions if convolution else linear).append(target)
    mostly = sum(t.size for t in convolutions) > sum(t.size for t in linear)
    chosen = {t.layer for t in (*linear, *(convolutions if mostly else ()))}
    if not chosen and small:
        raise UsageError(
            f"rank {rank}: two matrices of it are no smaller than any weight of the model; take a lower rank"
        )
    if not chosen:
        raise UsageError(f"the model has no layer that {kind} could adapt in its blocks; take another strategy")
    order = {name: place for place, (name, _) in enumerate(module.named_parameters())}
    return sorted((t for t in (*linear, *convolutions) if t.layer in chosen), key=lambda t: order[t.weight])


def _weights(inner: nn.Module) -> Iterator[tuple[str, str, torch.Tensor, bool]]:
    """Of a module itself: (layer, weight, the weight as (out, in), whether it is a convolution's), names within it."""
    from transformers.pytorch_utils import Conv1D

    forward = type(inner).forward
    if type(inner) is nn.MultiheadAttention and inner.in_proj_weight is not None:
        yield "in_proj", "in_proj_weight", inner.in_proj_weight.detach(), False
    weight = inner._parameters.get("weight")  # not one that is computed from others
    if weight is None:
        return
    if isinstance(inner, nn.Linear) and forward is nn.Linear.forward:
        yield "", "weight", weight.detach(), False
    elif isinstance(inner, Conv1D) and forward is Conv1D.forward:
        yield "", "weight", weight.detach().T, False
    elif isinstance(inner, nn.Conv2d) and forward is nn.Conv2d.forward and _plain(inner):
        yield "", "weight", weight.detach().flatten(1), True


def _plain(inner: nn.Conv2d) -> bool:
    """peft's A has neither groups nor dilation nor padding of another kind."""
    return inner.groups == 1 and inner.dilation == (1, 1) and inner.padding_mode == "zeros"


class _Unfolded(nn.MultiheadAttention):
    """torch's attention whose first projection is a layer, as the second is: what it computes with is torch's own code, which
    reads the weights of both."""

    def __init__(self, original: nn.Module) -> None:
        nn.Module.__init__(self)
        assert isinstance(original, nn.MultiheadAttention) and original.in_proj_weight is not None
        state = vars(original)
        self.__dict__.update(state | {"_parameters": state["_parameters"].copy(), "_modules": state["_modules"].copy()})
        weight, bias = self._parameters.pop("in_proj_weight"), self._parameters.pop("in_proj_bias")
        layer = nn.Linear(1, 1, bias=False, device="meta")
        layer.out_features, layer.in_features = original.in_proj_weight.shape
        layer.weight, layer.bias = weight, bias  # type: ignore[assignment]
        self._modules["in_proj"] = layer.train(original.training)
        self.__dict__["_original"] = (original,)  # in a tuple, so that it is no part of this module

    @property
    def folded(self) -> nn.MultiheadAttention:
        """The attention as it was, with the parameters as they are."""
        return self.__dict__["_original"][0]

    @property
    def in_proj_weight(self) -> torch.Tensor:  # type: ignore[override]
        """(3 E, E)."""
        return self.in_proj.weight  # type: ignore[return-value,union-attr]

    @property
    def in_proj_bias(self) -> torch.Tensor | None:  # type: ignore[override]
        """(3 E,), or None."""
        return self.in_proj.bias  # type: ignore[return-value,union-attr]


def _readable(kind: Any) -> Any:
    """One of peft's layers whose ``weight`` is what its forward computes with."""
    return type(kind.__name__, (kind,), {"weight": property(_whole), "__module__": kind.__module__})


def _whole(layer: Any) -> torch.Tensor:
    """The weight with the low-rank matrices in it, shaped as the weight; with gradients to the matrices."""
    return _change(layer).onto(layer.get_base_layer().weight)


def _change(layer: Any) -> LowRankChange:
    lengths = layer.lora_magnitude_vector[NAME].weight if NAME in layer.lora_magnitude_vector else None
    a, b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
    return LowRankChange(a, b, float(layer.scaling[NAME]), lengths, bool(getattr(layer, "fan_in_fan_out", False)))


def _injected(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """peft's layers of low-rank matrices, by full name."""
    from peft.tuners.lora import LoraLayer

    for name, inner in module.named_modules():
        if isinstance(inner, LoraLayer):
            yield name, inner


@torch.no_grad()
def _draw(weight: nn.Parameter, generator: torch.Generator) -> None:
    """Uniform, as a linear layer's: drawn on the CPU, so that it is the same on every device."""
    drawn = torch.empty(weight.shape)
    nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
    weight.copy_(drawn)


def _place(module: nn.Module, name: str, inner: nn.Module) -> None:
    """Put a module where one of that name is."""
    parent, _, own = name.rpartition(".")
    module.get_submodule(parent)._modules[own] = inner
