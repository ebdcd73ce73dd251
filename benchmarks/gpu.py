"""A GPU, one measure after the other: what each brings for the images of a model, and what it does to the embeddings.

    python benchmarks/gpu.py [--device cuda] [--images 2048] [--model vit_base_patch32_224] [--batch 256]

Forward passes on tensors that lie in pinned memory, from the plain float32 loop on: TF32, bfloat16, channels-last, copies beside
the computation on a stream of their own, ``torch.compile`` (with CUDA graphs); then from JPEG files of 500 pixels to embeddings as
``FeatureExtractor`` does it in each precision, against the loop that everybody writes and a DataLoader of workers; then decoding
by torchvision on the GPU with its resizing, and by how much the pixels differ from the model's own transform. The largest batch
that the memory holds is found by doubling. On a CPU the same runs without what only a GPU has: it shows that the script works, and
its rates are those of ``engines.py``. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from engines import _Files, _opened, saved
from measure import save
from modelgraft_adapters.features.extractor import FeatureExtractor
from throughput import _photographs

Forward = Callable[[torch.Tensor], torch.Tensor]


def main() -> None:
    """Measure, and keep the raw results."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments.add_argument("--images", type=int, default=2048)
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--model", default="vit_base_patch32_224")
    arguments.add_argument("--workers", type=int, default=8)
    options = arguments.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = _photographs(Path(folder), min(options.images, 64), 500)
        paths = [paths[n % len(paths)] for n in range(options.images)]
        place = Path(folder) / options.model
        model, transform = saved("timm", options.model, place)
        ready = [torch.stack([transform(_opened(path)) for path in paths[: options.batch]])]
        batches = (ready * (1 + len(paths) // options.batch))[: max(1, len(paths) // options.batch)]
        results = {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "options": vars(options),
            "forward": forwards(model, batches, device),
            "files": files(str(place), model, transform, paths, device, options),
            "largest_batch": largest_batch(model, ready[0][:1], device),
            "decoding": decoding(paths, model, transform, device),
        }
    print(results)
    save(f"gpu_{device.type}", results)


def forwards(model: torch.nn.Module, batches: list[torch.Tensor], device: torch.device) -> dict[str, Any]:
    """Images a second of each measure added to those before it, and how far embeddings are from float32's."""

    def features(batch: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.forward_head(model.forward_features(batch), pre_logits=True)
        return found

    cuda = device.type == "cuda"
    model.to(device)
    with torch.inference_mode():
        wanted = features(batches[0].to(device)).float().cpu()
    found: dict[str, Any] = {}

    def measured(name: str, run: Forward, feed: Callable[[list[torch.Tensor]], Iterator[torch.Tensor]]) -> None:
        with torch.inference_mode():
            rows = run(next(iter(feed(batches[:1])))).float().cpu()
            best = 0.0
            for _ in range(3):
                _wait(device)
                began = time.perf_counter()
                for batch in feed(batches):
                    run(batch)
                _wait(device)
                best = max(best, sum(map(len, batches)) / (time.perf_counter() - began))
        apart = (rows - wanted).norm(dim=1) / wanted.norm(dim=1)
        cosine = torch.cosine_similarity(rows, wanted)
        found[name] = {"images_per_s": best, "apart": float(apart.max()), "cosine": float(cosine.min())}
        print(name, found[name], flush=True)

    def plainly(some: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        return (batch.to(device, next(model.parameters()).dtype) for batch in some)

    measured("float32", features, plainly)
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        measured("tf32", features, plainly)
    model.to(torch.bfloat16)
    measured("bfloat16", features, plainly)
    model.to(memory_format=torch.channels_last)

    def lying(some: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        return (batch.contiguous(memory_format=torch.channels_last) for batch in plainly(some))

    measured("bfloat16, channels-last", features, lying)
    if cuda:
        for batch in {id(batch): batch for batch in batches}.values():
            batch.set_(batch.pin_memory())

        def beside(some: list[torch.Tensor]) -> Iterator[torch.Tensor]:
            return _copied_beside(some, device)

        measured("... copies on a stream of their own", features, beside)
    compiled = torch.compile(features, mode="reduce-overhead" if cuda else "default", dynamic=False)
    measured("... compiled", compiled, beside if cuda else lying)
    model.to(torch.float32)
    return found


def _copied_beside(batches: list[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Each batch on the device while the one before it is computed."""
    side, main_stream = torch.cuda.Stream(), torch.cuda.current_stream()

    def copied(batch: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(side):
            return batch.to(device, torch.bfloat16, non_blocking=True).contiguous(memory_format=torch.channels_last)

    ahead = copied(batches[0])
    for number in range(len(batches)):
        main_stream.wait_stream(side)
        now = ahead
        now.record_stream(main_stream)
        if number + 1 < len(batches):
            ahead = copied(batches[number + 1])
        yield now


def files(place: str, model: Any, transform: Any, paths: list[str], device: torch.device, options: Any) -> Any:
    """Images a second from files to embeddings."""

    @torch.inference_mode()
    def loop() -> None:
        for begin in range(0, len(paths), options.batch):
            batch = torch.stack([transform(_opened(path)) for path in paths[begin : begin + options.batch]])
            model.forward_head(model.forward_features(batch.to(device)), pre_logits=True).cpu()

    @torch.inference_mode()
    def loader() -> None:
        loading = torch.utils.data.DataLoader(
            _Files(paths, transform), options.batch, num_workers=options.workers, pin_memory=device.type == "cuda"
        )
        for batch in loading:
            model.forward_head(model.forward_features(batch.to(device, non_blocking=True)), pre_logits=True).cpu()

    ways: dict[str, Callable[[], Any]] = {"plain loop": loop, "DataLoader": loader}
    for precision in ("exact", "fast"):
        extractor = FeatureExtractor(
            place, device=device, dtype=precision, batch_size=options.batch, workers=options.workers, store=False
        )
        ways[f"here, {precision}"] = lambda extractor=extractor: extractor.embed(paths)
    found = {}
    for name, way in ways.items():
        way()
        began = time.perf_counter()
        way()
        found[name] = len(paths) / (time.perf_counter() - began)
        print(name, found[name], flush=True)
    return found


def largest_batch(model: Any, one: torch.Tensor, device: torch.device) -> int | None:
    """The largest power of two of images, in bfloat16, that the memory of a GPU holds; None on a CPU."""
    if device.type != "cuda":
        return None
    model.to(torch.bfloat16)
    size = 1
    try:
        while size < 1 << 17:
            with torch.inference_mode():
                model.forward_features(one.to(device, torch.bfloat16).expand(2 * size, -1, -1, -1).contiguous())
            size *= 2
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    return size


def decoding(paths: list[str], model: Any, transform: Any, device: torch.device) -> dict[str, Any]:
    """Images a second of decoding and resizing by Pillow in one thread and by torchvision (on the GPU if there is one), and the
    difference of what the model reads, in standard deviations of a pixel: mean and largest."""
    import torchvision
    from timm.data import resolve_model_data_config
    from torchvision.transforms.v2 import functional as F

    config = resolve_model_data_config(model)
    side = config["input_size"][-1]
    mean, std = (torch.tensor(config[name], device=device)[:, None, None] for name in ("mean", "std"))
    some = paths[:256]
    raw = [torchvision.io.read_file(path) for path in some]

    def by_torchvision(data: torch.Tensor) -> torch.Tensor:
        image = torchvision.io.decode_jpeg(data, mode=torchvision.io.ImageReadMode.RGB, device=device)
        scaled = F.resize(
            image, [int(side / config["crop_pct"])], F.InterpolationMode(config["interpolation"]), antialias=True
        )
        return (F.center_crop(scaled, [side, side]).float() / 255 - mean) / std

    def rate(way: Callable[[Any], Any], items: list[Any]) -> float:
        way(items[0])
        _wait(device)
        began = time.perf_counter()
        for item in items:
            way(item)
        _wait(device)
        return len(items) / (time.perf_counter() - began)

    apart = torch.stack(
        [
            (by_torchvision(data).cpu() - transform(_opened(path))).abs()
            for data, path in zip(raw[:16], some, strict=False)
        ]
    )
    return {
        "pillow_per_s": rate(lambda path: transform(_opened(path)), some),
        "torchvision_per_s": rate(by_torchvision, raw),
        "apart_mean": float(apart.mean()),
        "apart_max": float(apart.max()),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
