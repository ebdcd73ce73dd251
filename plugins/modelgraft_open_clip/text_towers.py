"""Published configurations of the Hugging Face text towers that some open_clip models are built with.

open_clip fetches these configurations from the hub when it builds a model. The catalogue is built without a network, so
the facts that fix the towers' sizes are written down here; loading a model never uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ROBERTA: Final = {
    "model_type": "roberta", "vocab_size": 50265, "hidden_size": 768, "num_hidden_layers": 12,
    "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 514, "type_vocab_size": 1,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5,
}  # fmt: skip
_XLM_ROBERTA: Final = {**_ROBERTA, "model_type": "xlm-roberta", "vocab_size": 250002}
_NLLB: Final = {
    "model_type": "m2m_100", "is_encoder_decoder": True, "vocab_size": 256206, "d_model": 1024,
    "encoder_layers": 12, "encoder_attention_heads": 16, "encoder_ffn_dim": 4096,
    "decoder_layers": 12, "decoder_attention_heads": 16, "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024, "scale_embedding": True, "activation_function": "relu",
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip

PUBLISHED: Final[Mapping[str, Mapping[str, Any]]] = {
    "roberta-base": _ROBERTA,
    "xlm-roberta-base": _XLM_ROBERTA,
    "xlm-roberta-large": {
        **_XLM_ROBERTA,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "facebook/nllb-200-distilled-600M": _NLLB,
    "facebook/nllb-200-distilled-1.3B": {
        **_NLLB,
        "encoder_layers": 24,
        "encoder_ffn_dim": 8192,
        "decoder_layers": 24,
        "decoder_ffn_dim": 8192,
    },
}
"""``config.json`` by hub repository, as far as it fixes the model's shape."""
