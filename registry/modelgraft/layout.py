"""How the weights of a model lie in memory: for plugins, which know that their models may be laid out otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["lay_out"]


def lay_out(module: nn.Module) -> nn.Module:
    """Put a model that is mostly convolutions channels-last, as the fast kernels of processors and GPUs read, and return it.

    Convolutions then give their outputs so too. Others stay as they are: of a vision transformer the one convolution cuts patches.
    Numbers change in the last bits. Not for code that calls ``view`` on what a convolution gives, which then fails.
    """
    import torch
    from torch import nn

    convolutions = sum(isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1 for part in module.modules())
    others = sum(isinstance(part, (nn.Linear, nn.MultiheadAttention)) for part in module.modules())
    if convolutions > others:
        module.to(memory_format=torch.channels_last)
    return module
