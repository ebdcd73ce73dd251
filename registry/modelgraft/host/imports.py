"""Import a plugin and register it with pluggy, whole or not at all. Used by the trial and by the real thing alike."""

from __future__ import annotations

import importlib
from typing import Any

import pluggy

from modelgraft import hookspecs
from modelgraft.hookspecs import PLUGIN_API_VERSION
from modelgraft.host.discovery import GROUP


def load_plugin(value: str) -> Any:
    """The object an entry point names, ``package.module`` or ``package.module:attribute``. Raises whatever the import raises."""
    module, _, attribute = value.partition(":")
    plugin: Any = importlib.import_module(module.strip())
    for part in filter(None, attribute.partition("[")[0].strip().split(".")):
        plugin = getattr(plugin, part)
    return plugin


def register(manager: pluggy.PluginManager, plugin: Any, name: str) -> None:
    """Register after checking the API version, hook names and signatures.

    Raises:
        ValueError: written for a newer API, or not an API version at all.
        TypeError: the plugin marks no hook.
        pluggy.PluginValidationError: an unknown hook, or an argument the hook does not have.
    """
    wanted = getattr(plugin, "MODELGRAFT_API", PLUGIN_API_VERSION)
    if not isinstance(wanted, int):
        raise ValueError(f"MODELGRAFT_API must be a whole number, not {wanted!r}")
    if wanted > PLUGIN_API_VERSION:
        raise ValueError(
            f"written for plugin API {wanted}, this modelgraft offers {PLUGIN_API_VERSION}: pip install --upgrade modelgraft"
        )
    # pluggy leaves a plugin half registered when a later hook of it is bad, so try it in a manager of its own first.
    trial = new_manager()
    trial.register(plugin, name)
    trial.check_pending()
    if not trial.get_hookcallers(plugin):
        raise TypeError("marks no function with @modelgraft.hookimpl, so it brings nothing")
    manager.register(plugin, name)


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows every hook and no plugin."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    return manager
