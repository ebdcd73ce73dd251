"""Peak memory of `modelgraft classify -o FILE` over a growing number of images, in every format; whole processes.

python benchmarks/rows.py [images ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import PYTHON, run_once, save
from PIL import Image

LABELS = 1000
SUFFIXES = ("txt", "json", "jsonl", "csv", "parquet")
counts = [int(word) for word in sys.argv[1:]] or [1000, 4000]
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    Image.new("RGB", (64, 64), "teal").save(folder / "one.png")
    (folder / "labels").write_text("".join(f"thing number {n}\n" for n in range(LABELS)))
    env = {"MODELGRAFT_CACHE": str(folder / "cache")}
    base = [PYTHON, "-m", "modelgraft", "classify", "--labels", f"@{folder / 'labels'}"]
    run_once([*base, str(folder / "one.png")], env)  # the labels' embeddings are stored from here on
    figures: dict[str, dict[int, dict[str, float]]] = {suffix: {} for suffix in SUFFIXES}
    for count in counts:
        (folder / str(count)).mkdir()
        for n in range(count):
            (folder / str(count) / f"{n:06}.png").hardlink_to(folder / "one.png")
        for suffix in SUFFIXES:
            out = folder / f"out.{suffix}"
            figures[suffix][count] = run_once([*base, str(folder / str(count)), "-o", str(out)], env)
            out.unlink()
peaks = {suffix: [run["peak_mib"] for run in runs.values()] for suffix, runs in figures.items()}
save("rows", {"labels": LABELS, "figures": figures, "growth_mib": {s: max(p) - min(p) for s, p in peaks.items()}})
