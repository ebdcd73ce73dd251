"""Published configurations of the encoders that the listed models are built on, and how many parameters each has.

Only what is certain is here; a model whose architecture the sources do not fix has no tower and no parameter count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_BERT: Final = {"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2}
_ROBERTA: Final = {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
_DISTILBERT: Final = {"model_type": "distilbert", "dim": 768, "hidden_dim": 3072, "n_heads": 12, "n_layers": 6}
_T5: Final = {"model_type": "t5", "vocab_size": 32128}


def _sized(hidden: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }


def _t5(width: int, ff: int, layers: int, heads: int, kv: int) -> dict[str, Any]:
    return {**_T5, "d_model": width, "d_ff": ff, "num_layers": layers, "num_heads": heads, "d_kv": kv}


CONFIGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "MiniLM-L3-H384": {**_BERT, **_sized(384, 3, 12)},
    "MiniLM-L6-H384": {**_BERT, **_sized(384, 6, 12)},
    "MiniLM-L12-H384": {**_BERT, **_sized(384, 12, 12)},
    "Multilingual-MiniLM-L12-H384": {**_BERT, "vocab_size": 250037, **_sized(384, 12, 12)},
    "TinyBERT-L6-H768": {**_BERT, **_sized(768, 6, 12)},
    "bert-base-uncased": {**_BERT, **_sized(768, 12, 12)},
    "LaBSE": {**_BERT, "vocab_size": 501153, **_sized(768, 12, 12)},
    "mpnet-base": {
        "model_type": "mpnet",
        "vocab_size": 30527,
        "max_position_embeddings": 514,
        "relative_attention_num_buckets": 32,
        **_sized(768, 12, 12),
    },
    "albert-small-v2": {
        "model_type": "albert",
        "vocab_size": 30000,
        "embedding_size": 128,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        **_sized(768, 6, 12),
    },
    "distilroberta-base": {**_ROBERTA, **_sized(768, 6, 12)},
    "roberta-base": {**_ROBERTA, **_sized(768, 12, 12)},
    "roberta-large": {**_ROBERTA, **_sized(1024, 24, 16)},
    "xlm-roberta-base": {**_ROBERTA, "model_type": "xlm-roberta", "vocab_size": 250002, **_sized(768, 12, 12)},
    "distilbert-base-uncased": {**_DISTILBERT, "vocab_size": 30522},
    "distilbert-base-multilingual-cased": {**_DISTILBERT, "vocab_size": 119547},
    "t5-base": _t5(768, 3072, 12, 12, 64),
    "t5-large": _t5(1024, 4096, 24, 16, 64),
    "t5-3b": _t5(1024, 16384, 24, 32, 128),
    "t5-11b": _t5(1024, 65536, 24, 128, 128),
}
"""``config.json`` by name, as far as it fixes the encoder's shape."""


def count_parameters(tower: str) -> int:
    """Parameters of the encoder as Sentence Transformers loads it (BERT-like ones with their pooling layer)."""
    import torch
    from transformers import AutoConfig, AutoModel, T5Config, T5EncoderModel

    settings = dict(CONFIGS[tower])
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.device("meta"):
        model = T5EncoderModel(config) if isinstance(config, T5Config) else AutoModel.from_config(config)
    return sum(p.numel() for p in model.parameters())
