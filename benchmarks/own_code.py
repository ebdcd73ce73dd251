"""Own code where a library has the like: what each would give and cost (the table in docs/architecture.md).

python benchmarks/own_code.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def seconds(call: Callable[[], Any], times: int = 5) -> float:
    """Return the median time of a call."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def wilson() -> str:
    """Wilson's interval: ours against SciPy's, over whole hits; and hits that are no whole number."""
    from modelgraft_adapters.metrics.intervals import wilson as ours
    from scipy.stats import binomtest

    apart = max(
        float(np.abs(np.subtract(ours(k, n), binomtest(k, n).proportion_ci(method="wilson"))).max())
        for n in (1, 7, 50, 1000)
        for k in range(0, n + 1, max(1, n // 7))
    )
    try:
        binomtest(2.5, 7)  # type: ignore[arg-type]
        whole = "takes 2.5 hits"
    except (TypeError, ValueError) as error:
        whole = f"refuses 2.5 hits ({error})"
    return f"largest difference {apart:.1e}; SciPy {whole}"


def bootstrap() -> str:
    """The paired bootstrap of a difference of mean average precisions, with a label that some resamples lack."""
    from modelgraft_adapters.metrics.paired import Answers, difference, main_score
    from scipy.stats import bootstrap as scipys

    rng = np.random.default_rng(0)
    targets = (rng.random((60, 4)) < (0.5, 0.4, 0.3, 0.04)).astype(float)
    one, other = (np.clip(targets * 0.3 + rng.random((60, 4)) * 0.7, 0, 1) for _ in range(2))
    empty = np.zeros(0)
    ours = [Answers("multi-label", empty, outputs, targets) for outputs in (one, other)]
    index = np.arange(60)

    def apart(rows: np.ndarray) -> float:
        return main_score("multi-label", targets[rows], one[rows]) - main_score(
            "multi-label", targets[rows], other[rows]
        )

    def by_scipy() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return scipys(
                (index,), apart, n_resamples=400, vectorized=False, method="percentile", rng=np.random.default_rng(0)
            ).confidence_interval

    found, theirs = difference([ours[0]], [ours[1]]), by_scipy()
    times = seconds(lambda: difference([ours[0]], [ours[1]])), seconds(by_scipy)
    return (
        f"{found.low:.3f} to {found.high:.3f} in {times[0]:.2f} s; "
        f"SciPy {theirs.low:.3f} to {theirs.high:.3f} in {times[1]:.2f} s"
    )


def average() -> str:
    """Memory of the average of the weights where the last block alone is trained."""
    import timm
    from torch.optim.swa_utils import AveragedModel

    model = timm.create_model("vit_base_patch32_224")
    last = sum(p.numel() * 4 for p in model.blocks[-1].parameters())
    whole = sum(p.numel() * 4 for p in AveragedModel(model).parameters())
    return f"ViT-B/32, last-1: {last / 2**20:.0f} MiB; AveragedModel {whole / 2**20:.0f} MiB"


def folds() -> str:
    """What scikit-learn's folds cost to import, beside what a probe has imported."""
    code = (
        "import modelgraft_adapters.estimators.frozen, time; t = time.perf_counter(); import sklearn.model_selection; "
        "print(time.perf_counter() - t)"
    )
    taken = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout) for _ in range(3)
    ]
    return f"sklearn.model_selection takes {np.median(taken):.2f} s to import"


def settings() -> str:
    """What pydantic makes of values that are taken here."""
    from modelgraft_adapters.finetuning.settings import Settings
    from pydantic import TypeAdapter, ValidationError

    said = []
    for kind, value in ((int, np.int64(5)), (float, np.float32(0.5)), (int, True)):
        try:
            said.append(f"{value!r} as {kind.__name__}: {TypeAdapter(kind).validate_python(value)!r}")
        except ValidationError:
            said.append(f"{value!r} as {kind.__name__}: refused")
    ours = Settings.of({"steps": np.int64(5), "lr": np.float32(0.5)})
    return f"pydantic: {'; '.join(said)}; here steps={ours.steps!r}, lr={ours.lr!r}"


def low_rank() -> str:
    """A step of LoRA: peft's layers against the sum as a parametrization of the weight."""
    from peft import LoraConfig, inject_adapter_in_model
    from torch.nn.utils import parametrize

    class Sum(torch.nn.Module):
        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__()
            self.a = torch.nn.Parameter(torch.randn(8, weight.shape[1]) * 0.01)
            self.b = torch.nn.Parameter(torch.zeros(weight.shape[0], 8))

        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight + self.b @ self.a

    import timm

    def model() -> torch.nn.Module:
        made = timm.create_model("vit_base_patch32_224", num_classes=10)
        return made.requires_grad_(False)

    summed = model()
    for inner in [m for m in summed.modules() if isinstance(m, torch.nn.Linear)][:-1]:
        parametrize.register_parametrization(inner, "weight", Sum(inner.weight))
    beside = inject_adapter_in_model(LoraConfig(r=8, target_modules=["qkv", "proj", "fc1", "fc2"]), model())
    images = torch.randn(16, 3, 224, 224)

    def step(trained: torch.nn.Module) -> None:
        trained(images).square().mean().backward()

    times = {name: seconds(lambda m=m: step(m)) for name, m in (("peft", beside), ("parametrization", summed))}  # type: ignore[misc]
    return ", ".join(f"{name} {taken:.2f} s" for name, taken in times.items())


def lock() -> str:
    """What filelock leaves beside a file that was written under its lock."""
    from filelock import FileLock

    with tempfile.TemporaryDirectory() as folder:
        with FileLock(Path(folder, ".modelgraft.lock.lock")):
            pass
        left = [path.name for path in Path(folder).iterdir()]
    return f"filelock leaves {', '.join(left) or 'nothing'}"


def main() -> None:
    """Print one line for each."""
    torch.manual_seed(0)
    for measure in (wilson, bootstrap, average, folds, settings, low_rank, lock):
        print(f"{measure.__name__}: {measure()}", flush=True)


if __name__ == "__main__":
    main()
