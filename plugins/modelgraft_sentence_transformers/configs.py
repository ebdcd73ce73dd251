"""What the configurations of a Sentence Transformers model may say: the libraries see this much of them and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from modelgraft.contract import LocalPart
from modelgraft.errors import UnsafeWeightsError
from modelgraft.opening import only
from modelgraft.resolution import safe_path
from modelgraft.strangers import At, config_of, tensors, transformers_files
from modelgraft.strangers.rules import (
    Rule,
    all_of,
    as_file,
    either,
    flag,
    mapping,
    number,
    one_of,
    plain,
    record,
    text,
    word,
)

TOP: Final = "modules.json"
_PROMPTS: Final = "config_sentence_transformers.json"
_HOMES: Final = re.compile(
    r"sentence_transformers\.(models|base\.modules|sentence_transformer\.modules)(\.\w+){0,2}", re.A
)
"""Where the library has its modules, under its names of today and of earlier."""
_NO_KWARGS: Final = record({"trust_remote_code": transformers_files.no_code})
_MODEL_KWARGS: Final = record(
    {
        "dtype": one_of("float32", "float16", "bfloat16", "float64", "auto", None),
        "torch_dtype": one_of("float32", "float16", "bfloat16", "float64", "auto", None),
        "attn_implementation": one_of("eager", "sdpa", None),
        "add_pooling_layer": flag,
        "trust_remote_code": transformers_files.no_code,
    }
)
_TOKENIZER_KWARGS: Final = record(
    {
        "padding_side": one_of("left", "right"),
        "truncation_side": one_of("left", "right"),
        "model_max_length": number,
        "use_fast": flag,
        "do_lower_case": flag,
        "add_bos_token": flag,
        "add_eos_token": flag,
        "trust_remote_code": transformers_files.no_code,
    }
)
_MODALITY: Final = record(
    {
        "method": one_of("forward", "get_text_features", "get_image_features", "get_multimodal_features"),
        "method_output_name": either(word, all_of(word)),
    }
)
_ENCODER: Final = record(
    {
        "max_seq_length": number,
        "do_lower_case": flag,
        "transformer_task": one_of("feature-extraction"),
        "modality_config": mapping(_MODALITY, most=20),
        "module_output_name": one_of("token_embeddings", "sentence_embedding"),
        "processing_kwargs": record({}),
        "unpad_inputs": flag,
        "query_length": number,
        "document_length": number,
        "query_expansion": flag,
        "model_args": _MODEL_KWARGS,
        "model_kwargs": _MODEL_KWARGS,
        "tokenizer_args": _TOKENIZER_KWARGS,
        "processor_kwargs": _TOKENIZER_KWARGS,
        "config_args": _NO_KWARGS,
        "config_kwargs": _NO_KWARGS,
    }
)
"""``sentence_bert_config.json``: the arguments of loaders are these and no others."""
_SETTINGS: Final = record(
    {
        "__version__": None,
        "model_type": one_of("SentenceTransformer", None),
        "prompts": mapping(text),
        "default_prompt_name": text,
        "similarity_fn_name": one_of("cosine", "dot", "euclidean", "manhattan", None),
        "truncate_dim": number,
    }
)


def _activation(at: At, value: Any) -> Any:
    """Pass the import path of one of torch's own activations."""
    import torch

    home, _, name = str(value).rpartition(".")
    kind = getattr(torch.nn, name, None) if re.fullmatch(r"[A-Za-z0-9]+", name) else None
    homes = ("torch.nn", "torch.nn.modules.activation", "torch.nn.modules.linear")
    named = isinstance(value, str) and home in homes and isinstance(kind, type) and issubclass(kind, torch.nn.Module)
    if not named or kind.__module__ not in homes or (kind.__module__.endswith("linear") and name != "Identity"):  # type: ignore[union-attr]
        at.refuse(f"{value!r:.100} is no activation of torch's own")
    return value


