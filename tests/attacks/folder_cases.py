"""What a stranger's folder of a model could hold: each case changes one thing of a good folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.attacks.changes import Change, both, linked, merged, pickled, whole

# Sentence encoders


def sentence_cases(secret: Path, trap: Path) -> dict[str, Change]:
    """Beyond weights_only=False in model_args."""
    bert, sbert, tokens = "config.json", "sentence_bert_config.json", "tokenizer_config.json"
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    pooling = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    about = {"in_features": 384, "out_features": 384, "bias": False, "activation_function": "os.system"}
    pickle = pickled("pytorch_model.bin", trap, "model.safetensors")
    return {
        "config: auto_map": merged(bert, auto_map={"AutoModel": "evil--repo.Evil"}),
        "config: model_type is a path": merged(bert, model_type="../../evil"),
        "config: attn_implementation of a hub kernel": merged(bert, _attn_implementation="evil/kernel"),
        "config: attn_implementation": merged(bert, attn_implementation="evil/kernel"),
        "config: quantization": merged(
            bert, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}
        ),
        "config: dtype is code": merged(bert, dtype="os.system", torch_dtype="os.system"),
        "config: a billion wide": merged(bert, hidden_size=10**9),
        "config: ten million layers": merged(bert, num_hidden_layers=10**7),
        "config: minus one layer": merged(bert, num_hidden_layers=-1),
        "config: activation is code": merged(bert, hidden_act="eval"),
        "config: a name of another repository": merged(bert, _name_or_path="evil/repo"),
        "config: custom pipelines": merged(bert, custom_pipelines={"x": {"impl": "evil.Evil"}}),
        "config: no object": whole(bert, [1, 2]),
        "config: nested 100,000 deep": whole(bert, '{"a":' * 100_000 + "1" + "}" * 100_000),
        "config: keys twice": whole(bert, '{"model_type": "bert", "model_type": "gpt2"}'),
        "config: a link to a secret": linked(bert, secret),
        "an adapter of PEFT beside it": merged(
            "adapter_config.json", base_model_name_or_path="evil/repo", peft_type="LORA"
        ),
        "modules: a function": whole("modules.json", [module | {"type": "os.system"}]),
        "modules: eval": whole("modules.json", [module | {"type": "builtins.eval"}, pooling]),
        "modules: torch.hub.load": whole("modules.json", [module | {"type": "torch.hub.load"}, pooling]),
        "modules: a class of the library that loads": whole(
            "modules.json", [module | {"type": "sentence_transformers.SentenceTransformer"}, pooling]
        ),
        "modules: a path above": whole("modules.json", [module | {"path": "../"}, pooling]),
        "modules: an absolute path": whole("modules.json", [module | {"path": str(secret.parent)}, pooling]),
        "modules: ten thousand": whole("modules.json", [module | {"idx": n, "name": str(n)} for n in range(10_000)]),
        "modules: keyword arguments": whole("modules.json", [module | {"kwargs": ["trust_remote_code"]}, pooling]),
        "modules: no list": whole("modules.json", {"0": module}),
        "modules: no types": whole("modules.json", [{"path": ""}]),
        "modules: pooling alone": whole("modules.json", [pooling]),
        "modules: a dense layer of a function": both(
            whole("modules.json", [module, pooling, dense]),
            whole("2_Dense/config.json", about),
            pickled("2_Dense/pytorch_model.bin", trap),
        ),
        "modules: a dense layer that is a pickle": both(
            whole("modules.json", [module, pooling, dense]),
            whole("2_Dense/config.json", about | {"activation_function": "torch.nn.modules.linear.Identity"}),
            pickled("2_Dense/pytorch_model.bin", trap),
        ),
        "pooling: wider than the model": merged("1_Pooling/config.json", word_embedding_dimension=10**9),
        "pooling: a kind that is code": merged("1_Pooling/config.json", pooling_mode="os.system"),
        "pooling: unknown keys": merged("1_Pooling/config.json", __class__="os.system", loader="evil"),
        "encoder: code is trusted": both(
            merged(sbert, model_args={"trust_remote_code": True}), merged(bert, auto_map={"AutoModel": "x.Y"})
        ),
        "encoder: pickles in model_kwargs": both(merged(sbert, model_kwargs={"weights_only": False}), pickle),
        "encoder: configuration of another place": merged(
            sbert, config_args={"pretrained_model_name_or_path": "evil/repo"}
        ),
        "encoder: tokenizer of another place": merged(
            sbert, tokenizer_args={"pretrained_model_name_or_path": str(secret.parent)}
        ),
        "encoder: tokenizer_name_or_path": merged(sbert, tokenizer_name_or_path=str(secret.parent)),
        "encoder: a cache elsewhere": merged(sbert, cache_dir=str(secret.parent), cache_folder="/"),
        "encoder: another back end": merged(sbert, backend="onnx"),
        "encoder: a length of minus one": merged(sbert, max_seq_length=-1),
        "encoder: a length that is a text": merged(sbert, max_seq_length="long"),
        "encoder: a class of another module": merged(
            sbert, transformer_task="evil", modality_config={"text": {"method": "__reduce__"}}
        ),
        "library: prompts that are none": merged(
            "config_sentence_transformers.json", prompts={"x": 5}, default_prompt_name="x"
        ),
        "library: a prompt that is not there": merged(
            "config_sentence_transformers.json", default_prompt_name="absent"
        ),
        "library: similarity is code": merged("config_sentence_transformers.json", similarity_fn_name="os.system"),
        "library: cut to minus one": merged("config_sentence_transformers.json", truncate_dim=-1),
        "library: another kind of model": merged("config_sentence_transformers.json", model_type="SparseEncoder"),
        "tokenizer: auto_map": merged(tokens, auto_map={"AutoTokenizer": ["evil--repo.Evil", None]}),
        "tokenizer: a class that is code": merged(tokens, tokenizer_class="os;system"),
        "tokenizer: a file of its own": merged(tokens, tokenizer_file=str(secret), vocab_file=str(secret)),
        "tokenizer: a template": merged(tokens, chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "tokenizer: lengths that are none": merged(tokens, model_max_length="long"),
        "tokenizer: a pickle of words": pickled("vocab.pkl", trap),
        "tokenizer: another vocabulary": whole("tokenizer.json", b"{}"),
        "weights: a pickle": pickle,
        "weights: a pickle beside them": pickled("pytorch_model.bin", trap),
        "weights: an index that leads out": both(
            lambda folder: (folder / "model.safetensors").unlink(),
            whole(
                "model.safetensors.index.json",
                {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": f"../{secret.name}"}},
            ),
            whole("other.safetensors", b""),
        ),
        "weights: a header of a terabyte": whole("model.safetensors", b"\xff\xff\xff\xff\xff\x00\x00\x00{}"),
        "weights: none of their names": lambda folder: _safetensors(folder / "model.safetensors", {"x": (2, 2)}),
        "weights: a pipe": lambda folder: (
            (folder / "model.safetensors").unlink(),
            os.mkfifo(folder / "model.safetensors"),
        ),
        "python beside it": both(
            whole("modeling_bert.py", f"import os; os.mkdir({str(trap)!r})"),
            merged(bert, auto_map={"AutoModel": "modeling_bert.BertModel"}),
        ),
    }


def _safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    import torch
    from safetensors.torch import save_file

    path.unlink(missing_ok=True)
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)


# timm


def make_timm(folder: Path) -> Path:
    """A small real architecture with random weights, as timm saves it."""
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model("test_vit2", num_classes=5)
    save_for_hf(model, str(folder), model_config={"num_classes": 5}, safe_serialization=True)
    return folder


def timm_cases(secret: Path, trap: Path) -> dict[str, Change]:
    """What a config.json of timm could choose."""
    file = "config.json"
    pickle = pickled("pytorch_model.bin", trap, "model.safetensors")
    return {
        "architecture of the hub": merged(file, architecture="hf-hub:evil/repo"),
        "architecture of a folder": merged(file, architecture=f"local-dir:{secret.parent}"),
        "architecture that is none": merged(file, architecture="__import__"),
        "another architecture": merged(file, architecture="test_vit3"),
        "weights at an address": merged(file, pretrained_cfg__url="http://127.0.0.1:9/evil.pth"),
        "weights of a file": merged(file, pretrained_cfg__file=str(secret)),
        "weights of a repository": merged(
            file, pretrained_cfg__hf_hub_id="evil/repo", pretrained_cfg__hf_hub_filename="x.bin"
        ),
        "loads in its own way": merged(file, pretrained_cfg__custom_load=True),
        "weights in the configuration": merged(file, pretrained_cfg__state_dict={"x": 1}),
        "a checkpoint of a pickle": both(
            merged(file, model_args={"checkpoint_path": "pytorch_model.bin"}), pickled("pytorch_model.bin", trap)
        ),
        "not strict": both(
            merged(file, model_args={"pretrained_strict": False, "strict": False}),
            lambda f: _safetensors(f / "model.safetensors", {"x": (2,)}),
        ),
        "an activation that is code": merged(file, model_args={"act_layer": "os.system"}),
        "a norm that is code": merged(file, model_args={"norm_layer": "builtins.eval"}),
        "a billion classes": merged(file, num_classes=10**9, pretrained_cfg__num_classes=10**9),
        "features of another kind": merged(file, model_args={"features_only": True}),
        "an enormous image": merged(file, model_args={"img_size": 10**6}, pretrained_cfg__input_size=[3, 10**6, 10**6]),
        "an image of no size": merged(file, pretrained_cfg__input_size=[3, 0, 0]),
        "pooling that is code": merged(file, global_pool="__import__"),
        "a mean of texts": merged(file, pretrained_cfg__mean=["a", "b", "c"]),
        "a mean beyond numbers": whole_mean("1e999"),
        "a deviation of nothing": merged(file, pretrained_cfg__std=[0, 0, 0]),
        "two means": merged(file, pretrained_cfg__mean=[0.5, 0.5]),
        "interpolation that is code": merged(file, pretrained_cfg__interpolation="os.system"),
        "a crop below nothing": merged(file, pretrained_cfg__crop_pct=-1),
        "a crop of a millionth": merged(file, pretrained_cfg__crop_pct=1e-6),
        "a crop that is code": merged(file, pretrained_cfg__crop_mode="eval"),
        "layers named by dunder": merged(
            file, pretrained_cfg__classifier="__class__", pretrained_cfg__first_conv="__dict__"
        ),
        "ten million layers": merged(file, model_args={"depth": 10**7}),
        "one channel": merged(file, model_args={"in_chans": 1}),
        "scripted": merged(file, model_args={"scriptable": True, "exportable": True}),
        "a cache elsewhere": merged(file, model_args={"cache_dir": str(secret.parent)}),
        "tags that are lists": merged(file, pretrained_cfg__tag=[1], pretrained_cfg__architecture={"x": 1}),
        "a licence with an escape": merged(file, pretrained_cfg__license="mit\x1b[2J"),
        "weights: a pickle": pickle,
        "weights: nothing": whole("model.safetensors", b""),
        "weights: of another shape": lambda folder: _safetensors(folder / "model.safetensors", {"head.weight": (7, 7)}),
        "configuration: a list": whole(file, []),
        "configuration: in UTF-16": whole(file, '{"architecture": "test_vit2"}'.encode("utf-16")),
    }


def whole_mean(number: str) -> Change:
    """A mean that no float holds."""

    def apply(folder: Path) -> None:
        record = json.loads((folder / "config.json").read_text())
        record["pretrained_cfg"]["mean"] = "MEAN"
        text = json.dumps(record).replace('"MEAN"', f"[{number}, {number}, {number}]")
        (folder / "config.json").unlink()
        (folder / "config.json").write_text(text)

    return apply


# OpenCLIP


def make_open_clip(folder: Path) -> Path:
    """A small dual encoder with random weights, as open_clip saves it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    folder.mkdir()
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    preprocess = {
        "mean": [0.48, 0.46, 0.41],
        "std": [0.27, 0.26, 0.28],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return folder


def open_clip_cases(secret: Path, trap: Path) -> dict[str, Change]:
    """What an open_clip_config.json could choose."""
    file, text, vision = "open_clip_config.json", "model_cfg__text_cfg__", "model_cfg__vision_cfg__"

    def cfg(at: str, **change: Any) -> Change:
        return merged(file, **{at + key: value for key, value in change.items()})

    tokenizer = {"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["evil--repo.Evil", None]}}
    return {
        "a text tower of another repository": cfg(text, hf_model_name="evil/repo"),
        "a text tower of a folder": cfg(text, hf_model_name=str(secret.parent)),
        "a text tower with a prefix": cfg(text, hf_model_name="hf-hub:evil/repo"),
        "a tokenizer of another repository": cfg(text, hf_tokenizer_name="evil/repo"),
        "a tokenizer of a folder": cfg(text, hf_tokenizer_name=str(secret.parent)),
        "a tokenizer whose code is trusted": both(
            cfg(text, hf_tokenizer_name="evil/repo", tokenizer_kwargs={"trust_remote_code": True}),
            whole("tokenizer_config.json", tokenizer),
        ),
        "tokenizer arguments alone": cfg(text, tokenizer_kwargs={"trust_remote_code": True}),
        "a tokenizer mode that is code": cfg(text, tokenizer_mode="os.system"),
        "an image tower of the hub": cfg(vision, timm_model_name="hf-hub:evil/repo"),
        "an image tower of a folder": cfg(vision, timm_model_name=f"local-dir:{secret.parent}"),
        "an image tower with weights": cfg(vision, timm_model_name="test_vit2", timm_model_pretrained=True),
        "a text tower with weights": cfg(text, hf_model_name="roberta-base", hf_model_pretrained=True),
        "ten million layers": cfg(vision, layers=10**7),
        "a billion wide": cfg(vision, width=10**9),
        "another width": merged(file, model_cfg__embed_dim=17),
        "a width of nothing": merged(file, model_cfg__embed_dim=0),
        "a scale beyond numbers": merged(file, model_cfg__init_logit_scale=1e308),
        "arguments of norms": cfg(vision, norm_kwargs={"eps": "os.system"}),
        "arguments of activations": cfg(vision, act_kwargs={"x": 1}),
        "a class of its own": merged(file, model_cfg__custom_text="os.system"),
        "unknown keys": merged(file, model_cfg__evil="os.system"),
        "a precision in the configuration": merged(file, model_cfg__cast_dtype="os.system"),
        "a mean of texts": merged(file, preprocess_cfg__mean=["a", "b", "c"]),
        "a deviation of nothing": merged(file, preprocess_cfg__std=[0, 0, 0]),
        "interpolation that is code": merged(file, preprocess_cfg__interpolation="eval"),
        "a size of nothing": merged(file, preprocess_cfg__size=[0, 0]),
        "an enormous size": merged(file, preprocess_cfg__size=[10**6, 10**6]),
        "weights: a pickle": pickled("open_clip_pytorch_model.bin", trap, "open_clip_model.safetensors"),
        "weights: an archive of NumPy": both(
            lambda f: (f / "open_clip_model.safetensors").unlink(), pickled("open_clip_model.npz", trap)
        ),
        "weights: of another model": lambda folder: _safetensors(folder / "open_clip_model.safetensors", {"x": (2, 2)}),
    }
