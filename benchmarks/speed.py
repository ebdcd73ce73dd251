"""Everything about speed, one script after the other on this machine, then the pages: an hour or so on two cores.

    python benchmarks/speed.py [--data ../shared/data] [--only engines step_time]

Each script is a process of its own and keeps its own raw results; one that fails is named at the end, and the others go on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from quality import DATA

HERE = Path(__file__).parent
SCRIPTS = {
    "cold_start": [],
    "listing": [],
    "throughput": ["--pictures", "96"],
    "engines": [],
    "step_time": ["--data", "{}"],
    "feature_store": ["{}"],
    "many_classes": ["--data", "{}"],
    "probe_sweep": ["--data", "{}"],
    "answers": ["--data", "{}"],
    "gpu": [],
}


def main() -> int:
    """Run them; the exit code is 1 if one failed."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--only", nargs="*", choices=list(SCRIPTS), default=list(SCRIPTS))
    options = arguments.parse_args()
    failed = []
    for name in options.only:
        about = [word.format(options.data.resolve()) for word in SCRIPTS[name]]
        command = [sys.executable, str(HERE / f"{name}.py"), *about]
        print("+", *command, flush=True)
        if subprocess.run(command, check=False, cwd=HERE).returncode:
            failed.append(name)
    subprocess.run([sys.executable, str(HERE / "report.py")], check=True, cwd=HERE)
    print(f"failed: {', '.join(failed)}" if failed else "all ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
