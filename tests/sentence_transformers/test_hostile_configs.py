"""Hostile values at every key of every configuration of a sentence encoder: no code runs, nothing outside is read.

A tiny real model is loaded in this process, whose every import, open file and connection is watched (`sys.addaudithook`).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import modelgraft
import modelgraft_sentence_transformers.backbone as backbone_module
import pytest
import torch
from modelgraft.errors import ModelgraftError, UnsafeWeightsError, WeightsUnavailableError
from modelgraft.host.discovery import discover
from modelgraft.opening import only
from modelgraft_sentence_transformers.configs import copies
from safetensors.torch import load_file

from tests.sentence_transformers.conftest import minilm_folder

OTHER_FILES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ],
    "2_Dense/config.json": {
        "in_features": 32,
        "out_features": 16,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    },
    "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
}
DOORS = {
    "sentence_bert_config.json": (
        "model_args", "model_kwargs", "config_args", "config_kwargs", "tokenizer_args", "processor_kwargs", "processing_kwargs",
        "tokenizer_name_or_path", "trust_remote_code", "backend", "cache_dir", "modality_config", "transformer_task",
        "module_output_name", "model_name_or_path", "weights_only", "allow_all_kernels", "query_expansion",
    ),
    "config.json": (
        "auto_map", "custom_pipelines", "attn_implementation", "_attn_implementation", "_attn_implementation_internal",
        "experts_implementation", "quantization_config", "torch_dtype", "dtype", "_name_or_path", "model_type", "architectures",
        "adapter_config", "base_model_name_or_path", "backbone", "backbone_config", "use_pretrained_backbone", "tokenizer_class",
        "text_config", "trust_remote_code", "allow_all_kernels", "use_kernels", "kernel_config", "hidden_act", "num_hidden_layers",
        "tokenizer_file", "name_or_path", "transformers_weights", "tp_plan", "device_map",
    ),
    "tokenizer_config.json": (
        "auto_map", "tokenizer_class", "tokenizer_file", "vocab_file", "name_or_path", "chat_template", "sp_model_kwargs",
        "additional_chat_templates", "init_inputs", "fast_tokenizer_files", "special_tokens_map_file", "trust_remote_code",
        "added_tokens_decoder", "extra_special_tokens", "use_fast", "backend", "gguf_file", "subfolder", "processor_class",
    ),
    "1_Pooling/config.json": ("pooling_mode", "include_prompt", "type"),
    "2_Dense/config.json": ("activation_function", "module_input_name"),
    "config_sentence_transformers.json": ("prompts", "similarity_fn_name", "model_type", "truncate_dim", "trust_remote_code"),
}  # fmt: skip

TEXTS = ("default_prompt_name", "prompts", "added_tokens_decoder", "never_split")
"""Keys whose texts are the model's own."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of BERT with the real tokenizer, as a pickle; a pooling and a dense layer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    without = shutil.ignore_patterns("__pycache__", "model.safetensors", "data_config.json", "README.md")
    shutil.copytree(minilm_folder(), folder, ignore=without, dirs_exist_ok=True)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    torch.save(BertModel(BertConfig(**sizes)).state_dict(), folder / "pytorch_model.bin")
    change(folder, "config.json", sizes)
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling | {"word_embedding_dimension": 32}))
    (folder / "2_Dense").mkdir()
    torch.save(torch.nn.Linear(32, 16).state_dict(), folder / "2_Dense" / "pytorch_model.bin")
    state = torch.load(folder / "2_Dense" / "pytorch_model.bin", weights_only=True)
    torch.save({f"linear.{key}": value for key, value in state.items()}, folder / "2_Dense" / "pytorch_model.bin")
    for name, content in OTHER_FILES.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def change(folder: Path, file: str, keys: dict[str, Any]) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


