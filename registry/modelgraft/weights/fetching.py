"""A resolution to verified files on disk. What a source hands over is looked at here, and nowhere else is it trusted."""

from __future__ import annotations

import threading

from modelgraft.contract import LocalPart, LocalWeights, Progress
from modelgraft.entry import Entry
from modelgraft.errors import ModelgraftError, NotStoredError, UnsafeWeightsError, WeightsUnavailableError
from modelgraft.resolution import Part, Resolution
from modelgraft.weights.guarded import GuardedSource
from modelgraft.weights.resolving import places, resolve_weights, source_of
from modelgraft.weights.verifying import faults

__all__ = ["fetch_part"]

ATTEMPTS = 2  # a file that is wrong is set aside and fetched once more; wrong twice is the source's fault


def local_weights(entry: Entry, progress: Progress | None = None) -> LocalWeights | None:
    """The verified files of an entry, fetched first if need be; None for weights inside its plugin.

    Under ``--locked`` they are the lock file's, whatever the sources say now.

    Raises:
        WeightsUnavailableError: they cannot be had; the text says what to do.
        UnsafeWeightsError: what can be had is not what was stated.
        LockError: the lock file does not name them.
    """
    from modelgraft.project.lockfile import active

    named = f"{entry.name}@{entry.revision}" if entry.revision else entry.name
    try:
        locked = active()
        if locked is None:
            resolution = resolve_weights(entry)
        else:
            resolution = locked.resolution(named)
            locked.check_places(named, resolution, [str(weights.place) for weights in places(entry)])
        return fetch_weights(resolution, progress) if resolution.parts else None
    except NotStoredError as error:
        cure = f"unset it, or run 'modelgraft pull {named}' where there is a network"
        raise NotStoredError(f"{named}: {error}; {cure}") from error
    except ModelgraftError as error:
        raise _about(entry.name, error) from error.__cause__


def fetch_weights(resolution: Resolution, progress: Progress | None = None) -> LocalWeights:
    """Every file of a resolution, on disk and verified; fetched where it is not there or not right.

    Args:
        progress: told the bytes that come in; called from several threads.

    Raises:
        WeightsUnavailableError: a file cannot be fetched.
        UnsafeWeightsError: a file is not what was stated; the bad copy is set aside.
    """
    return LocalWeights(tuple(_fetch_part(part, _serialised(progress)) for part in resolution.parts))


def fetch_part(part: Part) -> LocalPart:
    """One part alone, verified. Errors as `fetch_weights`."""
    return _fetch_part(part, _serialised(None))


def _fetch_part(part: Part, progress: Progress) -> LocalPart:
    source = source_of(part.location)
    wanted, aside, wrong = part, "", dict[str, str]()
    for _ in range(ATTEMPTS):
        try:
            stored = source.fetch_weights(wanted, progress)
        except WeightsUnavailableError as error:
            if not wrong:
                raise
            path, why = next(iter(wrong.items()))
            raise type(error)(f"{path} as stored is refused: {why}{aside}; anew it cannot be had: {error}") from error
        wrong = faults(part, stored)
        if not wrong:
            files = {file.path: stored.folder / file.path for file in part.files}
            return LocalPart(part.location, part.revision, stored.folder, files)
        aside = _set_aside(source, part, wrong)
        wanted = Part(part.location, part.revision, tuple(file for file in part.files if file.path in wrong))
    path, why = next(iter(wrong.items()))
    at = f"{part.location}@{part.revision[:12]}" if part.revision else part.location
    raise UnsafeWeightsError(
        f"{path} of {at} is refused: {why}, twice in a row{aside}; the place or something on the way to it is broken - "
        "try again later, or through another HF_ENDPOINT"
    )


def _set_aside(source: GuardedSource, part: Part, wrong: dict[str, str]) -> str:
    moved = [where for path in wrong if (where := source.set_aside(part, path))]
    return f" (the bad copy is now {moved[0]})" if moved else ""


def _serialised(progress: Progress | None) -> Progress:
    lock = threading.Lock()

    def tell(count: int) -> None:
        if progress:
            with lock:
                progress(count)

    return tell


def _about(name: str, error: ModelgraftError) -> ModelgraftError:
    text = str(error)
    return error if name in text else type(error)(f"{name}: {text}")
