"""A pretrained OpenCLIP model as an image and text backbone."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Final, Literal, Self

import open_clip
import torch
from modelgraft.contract import LocalPart, LocalWeights, ScoreRule
from modelgraft.entry import Entry
from modelgraft.errors import UsageError, WeightsUnavailableError
from modelgraft.layout import lay_out
from modelgraft.opening import only, opening
from modelgraft.strangers import At, config_of
from modelgraft.strangers.tensors import as_safetensors
from modelgraft.training import Block
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer
from PIL import Image

from modelgraft_open_clip import configs, renewal
from modelgraft_open_clip import layers as towers
from modelgraft_open_clip.blocks import image_blocks, text_blocks
from modelgraft_open_clip.weights import trained_scale_and_bias

PRECISIONS: Final = {None: "fp32", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""open_clip's names. In its half precisions normalisation layers and token embeddings stay in float32."""


class OpenClipBackbone:
    """An `ImageBackbone` and `TextBackbone`: the model, evaluation transform and tokenizer that open_clip itself builds.

    Both towers give embeddings in one space of size ``embed_dim``; `score_rule` turns their cosines into scores.
    """

    def __init__(
        self, entry: Entry, model: Any, transform: Any, tokenizer: Any, embed_dim: int, dtype: torch.dtype
    ) -> None:
        self.entry = entry
        self.module: torch.nn.Module = model.eval()
        self._model = model  # open_clip's methods, which torch.nn.Module does not know
        self.device: torch.device = model.logit_scale.device
        self.embed_dim = embed_dim
        self._transform = transform
        self._tokenizer = tokenizer
        self._input_dtype = dtype  # not to be read off the parameters: norms and embeddings stay in float32

    @classmethod
    def load(cls, entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None) -> Self:
        """The entry's model with its pretrained weights, and the preprocessing and activation they were trained with.

        Raises:
            WeightsUnavailableError: open_clip states no place for them, or they do not fit.
            UnsafeWeightsError: a pickle that asks for code.
            UsageError: a dtype open_clip has no precision for, or a name that the installed open_clip does not know.
        """
        if dtype not in PRECISIONS:
            raise UsageError(f"open_clip runs in float32, bfloat16 or float16, not in {dtype}")
        pushed = "model_cfg" in entry.loader
        config: Any = entry.loader["model_cfg"] if pushed else open_clip.get_model_config(str(entry.loader["model"]))
        if config is None:
            known = f"open_clip {open_clip.__version__}"
            raise UsageError(f"{known} has no model {entry.loader['model']!r}; a newer one may")
        if weights is None:
            raise WeightsUnavailableError(f"{entry.name}: open_clip states no place for its weights")
        with ExitStack() as stack:
            stack.enter_context(opening(f"the files of {entry.name} ({weights.file})"))
            # No library opens a pickle of anybody's: what it is given was read here, and is safetensors.
            folders = {part.location: str(stack.enter_context(_of_texts(part))) for part in weights.parts[1:]}
            precision = _precision(config, dtype)
            if pushed:
                whole, place = _pushed(entry.name, weights.parts[0], stack)
                config, folder = whole["model_cfg"], f"local-dir:{place}"
                tokenizer = open_clip.get_tokenizer(folder)
                text = _text_config(config, folders)
                model, transform = open_clip.create_model_from_pretrained(
                    folder, precision=precision, device=device, text_cfg=text
                )
            else:
                tokenizer = _tokenizer(str(entry.loader["model"]), config["text_cfg"], folders)
                checkpoint = _opened(weights.file, stack)
                model, transform = _create(entry, config, checkpoint, folders, device, precision)
        lay_out(model.visual)
        return cls(entry, model, transform, tokenizer, int(config["embed_dim"]), dtype or torch.float32)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """One upright RGB image as float32 (3, H, W) on the CPU, by the evaluation transform of these weights."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    @torch.inference_mode()
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) float32 on `device`, not normalised, of preprocessed images (B, 3, H, W)."""
        return self.embed(pixels)

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings (N, D) float32 on `device`, not normalised, in the order given; long texts are cut (`text_notes`)."""
        if not texts:
            return torch.zeros(0, self.embed_dim, device=self.device)
        return self.embed(self.token_batch(texts))

    def token_batch(self, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """``tokens`` (N, L) int64: as open_clip's tokenizer cuts and pads them, all to the tower's own length."""
        return {"tokens": self._tokenizer(list(texts))}

    def embed(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As `encode_image` or `encode_text`, with gradients, in the mode that ``module`` is in."""
        found: torch.Tensor
        # Said aloud: CoCa normalises unless told otherwise.
        if isinstance(batch, torch.Tensor):
            found = self._model.encode_image(batch.to(self.device, self._input_dtype), normalize=False)
        else:
            found = self._model.encode_text(batch["tokens"].to(self.device), normalize=False)
        return found.float()

    def blocks(self, modality: Literal["image", "text"] | None = None) -> tuple[Block, ...]:
        """A layer each, between the ``stem`` and what projects: see `modelgraft_open_clip.blocks`."""
        return text_blocks(self._model) if modality == "text" else image_blocks(self._model)

    def recompute(self, on: bool) -> bool:
        """In both towers; False where one of them cannot."""
        return renewal.recompute(self._model, on)

    def randomise(self, seed: int) -> None:
        """Both towers as open_clip begins training with them. Errors as `modelgraft_open_clip.renewal.randomise`."""
        renewal.randomise(self._model, self.entry, seed)

    def layers(self, modality: Literal["image", "text"] | None = None) -> tuple[str, ...]:
        """In the common space; where the tower has them, the features before the projection; of images the dense map."""
        return towers.text_layers(self._model) if modality == "text" else towers.image_layers(self._model)

    @torch.inference_mode()
    def encode_layer(self, batch: Any, layer: str) -> torch.Tensor:
        """As `encode_image` or `encode_text`, taken at a layer: (B, D) float32, for ``map`` (B, D, h, w).

        Raises:
            UsageError: the tower has no such layer.
        """
        pictures = isinstance(batch, torch.Tensor)
        there = self.layers("image" if pictures else "text")
        if layer not in there:
            raise UsageError(f"{self.entry.name} has no layer {layer!r} there; there are: {', '.join(there)}")
        if layer == "projected":
            return self.encode_image(batch) if pictures else self.encode_text(batch)
        if not pictures:
            return towers.unprojected_text(self._model, self._tokenizer(list(batch)).to(self.device)).float()
        pixels = batch.to(self.device, self._input_dtype)
        take = towers.image_map if layer == "map" else towers.unprojected_image
        return take(self._model, pixels).float()

    def text_notes(self, texts: Sequence[str]) -> list[str]:
        """How many texts the tokenizer cuts, which it does silently, and the first of them."""
        limit = self.text_limit
        cut = [text for text, length in zip(texts, self.text_lengths(texts), strict=True) if length > limit]
        if not cut:
            return []
        first = cut[0] if len(cut[0]) <= 60 else cut[0][:57] + "..."
        return [f"{len(cut)} of {len(texts)} texts cut at {limit} tokens, the first: {first!r}"]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokenizer's ids, cut and padded as the text tower gets them."""
        found: list[list[int]] = self._tokenizer(list(texts)).tolist() if texts else []
        return found

    def score_rule(self) -> ScoreRule:
        """Softmax of scaled cosines, or for SigLIP-like models a sigmoid of scaled cosines plus a bias, as trained."""
        bias = self._model.logit_bias
        scale = self._model.logit_scale.detach().float().exp().item()
        if bias is None:
            return ScoreRule("softmax", scale)
        return ScoreRule("sigmoid", scale, bias.detach().float().item())

    @property
    def text_limit(self) -> int:
        """The tokenizer's context length."""
        return int(self._tokenizer.context_length)

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with the start and end marks, before it is cut."""
        if not texts:
            return []
        if isinstance(self._tokenizer, open_clip.SimpleTokenizer):
            return [len(self._tokenizer.encode(text)) + 2 for text in texts]
        cleaned = [self._tokenizer.clean_fn(text) for text in texts]
        rows = self._tokenizer.tokenizer(cleaned, truncation=False, padding=False, verbose=False)["input_ids"]
        return [len(row) for row in rows]


def _of_texts(part: LocalPart) -> AbstractContextManager[Path]:
    """The files of a tokenizer or text tower, as transformers may see them."""
    return only(part, configs.transformers_files.copies(part.files, "", part.location))


def _pushed(name: str, part: LocalPart, stack: ExitStack) -> tuple[dict[str, Any], Path]:
    """The configuration of a model that somebody saved, and the folder that open_clip may read it from."""
    stated = config_of(part.files[configs.CONFIG], At(f"{configs.CONFIG} of {name}"))
    whole = configs.checked(stated, name)
    others = {path: local for path, local in part.files.items() if path != configs.CONFIG}
    seen = configs.transformers_files.copies(others, "", name)
    pickles = [path for path in part.files if path.endswith((".bin", ".pth", ".pt"))]
    folder = stack.enter_context(only(part, {**seen, configs.CONFIG: configs.as_file(whole), **dict.fromkeys(pickles)}))
    for path in pickles:
        as_safetensors(part.files[path], folder / "open_clip_model.safetensors")
    return whole, folder


def _opened(checkpoint: Path, stack: ExitStack) -> Path:
    """A checkpoint that is no pickle: the file itself, or its tensors in safetensors. NumPy's has a reader without pickles."""
    if checkpoint.suffix in (".safetensors", ".npz"):
        return checkpoint
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="modelgraft-"))
    return as_safetensors(checkpoint, Path(folder) / "open_clip_model.safetensors")


