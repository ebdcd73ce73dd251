"""What the host calls: a source for ``shelf:`` locations, and a model whose weights lie there."""

from modelgraft import Entry, SourceSpec, Weights, hookimpl

MODELGRAFT_API = 1


@hookimpl
def modelgraft_sources():
    """One source a scheme."""
    return [SourceSpec("shelf", "modelgraft_shelf.source:Shelf", "The file server under SHELF_ROOT.")]


@hookimpl
def modelgraft_entries():
    """A model whose weights are no hub's."""
    return [
        Entry(
            name="shelf/scales",
            modality="image",
            tasks=("features",),
            embed_dim=3,
            weights=Weights(location="shelf:vision/scales", files=("*.safetensors",)),
        )
    ]


@hookimpl
def modelgraft_load(entry, device, dtype, weights):
    """Build the model from files that modelgraft has fetched and verified."""
    from modelgraft_shelf.model import Scales

    return Scales(entry, device, weights.file)
