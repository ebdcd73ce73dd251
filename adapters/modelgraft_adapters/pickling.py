"""What a pickle of an adapter has: a backbone that was named by its name, a loaded one by value, a head as it is saved."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import torch
from modelgraft import load_head
from modelgraft.errors import ModelgraftError
from modelgraft.opening import first_line


@dataclass(slots=True)
class Packed:
    """A loaded backbone, pickled."""

    content: bytes

    @classmethod
    def of(cls, backbone: Any) -> Packed:
        """Pickle a backbone.

        Raises:
            ModelgraftError: it cannot be.
        """
        try:
            return cls(pickle.dumps(backbone))
        except Exception as error:  # a backbone is anybody's
            raise ModelgraftError(
                f"the loaded backbone ({type(backbone).__name__}) cannot be pickled: {first_line(error)}; give the adapter the "
                "model's name, which is pickled in its place, or use save"
            ) from error

    def unpacked(self) -> Any:
        """The backbone."""
        return pickle.loads(self.content)


@dataclass(slots=True)
class PackedHead:
    """A learnt head by its own state, on the CPU: what a saved adapter has of it."""

    name: str
    tensors: dict[str, torch.Tensor]
    settings: dict[str, Any]

    @classmethod
    def of(cls, name: str, head: Any) -> PackedHead:
        """Take a head's state."""
        tensors, settings = head.state()
        return cls(name, {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}, dict(settings))

    def unpacked(self, device: torch.device) -> Any:
        """The head, on a device.

        Raises:
            ModelgraftError: no installed plugin brings it.
        """
        return load_head(self.name).restore(self.tensors, self.settings).to(device)
