"""`modelgraft list` with 0 to 100 plugins installed: the first time, when each is tried, and after; alone, and ten at once.

The plugins are distributions of 20 models each in a folder on the path, with the metadata an installer writes and compiled modules.
Memory is the largest sum, over all processes there are at one time, of their resident sets (shared pages count in each), sampled
every 20 ms. Each plugin notes when it is imported: that counts the trials.

python benchmarks/plugins.py
"""

from __future__ import annotations

import compileall
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from measure import PYTHON, save

PLUGINS = (0, 10, 50, 100)
AT_ONCE = (1, 10)
RUNS = 5
CODE = """
import os
from modelgraft import Entry, hookimpl
MODELGRAFT_API = 1
handle = os.open(os.environ["TRIALS"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
os.write(handle, b"{name}\\n")
os.close(handle)
@hookimpl
def modelgraft_entries():
    return [
        Entry(name=f"{name}/model-{{n}}:v1", modality="image", tasks=("features",), params=10**6 * (n + 1), embed_dim=256,
              input_size=(3, 224, 224), licence="apache-2.0", metrics={{"ImageNet-1k top-1 (%)": 70.0 + n / 2}})
        for n in range(20)
    ]
"""


def install(count: int, site: Path) -> None:
    """So many distributions, as an installer leaves them."""
    site.mkdir()
    for n in range(count):
        module = f"modelgraft_p{n}"
        (site / f"{module}.py").write_text(CODE.format(name=f"p{n}"))
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: modelgraft-p{n}\nVersion: 1.0\n")
        info.joinpath("entry_points.txt").write_text(f"[modelgraft]\np{n} = {module}\n")
        info.joinpath("RECORD").write_text(f"{module}.py,,\n")
    compileall.compile_dir(site, quiet=1)


class Sampler(threading.Thread):
    """Largest sum of resident sets, and of processes, over the trees of some processes."""

    def __init__(self, roots: list[int]) -> None:
        super().__init__(daemon=True)
        self.roots, self.mib, self.processes, self.over = roots, 0.0, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            todo, seen = list(self.roots), 0
            pages = 0
            while todo:
                pid = todo.pop()
                try:
                    pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    seen += 1
                    for task in os.listdir(f"/proc/{pid}/task"):
                        todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
                except (OSError, IndexError):
                    continue  # ended in between
            self.mib = max(self.mib, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            self.processes = max(self.processes, seen)


def listing(at_once: int, env: dict[str, str]) -> dict[str, float]:
    """So many ``modelgraft list`` at once, to the end of the last."""
    start = time.perf_counter()
    running = [
        subprocess.Popen([PYTHON, "-m", "modelgraft", "list"], stdout=subprocess.DEVNULL, env={**os.environ, **env})
        for _ in range(at_once)
    ]
    sampler = Sampler([process.pid for process in running])
    sampler.start()
    cpu = 0.0
    for process in running:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu += usage.ru_utime + usage.ru_stime
        if process.returncode:
            raise SystemExit(f"modelgraft list left with {process.returncode}")
    wall = time.perf_counter() - start
    sampler.over.set()
    sampler.join()
    return {"wall": wall, "cpu": cpu, "summed_mib": sampler.mib, "processes": sampler.processes}


def measured(count: int, at_once: int, folder: Path) -> dict[str, dict[str, float]]:
    """Medians, cold (with a cache of its own each time) and cached."""
    site = folder / f"site-{count}"
    if not site.exists():
        install(count, site)
    cold, cached, trials = [], [], []
    for run in range(RUNS):
        cache, note = folder / f"cache-{count}-{at_once}-{run}", folder / f"trials-{count}-{at_once}-{run}"
        env = {"PYTHONPATH": str(site), "MODELGRAFT_CACHE": str(cache), "TRIALS": str(note)}
        cold.append(listing(at_once, env))
        cached.append(listing(at_once, env))
        counted = Counter(note.read_text().split()) if note.exists() else Counter()
        if len(counted) != count:
            raise SystemExit(f"{len(counted)} of {count} plugins were tried")
        trials.append(max(counted.values(), default=0))
    return {
        "cold": {**_medians(cold), "trials_per_distribution": max(trials)},
        "cached": _medians(cached),
    }


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}


def main() -> None:
    """Measure, print a table, keep the figures."""
    figures: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        listing(1, {"MODELGRAFT_CACHE": str(Path(folder) / "warm-up")})
        for at_once in AT_ONCE:
            figures[str(at_once)] = {str(n): measured(n, at_once, Path(folder)) for n in PLUGINS}
    alone, most = figures["1"], str(PLUGINS[-1])
    per_plugin = 1000 * (alone[most]["cached"]["wall"] - alone["0"]["cached"]["wall"]) / PLUGINS[-1]
    load = os.getloadavg()[0]
    save("plugins", {"figures": figures, "cached_ms_per_plugin": per_plugin, "runs": RUNS, "load_at_the_end": load})
    print(table(figures))


def table(figures: dict[str, Any]) -> str:
    """The figures as rows of Markdown."""
    rows = [
        "| processes | plugins | first time: wall s, CPU s, MiB, processes | trials of a plugin | after: wall s, CPU s, MiB |",
        "|---|---|---|---|---|",
    ]
    for at_once, by_count in figures.items():
        for count, found in by_count.items():
            c, k = found["cold"], found["cached"]
            first = f"{c['wall']:.2f}, {c['cpu']:.2f}, {c['summed_mib']:.0f}, {c['processes']:.0f}"
            trials = f"{c['trials_per_distribution']:.0f}" if count != "0" else "-"
            after = f"{k['wall']:.2f}, {k['cpu']:.2f}, {k['summed_mib']:.0f}"
            rows.append(f"| {at_once} | {count} | {first} | {trials} | {after} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
