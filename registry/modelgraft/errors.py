"""Every error a user can meet: one line that says what is wrong, with which input, and what to do.

The command line prints the message and exits with ``exit_code``: 2 for a usage error (an unknown name, a bad option),
1 for work that failed (weights that cannot be had, a plugin that broke while loading).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AmbiguousNameError",
    "BadNameError",
    "DamagedFileError",
    "HiddenNameWarning",
    "LocalNamesError",
    "LockError",
    "ModelgraftError",
    "NameWarning",
    "NotStoredError",
    "OutputError",
    "PluginError",
    "RetiredNameWarning",
    "UnknownModelError",
    "UnreadableItemError",
    "UnsafeWeightsError",
    "UsageError",
    "WeightsUnavailableError",
]


class ModelgraftError(Exception):
    """Base of all errors raised on purpose; its text is written for the person at the keyboard."""

    exit_code: int = 1


class UsageError(ModelgraftError):
    """The call itself is wrong: mend the call, not the machine."""

    exit_code = 2


class BadNameError(UsageError):
    """A name that does not read as ``provider/model[:tag][@revision]``."""


class UnknownModelError(UsageError):
    """No entry has this name; ``suggestions`` holds the nearest ones, best first."""

    def __init__(self, name: str, suggestions: Sequence[str] = (), hint: str = "") -> None:
        self.name = name
        self.suggestions = tuple(suggestions)
        text = f"unknown model {name!r}"
        if suggestions:
            text += "; did you mean " + " or ".join(suggestions[:3]) + "?"
        text += f" {hint}" if hint else ("" if suggestions else "; 'modelgraft list' shows every name")
        super().__init__(text)


class AmbiguousNameError(UsageError):
    """A short name that several entries answer to; ``candidates`` holds their full names."""

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        self.name = name
        self.candidates = tuple(candidates)
        shown = ", ".join(candidates[:6]) + (f" and {len(candidates) - 6} more" if len(candidates) > 6 else "")
        super().__init__(f"{name!r} names {len(candidates)} models: {shown}; write one of them in full")


class NameWarning(UserWarning):
    """A name does not mean what one might think; the command line shows each once."""


class HiddenNameWarning(NameWarning):
    """An alias of the project hides a name of the catalogue, or leads out of the project; the text says what it stands for."""


class RetiredNameWarning(NameWarning):
    """A name was used that the model's library has replaced; it still works, and the text says the new one."""


class WeightsUnavailableError(ModelgraftError):
    """The weights of a known model could not be had (offline and not cached, refused, gone)."""


class NotStoredError(WeightsUnavailableError):
    """What is asked for is not on this disk, and the network is not to be asked."""


class UnsafeWeightsError(ModelgraftError):
    """Weights that are refused: a digest or size that differs, a file name that leaves its folder, a pickle that runs code."""


class DamagedFileError(ModelgraftError):
    """A file that modelgraft wrote is not what was written: cut, or with other bytes in it."""


class OutputError(ModelgraftError):
    """Standard output cannot be written: the disk behind it is full, or it is closed."""


class LockError(ModelgraftError):
    """The lock file and what is there differ, or the lock file cannot be read."""


class LocalNamesError(ModelgraftError):
    """The project's file of aliases cannot be read or written."""


class PluginError(ModelgraftError):
    """A plugin failed while doing what the user asked of it; the cause is chained."""


class UnreadableItemError(ModelgraftError):
    """One item (an image, a text) cannot be read; long runs turn it into an error row."""
