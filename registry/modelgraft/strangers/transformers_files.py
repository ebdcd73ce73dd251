"""The configurations that transformers reads of a model or tokenizer that lies in a folder: what they may say.

A flag or a number can name neither code nor a place, and so passes unless its key opens a door; a text has to be a plain word, or
stand at a key where texts are only ever compared with the user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from modelgraft.errors import UnsafeWeightsError
from modelgraft.resolution import safe_path
from modelgraft.strangers.rules import (
    LEFT_OUT,
    At,
    Rule,
    all_of,
    as_file,
    config_of,
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

__all__ = ["copies", "in_safetensors", "json_files", "no_code"]

_BOOKKEEPING: Final = frozenset(
    {
        "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "id2label", "label2id", "task_specific_params",
        "finetuning_task", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file", "chat_template",
        "processor_class",
        "additional_chat_templates", "is_local", "local_files_only", "_from_auto", "_processor_class", "feature_extractor_type",
        "image_processor_type", "sentence_transformers", "__version__", "backend", "from_slow", "tokenizer_type",
    }
)  # fmt: skip
"""Keys that say where a model came from or how it was once used: left out, whatever they hold."""
_CODE: Final = frozenset({"auto_map", "custom_pipelines"})
_DOORS: Final = re.compile(
    r"(^|_)(trust_remote_code|remote_code|kernel_config|use_kernels?|allow_all_kernels|weights_only|use_safetensors|use_auth_token|"
    r"revision|subfolder|repo|repo_id|path|paths|file|files|filename|dir|url|name_or_path|pretrained|pretrained_model|"
    r"pretrained_cfg|pretrained_config|backbone|backbone_config|backbone_kwargs|adapter|adapters|peft_config|peft_type|init_inputs|"
    r"quantization_config|compression_config|device_map|tp_plan|pp_plan|ep_plan|gguf|state_dict|architecture|model_args|"
    r"proxies|from_tf|from_flax|force_download|resume_download|user_agent|implementation_internal)$"
)
"""Keys that reach loaders, other files or other repositories."""
_IMPLEMENTATION: Final = re.compile(r"(attn|attention|experts|moe|mm)_?implementation")
_DTYPES: Final = ("float32", "float16", "bfloat16", "float64", "auto", None)
_STATED: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,99}", re.A)
_WRAPPERS: Final = frozenset({"timm_wrapper", "timm_backbone"})
"""Kinds of models that are configured by the name of another library's model."""


def no_code(at: At, value: Any) -> Any:
    """Leave out a switch that is off; one that is on asks for code."""
    return LEFT_OUT if not value else at.asks_for_code()


def _door(at: At, value: Any) -> Any:
    """Leave out a door that is shut, and refuse an open one."""
    if at.keys[-1] in _CODE or at.keys[-1].endswith("remote_code"):
        return no_code(at, value)
    return LEFT_OUT if not value else at.refuse("reaches beyond this model's own files")


_implementation: Final = one_of("eager", "sdpa", None)


def _config_value(at: At, value: Any) -> Any:
    """One value of ``config.json``, at whatever depth: configurations of towers hold configurations."""
    key = at.keys[-1]
    if key in _BOOKKEEPING:
        return LEFT_OUT
    if key in _CODE or key == "token" or _DOORS.search(key):
        return _door(at, value)
    if _IMPLEMENTATION.search(key):
        return _implementation(at, value)
    if key in ("torch_dtype", "dtype"):
        return one_of(*_DTYPES)(at, value)
    if key == "model_type":
        return _model_type(at, value)
    if key == "tokenizer_class":
        return tokenizer_class(at, value)
    if isinstance(value, dict):
        return record({}, rest=_config_value)(at, value)
    if isinstance(value, list):
        return all_of(_config_member)(at, value)
    return plain(at, value)


def _config_member(at: At, value: Any) -> Any:
    return record({}, rest=_config_value)(at, value) if isinstance(value, dict) else plain(at, value)


def model_config(at: At, value: Any) -> Any:
    """``config.json``: the architecture, by numbers and plain words."""
    return record({}, rest=_config_value)(at, value)


def _model_type(at: At, value: Any) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # type: ignore[attr-defined]

    # An empty one stands in parts of configurations.
    if value and (not isinstance(value, str) or value not in CONFIG_MAPPING_NAMES or value in _WRAPPERS):
        at.refuse(f"{value!r:.80} is no kind of model that the installed transformers has")
    return value


