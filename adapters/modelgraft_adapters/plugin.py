"""What the adapters bring to the host: verbs of the command line, and saved adapters as models by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelgraft import Entry, VerbSpec, Weights, hookimpl

if TYPE_CHECKING:
    import torch
    from modelgraft import LocalWeights

    from modelgraft_adapters.estimators.frozen import FrozenAdapter

MODELGRAFT_API = 1


@hookimpl
def modelgraft_verbs() -> list[VerbSpec]:
    """The verbs, as data."""
    return [
        VerbSpec(
            "classify",
            "modelgraft_adapters.cli.classify:classify",
            "Classify images or texts by label names, without training.",
        ),
        VerbSpec(
            "embed",
            "modelgraft_adapters.cli.embed:embed",
            "Turn images or texts into embeddings, and write them to a file.",
        ),
        VerbSpec(
            "probe",
            "modelgraft_adapters.cli.probe:probe",
            "Train a head on the features of a frozen model, and test it.",
        ),
        VerbSpec(
            "finetune",
            "modelgraft_adapters.cli.finetune:finetune",
            "Train a pretrained model further on data of yours, and test it.",
        ),
        VerbSpec(
            "multitask",
            "modelgraft_adapters.cli.multitask:multitask",
            "Train a pretrained model further on several tasks at once, and say what sharing is worth.",
        ),
        VerbSpec(
            "adapt",
            "modelgraft_adapters.cli.adapt:adapt",
            "Train on labelled data for other data without labels, and say whether that helped.",
        ),
        VerbSpec(
            "compare",
            "modelgraft_adapters.cli.compare:compare",
            "Say which of several models, trained in which way, is right for data of yours.",
        ),
        VerbSpec(
            "rank",
            "modelgraft_adapters.cli.rank:rank",
            "Rank pretrained models by how well their features suit data of yours.",
        ),
        VerbSpec(
            "explore",
            "modelgraft_adapters.cli.explore:explore",
            "See what is in data without training: clusters, a map, outliers, duplicates.",
        ),
        VerbSpec(
            "gap",
            "modelgraft_adapters.cli.gap:gap",
            "Say how far data are from other data: whether there is a shift, of what kind, and which items are strange.",
        ),
        VerbSpec(
            "optimize",
            "modelgraft_adapters.cli.optimize:optimize",
            "Find what runs a model fastest on this machine, for --engine auto.",
        ),
        VerbSpec(
            "calibrate",
            "modelgraft_adapters.cli.calibrate:calibrate",
            "Make a saved adapter's probabilities mean what they say, and let it give sets of classes.",
        ),
        VerbSpec(
            "predict",
            "modelgraft_adapters.cli.predict:predict",
            "Predict with a saved adapter: images or texts.",
        ),
        VerbSpec(
            "export",
            "modelgraft_adapters.cli.export:export",
            "Write a saved adapter to one file that runs without modelgraft: ONNX or torch.export.",
        ),
        VerbSpec(
            "push",
            "modelgraft_adapters.cli.push:push",
            "Put a saved adapter on the Hugging Face Hub.",
        ),
    ]


@hookimpl
def modelgraft_recognise(name: str, configs: Mapping[str, Any]) -> Entry | None:
    """A folder or repository with the card of a saved adapter."""
    from modelgraft_adapters.saved.registry_entry import entry_of

    return entry_of(name, configs)


@hookimpl
def modelgraft_weights(entry: Entry) -> list[Weights]:
    """The adapter's own files, and those of its backbone."""
    from modelgraft_adapters.saved.registry_entry import places_of

    return places_of(entry)


@hookimpl
def modelgraft_load(
    entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights
) -> FrozenAdapter:
    """The adapter with its head and its backbone."""
    from modelgraft_adapters.estimators.frozen import FrozenAdapter
    from modelgraft_adapters.estimators.restoring import restored

    found: FrozenAdapter = restored(FrozenAdapter, entry, weights, None, {"device": device, "dtype": dtype})
    return found