_WHERE: Final = one_of("sentence_embedding", "token_embeddings", "token_weights_sum", "all_layer_embeddings", None)
_NUMBERS: Final = record({"module_input_name": _WHERE, "module_output_name": _WHERE}, rest=plain)
_DENSE: Final = record(
    {"activation_function": _activation, "module_input_name": _WHERE, "module_output_name": _WHERE}, rest=plain
)
_WORDS: Final = record(
    {
        "tokenizer_class": one_of(
            *(
                f"sentence_transformers.{home}.{kind}"
                for home in (
                    "models.tokenizer",
                    "models.tokenizer.WhitespaceTokenizer",
                    "models.tokenizer.PhraseTokenizer",
                    "sentence_transformer.modules.tokenizer",
                    "sentence_transformer.modules.tokenizer.whitespace",
                    "sentence_transformer.modules.tokenizer.phrase",
                )
                for kind in ("WhitespaceTokenizer", "PhraseTokenizer")
            )
        )
    },
    rest=plain,
)
_VOCABULARY: Final = record({"vocab": all_of(text), "word_weights": mapping(number)}, rest=plain)
_KINDS: Final[Mapping[str, tuple[str, Rule]]] = {
    "Transformer": ("", _ENCODER),
    "Pooling": ("config.json", _NUMBERS),
    "Normalize": ("config.json", _NUMBERS),
    "Dropout": ("config.json", _NUMBERS),
    "LayerNorm": ("config.json", _NUMBERS),
    "Dense": ("config.json", _DENSE),
    "WeightedLayerPooling": ("config.json", _NUMBERS),
    "CNN": ("cnn_config.json", _NUMBERS),
    "LSTM": ("lstm_config.json", _NUMBERS),
    "BoW": ("config.json", _VOCABULARY),
    "WordWeights": ("config.json", _VOCABULARY),
    "WordEmbeddings": ("wordembedding_config.json", _WORDS),
    "StaticEmbedding": ("", _NUMBERS),
}
"""The library's own modules that are loaded: the file that configures each, and what it may say. Not among them: those that name
further classes (Router, Asym) and those that are no text encoders."""
_WORD_LISTS: Final = ("whitespacetokenizer_config.json", "phrasetokenizer_config.json")
_WORD_LIST: Final = record({"vocab": all_of(text), "stop_words": all_of(text), "ngram_separator": text}, rest=plain)


@contextmanager
def as_we_say(part: LocalPart, whose: str) -> Iterator[Path]:
    """A folder with the model as the library may see it: configurations cleaned, pickles as safetensors, nothing else.

    Raises:
        UnsafeWeightsError: a configuration says what no stranger may say, or a pickle is refused.
        WeightsUnavailableError: the model asks for code of its own.
    """
    seen, pickles = copies(part.files, whose), [path for path in part.files if path.endswith(".bin")]
    with only(part, {**seen, **dict.fromkeys(pickles)}) as folder:
        for path in pickles:
            tensors.as_safetensors(part.files[path], folder / safe_path(transformers_files.in_safetensors(path)))
        yield folder


def copies(files: Mapping[str, Path], whose: str) -> dict[str, bytes | None]:
    """What the library may see of the JSON files of a model: path -> content, None for a file it must not see.

    Errors as `as_we_say`, for configurations.
    """
    out: dict[str, bytes | None] = {path: None for path in files if path.endswith(".json")}
    at = At(f"{TOP} of {whose}")
    listed = all_of(record({"idx": number, "name": text, "path": _path, "type": _type, "kwargs": all_of(word)}))(
        at, config_of(files[TOP], at)
    )
    for module in listed:
        if not {"name", "path", "type"} <= module.keys():
            at.refuse("lists a module without its name, path or type")
        out |= _module(files, module["path"], str(module["type"]).rpartition(".")[2], whose)
    out[TOP] = as_file(listed)
    if _PROMPTS in files:
        at = At(f"{_PROMPTS} of {whose}")
        out[_PROMPTS] = as_file(_SETTINGS(at, config_of(files[_PROMPTS], at)))
    return out


def _module(files: Mapping[str, Path], folder: str, kind: str, whose: str) -> dict[str, bytes | None]:
    """Of the files of one module."""
    name, rule = _KINDS[kind]
    out: dict[str, bytes | None] = {}
    if kind in ("Transformer", "StaticEmbedding"):
        out = transformers_files.copies(files, folder, whose)
        for path in transformers_files.json_files(files, folder):
            if path.rpartition("/")[2] in ("tokenizer.json", "vocab.json"):
                out[path] = files[path].read_bytes()
    for path in transformers_files.json_files(files, folder):
        last = path.rpartition("/")[2]
        encoder = kind == "Transformer" and re.fullmatch(r"sentence_[a-z-]+_config\.json", last)
        if last == name or encoder or (kind == "WordEmbeddings" and last in _WORD_LISTS):
            at = At(f"{path} of {whose}")
            found = config_of(files[path], at)
            out[path] = as_file((_WORD_LIST if last in _WORD_LISTS else rule)(at, found))
    return out


def _path(at: At, value: Any) -> Any:
    try:
        return value if value == "" else safe_path(value)
    except (TypeError, UnsafeWeightsError):
        at.refuse(f"{value!r:.100} would leave the model's folder")


def _type(at: At, value: Any) -> Any:
    home, _, name = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    if not str(value).startswith("sentence_transformers."):
        at.asks_for_code()
    if not _HOMES.fullmatch(home) or name not in _KINDS:
        at.refuse(f"{value!r:.100} is none of the modules that are loaded from a stranger ({', '.join(_KINDS)})")
    return value
