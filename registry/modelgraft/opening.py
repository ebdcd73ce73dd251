"""Opening files of weights: pickles run no code, and what cannot be opened is told in one line."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelgraft.contract import LocalPart
from modelgraft.errors import ModelgraftError, UnsafeWeightsError, WeightsUnavailableError
from modelgraft.resolution import safe_path

__all__ = ["find", "first_line", "only", "opening"]

Also = Callable[[Exception], str | None]


@contextmanager
def opening(what: str, *, also: Also | None = None) -> Iterator[None]:
    """Turn what a library raises over files it cannot use into one line.

    Args:
        what: the files, for the text: "the weights of timm/resnet18 (/cache/model.safetensors)".
        also: asked before the general reading of an error: what a library says in words of its own.

    Anything that is not about files passes: it is a bug and must not look like a damaged file.

    Raises:
        UnsafeWeightsError: a pickle that asks for code.
        WeightsUnavailableError: files that cannot be read, or do not fit the model.
    """
    try:
        yield
    except ModelgraftError:
        raise
    except Exception as error:
        if reason := also(error) if also else None:
            raise WeightsUnavailableError(f"{what}: {reason}") from error
        if unsafe(error):
            raise UnsafeWeightsError(
                f"{what} are damaged or a pickle that could run code, which is never opened; choose another model, or one "
                "with safetensors"
            ) from error
        if damaged(error) or isinstance(error, OSError):
            raise WeightsUnavailableError(
                f"{what} cannot be read or do not fit the installed library ({first_line(error)})"
            ) from error
        raise


@contextmanager
def only(part: LocalPart, copies: Mapping[str, bytes | None] | None = None) -> Iterator[Path]:
    """A temporary folder that holds the verified files of a part and nothing else that may lie beside them.

    For libraries that look for themselves what is in a folder. Gone afterwards; files that are open or mapped stay so.

    Args:
        copies: path -> what the library is to see there instead of the file (`modelgraft.strangers`); None for nothing.
    """
    instead = copies or {}
    with tempfile.TemporaryDirectory(prefix="modelgraft-") as folder:
        for path, local in part.files.items():
            if path not in instead:
                os.symlink(local.resolve(), _place(folder, path))
        for path, content in instead.items():
            if content is not None:
                _place(folder, path).write_bytes(content)
        yield Path(folder)


def _place(folder: str, path: str) -> Path:
    place = Path(folder) / safe_path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def find(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """The first error of a kind in a chain of causes: libraries wrap what the hub client says."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, kind):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def first_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def unsafe(error: Exception) -> bool:
    """True for a pickle that was refused: hostile, or so damaged that it looks it."""
    # timm's wording on the hub's files, torch's own on others; neither tells a damaged pickle from a hostile one.
    marks = ("weights_only=True blocked", "Weights only load failed")
    return isinstance(error, (RuntimeError, pickle.UnpicklingError)) and any(mark in str(error) for mark in marks)


def damaged(error: Exception) -> bool:
    """True for weights that cannot be read or do not fit the model."""
    from safetensors import SafetensorError

    if isinstance(error, (SafetensorError, pickle.UnpicklingError, EOFError)):
        return True
    # torch and timm say so in plain RuntimeErrors.
    marks = ("state_dict", "invalid hash value", "PytorchStreamReader", "Pretrained ")
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in marks)
