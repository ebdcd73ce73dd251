"""An entry: everything known about a model without loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

__all__ = ["Entry", "Weights"]

MODALITIES: Final = ("image", "text", "image-text")
"""What a model reads: images, texts, or both into one space (a dual encoder)."""

TASKS: Final = ("features", "zero-shot", "classification", "regression")
"""What a model can do as it is: give embeddings, classify by label names, or predict the classes or the numbers of its own
training (numbers: saved adapters only)."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights of an entry are; fields that the source library does not state are ``None``."""

    repo: str | None = None
    """Hugging Face Hub repository id."""
    filename: str | None = None
    """File in the repository, where the library names one."""
    url: str | None = None
    """Direct address, for weights outside the hub."""
    revision: str | None = None
    """Hub commit, branch or tag."""
    sha256: str | None = None
    size: int | None = None
    """Bytes."""
    location: str | None = None
    """``scheme:rest`` for a source that a plugin brings (``s3:bucket/model``), or ``file:`` and a path."""
    files: tuple[str, ...] = ()
    """Which files of the place are read: shell patterns (``*`` matches slashes too), a pattern's alternatives separated by ``|``,
    of which the first that matches anything is taken. The first pattern must match. Empty: `filename`, else all that is no pickle.
    In a folder that has safetensors no pickle is taken, whatever matches."""
    without: tuple[str, ...] = ()
    """Patterns of files that are not read though they match."""
    configs: tuple[str, ...] = ()
    """Files that the entry itself was made from (`modelgraft.weights.recognising`), by their paths: a part of the model like its
    weights, whatever ``files`` says."""

    @property
    def place(self) -> str | None:
        """The location with its scheme; None for weights inside the plugin."""
        return self.location or (f"hf:{self.repo}" if self.repo else self.url)


@dataclass(frozen=True, slots=True)
class Entry:
    """One catalogue record. Built by plugins, read by everything else; JSON in, JSON out (`from_dict`, `to_dict`)."""

    name: str
    """Canonical name, ``provider/model[:tag]``."""
    modality: str
    """One of `MODALITIES`."""
    tasks: tuple[str, ...]
    """Some of `TASKS`."""
    params: int | None = None
    """Parameters of the pretrained model as published (for a timm classifier: its classification layer included)."""
    embed_dim: int | None = None
    """Size D of one embedding, as `encode_image` / `encode_text` return it."""
    input_size: tuple[int, int, int] | None = None
    """Channels, height, width of a preprocessed image."""
    max_tokens: int | None = None
    """Context length of the text tower, in its own tokens."""
    licence: str | None = None
    """As the source states it (an SPDX id where it is one)."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own preprocessing facts: mean, std, interpolation, crop, resize mode ..."""
    weights: Weights | None = None
    aliases: tuple[str, ...] = ()
    """Other full names of this model, the hub repository id among them."""
    retired: tuple[str, ...] = ()
    """Full names that the model's library has replaced by this one: they still resolve, with a warning."""
    default: bool = False
    """True for the tag that its provider takes when a model is named without one."""
    score: str | None = None
    """``softmax`` or ``sigmoid``: how zero-shot scores were trained; None where there are none."""
    templates: tuple[str, ...] = ()
    """Prompt templates this model asks for; empty lets the adapter choose by modality."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Published figures: benchmark -> number, each under one name for all models (`modelgraft.listing.benchmarks` ranks some)."""
    note: str | None = None
    """One line a user should read before choosing this model."""
    loader: Mapping[str, Any] = field(default_factory=dict)
    """The plugin's own: what its `modelgraft_load` needs to build the model."""
    plugin: str = ""
    """Entry point that brought it; set by the host."""
    distribution: str = ""
    """Distribution that brought it; set by the host."""
    revision: str | None = None
    """Set by `resolve` when the user wrote ``@revision``."""

    @property
    def provider(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    def with_revision(self, revision: str | None) -> Entry:
        """The same entry at a revision."""
        return self if revision == self.revision else replace(self, revision=revision)

    def record(self) -> dict[str, Any]:
        """Plain JSON types, every field present: what users are shown, a contract. ``loader``, the plugin's own, is left out."""
        out: dict[str, Any] = {key: getattr(self, key) for key in _SHOWN}
        for key in _TUPLES:
            out[key] = list(out[key]) if out[key] is not None else None
        if self.weights is not None:
            out["weights"] = {key: _plain(getattr(self.weights, key)) for key in _WEIGHTS if key != "configs"}
        out["preprocessing"], out["metrics"] = dict(self.preprocessing), dict(self.metrics)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; fields at their defaults are left out (2,000 entries are read at every start)."""
        out: dict[str, Any] = {}
        for f, default in _DEFAULTS.items():
            value = getattr(self, f)
            if value == default:
                continue
            if isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            elif isinstance(value, Weights):
                value = {key: _plain(v) for key in _WEIGHTS if (v := getattr(value, key)) not in (None, ())}
            out[f] = value
        return out

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Entry:
        """The inverse of `to_dict`. Unknown keys are an error: they are a misspelt field or a newer format.

        Raises:
            ValueError: a field is missing, unknown, or of the wrong kind.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"an entry is an object, not {type(record).__name__}")
        unknown = record.keys() - _DEFAULTS.keys()
        if unknown:
            raise ValueError(f"entry {record.get('name')!r} has unknown fields: {', '.join(sorted(map(str, unknown)))}")
        try:
            return cls.from_checked(dict(record))
        except (TypeError, AttributeError) as error:
            raise ValueError(f"entry {record.get('name')!r}: {error}") from None

    @classmethod
    def from_checked(cls, data: dict[str, Any]) -> Entry:
        """As `from_dict`, for a dict that `to_dict` made; takes it over. Thousands are read at every start."""
        for key in _TUPLES:
            if data.get(key) is not None:
                data[key] = tuple(data[key])
        weights = data.get("weights")
        if weights is not None:
            stated: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in weights.items()}
            data["weights"] = Weights(**stated)
        return cls(**data)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_WEIGHTS = tuple(f.name for f in fields(Weights))
_REQUIRED = ("name", "modality", "tasks")
_DEFAULTS: dict[str, Any] = {
    f.name: ... if f.name in _REQUIRED else (f.default_factory() if callable(f.default_factory) else f.default)
    for f in fields(Entry)
}
_TUPLES = ("tasks", "input_size", "aliases", "retired", "templates")
_SHOWN = ("name", "provider", *(key for key in _DEFAULTS if key not in ("name", "loader")))
