"""The verbs that modelgraft itself has: always there, whatever the plugins do; no plugin can take their names."""

from __future__ import annotations

from typing import Final

from modelgraft.specs import VerbSpec

BUILT_IN: Final = (
    VerbSpec("list", "modelgraft.cli.list_verb:list_models", "List pretrained models by name, size, licence and task."),
    VerbSpec("info", "modelgraft.cli.info_verb:info", "Everything known about one model, without loading it."),
    VerbSpec("plugins", "modelgraft.cli.plugins_verb:plugins", "Installed plugins, and why one does not work."),
    VerbSpec("pull", "modelgraft.cli.pull_verb:pull", "Fetch and verify the weights of models, to have them offline."),
    VerbSpec("cache", "modelgraft.cli.cache_verb:cache", "What is stored of which models; verify it, prune it."),
    VerbSpec("lock", "modelgraft.cli.lock_verb:lock", "Write down which exact weights names stand for."),
    VerbSpec("register", "modelgraft.cli.register_verb:register", "Give a model a name of your own in this project."),
    VerbSpec(
        "doctor", "modelgraft.cli.doctor_verb:doctor", "Find what is wrong with this installation, and how to mend it."
    ),
)
