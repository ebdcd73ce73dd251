"""A pretrained Sentence Transformers model as a text backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, Self

import torch
import transformers
from modelgraft.contract import LocalWeights, ScoreRule
from modelgraft.entry import Entry
from modelgraft.errors import UsageError, WeightsUnavailableError
from modelgraft.opening import only, opening
from modelgraft.training import Block
from modelgraft.trust import OWN_CODE, trusts_code_of
from sentence_transformers import SentenceTransformer

from modelgraft_sentence_transformers import training
from modelgraft_sentence_transformers.blocks import blocks
from modelgraft_sentence_transformers.configs import as_we_say
from modelgraft_sentence_transformers.filled import check_filled, missing_weights
from modelgraft_sentence_transformers.weights import check_whole

SCALE: Final = 20.0
"""The factor on cosines in MultipleNegativesRankingLoss, the loss that most of these models were trained with."""

ROOM: Final = 1 << 14
"""Bytes of text, padding included, of a batch on a CPU; more are no faster there."""


class SentenceBackbone:
    """A `TextBackbone`: the embeddings of ``SentenceTransformer.encode``, its default prompt included where it has one."""

    def __init__(self, entry: Entry, model: SentenceTransformer) -> None:
        self.entry = entry
        self.module: torch.nn.Module = model.eval()
        self._model = model
        self.device = torch.device(model.device)
        # The longer name is the only one before sentence-transformers 5.4, and warned of after.
        stated = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        self.embed_dim = int(stated() or entry.embed_dim or 0)

    @classmethod
    def load(cls, entry: Entry, device: torch.device, dtype: torch.dtype | None, weights: LocalWeights | None) -> Self:
        """The entry's model with its pretrained weights, in their own dtype unless ``dtype`` is given.

        Code in the repository is run only if the user named this very model (`modelgraft.trust`).

        Raises:
            WeightsUnavailableError: the files are not a whole model, or ask for code to be run.
        """
        if weights is None:
            raise WeightsUnavailableError(f"{entry.name} states no place for its files")
        part = weights.parts[0]
        check_whole(part)
        trusted = trusts_code_of(entry.name)
        with (
            opening(f"the files of {entry.name} ({part.folder})", also=_also),
            only(part) if trusted else as_we_say(part, entry.name) as folder,
            _quietly(),
            missing_weights() as missing,
        ):
            model = SentenceTransformer(
                str(folder),
                device=str(device),
                trust_remote_code=trusted,
                local_files_only=True,
                model_kwargs={} if dtype is None else {"dtype": dtype},
            )
        check_filled(model, missing, entry.name)
        return cls(entry, model)

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings (N, D) float32 on `device`, in the order given: those of ``SentenceTransformer.encode``."""
        if not texts:
            return torch.zeros(0, self.embed_dim, device=self.device)
        longest = max(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        room = (ROOM if self.device.type == "cpu" else 32 * ROOM) // max(1, longest)
        size = max(32, min(len(texts), room))  # 32: the library's own
        found: torch.Tensor = self._model.encode(
            list(texts), batch_size=size, convert_to_tensor=True, show_progress_bar=False
        )
        return found.float()

    def layers(self, modality: Literal["image", "text"] | None = None) -> tuple[str, ...]:
        """The model's own embedding; where it has token embeddings, their first, mean and maximum as they leave the encoder."""
        # Static embeddings and bags of words have no tokens in a sequence.
        return ("pooled", "cls", "mean", "max") if hasattr(self._model[0], "auto_model") else ("pooled",)

    def encode_layer(self, batch: Any, layer: str) -> torch.Tensor:
        """As `encode_text`, taken at a layer: (N, D) float32. ``cls``, ``mean`` and ``max`` are over the tokens of prompt and
        text with the special ones, before any dense layer or normalisation.

        Raises:
            UsageError: the model has no such layer.
        """
        if layer not in self.layers():
            raise UsageError(f"{self.entry.name} has no layer {layer!r}; there are: {', '.join(self.layers())}")
        if layer == "pooled" or not batch:
            return self.encode_text(batch)
        found = self._model.encode(list(batch), output_value="token_embeddings", show_progress_bar=False)
        pools = {
            "cls": lambda tokens: tokens[0],
            "mean": lambda tokens: tokens.mean(0),
            "max": lambda tokens: tokens.amax(0),
        }
        return torch.stack([pools[layer](tokens.float()) for tokens in found])

    def text_notes(self, texts: Sequence[str]) -> list[str]:
        """The prompt put before every text, and how many texts are cut at the model's length, which it does silently."""
        notes = []
        prompt = self._prompt()
        if prompt:
            notes.append(f"the model's own prompt {prompt!r} is put before every text")
        limit, lengths = self.text_limit, self.text_lengths(texts)
        cut = [text for text, length in zip(texts, lengths, strict=True) if limit is not None and length > limit]
        if cut:
            first = cut[0] if len(cut[0]) <= 60 else cut[0][:57] + "..."
            notes.append(f"{len(cut)} of {len(texts)} texts cut at {limit} tokens, the first: {first!r}")
        return notes

    @property
    def text_limit(self) -> int | None:
        """The model's length in tokens."""
        limit = self._model.max_seq_length
        return None if limit is None else int(limit)

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of the prompt and each text, before it is cut."""
        prompt = self._prompt()
        return [len(row) for row in self._rows([prompt + text for text in texts])]

    def score_rule(self) -> ScoreRule:
        """The probability that the loss these models were trained with gives the right label among all.

        Softmax of cosines times `SCALE`, or of dot products as they are.
        """
        if "dot" in (self.entry.loader.get("similarity"), str(self._model.similarity_fn_name)):
            return ScoreRule("softmax", 1.0, similarity="dot")
        return ScoreRule("softmax", SCALE)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokenizer's ids of prompt and text; what lies behind the model's length is not read."""
        prompt, limit = self._prompt(), self._model.max_seq_length
        return [row[:limit] for row in self._rows([prompt + text for text in texts])]

    def blocks(self, modality: Literal["image", "text"] | None = None) -> tuple[Block, ...]:
        """The encoder's layers, between their ``stem`` and what comes after them: see `modelgraft_sentence_transformers.blocks`.

        Raises:
            UsageError: asked for a tower of images.
        """
        if modality == "image":
            raise UsageError(f"{self.entry.name} has no image tower")
        return blocks(self._model)

    def token_batch(self, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """As the model tokenises, its default prompt included: see `modelgraft_sentence_transformers.training.token_batch`."""
        return training.token_batch(self._model, texts, self._prompt())

    def embed(self, batch: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As `encode_text`, with gradients, in the mode that ``module`` is in.

        Raises:
            UsageError: images.
        """
        if isinstance(batch, torch.Tensor):
            raise UsageError(f"{self.entry.name} reads texts, not images")
        return training.embed(self._model, batch, self.device).float()

    def recompute(self, on: bool) -> bool:
        """By the gradient checkpointing of transformers; False for a model without an encoder of theirs."""
        return training.recompute(self._model, on)

    def randomise(self, seed: int) -> None:
        """The weights that training from nothing begins with. Errors as `modelgraft_sentence_transformers.training.randomise`."""
        training.randomise(self._model, self.entry.name, seed)

    def _prompt(self) -> str:
        name = self._model.default_prompt_name
        return str(self._model.prompts.get(name) or "") if name else ""

    def _rows(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text with the special ones, before it is cut."""
        if not texts:
            return []
        tokenizer: Any = self._model.tokenizer
        rows: list[list[int]] = tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
        return rows


def _also(error: Exception) -> str | None:
    return OWN_CODE if "trust_remote_code" in str(error) else None


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from drawing a bar for every model it reads, and from its report of weights (`filled` looks at them)."""
    logging = transformers.utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
