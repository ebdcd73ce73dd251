"""What the host calls. Nothing heavy is imported before it is needed."""

from modelgraft import Entry, hookimpl

MODELGRAFT_API = 1


@hookimpl
def modelgraft_entries():
    """One entry per model."""
    return [
        Entry(
            name="colours/mean:rgb",
            modality="image-text",
            tasks=("zero-shot", "features"),
            params=1,
            embed_dim=3,
            input_size=(3, 8, 8),
            licence="Apache-2.0",
            score="softmax",
            templates=("{}",),
        )
    ]


@hookimpl
def modelgraft_load(entry, device, dtype):
    """Build the model of one of the entries above."""
    from modelgraft_colours.model import Colours

    return Colours(entry, device)