class Watch:
    """What this process did while it was watched, of what no configuration may bring about."""

    def __init__(self, outside: Path) -> None:
        self.outside, self.on, self.seen = str(outside), False, list[str]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "socket.connect" or (event == "import" and str(args[0]).startswith("evil")):
            self.seen.append(f"{event} {args}")
        elif event in ("open", "os.mkdir", "os.listdir", "os.scandir") and self.outside in str(args[0]):
            self.seen.append(f"{event} {args[0]}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.on = True
        try:
            yield
        finally:
            self.on = False


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What must not be touched: code that could be imported, a model that could be read."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "evil_code.py").write_text("class Evil: ...\n")
    (folder / "evil").mkdir()
    for name in ("config.json", "tokenizer.json", "adapter_config.json"):
        (folder / "evil" / name).write_text("{}")
    return folder


@pytest.fixture(scope="module")
def watch(outside: Path) -> Watch:
    return Watch(outside)


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, outside: Path, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(outside))
    monkeypatch.chdir(outside)
    # What looks through all of sys.path lists it too, once: that is no reading of what lies there.
    find_spec("no_such_module")
    discover()


def hostile(outside: Path) -> list[Any]:
    path = str(outside / "evil")
    return [
        True,
        "evil",
        "evil_code.Evil",
        "evil/repo",
        path,
        "https://127.0.0.1:9/x",
        {"auto_map": {"AutoModel": "evil_code.Evil", "AutoConfig": "evil/repo--evil_code.Evil"}},
        {"trust_remote_code": True, "weights_only": False, "attn_implementation": "evil/repo", "tokenizer_file": path},
        [path, "evil/repo"],
        [[{"auto_map": "evil_code.Evil"}]],
        {"name_or_path": path, "model_type": "bert", "base_model_name_or_path": "evil/repo"},
        10**12,
    ]


def attempt(folder: Path, watch: Watch) -> str:
    """Loaded, or the kind of the error on purpose."""
    with watch.watching():
        try:
            backbone: Any = modelgraft.load(f"file:{folder}", device="cpu")
            try:
                backbone.encode_text(["a cat"])
            except (LookupError, TypeError, ValueError, RuntimeError, AttributeError):
                return "of no use"  # a nonsensical model may fail; nothing else may come of it
            return "loaded"
        except ModelgraftError as error:
            assert "\n" not in str(error)
            return type(error).__name__


def test_the_tiny_model_loads_and_gives_the_librarys_numbers(tiny: Path, watch: Watch) -> None:
    from sentence_transformers import SentenceTransformer

    backbone: Any = modelgraft.load(f"file:{tiny}", device="cpu")
    theirs = SentenceTransformer(str(tiny), device="cpu", local_files_only=True).encode(
        ["a cat"], convert_to_tensor=True
    )
    assert theirs.shape == (1, 16) and torch.equal(backbone.encode_text(["a cat"]), theirs)


