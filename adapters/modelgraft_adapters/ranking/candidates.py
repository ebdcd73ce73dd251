"""Which models are ranked, and what of them has to be downloaded first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelgraft import Entry, list_models, resolve
from modelgraft.errors import ModelgraftError, UnknownModelError, UsageError
from modelgraft.project.lockfile import active
from modelgraft.resolution import Resolution
from modelgraft.weights.keeping import holdings
from modelgraft.weights.resolving import resolve_weights

from modelgraft_adapters.features.identity import read_modality

MOST: Final = 200
"""Candidates; more are a pattern that is too wide."""
BYTES_OF_A_PARAMETER: Final = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model, and where its features are taken."""

    entry: Entry
    layer: str | None = None
    named: str = ""
    """As it was asked for: what loads it."""

    @property
    def name(self) -> str:
        """The model's name, and the layer where it is not the usual one."""
        return self.model if self.layer is None else f"{self.model} [{self.layer}]"

    @property
    def model(self) -> str:
        """The model's name, with the revision that was asked for."""
        return full_name(self.entry)


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one model."""

    size: int | None
    """Bytes of all of them; None where a source does not say."""
    missing: int
    """Bytes that are not on this disk; where a source does not say, four for each parameter that the catalogue states."""
    exact: bool
    """The source says how many are missing."""


def find_candidates(
    words: Sequence[str],
    modality: str,
    conditions: dict[str, Any],
    layers: Sequence[str | None] = (None,),
    limit: int | None = None,
) -> tuple[list[Candidate], list[tuple[str, str]], list[str]]:
    """Return the models that names and patterns mean, each once for each layer; those that do not read such items, with the reason;
    and what is to be said.

    A word with ``*``, ``?`` or ``[`` is a pattern of the catalogue, and so is one that names no model but is a part of names; the
    others are names, folders or hub repositories. Conditions (`modelgraft.list_models`) hold for patterns.

    Args:
        words: none stands for all models that meet the conditions.
        modality: ``image`` or ``text``: what is to be read.
        limit: models that each pattern may give, the first by name or by the condition ``sort``.

    Raises:
        UsageError: nothing is asked for, a pattern that matches nothing, an unknown name, more than `MOST` candidates, only models
            that do not read such items.
    """
    asked = {key: value for key, value in conditions.items() if value not in (None, False)}
    if not words and not set(asked) - {"sort", "reverse"}:
        raise UsageError(
            "no models to rank; give names or patterns ('timm/*mobilenet*'), or conditions as of 'modelgraft list'"
        )
    found: dict[str, tuple[Entry, str]] = {}
    wrong: list[tuple[str, str]] = []
    notes: list[str] = []
    asked_for: list[str | None] = [*words]
    for word in asked_for or [None]:
        entry = None if word is None else _named(word)
        if entry is None:
            some = list_models(word, **{**conditions, "modality": modality}, limit=limit)
            if not some:
                shown = ", ".join(f"{key} {value}" for key, value in asked.items())
                what = f"{word!r}" if word is not None else "the conditions"
                raise UsageError(
                    f"no model for {modality}s matches {what}{f' with {shown}' if shown else ''}; "
                    "'modelgraft list PATTERN' shows what there is"
                )
            found |= {one.name: (one, one.name) for one in some}
            continue
        try:
            read_modality(entry, modality)
        except UsageError as error:
            wrong.append((entry.name, str(error)))
            continue
        if asked:
            notes.append(f"{word} was named: conditions are for patterns, and do not apply to it")
        found[full_name(entry)] = (entry, str(word))
    if not found:
        raise UsageError(f"nothing to rank: {wrong[0][1]}")
    out = [Candidate(entry, layer, named) for entry, named in found.values() for layer in dict.fromkeys(layers)]
    if len(out) > MOST:
        raise UsageError(
            f"{len(out)} candidates, at most {MOST} are ranked; narrow the pattern, or give --limit or --max-params"
        )
    return out, wrong, notes


def full_name(entry: Entry) -> str:
    """Return a model's name, with the revision that was asked for."""
    return f"{entry.name}@{entry.revision}" if entry.revision else entry.name


def _named(word: str) -> Entry | None:
    """The model that a word names; None for a pattern."""
    if any(mark in word for mark in "*?["):
        return None
    try:
        return resolve(word)
    except UnknownModelError:
        if list_models(word, limit=1):
            return None
        raise


def files_of(entries: Sequence[Entry]) -> tuple[dict[str, Files], dict[str, str]]:
    """Return the files of models by name, and of those whose files cannot be had the reason. Nothing is fetched but lists."""
    stored = {
        (held.part.location, held.part.revision, file.path) for _, held in holdings()[0] for file in held.part.files
    }
    found: dict[str, Files] = {}
    broken: dict[str, str] = {}
    for entry in entries:
        try:
            found[full_name(entry)] = _files(entry, _resolution(entry), stored)
        except ModelgraftError as error:
            broken[full_name(entry)] = str(error)
    return found, broken


def _resolution(entry: Entry) -> Resolution:
    locked = active()
    return resolve_weights(entry) if locked is None else locked.resolution(full_name(entry))


def _files(entry: Entry, resolution: Resolution, stored: set[tuple[str, str | None, str]]) -> Files:
    sizes, exact = [], True
    for part in resolution.parts:
        if part.scheme == "file":
            continue
        gone = [file for file in part.files if (part.location, part.revision, file.path) not in stored]
        exact = exact and all(file.size is not None for file in gone)
        sizes += [file.size or 0 for file in gone]
    missing = sum(sizes) if exact else (entry.params or 0) * BYTES_OF_A_PARAMETER
    return Files(resolution.size if resolution.parts else None, missing, exact)


def check_download(files: dict[str, Files], most: float) -> list[str]:
    """Return lines that say what will be downloaded, model by model; none where all is here.

    Raises:
        UsageError: it is more than ``most`` bytes in all.
    """
    wanted = {name: one for name, one in files.items() if one.missing or not one.exact}
    if not wanted:
        return []
    lines = [f"to download: {name}, {shown_size(one)}" for name, one in wanted.items()]
    total = sum(one.missing for one in wanted.values())
    many = f"{len(wanted)} model{'s' if len(wanted) > 1 else ''}"
    if total > most:
        named = ", ".join(f"{name} ({shown_size(one)})" for name, one in list(wanted.items())[:8])
        more = f" and {len(wanted) - 8} more" if len(wanted) > 8 else ""
        raise UsageError(
            f"{many} would be downloaded, {bytes_of(total)} in all, more than --max-download {bytes_of(most)}: {named}{more}"
        )
    return [*lines, f"{bytes_of(total)} in all, of at most {bytes_of(most)} (--max-download)"]


def shown_size(files: Files) -> str:
    """What is missing, for people."""
    if files.exact:
        return bytes_of(files.missing)
    return f"about {bytes_of(files.missing)}" if files.missing else "of unknown size"


def bytes_of(count: float) -> str:
    """Bytes for people: ``13.6 MB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"