def tokenizer_class(at: At, value: Any) -> Any:
    """Pass the name of a tokenizer of transformers' own."""
    import transformers
    from transformers import PreTrainedTokenizerBase

    if value is None:
        return None
    found = getattr(transformers, value, None) if isinstance(value, str) and _STATED.fullmatch(value) else None
    # A slow one that transformers has given up is read as its fast one.
    fast = getattr(transformers, f"{value}Fast", None) if isinstance(value, str) and _STATED.fullmatch(value) else None
    for kind in (found, fast):
        if isinstance(kind, type) and issubclass(kind, PreTrainedTokenizerBase):
            return value
    at.refuse(f"{value!r:.80} is no tokenizer of the installed transformers")


_token: Final = either(
    text,
    record({"__type": one_of("AddedToken"), "content": text, "id": number}, rest=flag),
)
"""A token, by its text or with how it is looked for."""

_TOKENIZER: Final[Mapping[str, Rule | None]] = {
    "tokenizer_class": tokenizer_class,
    "added_tokens_decoder": mapping(_token),
    "additional_special_tokens": either(all_of(_token), mapping(_token)),
    "extra_special_tokens": either(all_of(_token), mapping(_token)),
    "never_split": all_of(text),
    "model_input_names": all_of(word),
    "language_codes": either(word, all_of(word)),
    "src_lang": word,
    "tgt_lang": word,
    "wordpieces_prefix": text,
    "sp_model_kwargs": record({"enable_sampling": flag, "nbest_size": number, "alpha": number}),
    "fast_tokenizer_files": None,
}


def _tokenizer_value(at: At, value: Any) -> Any:
    key = at.keys[-1]
    if key in _BOOKKEEPING:
        return LEFT_OUT
    if key in _CODE or key == "token" or _DOORS.search(key):
        return _door(at, value)
    if key.endswith(("_token", "_tokens")):
        return either(_token, all_of(_token))(at, value)
    if isinstance(value, int | float):
        return value  # no text is so long that model_max_length, a one with thirty zeros, would matter
    return plain(at, value)


_FILES: Final[Mapping[str, Rule]] = {
    "config.json": model_config,
    "tokenizer_config.json": record(_TOKENIZER, rest=_tokenizer_value),
    "special_tokens_map.json": mapping(either(_token, all_of(_token))),
    "added_tokens.json": mapping(number),
}
"""What is parsed, and what it may say."""
_AS_THEY_ARE: Final = frozenset({"tokenizer.json", "vocab.json"})
"""Large and inert: words and numbers, read by a parser of their own."""
_INDEX: Final = ("pytorch_model.bin.index.json", "model.safetensors.index.json")


def copies(files: Mapping[str, Path], folder: str, whose: str) -> dict[str, bytes | None]:
    """What transformers may see of the JSON files of one folder of a model: path -> content, None for what it must not see.

    Files that are not in the answer are seen as they are. ``folder`` is relative to the place, "" for its top.

    Raises:
        UnsafeWeightsError: a file says what no stranger may say; the text names the file and the key.
        WeightsUnavailableError: the model asks for code of its own.
    """
    out: dict[str, bytes | None] = {}
    for path in json_files(files, folder):
        name, at = PurePosixPath(path).name, At(f"{path} of {whose}")
        if name in _FILES:
            out[path] = as_file(_FILES[name](at, config_of(files[path], at)))
        elif name in _INDEX:
            out[path] = None
            index = _index(at, config_of(files[path], at), folder, files)
            out[_joined(folder, _INDEX[1])] = as_file(index)
        elif name.startswith("adapter_") and name.endswith("config.json"):
            at.refuse("describes an adapter that would be laid over other weights")
        elif name not in _AS_THEY_ARE:
            out[path] = None
    return out


def json_files(files: Iterable[str], folder: str) -> list[str]:
    """Paths of the JSON files that lie in a folder itself."""
    return [path for path in sorted(files) if path.endswith(".json") and path.rpartition("/")[0] == folder]


def in_safetensors(path: str) -> str:
    """Name the file that a pickle of this name is handed on as: ``pytorch_model.bin`` is ``model.safetensors``."""
    head, slash, name = path.rpartition("/")
    return f"{head}{slash}{name.replace('pytorch_model', 'model').rpartition('.')[0]}.safetensors"


def _index(at: At, value: Any, folder: str, files: Mapping[str, Path]) -> Any:
    """Which tensors are in which file; every file one of the model's own."""
    stated = record({"metadata": None, "weight_map": mapping(text)}, rest=_tokenizer_value)(at, value)

    def own(name: Any) -> str:
        try:
            path = _joined(folder, safe_path(name))
        except (TypeError, UnsafeWeightsError):
            path = ""
        if "/" in str(name) or path not in files:
            at.inside("weight_map").refuse(f"{name!r:.80} is none of this model's files")
        return in_safetensors(name) if not name.endswith(".safetensors") else name

    return {"metadata": {}, "weight_map": {key: own(name) for key, name in stated.get("weight_map", {}).items()}}


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
