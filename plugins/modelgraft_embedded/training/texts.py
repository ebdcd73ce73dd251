"""The text side's corpus: words, WordNet's names and definitions, and what the text teacher makes of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file

from modelgraft_embedded.tokenizer import Tokenizer
from modelgraft_embedded.training.concepts import Concepts
from modelgraft_embedded.training.files import save_json, save_tensors
from modelgraft_embedded.training.teachers import embed_texts, text_teacher_folder

VOCABULARY = 26000
TEMPLATES = (
    "{}",
    "a {}",
    "the {}",
    "an image of a {}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a picture of a {}",
    "a picture of the {}.",
    "a photograph of one {}",
    "a close-up photo of a {}.",
    "a small picture of a {}",
    "a good photo of a {}.",
    "a blurry photo of a {}.",
    "this is a {}",
    "This is a photo of {}.",
    "there is a {} in the picture",
    "a drawing of a {}.",
    "a painting of a {}.",
    "a sketch of a {}.",
    "a cartoon {}",
)


def wordnet() -> tuple[list[str], list[str]]:
    """Names and definitions of ImageNet-22k's synsets, as timm carries them."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    names: list[str] = []
    definitions: list[str] = []
    for index in range(info.num_classes()):
        names += [name.strip() for name in info.index_to_description(index).split(",")]
        definitions.append(info.index_to_description(index, detailed=True).split(":", 1)[-1].strip())
    return list(dict.fromkeys(names)), list(dict.fromkeys(definitions))


def vocabulary(names: list[str], definitions: list[str], required: list[str]) -> list[str]:
    """Known words: all of ``required``, the text teacher's whole words, the commonest others of WordNet."""
    counts: Counter[str] = Counter()
    for text in [*names, *definitions]:
        counts.update(Tokenizer.split(text))
    words = dict.fromkeys(word for text in required for word in Tokenizer.split(text))
    for word in (text_teacher_folder() / "vocab.txt").read_text(encoding="utf-8").split():
        if word.isascii() and word.isalnum() and (word.isalpha() or len(word) == 1) and len(word) > 1:
            words.setdefault(word)
    for word, _ in counts.most_common():
        if len(words) >= VOCABULARY:
            break
        if word.isascii() and len(word) > 1:
            words.setdefault(word)
    return sorted(words)


def prepare_texts(work: Path, concepts: Concepts) -> None:
    """texts.json (texts, names first; words) and texts.safetensors (targets, 256 numbers each)."""
    names, definitions = wordnet()
    every = [name for group in concepts.names for name in group]
    # every case of a name means the same to the student: keep one
    short = list(dict.fromkeys([*every, *names]))
    required = [
        *every,
        *(name for group in concepts.held_names for name in group),
        *TEMPLATES,
        "tulip giraffe house photo picture image",
    ]
    words = vocabulary(names, definitions, required)
    texts = list(dict.fromkeys([*short, *words]))
    count = len(texts)
    texts += [text for text in definitions if text not in set(texts)]
    print(
        f"texts: {count} names and words, {len(texts) - count} definitions, {len(words)} known words",
        flush=True,
    )
    embedded = embed_texts(texts)
    # the teacher's space without its mean, in its 256 widest directions: the space both towers meet in
    mean = embedded[:count].mean(0)
    centred = embedded - mean
    _, _, directions = torch.linalg.svd(centred[:count:2], full_matrices=False)
    targets = torch.nn.functional.normalize(centred @ directions[:256].T, dim=1)
    save_tensors(work / "texts.safetensors", {"targets": targets.half()})
    save_json(work / "texts.json", {"texts": texts, "names": count, "words": words})


def load_texts(work: Path) -> tuple[list[str], int, list[str], torch.Tensor]:
    """Texts, how many of them are names (the rest are definitions), known words, targets (N, 256)."""
    import json

    facts = json.loads((work / "texts.json").read_text(encoding="utf-8"))
    targets = load_file(work / "texts.safetensors")["targets"].float()
    return facts["texts"], facts["names"], facts["words"], targets
