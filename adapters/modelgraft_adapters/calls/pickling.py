"""What a pickle of an adapter has: a backbone that was named by its name, a loaded one by value, a head as it is saved."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import Any

import torch
from modelgraft import Entry, load_head
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
    """A trained head by its own state, on the CPU: what a saved adapter has of it."""

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


def packed(adapter: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Return what is pickled of an adapter, whose attributes are ``state``.

    Raises:
        ModelgraftError: the backbone was given as an object that cannot be pickled.
    """
    model = adapter.model
    if adapter.head_ is not None:
        state["head_"] = PackedHead.of(adapter.head_name, adapter.head_)
    if not (model is None or isinstance(model, (str, Entry, os.PathLike))):
        own = adapter._extractor is not None and adapter._extractor.backbone is model
        state["model"] = Packed(b"") if own else Packed.of(model)  # the extractor has it already
    return state


def unpack(adapter: Any) -> None:
    """Put a head and a backbone that were pickled in their places."""
    if isinstance(adapter.model, Packed):
        adapter.model = adapter.model.unpacked() if adapter.model.content else adapter.extractor.backbone
    if isinstance(adapter.head_, PackedHead):
        adapter.head_ = adapter.head_.unpacked(adapter._head_device)
