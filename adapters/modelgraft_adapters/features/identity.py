"""Everything that a feature depends on but the item itself, as plain JSON: what the feature store is keyed by.

Anything in it that changes makes other features of the same items, which are kept beside the old ones.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Literal

import numpy as np
import torch
from modelgraft.contract import BackboneBase
from modelgraft.entry import Entry
from modelgraft.errors import UsageError
from modelgraft.host.code import class_code_digest, library_digest, plugin_code_digest
from modelgraft.host.discovery import OWN_DISTRIBUTION, installed_version
from modelgraft.resolution import Part
from modelgraft.weights.fetching import fetch_part
from modelgraft.weights.resolving import resolve_weights
from modelgraft.weights.verifying import sha256

READING: Final = 2
"""Raise it when `modelgraft_adapters.media.images` gives other pixels for the same file."""
_DEFAULT: Final = "default"


def entry_identity(entry: Entry) -> dict[str, Any]:
    """The model behind an entry: the digests of its files (the lock file's under ``--locked``), or of what brings it.

    Raises:
        WeightsUnavailableError: its files are not stored and cannot be asked for.
        LockError: the lock file does not name them.
    """
    from modelgraft.project.lockfile import active

    locked = active()
    named = f"{entry.name}@{entry.revision}" if entry.revision else entry.name
    resolution = resolve_weights(entry) if locked is None else locked.resolution(named)
    about: dict[str, Any] = {"weights": [_part(part) for part in resolution.parts]}
    if not resolution.parts:
        stated = entry.weights.sha256 if entry.weights else None
        about = {"weights": "in the plugin", "sha256": stated, "revision": entry.revision}
    return {
        "model": entry.name,
        **about,
        **_about(entry),
    }


def backbone_identity(backbone: BackboneBase) -> dict[str, Any]:
    """A backbone that is loaded already, and may have been trained further or made by hand: its class, the code of that, what it is
    set to, and every byte of its weights."""
    kind = type(backbone)
    return {
        "model": backbone.entry.name,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "class code": class_code_digest(kind),
        "settings": settings_digest(backbone),
        "weights": weights_digest(backbone.module),
        **_about(backbone.entry),
    }


def is_known(identity: Mapping[str, Any]) -> bool:
    """Tell whether an identity says all: code from no file, or changed under the running process, may compute anything, and nothing
    that it computes is to be kept."""
    return identity["provider"]["code"] is not None and identity.get("class code", "") is not None


def weights_digest(module: torch.nn.Module) -> str:
    """A digest of every parameter and buffer: name, shape, dtype and bytes."""
    digest = hashlib.blake2b(digest_size=32)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if isinstance(tensor, torch.Tensor):
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(_content(tensor).data)
    return digest.hexdigest()


def _content(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def settings_digest(backbone: BackboneBase) -> str:
    """A digest of what a backbone and the parts of its module are set to: attributes that are plain values or show them.

    Two of one class with the same weights may still differ: in the size of their images, in how tokens are pooled.
    """
    if backbone.entry.plugin:  # its plugin sets it from its entry, which is known
        set_to: Any = []
    else:
        set_to = [(name, _shown(value)) for name, value in sorted(_attributes(backbone).items())]
    for name, part in backbone.module.named_modules():
        inner = {key: value for key, value in _attributes(part).items() if key[0] != "_"}
        # The other buffers are among the weights.
        inner |= {key: part._buffers.get(key) for key in part._non_persistent_buffers_set}
        set_to.append([name, type(part).__qualname__, [(key, _shown(value)) for key, value in sorted(inner.items())]])
    return hashlib.sha256(repr(set_to).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _attributes(made: Any) -> dict[str, Any]:
    there = dict(getattr(made, "__dict__", {}))
    for kind in type(made).__mro__:
        names = kind.__dict__.get("__slots__", ())
        there |= {name: getattr(made, name, None) for name in ((names,) if isinstance(names, str) else names)}
    return {name: value for name, value in there.items() if name not in ("training", "entry", "__weakref__")}


def _shown(value: Any) -> Any:
    """What a value is in the same words in every process; of an object that does not show what it holds, its class."""
    kind = type(value)
    if value is None or kind in (str, bytes, bool, int, float, complex, torch.dtype, torch.Size, torch.device):
        return repr(value)
    if kind in (list, tuple):
        return [kind.__name__, *map(_shown, value)]
    if kind in (set, frozenset, dict):
        held = [[_shown(key), _shown(value[key]) if kind is dict else None] for key in value]
        return [kind.__name__, *sorted(held, key=repr)]
    if isinstance(value, torch.nn.Module):
        return "a part of its own"
    if isinstance(value, (torch.Tensor, np.ndarray)):
        raw = _content(value) if isinstance(value, torch.Tensor) else value
        return [str(value.dtype), list(value.shape), hashlib.sha256(raw.tobytes()).hexdigest()]
    named = f"{kind.__module__}.{kind.__qualname__}"
    shown = repr(value)[:10_000]
    return [named] if " at 0x" in shown or " object at " in shown else [named, shown]


def settings_identity(
    modality: str, layer: str | None, device: torch.device, dtype: torch.dtype | None
) -> dict[str, Any]:
    """How the model is run: what it reads, the layer taken, precision and kind of device."""
    precision: dict[str, Any] = {
        "dtype": str(dtype).removeprefix("torch.") if dtype else "the model's own",
        "matmul": torch.get_float32_matmul_precision(),  # on a CPU with bfloat16 too
    }
    if device.type != "cpu":
        precision["tf32"] = torch.backends.cudnn.allow_tf32
    return {
        "modality": modality,
        "layer": layer or _DEFAULT,
        "precision": precision,
        "device": device.type,
        "reading": READING,
    }


@cache
def versions(distribution: str) -> dict[str, str]:
    """Versions of what computes features: torch, the image libraries, and what ``distribution`` needs that uses torch itself."""
    names = {OWN_DISTRIBUTION, "torch", "torchvision", "pillow", "numpy", "tokenizers"}
    seen: set[str] = set()
    open_names = [distribution or OWN_DISTRIBUTION]
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except (importlib.metadata.PackageNotFoundError, ValueError):
            continue
        if any(_name(line) == "torch" for line in requirements):
            names.add(name)
        if name != "torch":  # what torch itself needs is torch's
            open_names += [_name(line) for line in requirements if "extra ==" not in line]
    return {name: found for name in sorted(names) if (found := installed_version(name))}


def builds(distribution: str) -> dict[str, str | None]:
    """Beside `versions`, which build of each it is: the same version may be installed from elsewhere, or edited where it lies.

    Of modelgraft's own code the plugin counts (`_about`), and `READING`.
    """
    return {name: library_digest(name) for name in versions(distribution) if name != OWN_DISTRIBUTION}


def _about(entry: Entry) -> dict[str, Any]:
    """Of an entry what its plugin builds the model by, and which plugin that is. Not its figures and texts for people."""
    return {
        "loader": _plain(entry.loader),
        "preprocessing": _plain(entry.preprocessing),
        "input_size": _plain(entry.input_size),
        "max_tokens": entry.max_tokens,
        "provider": {
            "distribution": entry.distribution,
            "version": installed_version(entry.distribution),
            # An entry that was made by hand is of no plugin: the class of its backbone says whose code it is.
            "code": plugin_code_digest(entry.distribution, entry.plugin) if entry.distribution else "",
        },
    }


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group()).lower() if found else ""


def _part(part: Part) -> dict[str, Any]:
    if all(file.sha256 or file.blob for file in part.files):
        files = {file.path: file.sha256 or f"blob {file.blob}" for file in part.files}
    else:  # a source that states no digests (a folder): the files themselves are looked at
        local = fetch_part(part)
        files = {file.path: sha256(local.files[file.path]) for file in part.files}
    return {"revision": part.revision, "files": dict(sorted(files.items()))}


def _plain(value: Any) -> Any:
    """JSON types, mappings and tuples included."""
    if hasattr(value, "items"):
        return {str(key): _plain(inner) for key, inner in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def read_modality(entry: Entry, wanted: str | None) -> Literal["image", "text"]:
    """Return what a model is to read: ``wanted``, or where that is None images if it reads both.

    Raises:
        UsageError: a model without embeddings, or one that does not read such items.
    """
    if not {"features", "zero-shot"} & set(entry.tasks):
        raise UsageError(
            f"{entry.name} gives predictions and no embeddings; take a backbone ('modelgraft list --task features')"
        )
    reads = ("image", "text") if entry.modality == "image-text" else (entry.modality,)
    if wanted is None:
        return "text" if entry.modality == "text" else "image"
    if wanted not in ("image", "text"):
        raise UsageError(f"no modality {wanted!r}; there are image and text")
    if wanted not in reads:
        raise UsageError(
            f"{entry.name} reads {entry.modality}s, not {wanted}s; 'modelgraft list --modality {wanted}' shows the models that do"
        )
    return "text" if wanted == "text" else "image"
