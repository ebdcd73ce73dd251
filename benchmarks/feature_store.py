"""The feature store: extraction against the bare forward pass, a second adapter on stored features, memory by number of items.

    python benchmarks/feature_store.py DATA [--pictures 512] [--batch-size 32] [--only throughput,start,memory]

DATA is the folder of real data that the tests use: its ImageNet weights for timm's mobilenetv2_100 and its images. The
forward-only limit is the best over thread counts, measured in turn with extraction in the same process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from measure import PYTHON, run_once, save

MEMORY = """
import sys, time
from modelgraft_adapters.features.extractor import FeatureExtractor
class Texts:
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __iter__(self): return (f"a photo of a {n % 997} cat number {n}" for n in range(self.count))
found = FeatureExtractor("embedded/sprig", modality="text", batch_size=256).embed(Texts(int(sys.argv[1])))
assert found.features.shape == (int(sys.argv[1]), 256) and all(e is None for e in found.errors[:1000])
"""
START = """
import sys, time, json
import modelgraft, torch, PIL, numpy
from modelgraft_adapters.features.extractor import FeatureExtractor
names = [line.rstrip() for line in open(sys.argv[1])]
start = time.perf_counter()
extractor = FeatureExtractor("embedded/sprig")
found = extractor.embed(names)
print(json.dumps({"seconds": time.perf_counter() - start, "encoded": found.encoded, "loaded": extractor._running.loaded}))
"""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--pictures", type=int, default=512)
    arguments.add_argument("--batch-size", type=int, default=32)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", default="throughput,start,memory")
    options = arguments.parse_args()
    parts = options.only.split(",")
    figures: dict[str, object] = {"options": {k: str(v) for k, v in vars(options).items() if k != "data"}}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MODELGRAFT_CACHE"] = folder + "/cache"
        paths = _pictures(options.data / "imagenet_samples.tar", Path(folder) / "pictures", options.pictures)
        if "memory" in parts:  # first: a process's peak is never below that of the one that started it
            figures["memory"] = _memory(Path(folder))
        if "start" in parts:
            figures["start"] = _start(paths, Path(folder))
        if "throughput" in parts:
            figures["throughput"] = _throughput(options, paths, Path(folder))
    save("feature_store", figures)


def _pictures(archive: Path, into: Path, count: int) -> list[str]:
    into.mkdir()
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile()][:count]
        for number, member in enumerate(members):
            opened = tar.extractfile(member)
            assert opened is not None
            (into / f"{number:05}.jpg").write_bytes(opened.read())
    return sorted(str(path) for path in into.iterdir())


def _throughput(options: argparse.Namespace, paths: list[str], folder: Path) -> dict[str, object]:
    import torch
    from modelgraft_adapters.features.extractor import FeatureExtractor
    from modelgraft_adapters.media.images import read_image

    backbone = _backbone(options.data)
    ready = torch.stack([backbone.preprocess(read_image(p)[0]) for p in paths[: options.batch_size]])
    limits: dict[int, float] = {}
    rates, stored = [], []
    threads = torch.get_num_threads()
    for number in range(options.rounds):
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            limits[count] = max(limits.get(count, 0.0), _forward_only(backbone, ready, len(paths)))
        torch.set_num_threads(threads)
        os.environ["MODELGRAFT_CACHE"] = str(folder / f"cache{number}")
        for rate in (rates, stored):
            start = time.perf_counter()
            found = FeatureExtractor(backbone, batch_size=options.batch_size).embed(paths)
            rate.append(len(paths) / (time.perf_counter() - start))
            assert found.encoded == (len(paths) if rate is rates else 0) and found.good.all()
    return {
        "forward_only_pictures_per_s": limits,
        "embed_pictures_per_s": rates,
        "embed_stored_pictures_per_s": stored,
        "ratio": max(rates) / max(limits.values()),
    }


def _forward_only(backbone, ready, pictures: int) -> float:
    import torch

    with torch.inference_mode():
        backbone.encode_image(ready)
        start = time.perf_counter()
        for _ in range(pictures // len(ready)):
            backbone.encode_image(ready)
    return (pictures // len(ready)) * len(ready) / (time.perf_counter() - start)


def _backbone(data: Path):
    import timm
    from modelgraft import Entry
    from modelgraft_timm.backbone import TimmBackbone
    from safetensors.torch import load_file

    model = timm.create_model("mobilenetv2_100")
    model.load_state_dict(load_file(data / "weights" / "mobilenetv2_100.coral_in1k_plain.safetensors"))
    return TimmBackbone(Entry("timm/mobilenetv2_100", modality="image", tasks=("features",)), model)


def _start(paths: list[str], folder: Path) -> dict[str, object]:
    import json

    (folder / "names.txt").write_text("\n".join(paths))
    found = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", START, str(folder / "names.txt")], capture_output=True, text=True, check=True
        )
        found.append(json.loads(done.stdout))
    return {"pictures": len(paths), "first": found[0], "second": found[1], "third": found[2]}


def _memory(folder: Path) -> dict[str, object]:
    peaks = {}
    for count in (1_000, 10_000, 100_000):
        env = {"MODELGRAFT_CACHE": str(folder / f"memory{count}")}
        peaks[str(count)] = run_once([PYTHON, "-c", MEMORY, str(count)], env)
    values = [figures["peak_mib"] for figures in peaks.values()]
    return {"texts": peaks, "spread_mib": max(values) - min(values)}


if __name__ == "__main__":
    main()
