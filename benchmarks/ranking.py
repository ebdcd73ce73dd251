"""Whether cheap scores rank models as the full probe on test items does, and what halving costs and picks.

    python benchmarks/ranking.py [--data ../shared/data] [--sets cifar10 trec] [--train 1000] [--test 1000] [--finetune]

On each set at most so many items to train on and to test on. Candidates of images: nine nets at 96 pixels (`ranking_nets.py`, two
of them with random weights), some also at their logits, and the embedded model at two layers; of texts: all-MiniLM-L6-v2 cut
after each of its layers, at other poolings, with random weights, and the embedded model. For each candidate: the accuracy on the
test items of the probe trained on all training items, and every score on the training items. Then
halving as `rank_models` does it: what it picks, and what of embedding everything it costs. `--finetune` (slow) trains whole
models for 60 steps, too. Sets and candidates that are in the results are kept, if they are of as many items.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
HERE = Path(__file__).resolve().parent
STEPS = 60
IMAGES = ("cifar10", "fashion_mnist", "flowers5", "ants_bees", "pneumonia")
TEXTS = ("ag_news", "sst2", "trec", "banking77", "sms_spam")
LOGITS = ("lite0", "mobilenetv2", "squeezenet")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument(
        "--sets", nargs="*", default=[name for pair in zip(IMAGES, TEXTS, strict=True) for name in pair]
    )
    arguments.add_argument("--work", type=Path, help="Where features are kept between runs.")
    arguments.add_argument("--train", type=int, default=1000)
    arguments.add_argument("--test", type=int, default=1000)
    arguments.add_argument("--finetune", action="store_true", help="Also train whole models; slow.")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        announce(work, options.data)
        from measure import RESULTS, machine

        path = RESULTS / "ranking.json"
        done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"sets": {}}
        for name in options.sets:
            one = done["sets"].setdefault(name, {})
            for _ in run_set(name, one, options, work):
                done["machine"] = machine()
                path.write_text(json.dumps(done, indent=1) + "\n")


def announce(work: Path, data: Path) -> None:
    """Make the plugin of `ranking_nets.py` an installed one, for this process and those that it starts."""
    dist = work / "plugin" / "ranking_nets-1.0.dist-info"
    dist.mkdir(parents=True, exist_ok=True)
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: ranking-nets\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[modelgraft]\nnets = ranking_nets\n")
    os.environ["MODELGRAFT_RANKING_WEIGHTS"] = str((data / "weights").resolve())
    os.environ["MODELGRAFT_CACHE"] = str(work / "cache")
    paths = [str(HERE), str(work / "plugin")]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.path[:0] = [path for path in paths if path not in sys.path]


def candidates(texts: bool, work: Path) -> list[tuple[str, str, str | None]]:
    """(name in the results, model, layer)."""
    if not texts:
        from ranking_nets import NETS

        found: list[tuple[str, str, str | None]] = [(name, f"nets/{name}", None) for name in NETS]
        found += [(f"{name} logits", f"nets/{name}", "logits") for name in LOGITS]
        return [*found, ("sprig", "embedded/sprig", None), ("sprig unprojected", "embedded/sprig", "unprojected")]
    cut = {depth: cut_minilm(work, depth) for depth in range(1, 7)}
    found = [(f"minilm-{depth}", folder, None) for depth, folder in cut.items()]
    found += [(f"minilm-{depth} {layer}", cut[depth], layer) for depth, layer in ((6, "cls"), (6, "max"), (3, "cls"))]
    found += [(f"minilm-{depth}-random", cut_minilm(work, depth, random=True), None) for depth in (6, 2)]
    return [*found, ("sprig", "embedded/sprig", None)]


def cut_minilm(work: Path, depth: int, random: bool = False) -> str:
    """all-MiniLM-L6-v2 with its first layers alone, as a folder; with ``random`` of other weights."""
    import shutil

    import torch
    from quality import minilm
    from safetensors.torch import load_file, save_file

    target = work / f"minilm-{depth}{'-random' if random else ''}"
    if (target / "done").exists():
        return str(target)
    shutil.copytree(minilm(), target, dirs_exist_ok=True)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"num_hidden_layers": depth}))
    tensors = load_file(target / "model.safetensors")
    tensors = {
        k: v for k, v in tensors.items() if ".layer." not in k or int(k.split(".layer.")[1].split(".")[0]) < depth
    }
    if random:
        torch.manual_seed(0)
        for key, value in tensors.items():
            if value.is_floating_point() and value.ndim > 1:
                tensors[key] = torch.randn_like(value) * 0.02
    save_file({k: v.contiguous() for k, v in tensors.items()}, target / "model.safetensors", {"format": "pt"})
    (target / "done").touch()
    return str(target)


def run_set(name: str, one: dict[str, Any], options: Any, work: Path) -> Any:
    """Add to a set's results what is not there; yields whenever something came to them."""
    from modelgraft_adapters.data.sampling import nested_order
    from quality import load_set

    whole = load_set(options.data, name)
    train, test = whole.train, whole.test
    if one.get("wanted") != (wanted := [options.train, options.test]):
        one.clear()
    one |= {"wanted": wanted, "available": len(train)}
    train = train.take(nested_order(train.targets, 0)[: options.train])
    test = test.take(nested_order(test.targets, 0)[: options.test])
    there = candidates(train.modality == "text", work)
    one |= {"classes": len(train.classes), "train": len(train), "test": len(test), "modality": train.modality}
    rows = one.setdefault("candidates", {})
    for title, model, layer in there:
        if title in rows:
            continue
        start = time.perf_counter()
        rows[title] = score_candidate(model, layer, train, test)
        rows[title]["seconds"] = round(time.perf_counter() - start, 1)
        print(f"{name:14} {title:20} {rows[title]['test']:.3f} in {rows[title]['seconds']:.0f} s", flush=True)
        yield
    if "halving" not in one:
        one["halving"] = race(there, rows, train)
        print(f"{name:14} halving: {one['halving']}", flush=True)
        yield
    if options.finetune:
        for title, model, layer in there:
            if layer is None and "finetuned" not in rows[title] and "random" not in title:
                try:
                    rows[title]["finetuned"] = finetuned(model, train, test)
                except Exception as error:
                    rows[title]["finetuned"] = None
                    rows[title]["not finetuned"] = str(error)[:200]
                print(f"{name:14} {title:20} fine-tuned {rows[title]['finetuned']}", flush=True)
                yield


