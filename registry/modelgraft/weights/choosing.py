"""Which of the files that lie at a place a model reads."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from modelgraft.entry import Weights
from modelgraft.errors import WeightsUnavailableError
from modelgraft.resolution import File, safe_path

PICKLES: Final = (".bin", ".pt", ".pth", ".tar", ".ckpt", ".pkl", ".pickle", ".npz", ".joblib")
"""Endings of formats that can run code when they are opened (a NumPy archive may hold pickled objects)."""


def choose(weights: Weights, listed: Iterable[File], place: str) -> tuple[File, ...]:
    """The files of a place that ``weights`` asks for, sorted by path.

    Raises:
        WeightsUnavailableError: nothing matches the first pattern.
        UnsafeWeightsError: a file that is asked for has a name that leaves its folder.
    """
    files = {file.path: file for file in listed}
    readable = [path for path in files if not any(fnmatch.fnmatchcase(path, p) for p in weights.without)]
    safe_folders = {_folder(path) for path in readable if path.endswith(".safetensors")}
    readable = [path for path in readable if not (is_pickle(path) and _folder(path) in safe_folders)]
    patterns = _patterns(weights)
    chosen: dict[str, None] = {}
    for number, pattern in enumerate(patterns):
        found = _first_match(pattern, readable)
        if not found and number == 0:
            raise WeightsUnavailableError(
                f"{place} holds no {pattern.replace('|', ' or ')}: no weights that this model could be read from"
            )
        chosen.update(dict.fromkeys(found))
    if gone := [path for path in weights.configs if path not in files]:
        raise WeightsUnavailableError(f"{place} holds no {gone[0]} any more, by which the model there was recognised")
    chosen.update(dict.fromkeys(weights.configs))
    return tuple(files[safe_path(path)] for path in sorted(chosen))


def is_pickle(path: str) -> bool:
    """Whether a file of this name may hold a pickle."""
    return path.lower().endswith(PICKLES)


def _patterns(weights: Weights) -> tuple[str, ...]:
    if weights.files:
        return weights.files
    if weights.filename:
        stem = weights.filename.rpartition(".")[0]
        return (f"{stem}.safetensors|{weights.filename}" if is_pickle(weights.filename) else weights.filename,)
    return ("*",)


def _first_match(pattern: str, paths: list[str]) -> list[str]:
    for alternative in pattern.split("|"):
        if found := [path for path in paths if fnmatch.fnmatchcase(path, alternative)]:
            return found
    return []


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)
