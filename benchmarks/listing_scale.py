"""How listing scales: the host's snapshot of 1,000, 10,000 and 100,000 entries, read and selected from, as whole processes.

The entries are the real ones, repeated under other names until there are enough. A step is a process that does nothing but
import, read the snapshot, and choose; so the difference between two sizes is the cost of the entries.

python benchmarks/listing_scale.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from measure import PYTHON, compare, save
from modelgraft.host import snapshot
from modelgraft.host.host import current_host
from modelgraft.host.table import Table

SIZES = (1_000, 10_000, 100_000)
FILTERS = (
    "'*vit*', modality='image', task='classification', licence='commercial', min_params=20e6, max_params=400e6, embed_dim=768, "
    "input_size=224, min_score=80, provider='timm'"
)
STEPS = {
    "every filter, best first": f"list_models({FILTERS}, sort='score')",
    "all sorted by score, the best 20": "list_models(sort='score', limit=20)",
    "all sorted by parameters, the largest 20": "list_models(sort='-params', limit=20)",
    "all of them, as entries": "list_models()",
}


def entries(count: int) -> list[dict[str, Any]]:
    """So many entries: the real ones, then copies under other names."""
    real = [entry for entry, _ in current_host().entries()]
    copies = []
    for n, entry in enumerate(islice(cycle(real), count)):
        mark = f"-{n // len(real)}" if n >= len(real) else ""
        provider, _, rest = entry["name"].partition("/")
        model, colon, tag = rest.partition(":")
        copy = {**entry, "name": f"{provider}/{model}{mark}{colon}{tag}"}
        copy.pop("retired", None)
        copies.append({**copy, "aliases": [alias + mark for alias in entry.get("aliases", ())]})
    return copies


def write_snapshot(count: int, folder: Path) -> float:
    """This environment's snapshot, with so many entries in place of timm's and none of the others'; its size in MB."""
    records = {}
    for record in current_host().records:
        kept = entries(count) if record["name"] == "timm" else []
        key = f"{record['distribution']}:{record['name']}"
        records[key] = {**record, "entries": Table.of(kept)}
    os.environ["MODELGRAFT_CACHE"] = str(folder)
    snapshot._write(records)
    size = snapshot.snapshot_path().stat().st_size / 1e6
    del os.environ["MODELGRAFT_CACHE"]
    return size


def main() -> None:
    """Measure every step at every size, and check that the steps did what they say."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in SIZES:
            cache = Path(folder) / str(count)
            # In a process of its own: a child's peak memory counts from that of the parent it was forked from.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                size = pool.submit(write_snapshot, count, cache).result()
            print(f"{count} entries, {size:.1f} MB", file=sys.stderr)
            env = {"MODELGRAFT_CACHE": str(cache)}
            # The collector as the command line sets it.
            start = (
                "import gc; gc.set_threshold(100_000, 20, 20); from modelgraft.registry import list_models, catalogue; "
            )
            commands = {name: [PYTHON, "-c", f"{start}x = {step}; assert x"] for name, step in STEPS.items()}
            commands["modelgraft list, every filter"] = [PYTHON, "-m", "modelgraft", *_options()]
            commands["(only the imports)"] = [PYTHON, "-c", start]
            figures[str(count)] = compare(commands, runs=5, env=env)
            figures[str(count)]["snapshot"] = {"mb": size}
            found[str(count)] = _counts(env)
    save("listing_scale", {"entries_found": found, "figures": figures})


def _options() -> list[str]:
    options = (
        "list *vit* --modality image --task classification --licence commercial --min-params 20M --max-params 400M"
    )
    return f"{options} --embed-dim 768 --input-size 224 --min-score 80 --provider timm --sort score".split()


def _counts(env: dict[str, str]) -> dict[str, int]:
    """How many entries each step gives."""
    import subprocess

    code = "import json; from modelgraft.registry import list_models; " + "".join(
        f"n{n} = len({step}); " for n, step in enumerate(STEPS.values())
    )
    code += "print(json.dumps([" + ", ".join(f"n{n}" for n in range(len(STEPS))) + "]))"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **env})
    return dict(zip(STEPS, json.loads(done.stdout), strict=True))


if __name__ == "__main__":
    main()
