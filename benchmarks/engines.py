"""Images and texts through a model: by torch and each engine, in each precision, against the loops that people write, in one run.

    python benchmarks/engines.py [--images 64] [--texts 512] [--only resnet50]

Images are photographs of 500 pixels (those of the docs, cut and turned), from JPEG files on disk to embeddings, in batches of 16.
The weights of image models are random: speed does not depend on them. Peers: the loop that everybody writes (open, preprocess,
batches of 16, the source library's model), the same with a DataLoader of two workers, and transformers' pipeline (ViT-B/32 alone).
Of texts ``SentenceTransformer.encode`` on all of them, in float32 and bfloat16; they are short (a question), long (several
sentences) and mixed. Rates are the best of three rounds taken in turn; models are loaded and converted before. `gemm` is what this
machine reaches in a plain matrix product, and `share_of_gemm` what part of that a model's multiplications are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import save
from modelgraft import list_engines
from modelgraft.devices import FAST, dtype_of
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.features.running import Running
from modelgraft_adapters.media.images import FORMATS
from PIL import Image
from quality import minilm
from throughput import _photographs
from torch.utils.flop_counter import FlopCounterMode

BATCH = 16
SENTENCE = "the match went to penalties after a long and quiet evening in which nobody dared to attack at all"
WORDS = SENTENCE.split()
LENGTHS = {"short": (5, 20), "long": (80, 160), "mixed": (3, 160)}
MODELS = {"ViT-B-32": "open_clip", "resnet50": "timm", "tf_efficientnet_lite0": "timm", "all-MiniLM-L6-v2": "texts"}


def main() -> None:
    """Measure, and keep the raw results."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--images", type=int, default=64)
    arguments.add_argument("--texts", type=int, default=512)
    arguments.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS))
    options = arguments.parse_args()
    torch.manual_seed(0)
    fast = str(dtype_of(FAST, torch.device("cpu"))).removeprefix("torch.")
    results: dict[str, Any] = {
        "options": vars(options),
        "threads": torch.get_num_threads(),
        "fast": fast,
        "gemm": gemm(),
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = _photographs(Path(folder), options.images, 500)
        for name in options.only:
            place = Path(folder) / name
            if MODELS[name] == "texts":
                results[name] = texts(options.texts)
            else:
                model, transform = saved(MODELS[name], name, place)
                results[name] = images(name, model, transform, place, paths, results["gemm"])
            print(name, results[name], file=sys.stderr, flush=True)
    save("engines", results)


def images(
    name: str, model: Any, transform: Callable[[Image.Image], torch.Tensor], place: Path, paths: list[str], peak: Any
) -> dict[str, Any]:
    """One model of images, whose folder is a model by name."""
    theirs = model.encode_image if hasattr(model, "encode_image") else lambda batch: model.forward_head(
        model.forward_features(batch), pre_logits=True
    )  # fmt: skip

    @torch.inference_mode()
    def loop() -> None:
        for begin in range(0, len(paths), BATCH):
            theirs(torch.stack([transform(_opened(path)) for path in paths[begin : begin + BATCH]]))

    @torch.inference_mode()
    def loader() -> None:
        for batch in torch.utils.data.DataLoader(_Files(paths, transform), BATCH, num_workers=2):
            theirs(batch)

    peers: dict[str, Callable[[], Any]] = {"plain loop": loop, "DataLoader, 2 workers": loader}
    if name == "ViT-B-32":
        peers |= {f"transformers pipeline, batch {size}": _pipeline(paths, size) for size in (1, BATCH)}
    ready = [transform(_opened(path)) for path in paths[:BATCH]]
    ways, forward, apart = {}, {}, {}
    with torch.inference_mode():
        wanted = theirs(torch.stack(ready)).float()
    for engine in ("torch", *(spec.name for spec in list_engines())):
        for precision in ("exact", "fast"):
            running = Running(str(place), "image", None, "cpu", precision, engine)
            with torch.inference_mode():
                found = running.encode(ready)
            if notes := running.take_notes():
                print(engine, precision, notes, file=sys.stderr)
                continue
            way = f"{engine}, {precision}"
            ways[way] = _embedding(str(place), "image", engine, precision, paths)
            forward[f"forward: {way}"] = _forward(running, ready, len(paths))
            apart[way] = _apart(found, wanted)
    found_rates = rates({**peers, **ways, **forward}, len(paths))
    torch.backends.mha.set_fastpath_enabled(False)  # whose products the counter does not see
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        theirs(ready[0][None])
    torch.backends.mha.set_fastpath_enabled(True)
    gflop = counter.get_total_flops() / 1e9
    share = {
        way: found_rates[f"forward: {way}"] * gflop / peak["bfloat16" if way.endswith("fast") else "float32"]
        for way in ways
    }
    return {"images_per_s": found_rates, "against_float32": apart, "gflop": gflop, "share_of_gemm": share}


def texts(count: int) -> dict[str, Any]:
    """A sentence encoder with its real weights."""
    from sentence_transformers import SentenceTransformer

    place = minilm()
    theirs = SentenceTransformer(place, device="cpu")
    narrow = SentenceTransformer(place, device="cpu", model_kwargs={"torch_dtype": torch.bfloat16})
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for kind, (low, high) in LENGTHS.items():
        some = [
            " ".join(rng.choice(WORDS, rng.integers(low, high)))
            for _ in range(count if kind == "short" else count // 4)
        ]
        ways: dict[str, Callable[[], Any]] = {
            "encode, float32": lambda some=some: theirs.encode(some, show_progress_bar=False),
            "encode, bfloat16": lambda some=some: narrow.encode(some, show_progress_bar=False, convert_to_tensor=True),
        }
        for engine in ("torch", *(spec.name for spec in list_engines())):
            for precision in ("exact", "fast"):
                running = Running(place, "text", None, "cpu", precision, engine)
                with torch.inference_mode():
                    running.encode(some[:2])
                if running.take_notes():
                    continue
                ways[f"{engine}, {precision}"] = _embedding(place, "text", engine, precision, some)
        found[kind] = rates(ways, len(some))
    return {"texts_per_s": found}


def rates(ways: dict[str, Callable[[], Any]], count: int, rounds: int = 3) -> dict[str, float]:
    """Return items a second of each way: the best of some rounds taken in turn, after one in which models are loaded."""
    for way in ways.values():
        way()
    best = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            best[name] = max(best[name], count / (time.perf_counter() - began))
    return best


def gemm() -> dict[str, float]:
    """GFLOP/s of a plain matrix product on all threads: the best of ten."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.randn(1024, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
        seconds = []
        for _ in range(10):
            began = time.perf_counter()
            torch.mm(left, right)
            seconds.append(time.perf_counter() - began)
        found[str(dtype).removeprefix("torch.")] = 2 * 1024 * 2048 * 2048 / min(seconds) / 1e9
    return found


def saved(library: str, name: str, place: Path) -> tuple[Any, Callable[[Image.Image], torch.Tensor]]:
    """A model with random weights and its preprocessing; a folder of it, as its library writes that for the hub."""
    if library == "timm":
        import timm
        from timm.data import create_transform, resolve_model_data_config
        from timm.models import save_for_hf

        model = timm.create_model(name).eval()
        save_for_hf(model, str(place))
        return model, create_transform(**resolve_model_data_config(model), is_training=False)
    import json

    import open_clip
    from safetensors.torch import save_file

    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=None)
    place.mkdir()
    config = {
        "model_cfg": open_clip.get_model_config(name),
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(model),
    }
    (place / "open_clip_config.json").write_text(json.dumps(config))
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, place / "open_clip_model.safetensors"
    )
    return model.eval(), transform


def _embedding(name: str, modality: Any, engine: str, precision: str, items: list[str]) -> Callable[[], None]:
    size = BATCH if modality == "image" else None
    extractor = FeatureExtractor(
        name, modality=modality, device="cpu", batch_size=size, engine=engine, dtype=precision, store=False
    )
    return lambda: np.testing.assert_equal(bool(extractor.embed(items).good.all()), True)


def _forward(running: Running, ready: list[torch.Tensor], count: int) -> Callable[[], None]:
    def all_of_them() -> None:
        with torch.inference_mode():
            for _ in range(0, count, BATCH):
                running.encode(ready)

    return all_of_them


def _apart(found: torch.Tensor, wanted: torch.Tensor) -> dict[str, float]:
    apart = ((found - wanted).norm(dim=1) / wanted.norm(dim=1)).max()
    return {"difference": float(apart), "cosine": float(torch.cosine_similarity(found, wanted).min())}


def _pipeline(paths: list[str], size: int) -> Callable[[], None]:
    """transformers' own of the same architecture, random weights."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, pipeline

    config = CLIPVisionConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    model = CLIPVisionModel(config).eval()
    run = pipeline("image-feature-extraction", model=model, image_processor=CLIPImageProcessor(), device="cpu")

    def all_of_them() -> None:
        for _ in run([_opened(path) for path in paths], batch_size=size, pool=True):
            pass

    return all_of_them


class _Files(torch.utils.data.Dataset[torch.Tensor]):
    def __init__(self, paths: list[str], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.transform(_opened(self.paths[number]))


def _opened(path: str) -> Image.Image:
    return Image.open(path, formats=FORMATS).convert("RGB")


if __name__ == "__main__":
    main()
