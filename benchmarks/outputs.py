"""What every verb gives on a fixed set of inputs: run it before and after a change of structure, and compare.

    python benchmarks/outputs.py FOLDER [--old]          # with the modelgraft of the running environment
    python benchmarks/outputs.py FOLDER --against OTHER  # nothing is run: two folders are compared

Every call's output is kept as FOLDER/NAME.out, its exit code first. Times, rates, memory and paths are left out of the comparison;
words are told apart from numbers: the first may change, the second not. Inputs are scikit-learn's handwritten digits and the
photographs of the docs, with the embedded model, so nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PHOTOS: Final = str(ROOT / "docs" / "photos")
LABELS: Final = "cat,cup,orange flower,rocket"
OLD: Final = {"finetune --save": "-o", "multitask --save": "-o", "compare --folder": "-o"}
"""Options that were called otherwise before: verb and option -> the old one."""
HEADS: Final = ("linear", "knn", "prototype", "cosine", "mlp", "text", "tip-adapter", "tip-adapter-f")
TIMES: Final = re.compile(
    r"second|time|learning|testing|rate$|_per_s|mib|joule|energy|command|folder|path$|version|made|created|host|machine|notes?$"
)
CALLS: Final[dict[str, list[str]]] = {
    "list": ["list", "embedded/*", "--format", "json"],
    "info": ["info", "embedded/sprig", "--format", "json"],
    "plugins": ["plugins", "--format", "json"],
    "classify": ["classify", PHOTOS, "--labels", LABELS, "--format", "json"],
    "classify-table": ["classify", PHOTOS, "--labels", LABELS, "--top-k", "2"],
    "classify-csv": ["classify", PHOTOS, "--labels", LABELS, "--threshold", "0.8", "--format", "csv"],
    "classify-missing": ["classify", "nowhere.jpg", "--labels", LABELS],
    "embed": ["embed", PHOTOS, "-o", "{out}/photos.npy"],
    **{
        f"probe-{head}": ["probe", "{data}/digits", "--head", head, "--seed", "1", "--format", "json"] for head in HEADS
    },
    "probe-shots": ["probe", "{data}/digits", "--shots", "4", "--format", "json", "--save", "{out}/probe"],
    "probe-regression": ["probe", "{data}/numbers.csv", "--task", "regression", "--format", "json"],
    "predict": ["predict", "{data}/digits/0", "-m", "{out}/probe", "--format", "json"],
    "export": ["export", "{out}/probe", "-o", "{out}/probe.pt2", "--format", "json"],
    "finetune": [
        *("finetune", "{data}/digits", "--steps", "6", "--batch-size", "8", "--format", "json"),
        *("--save", "{out}/tuned"),
    ],
    "finetune-full": [
        *("finetune", "{data}/digits", "-s", "full", "--steps", "6", "--batch-size", "8", "--format", "json"),
        *("--set", "ema=0.9", "--save", "{out}/tuned-full"),
    ],
    "predict-tuned": ["predict", "{data}/digits/1", "-m", "{out}/tuned", "--format", "json"],
    "multitask": [
        *("multitask", "{data}/tasks.csv", "--tasks", "digit,half", "--steps", "6", "--format", "json"),
        *("--save", "{out}/tasks"),
    ],
    "compare": [
        *("compare", "{data}/digits", "-m", "embedded/sprig", "-s", "zero-shot,probe,knn", "--seeds", "2"),
        *("--shots", "4,all", "--format", "json", "--folder", "{out}/compared"),
    ],
    "explore": ["explore", "{data}/digits", "--clusters", "5", "--format", "json"],
    "unknown-model": ["info", "timm/resnet5"],
    "unknown-head": ["probe", "{data}/digits", "--head", "lniear"],
}


def inputs(folder: Path) -> Path:
    """Write the digits as images in folders, and as tables."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    rows, numbers = ["path,digit,half"], ["path,label"]
    for number, (image, target) in enumerate(zip(found.images[:200], found.target[:200], strict=True)):
        path = folder / "digits" / str(target) / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.kron(255 - (image * 15.9).astype(np.uint8), np.ones((8, 8), np.uint8))).save(path)
        rows.append(f"{path.relative_to(folder)},{target},{'low' if target < 5 else 'high'}")
        numbers.append(f"{path.relative_to(folder)},{target + image.mean() / 16:.4f}")
    (folder / "tasks.csv").write_text("\n".join(rows) + "\n")
    (folder / "numbers.csv").write_text("\n".join(numbers) + "\n")
    return folder


def run(out: Path, old: bool, only: list[str]) -> None:
    """Make the calls, one after the other."""
    data = inputs(out / "data")
    env = {**os.environ, "MODELGRAFT_CACHE": str(out / "cache"), "OMP_NUM_THREADS": "1"}
    for name in only or CALLS:
        words = CALLS[name]
        words = [word.format(out=out, data=data) for word in words]
        if old:
            words = [OLD.get(f"{words[0]} {word}", word) for word in words]
        done = subprocess.run([sys.executable, "-m", "modelgraft", *words], capture_output=True, text=True, env=env)
        text = f"{done.returncode}\n{done.stdout}" + ("" if done.returncode == 0 else done.stderr)
        (out / f"{name}.out").write_text(text.replace(str(out), "OUT").replace(str(ROOT), "ROOT"))
        print(f"{name}: exit code {done.returncode}", flush=True)


def differences(one: Any, other: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """Return where two JSON values differ: (place, one, other); what is a time or the like is left out."""
    if TIMES.search(at.rpartition(".")[2]):
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        return [d for key in sorted({*one, *other}) for d in differences(one.get(key), other.get(key), f"{at}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [d for n, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{at}[{n}]")]
    if one == other or _near(one, other):
        return []
    return [(at, one, other)]


def _near(one: Any, other: Any) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
    return numbers and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def compare(out: Path, other: Path) -> int:
    """Say what differs, call by call; returns how many calls do in more than words."""
    worse = 0
    for name in CALLS:
        texts = [(folder / f"{name}.out").read_text() for folder in (out, other)]
        try:
            parsed = [json.loads(text.partition("\n")[2]) for text in texts]
            found = differences(*parsed)
        except ValueError:
            found = [] if texts[0] == texts[1] else [("", *texts)]
        codes = [text.partition("\n")[0] for text in texts]
        numbers = [d for d in found if not all(isinstance(v, str) for v in d[1:])]
        worse += bool(numbers) or codes[0] != codes[1]
        print(f"{name}: " + ("the same" if not found else f"{len(found)} differ, {len(numbers)} of them not in words"))
        for place, a, b in (numbers or found)[:4]:
            print(f"    {place or 'output'}: {str(a)[:300]!r} here, {str(b)[:300]!r} there")
    return worse


def main() -> int:
    """Run, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--old", action="store_true", help="speak to a modelgraft of before the options were renamed")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="these calls alone")
    asked = parser.parse_args()
    if asked.against:
        return 1 if compare(asked.folder, asked.against) else 0
    run(asked.folder.absolute(), asked.old, asked.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