def score_candidate(model: str, layer: str | None, train: Any, test: Any) -> dict[str, Any]:
    """Accuracy of the full probe on the test items, and every score on the training items."""
    from modelgraft_adapters import FrozenAdapter
    from modelgraft_adapters.ranking.scoring import SCORES, score_features
    from modelgraft_adapters.ranking.worker import Job, source_classes

    adapter = FrozenAdapter(model, "linear", modality=train.modality, layer=layer)
    began, before = time.perf_counter(), adapter.extractor.encoded
    features, tested = adapter.extractor.embed(train.items), adapter.extractor.embed(test.items)
    count = adapter.extractor.encoded - before
    each = (time.perf_counter() - began) / count if count else None
    adapter.fit_features(features.features, train)
    source = None
    if layer is None:
        source = source_classes(Job(model, None, train, ("leep", "nce"), 0), train)
    found = {"test": adapter.evaluate_features(tested, test).score.value, "seconds_per_item": each}
    return found | {"scores": score_features(features.features, train.targets, SCORES, source=source).values}


def race(there: list[tuple[str, str, str | None]], rows: dict[str, Any], train: Any) -> dict[str, Any]:
    """Halving over the candidates, as `rank_models` does it, by three scores: what it picks, and which part of the items, and of
    the time of embedding them, it takes."""
    from modelgraft import resolve
    from modelgraft_adapters.ranking.candidates import Candidate
    from modelgraft_adapters.ranking.halving import plan
    from modelgraft_adapters.ranking.pool import Pool
    from modelgraft_adapters.ranking.race import Race, Settings
    from modelgraft_adapters.ranking.runner import LEAST

    titles, asked = {}, []
    for title, model, layer in there:
        candidate = Candidate(resolve(model), layer, model)
        titles[candidate.name] = title
        asked.append(candidate)
    rungs = plan(len(asked), len(train), max(LEAST, 2 * len(train.classes)))
    found: dict[str, Any] = {"rungs": [[rung.items, rung.candidates] for rung in rungs]}
    seconds = {title: row["seconds_per_item"] or 0.0 for title, row in rows.items()}
    with Pool(1) as pool:
        for by in ("probe", "knn", "logme"):
            one = Race(train, Settings(by=by, scores=(by,), measure=False), pool, {}, lambda text: None)
            one.run(asked, rungs)
            spent = sum(row.items * seconds[titles[name]] for name, row in one.rows.items())
            best = min(
                one.rows.values(), key=lambda row: (row.status != "ranked", -row.score.value if row.score else 0.0)
            )
            found[by] = {
                "pick": titles[best.name],
                "items_share": one.embedded / (len(asked) * len(train)),
                "time_share": spent / (len(train) * sum(seconds.values())),
                "failed": [f"{row.name}: {row.reason}" for row in one.rows.values() if row.score is None],
            }
    return found


def finetuned(model: str, train: Any, test: Any) -> float:
    """Accuracy on the test items after `STEPS` steps of training the whole model."""
    from modelgraft_adapters.data.dataset import join
    from modelgraft_adapters.finetuning.tuner import FineTuner
    from modelgraft_adapters.runs.finetune import run_finetune

    tuner = FineTuner(model, "full", modality=train.modality, steps=STEPS, batch_size=32, seed=0)
    whole = join({"train": train, "test": test})
    return run_finetune(tuner, whole).evaluation.score.value


if __name__ == "__main__":
    main()