@pytest.mark.full
@pytest.mark.parametrize("file", DOORS)
def test_no_key_reaches_code_or_places(file: str, tiny: Path, outside: Path, watch: Watch, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    good = (folder / file).read_text()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    results: dict[str, int] = {}
    for key in {**json.loads(good), **dict.fromkeys(DOORS[file])}:
        loads = 0
        for value in hostile(outside):
            (folder / file).write_text(json.dumps(json.loads(good) | {key: value}))
            try:
                seen = copies(files, "x")
            except (UnsafeWeightsError, WeightsUnavailableError):
                results["refused"] = results.get("refused", 0) + 1
                continue
            # Prompts and tokens are the model's own texts, put before or compared with the user's.
            if not key.endswith(("_token", "_tokens")) and key not in TEXTS:
                text = (seen[file] or b"").decode()
                marks = ("evil/", "evil_code.", "127.0.0.1", "auto_map", str(outside))
                assert not [mark for mark in marks if mark in text], (key, value)
            if loads < 1 and json.loads(seen[file] or b"{}") != json.loads(good):
                loads += 1
                outcome = attempt(folder, watch)
                results[outcome] = results.get(outcome, 0) + 1
    assert watch.seen == []
    assert results["refused"] >= len(DOORS[file]) * 3


REFUSED_MODULES = [
    "evil_code.Evil", "os.system", "sentence_transformers.models.Router", "sentence_transformers.models.Asym",
    "sentence_transformers.models.CLIPModel", "sentence_transformers.util.import_from_string",
    "sentence_transformers.models.Transformer.load.Pooling.__init__", "sentence_transformers.base.modules.router.Router",
]  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED_MODULES)
def test_modules_are_the_librarys_own(kind: str, tiny: Path, watch: Watch, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    modules = OTHER_FILES["modules.json"]
    (folder / "modules.json").write_text(json.dumps([{**modules[0], "type": kind}, *modules[1:]]))  # type: ignore[index, misc]
    assert attempt(folder, watch) in ("UnsafeWeightsError", "WeightsUnavailableError") and watch.seen == []


@pytest.mark.parametrize("path", ["..", "/etc", "../outside", "a/../../b", "C:\\x"])
def test_modules_lie_in_the_models_folder(path: str, tiny: Path, watch: Watch, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    modules = OTHER_FILES["modules.json"]
    (folder / "modules.json").write_text(json.dumps([modules[0], {**modules[1], "path": path}]))  # type: ignore[index, dict-item]
    with pytest.raises((UnsafeWeightsError, WeightsUnavailableError)):
        modelgraft.load(f"file:{folder}", device="cpu")
    assert watch.seen == []


def test_an_adapter_beside_the_model_is_refused(tiny: Path, outside: Path, watch: Watch, tmp_path: Path) -> None:
    """transformers lays one over the weights by itself, on a base that the adapter names."""
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    about = {"peft_type": "LORA", "base_model_name_or_path": str(outside / "evil"), "auto_mapping": None}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    assert attempt(folder, watch) == "UnsafeWeightsError" and watch.seen == []


def test_without_our_copies_a_configuration_reads_outside(
    tiny: Path, outside: Path, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_module, "as_we_say", lambda part, whose: only(part))
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    change(folder, "2_Dense/config.json", {"activation_function": "torch.evil_code.Evil"})
    about = {"peft_type": "LORA", "base_model_name_or_path": str(outside / "evil"), "task_type": "FEATURE_EXTRACTION"}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    with watch.watching():
        try:
            modelgraft.load(f"file:{folder}", device="cpu")
        except ModelgraftError:
            pass
    seen, watch.seen = watch.seen, []
    assert seen


def test_an_index_names_files_of_the_model_alone(tiny: Path, watch: Watch, outside: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    index = {"metadata": {}, "weight_map": {"a": str(outside / "evil" / "config.json")}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert attempt(folder, watch) == "UnsafeWeightsError" and watch.seen == []


def test_pickles_in_parts_give_the_same_numbers(tiny: Path, tmp_path: Path) -> None:
    """A model in two pickles and an index is handed on as two safetensors files and another index."""
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(state)
    halves = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, keys in halves.items():
        torch.save({key: state[key] for key in keys}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": {key: file for file, keys in halves.items() for key in keys}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    whole, parts = (modelgraft.load(f"file:{path}", device="cpu") for path in (tiny, folder))
    assert torch.equal(whole.encode_text(["a cat"]), parts.encode_text(["a cat"]))  # type: ignore[union-attr]


def test_the_real_model_is_left_as_it_is() -> None:
    files = {
        path.relative_to(minilm_folder()).as_posix(): path for path in minilm_folder().rglob("*") if path.is_file()
    }
    seen = copies(files, "x")
    for name in ("config.json", "tokenizer_config.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        before, after = json.loads(files[name].read_text()), json.loads(seen[name] or b"")
        assert after == {key: value for key, value in before.items() if key in after}
        assert before.keys() - after.keys() <= {"_name_or_path", "transformers_version", "name_or_path"}
    assert load_file(files["model.safetensors"])
