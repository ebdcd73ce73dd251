"""modelgraft: a pretrained model by name, grafted onto a task of your own.

>>> import modelgraft as mg
>>> [entry.name for entry in mg.list_models("*resnet18*fb_s*sl*", modality="image", max_params=30e6)]
['timm/resnet18:fb_ssl_yfcc100m_ft_in1k', 'timm/resnet18:fb_swsl_ig1b_ft_in1k']
>>> mg.load("embedded/sprig").embed_dim
256

Importing this imports neither torch nor any model library; names are looked up in catalogues, which are data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelgraft.version import __version__

if TYPE_CHECKING:
    from modelgraft.contract import (
        Engine,
        EngineSpec,
        Head,
        HeadSpec,
        ImageBackbone,
        LocalWeights,
        ScoreRule,
        SourceSpec,
        TextBackbone,
        VerbSpec,
    )
    from modelgraft.entry import Entry, Weights
    from modelgraft.errors import ModelgraftError
    from modelgraft.hookspecs import hookimpl
    from modelgraft.learning import Examples, LearnedHead, TextClasses
    from modelgraft.names import Name
    from modelgraft.registry import (
        list_engines,
        list_heads,
        list_models,
        load,
        load_engine,
        load_head,
        model_info,
        plugins,
        resolve,
    )

_WHERE = {
    "Entry": "entry",
    "Weights": "entry",
    "Name": "names",
    "ModelgraftError": "errors",
    "hookimpl": "hookspecs",
    **dict.fromkeys(
        (
            *("list_engines", "list_heads", "list_models", "load", "load_engine", "load_head", "model_info", "plugins"),
            "resolve",
        ),
        "registry",
    ),
    **dict.fromkeys(("Examples", "LearnedHead", "TextClasses"), "learning"),
    **dict.fromkeys(
        (
            "Engine",
            "EngineSpec",
            "Head",
            "HeadSpec",
            "ImageBackbone",
            "LocalWeights",
            "ScoreRule",
            "SourceSpec",
            "TextBackbone",
            "VerbSpec",
        ),
        "contract",
    ),
}

__all__ = [
    "Engine",
    "EngineSpec",
    "Entry",
    "Examples",
    "Head",
    "HeadSpec",
    "ImageBackbone",
    "LearnedHead",
    "LocalWeights",
    "ModelgraftError",
    "Name",
    "ScoreRule",
    "SourceSpec",
    "TextBackbone",
    "TextClasses",
    "VerbSpec",
    "Weights",
    "__version__",
    "hookimpl",
    "list_engines",
    "list_heads",
    "list_models",
    "load",
    "load_engine",
    "load_head",
    "model_info",
    "plugins",
    "resolve",
]


def __getattr__(name: str) -> Any:
    # Lazily, so that `import modelgraft` costs a plugin author or a shell completion next to nothing.
    if name in _WHERE:
        import importlib

        value = getattr(importlib.import_module(f"modelgraft.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'modelgraft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
