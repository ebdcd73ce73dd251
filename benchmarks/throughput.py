"""Classifying a folder of photographs on the CPU against the bare forward pass on ready tensors: same model, same batch.

    python benchmarks/throughput.py [--pictures 192] [--architecture ViT-B-32]

The forward-only limit is the best over thread counts, measured in turn with the pipeline in the same process. Weights
are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measure import save
from modelgraft import Entry
from modelgraft_adapters import ZeroShotClassifier
from modelgraft_adapters.media.images import FORMATS
from PIL import Image


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pictures", type=int, default=192)
    arguments.add_argument("--batch-size", type=int, default=16)
    arguments.add_argument("--side", type=int, default=500, help="pixels of an image's longer side")
    arguments.add_argument("--architecture", default="ViT-B-32", help="an open_clip architecture, or 'embedded'")
    options = arguments.parse_args()
    backbone = _backbone(options.architecture)
    with tempfile.TemporaryDirectory() as folder:
        paths = _photographs(Path(folder), options.pictures, options.side)
        ready = torch.stack(
            [backbone.preprocess(Image.open(p, formats=FORMATS).convert("RGB")) for p in paths[: options.batch_size]]
        )
        classifier = ZeroShotClassifier(backbone, ["cat", "dog", "coffee"], batch_size=options.batch_size)
        limits, rates = {}, []
        threads = torch.get_num_threads()
        for _ in range(3):
            for count in sorted({1, threads}):
                torch.set_num_threads(count)
                limits[count] = max(limits.get(count, 0.0), _forward_only(backbone, ready, options.pictures))
            torch.set_num_threads(threads)
            start = time.perf_counter()
            assert all(row.error is None for row in classifier.classify(paths))
            rates.append(options.pictures / (time.perf_counter() - start))
    save(
        f"throughput_{options.architecture}",
        {
            "options": vars(options),
            "forward_only_pictures_per_s": limits,
            "classify_pictures_per_s": rates,
            "ratio": max(rates) / max(limits.values()),
        },
    )


def _forward_only(backbone, ready: torch.Tensor, pictures: int) -> float:
    with torch.inference_mode():
        backbone.encode_image(ready)
        start = time.perf_counter()
        for _ in range(pictures // len(ready)):
            backbone.encode_image(ready)
    return (pictures // len(ready)) * len(ready) / (time.perf_counter() - start)


def _photographs(folder: Path, count: int, side: int) -> list[str]:
    """JPEGs as a camera phone's preview has them: the README's photographs, cropped and turned so that no two are alike."""
    rng = np.random.default_rng(0)
    originals = [
        Image.open(p, formats=FORMATS).convert("RGB")
        for p in sorted((Path(__file__).parent.parent / "docs" / "photos").glob("*.jpg"))
    ]
    paths = []
    for n in range(count):
        picture = originals[n % len(originals)].rotate(int(rng.integers(-10, 10))).resize((side, side * 3 // 4))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=88)
        (folder / f"{n:05}.jpg").write_bytes(buffer.getvalue())
        paths.append(str(folder / f"{n:05}.jpg"))
    return paths


def _backbone(architecture: str):
    if architecture == "embedded":
        from modelgraft import load

        return load("embedded/sprig", device="cpu")
    import open_clip
    from modelgraft_open_clip.backbone import OpenClipBackbone

    model, _, transform = open_clip.create_model_and_transforms(architecture, pretrained=None)
    entry = Entry(
        name=f"open_clip/{architecture}",
        modality="image-text",
        tasks=("zero-shot", "features"),
        loader={"model": architecture},
    )
    width = int(open_clip.get_model_config(architecture)["embed_dim"])
    return OpenClipBackbone(entry, model, transform, open_clip.get_tokenizer(architecture), width, torch.float32)


if __name__ == "__main__":
    main()
