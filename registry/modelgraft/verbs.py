"""The verbs that modelgraft itself has: always there, whatever the plugins do; no plugin can take their names."""

from __future__ import annotations

from typing import Final

from modelgraft.contract import VerbSpec

BUILT_IN: Final = (
    VerbSpec("list", "modelgraft.cli.list_verb:list_models", "List pretrained models by name, size, licence and task."),
    VerbSpec("info", "modelgraft.cli.info_verb:info", "Everything known about one model, without loading it."),
    VerbSpec("plugins", "modelgraft.cli.plugins_verb:plugins", "Installed plugins, and why one does not work."),
)
