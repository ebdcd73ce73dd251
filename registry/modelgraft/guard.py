"""While a stranger's code runs: what it raises names its plugin, and what it prints is kept out of our own output.

Every call into a plugin's objects (a backbone, a head, a source) goes through `plugin_code`. Standard output belongs to the
result of a command.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from modelgraft.errors import ModelgraftError, PluginError

__all__ = ["plugin_code", "prints_aside"]

_inside = threading.local()


@contextmanager
def plugin_code(plugin: str, about: str) -> Iterator[None]:
    """Mark that code of a plugin runs in this thread.

    Args:
        plugin: who is named in an error, ``distribution:name``.
        about: what the code is asked for ("loading timm/resnet18").

    Raises:
        ModelgraftError: raised by the plugin on purpose, passed on as it is.
        PluginError: anything else it raised, ``SystemExit`` included, chained.
    """
    output = sys.stdout
    try:
        with prints_aside():
            yield
    except (ModelgraftError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        raise PluginError(f"plugin {plugin} failed while {about}: {in_a_line(error)} (--debug shows where)") from error
    finally:
        sys.stdout = output  # a plugin may have put another in its place, and left it there


@contextmanager
def prints_aside() -> Iterator[None]:
    """Keep out of the result of a command what is printed meanwhile in this thread: a plugin's model is trained inside."""
    _inside.depth = getattr(_inside, "depth", 0) + 1
    try:
        yield
    finally:
        _inside.depth -= 1


def in_plugin_code() -> bool:
    """Tell whether this thread is inside `plugin_code`."""
    return getattr(_inside, "depth", 0) > 0


def in_a_line(error: BaseException) -> str:
    """Return kind and text of an error in one line, cut where nobody would read on."""
    told = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