def _precision(config: Mapping[str, Any], dtype: torch.dtype | None) -> str:
    # CoCa's attention pooling breaks where norms stay in float32 (open_clip 3.3.0), so there everything is cast.
    whole = dtype in (torch.bfloat16, torch.float16) and "multimodal_cfg" in config
    return f"pure_{PRECISIONS[dtype]}" if whole else PRECISIONS[dtype]


def _tokenizer(name: str, text: Mapping[str, Any], folders: Mapping[str, str]) -> Any:
    """The tokenizer that ``open_clip.get_tokenizer`` builds, a hub's one out of its verified files."""
    repo = text.get("hf_tokenizer_name")
    if not repo:
        return open_clip.get_tokenizer(name)
    return HFTokenizer(
        folders[f"hf:{repo}"],
        context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text.get("tokenizer_mode"),
        **text.get("tokenizer_kwargs", {}),
    )


def _text_config(config: Mapping[str, Any], folders: Mapping[str, str]) -> dict[str, Any]:
    """The text tower's configuration, a hub's tower out of its verified files."""
    text = dict(config["text_cfg"])
    if tower := text.get("hf_model_name"):
        text |= {"hf_model_name": folders[f"hf:{tower}"], "hf_model_pretrained": False}
    return text


def _create(
    entry: Entry,
    config: Mapping[str, Any],
    checkpoint: Path,
    folders: Mapping[str, str],
    device: torch.device,
    precision: str,
) -> tuple[torch.nn.Module, Any]:
    """open_clip's model from a checkpoint file, with what it knows only by tag given along: preprocessing, activation."""
    name = str(entry.loader["model"])
    tag = open_clip.get_pretrained_cfg(name, str(entry.loader["tag"])) or entry.preprocessing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="QuickGELU mismatch")
        model, transform = open_clip.create_model_from_pretrained(
            name,
            pretrained=str(checkpoint),
            precision=precision,
            device=device,
            force_quick_gelu=bool(entry.loader.get("quick_gelu")),
            image_mean=tag["mean"],
            image_std=tag["std"],
            image_interpolation=tag["interpolation"],
            image_resize_mode=tag["resize_mode"],
            text_cfg=_text_config(config, folders),
        )
    if precision != "fp32":
        # Some models are cast whole, the logarithm of the scale with them: 8 bits of mantissa move every score.
        for parameter, trained in zip(("logit_scale", "logit_bias"), trained_scale_and_bias(checkpoint), strict=True):
            if trained is not None and getattr(model, parameter, None) is not None:
                held = getattr(model, parameter)
                held.data = trained.reshape(held.shape).to(device)
    return model, transform
