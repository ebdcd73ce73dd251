"""What this package brings to the host."""

from __future__ import annotations

from modelgraft import HeadSpec, hookimpl

MODELGRAFT_API = 1

ALL = ("single-label", "multi-label", "regression")


@hookimpl
def modelgraft_heads() -> list[HeadSpec]:
    """The heads, as data."""
    return [
        HeadSpec(
            "linear",
            "modelgraft_heads.linear:LinearHead",
            "Logistic regression to a certified optimum, or ridge regression; the strength chosen by folds.",
            tasks=ALL,
            uses=("item-weights",),
        ),
        HeadSpec(
            "text",
            "modelgraft_heads.text:TextHead",
            "Classes given by text embeddings (zero-shot).",
            tasks=("single-label", "multi-label"),
            needs=("text",),
        ),
        HeadSpec("knn", "modelgraft_heads.knn:KNNHead", "The nearest examples vote (cosine).", tasks=ALL),
        HeadSpec("prototype", "modelgraft_heads.prototype:PrototypeHead", "The nearest class mean (cosine)."),
        HeadSpec(
            "cosine",
            "modelgraft_heads.cosine:CosineHead",
            "Trained class vectors; start at the class names where the model embeds texts (ZS-LP, CLAP).",
            uses=("text",),
        ),
        HeadSpec(
            "tip-adapter",
            "modelgraft_heads.tip_adapter:TipAdapterHead",
            "Zero-shot plus a cache of the examples; nothing is trained.",
            needs=("text",),
        ),
        HeadSpec(
            "tip-adapter-f",
            "modelgraft_heads.tip_adapter:TipAdapterFHead",
            "Zero-shot plus a cache of the examples whose keys are trained.",
            needs=("text",),
        ),
        HeadSpec("mlp", "modelgraft_heads.mlp:MLPHead", "One hidden layer.", tasks=ALL),
        HeadSpec(
            "label-spreading",
            "modelgraft_heads.label_spreading:LabelSpreadingHead",
            "Labels spread over a graph of labelled and unlabelled items.",
            needs=("unlabelled",),
        ),
        HeadSpec(
            "pseudo-label",
            "modelgraft_heads.pseudo_label:PseudoLabelHead",
            "A linear head that also trains on its own confident answers.",
            needs=("unlabelled",),
        ),
    ]
