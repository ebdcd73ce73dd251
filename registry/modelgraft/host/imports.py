"""Import a plugin and register it with pluggy, whole or not at all. Used by the trial and by the real thing alike."""

from __future__ import annotations

import importlib
from typing import Any

import pluggy

from modelgraft import hookspecs
from modelgraft.fields import shown
from modelgraft.hookspecs import PLUGIN_API_VERSION
from modelgraft.host.discovery import GROUP


def load_plugin(value: str) -> Any:
    """The object an entry point names, ``package.module`` or ``package.module:attribute``. Raises whatever the import raises."""
    module, _, attribute = value.partition("[")[0].partition(":")  # what is in brackets are extras, for installers
    plugin: Any = importlib.import_module(module.strip())
    for part in filter(None, attribute.strip().split(".")):
        plugin = getattr(plugin, part)
    return plugin


def register(manager: pluggy.PluginManager, plugin: Any, name: str) -> None:
    """Register after checking the API version, hook names and signatures.

    Raises:
        ValueError: written for a newer API, or not an API version at all.
        TypeError: the plugin marks no hook, or one as a wrapper around those of others.
        pluggy.PluginValidationError: an unknown hook, or an argument the hook does not have.
    """
    wanted = getattr(plugin, "MODELGRAFT_API", PLUGIN_API_VERSION)
    if type(wanted) is not int or wanted < 1:
        raise ValueError(f"MODELGRAFT_API must be a whole number from 1 to {PLUGIN_API_VERSION}, not {shown(wanted)}")
    if wanted > PLUGIN_API_VERSION:
        raise ValueError(
            f"written for plugin API {shown(wanted)}, this modelgraft offers {PLUGIN_API_VERSION}: pip install --upgrade modelgraft"
        )
    # pluggy leaves a plugin half registered when a later hook of it is bad, so try it in a manager of its own first.
    trial = new_manager()
    trial.register(plugin, name)
    trial.check_pending()
    if not trial.get_hookcallers(plugin):
        raise TypeError("marks no function with @modelgraft.hookimpl, so it brings nothing")
    for hook in trial.get_hookcallers(plugin) or ():
        if any(made.wrapper or made.hookwrapper for made in hook.get_hookimpls()):
            raise TypeError(f"{hook.name} is marked as a wrapper; a plugin answers for itself alone")
    manager.register(plugin, name)


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows every hook and no plugin."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    return manager
