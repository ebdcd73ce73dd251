"""What is locked against what names stand for now: each difference in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from modelgraft.errors import ModelgraftError
from modelgraft.project.lockfile import unlocked
from modelgraft.resolution import File, Part, Resolution


def compare(locked: Resolution, found: Resolution) -> list[str]:
    """Each difference in a line that names the model, the file and both values; empty if they stand for the same bytes.

    A value that the place does not state is no difference (a plain web address tells no digest). A file that one side does not have
    is, and so is one that was locked without the digest that its place states.
    """
    name = locked.name
    out = []
    for what, before, now in (
        ("licence", locked.licence, found.licence),
        (
            "plugin",
            f"{locked.distribution} {locked.version}".strip(),
            f"{found.distribution} {found.version}".strip(),
        ),
    ):
        if before != now:
            out.append(f"{name}: {what}: locked {_shown(before)}, now {_shown(now)}")
    earlier, later = _by_location(locked), _by_location(found)
    for place in [*earlier, *(place for place in later if place not in earlier)]:
        old, new = earlier.get(place), later.get(place)
        if old is None or new is None:
            state = "locked, and not used any more" if new is None else "not locked, and used now"
            out.append(f"{name}: {place}: {state}")
            continue
        if old.revision != new.revision:
            out.append(f"{name}: {place}: revision: locked {_shown(old.revision)}, now {_shown(new.revision)}")
        out += (f"{name}: {place}: {line}" for line in _compare_files(old, new))
    return out


def _by_location(resolution: Resolution) -> dict[str, Part]:
    """Parts by their place; a place that is used twice (two revisions of one repository) counts up."""
    out: dict[str, Part] = {}
    for part in resolution.parts:
        place, n = part.location, 1
        while place in out:
            n += 1
            place = f"{part.location} ({n})"
        out[place] = part
    return out


def _compare_files(locked: Part, found: Part) -> Iterator[str]:
    before, now = ({file.path: file for file in part.files} for part in (locked, found))
    for path in sorted(before.keys() | now.keys()):
        if path not in now:
            yield f"{path}: locked {_digest(before[path])}, now missing"
        elif path not in before:
            yield f"{path}: not locked, now {_digest(now[path])}"
        elif not _has_digest(before[path]) and _has_digest(now[path]):
            yield f"{path}: locked without a digest, now {_digest(now[path])}"
        else:
            for key in ("sha256", "blob", "size"):
                a, b = getattr(before[path], key), getattr(now[path], key)
                if a is None or b is None or a == b:
                    continue
                # A digest may be cut to its first digits where the source states no more.
                if key == "sha256" and (a.startswith(b) or b.startswith(a)):
                    continue
                yield f"{path}: {key}: locked {a}, now {b}"


def _has_digest(file: File) -> bool:
    return bool(file.sha256 or file.blob)


def _digest(file: File) -> str:
    return file.sha256 or file.blob or (f"{file.size} bytes" if file.size is not None else "(no digest stated)")


def _shown(value: str | None) -> str:
    return value or "none"


def check(locked: Mapping[str, Resolution], resolve: Callable[[str], Resolution] | None = None) -> dict[str, list[str]]:
    """What each locked name resolves to now against what is locked: name -> its differences, only names that have some.

    Args:
        resolve: name -> resolution; None asks the installed plugins and their sources, past any lock that is active. A name
            that cannot be resolved is a difference, with the reason.
    """
    resolve = resolve or resolve_now
    out: dict[str, list[str]] = {}
    for name, before in locked.items():
        try:
            lines = compare(before, resolve(name))
        except ModelgraftError as error:
            lines = [f"{name}: cannot be resolved now: {error}"]
        if lines:
            out[name] = lines
    return out


def resolve_now(name: str) -> Resolution:
    """What a name resolves to at this moment, whatever lock is active.

    Raises:
        UsageError: no such model.
        WeightsUnavailableError: its source does not say.
    """
    import modelgraft
    from modelgraft.weights.resolving import resolve_weights, with_digests

    with unlocked():
        return with_digests(resolve_weights(modelgraft.resolve(name)))
