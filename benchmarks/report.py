"""Write the figures of `benchmarks/results/` into the pages, between their markers; a test holds them to the results.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
_BLOCK = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.S)


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return data


def _processes(data: dict[str, Any]) -> str:
    rows = ["| command | CPU s | wall s | peak MiB |", "|---|---|---|---|"]
    for name, f in data["figures"].items():
        rows.append(f"| {name} | {f['cpu']:.2f} | {f['wall']:.2f} | {f['peak_mib']:.0f} |")
    return "\n".join(rows)


def listing() -> str:
    """Whole processes that list models."""
    data = _read("listing")
    ratio = f"The libraries take {data['cpu_ratio']:.0f} times the CPU time and {data['memory_ratio']:.0f} times the memory."
    return f"{_processes(data)}\n\n{ratio}\n"


def listing_scale() -> str:
    """Listing over growing catalogues."""
    data = _read("listing_scale")
    sizes = list(data["figures"])
    rows = [
        "| step | " + " | ".join(f"{int(size):,}: CPU s, MiB" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for step in (name for name in data["figures"][sizes[0]] if name != "snapshot"):
        cells = [f"{(f := data['figures'][size][step])['cpu']:.2f}, {f['peak_mib']:.0f}" for size in sizes]
        rows.append(f"| {step} | " + " | ".join(cells) + " |")
    megabytes = ", ".join(f"{data['figures'][size]['snapshot']['mb']:.1f}" for size in sizes)
    last = data["entries_found"][sizes[-1]]["every filter, best first"]
    return "\n".join(rows) + f"\n\nThe snapshot files hold {megabytes} MB; the filters find {last:,} of the largest.\n"


def cold_start() -> str:
    """Whole processes from nothing to labels."""
    data = _read("cold_start")
    ratio = f"`classify` takes {data['wall_over_imports']:.2f} times the wall time of importing torch and Pillow."
    return f"{_processes(data)}\n\n{ratio}\n"


def throughput() -> str:
    """The pipeline against the bare forward pass."""
    rows = ["| model | batch | forward only, pictures/s | `classify`, pictures/s | ratio |", "|---|---|---|---|---|"]
    for path in sorted((ROOT / "benchmarks" / "results").glob("throughput_*.json")):
        data = json.loads(path.read_text())
        best = max(data["forward_only_pictures_per_s"].values())
        rate = max(data["classify_pictures_per_s"])
        options = data["options"]
        rows.append(
            f"| {options['architecture']} | {options['batch_size']} | {best:.1f} | {rate:.1f} | {data['ratio']:.2f} |"
        )
    return "\n".join(rows) + "\n"


def taken_on() -> str:
    """Machine and versions."""
    machine = _read("listing")["machine"]
    return ", ".join(f"{key} {value}" for key, value in machine.items()) + ".\n"


def measured() -> str:
    """The README's lines."""
    start, table = _read("cold_start"), _read("listing")
    ours, peers = table["figures"]["modelgraft list"], table["figures"]["timm and open_clip"]
    return (
        f"- `modelgraft list`: {ours['cpu']:.2f} s of CPU and {ours['peak_mib']:.0f} MiB; timm and open_clip listing their models "
        f"themselves: {peers['cpu']:.1f} s and {peers['peak_mib']:.0f} MiB.\n"
        f"- The first command above: {start['wall_over_imports']:.2f} times the time of `import torch, PIL.Image`.\n"
    )


def rendered(page: Path) -> str:
    """The page with today's results in it."""
    return _BLOCK.sub(lambda m: m[1] + "\n" + globals()[m["name"]]() + "\n" + m[3], page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page), encoding="utf-8")
