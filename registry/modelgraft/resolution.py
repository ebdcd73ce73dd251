"""What a name comes down to: exact files at exact places, with sizes and digests. Data only; no network, no imports of models."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from modelgraft.errors import UnsafeWeightsError

__all__ = ["File", "Part", "Resolution", "safe_path"]


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model, as its source states it."""

    path: str
    """Relative to the place, with slashes."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """64 hexadecimal digits; may be cut to the first 8 or more where the source states no more (torch.hub's file names)."""
    blob: str | None = None
    """SHA-1 of the file as a git blob, which is what the hub states of small files."""


@dataclass(frozen=True, slots=True)
class Part:
    """The files of a model that lie at one place, at one revision of it."""

    location: str
    """``scheme:rest``: ``hf:org/repo``, ``https://...``, ``file:/path``, or a plugin's own (``s3:bucket/key``)."""
    revision: str | None
    """The exact commit; None where the source has none."""
    files: tuple[File, ...]

    @property
    def scheme(self) -> str:
        """Which source answers for it: ``hf``, ``https``, ``file`` ..."""
        return self.location.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Resolution:
    """Everything needed to have the same bytes again: what `modelgraft.project.lockfile` writes down."""

    name: str
    """Canonical name of the entry, without a revision."""
    parts: tuple[Part, ...]
    """Weights first, then what else the model reads (a tokenizer from another repository)."""
    licence: str | None = None
    distribution: str = ""
    """Distribution that brought the entry."""
    version: str = ""
    """Its version."""

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where one is unknown."""
        sizes = [file.size for part in self.parts for file in part.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, keys and files sorted, nothing that is None."""
        return {
            "licence": self.licence,
            "plugin": {"distribution": self.distribution, "version": self.version},
            "weights": [
                {
                    "location": part.location,
                    **({"revision": part.revision} if part.revision else {}),
                    "files": {
                        file.path: {
                            key: value
                            for key in ("blob", "sha256", "size")
                            if (value := getattr(file, key)) is not None
                        }
                        for file in sorted(part.files, key=lambda file: file.path)
                    },
                }
                for part in self.parts
            ],
        }

    @classmethod
    def from_dict(cls, name: str, record: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: not such a record.
            UnsafeWeightsError: a file name that would leave its folder.
        """
        parts = tuple(
            Part(
                _text(part["location"]),
                part.get("revision"),
                tuple(File(safe_path(path), **about) for path, about in sorted(part["files"].items())),
            )
            for part in record["weights"]
        )
        plugin = record["plugin"]
        return cls(name, parts, record.get("licence"), _text(plugin["distribution"]), _text(plugin["version"]))

    def with_parts(self, parts: tuple[Part, ...]) -> Self:
        """The same with other parts."""
        return replace(self, parts=parts)


def safe_path(path: str) -> str:
    """The path itself, if it stays below the folder it is relative to.

    Raises:
        UnsafeWeightsError: absolute, with ``..``, a drive, a backslash or a control character.
    """
    text = _text(path)
    parts = text.split("/")
    if (
        not text
        or posixpath.isabs(text)
        or any(part in ("", ".", "..") for part in parts)
        or any(mark in text for mark in "\\:\0")
        or not text.isprintable()
    ):
        raise UnsafeWeightsError(f"the file name {text!r} would leave its folder, or is none; it is refused")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
