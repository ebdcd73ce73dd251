"""`modelgraft list` against the two libraries listing their own models, whole processes, in turn.

python benchmarks/listing.py
"""

from __future__ import annotations

from measure import PYTHON, compare, save

figures = compare(
    {
        "modelgraft list": [PYTHON, "-m", "modelgraft", "list"],
        "modelgraft list --format json": [PYTHON, "-m", "modelgraft", "list", "--format", "json"],
        "timm and open_clip": [
            PYTHON,
            "-c",
            "import timm, open_clip; print(timm.list_pretrained(), open_clip.list_pretrained())",
        ],
    },
    runs=5,
)
ours, peers = figures["modelgraft list"], figures["timm and open_clip"]
save(
    "listing",
    {"figures": figures, "cpu_ratio": peers["cpu"] / ours["cpu"], "memory_ratio": peers["peak_mib"] / ours["peak_mib"]},
)
