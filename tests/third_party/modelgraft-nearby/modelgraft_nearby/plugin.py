"""What the host calls. Nothing heavy is imported here."""

from modelgraft import HeadSpec, hookimpl

MODELGRAFT_API = 1


@hookimpl
def modelgraft_heads():
    """One spec per head; the class is imported when somebody asks for it by name."""
    return [
        HeadSpec(
            "nearest-median",
            "modelgraft_nearby.head:NearestMedian",
            "The class whose median is nearest, number by number: outliers do not move it.",
            tasks=("single-label",),
        )
    ]
