"""Which parameters a strategy trains, and in which groups: with one learning rate and one weight decay each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelgraft.errors import UsageError
from modelgraft.training import Block
from torch import nn

from modelgraft_adapters.finetuning.settings import Settings, parse_strategy


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are stepped alike."""

    block: str
    """Name of their block; ``head``."""
    parameters: tuple[str, ...]
    """Full names in the backbone's module; of the head in the head."""
    rate: float
    """Highest learning rate."""
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained. Every trained parameter is in exactly one group; everything else is frozen."""

    groups: tuple[Group, ...]
    """From the stem to the last block, then the head."""
    blocks: tuple[str, ...]
    """Names of all blocks of the tower, trained or not, from input to output."""

    @property
    def trained(self) -> frozenset[str]:
        """Full names of the backbone's parameters that are trained."""
        return frozenset(name for group in self.groups if group.block != HEAD for name in group.parameters)


HEAD = "head"


def make_plan(module: nn.Module, blocks: Sequence[Block], head: nn.Module, settings: Settings) -> Plan:
    """The plan of a strategy.

    With B blocks, block i (0 is the stem) has the rate ``lr * layer_decay ** (B - i)``, the head its own.

    Args:
        module: the backbone's.
        blocks: its `modelgraft.training.Trainable.blocks`.
        head: what sits on its embedding; always trained.

    Raises:
        UsageError: a block that does not exist, or nothing of this kind to train.
    """
    parameters = dict(module.named_parameters())
    chosen = _chosen(module, blocks, settings)
    if not any(chosen.values()) and settings.strategy != "head-only":
        raise UsageError(f"the model has nothing that the strategy {settings.strategy!r} trains; take another one")
    rate = settings.highest_rate
    groups = []
    for number, block in enumerate(blocks):
        own = rate * settings.layer_decay ** (len(blocks) - number)
        groups += _groups(
            block.name, chosen[block.name], parameters, _decayed(module), own, settings.l2_sp > 0, settings
        )
    own = settings.head_lr if settings.head_lr is not None else rate
    of_head = dict(head.named_parameters())
    groups += _groups(HEAD, tuple(of_head), of_head, _decayed(head), own, settings.l2_head > 0, settings)
    return Plan(tuple(groups), tuple(block.name for block in blocks))


def _groups(
    block: str,
    names: Sequence[str],
    parameters: dict[str, nn.Parameter],
    decayed: frozenset[str],
    rate: float,
    held: bool,
    settings: Settings,
) -> list[Group]:
    """A block's parameters by whether their weights decay."""
    decaying = tuple(name for name in names if name in decayed and not held)
    plain = tuple(name for name in names if name not in decayed or held)
    return [
        Group(block, part, rate, settings.weight_decay if part is decaying else 0.0)
        for part in (decaying, plain)
        if part
    ]


def _chosen(module: nn.Module, blocks: Sequence[Block], settings: Settings) -> dict[str, tuple[str, ...]]:
    """Block -> the parameters of it that are trained."""
    strategy, count = parse_strategy(settings.strategy)
    found = {block.name: block.parameters for block in blocks}
    if len(found) != len(blocks):
        raise UsageError(f"two blocks of the model have one name: {', '.join(block.name for block in blocks)}")
    if strategy == "head-only":
        return dict.fromkeys(found, ())
    if strategy == "last-N":
        if count > len(blocks):
            raise UsageError(
                f"last-{count}: the model has {len(blocks)} blocks ({blocks[0].name} ... {blocks[-1].name})"
            )
        last = {block.name for block in blocks[-count:]}
        return {name: names if name in last else () for name, names in found.items()}
    if strategy == "surgical":
        one = _block(blocks, str(settings.block))
        return {name: names if name == one else () for name, names in found.items()}
    if strategy in ("norm-only", "bias-only"):
        wanted = _norms(module) if strategy == "norm-only" else _biases(module)
        return {name: tuple(n for n in names if n in wanted) for name, names in found.items()}
    return found


def _block(blocks: Sequence[Block], wanted: str) -> str:
    names = [block.name for block in blocks]
    if wanted in names:
        return wanted
    try:
        return names[int(wanted)]
    except (ValueError, IndexError):
        raise UsageError(f"no block {wanted!r}; there are: {', '.join(names)}") from None


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: torch's own, and those of model libraries, which name them so."""
    own = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase, nn.LocalResponseNorm)
    return isinstance(module, own) or "norm" in type(module).__name__.lower()


def _norms(module: nn.Module) -> frozenset[str]:
    found = set()
    for prefix, inner in module.named_modules():
        if is_norm(inner):
            found |= {f"{prefix}.{name}" if prefix else name for name, _ in inner.named_parameters(recurse=False)}
    return frozenset(found)


def _biases(module: nn.Module) -> frozenset[str]:
    return frozenset(name for name, value in module.named_parameters() if value.ndim == 1 and name.endswith("bias"))


def _decayed(module: nn.Module) -> frozenset[str]:
    """Matrices and kernels. Not biases, norms, embedding tables, tokens and positions: what has no input it is multiplied by."""
    found = set()
    for prefix, inner in module.named_modules():
        # DoRA's lengths of the weights are as a norm's scales; of a convolution they are shaped like a kernel.
        if isinstance(inner, (nn.Embedding, nn.EmbeddingBag)) or is_norm(inner) or "lora_magnitude_vector" in prefix:
            continue
        for name, value in inner.named_parameters(recurse=False):
            if value.ndim >= 2 and name.endswith("weight"):
                found.add(f"{prefix}.{name}" if prefix else name)
    return frozenset(found)


def parameters_of(group: Group, module: nn.Module, head: nn.Module) -> list[nn.Parameter]:
    """A group's parameters themselves."""
    where = head if group.block == HEAD else module
    held = dict(where.named_parameters())
    return [held[name] for name in group.parameters]


def open_blocks(blocks: Sequence[str], step: int, steps: int) -> frozenset[str]:
    """gradual: blocks that are trained at a step: they open one after another from the last to the first, evenly over the first
    half of the run; before the first of them opens the head is alone."""
    count = min(len(blocks), int((len(blocks) + 1) * step / max(1.0, steps / 2)))
    return frozenset(blocks[len(blocks) - count :])
