"""The pages that are looked at in a browser, and the image of one in the docs: ``python -m tests.browser.pages docs/report.png``.

Made of scikit-learn's handwritten digits (UCI, Alpaydin and Kaynak 1998; CC BY 4.0), whose licence lets images be shown.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from modelgraft_adapters import Dataset, LinearProbe, read_data
from modelgraft_adapters.data.splitting import stratified_split
from modelgraft_adapters.explore import Explorer
from modelgraft_adapters.report import ProbeReport, build_report, collect
from modelgraft_adapters.report.explore_page import build_page
from modelgraft_adapters.runs.probe import run_probe
from sklearn.datasets import load_digits

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(count: int) -> Dataset:
    """Handwritten digits, enlarged to 64 x 64 pixels, a third of them to test on."""
    found = load_digits()
    pictures = [np.kron(255 - (x * 15.9).astype(np.uint8), np.ones((8, 8), np.uint8)) for x in found.images[:count]]
    return stratified_split(read_data(pictures, [NAMES[y] for y in found.target[:count]]), 0.33)


def probe_report(path: Path, count: int = 500, name: str = "handwritten digits") -> tuple[Path, ProbeReport]:
    """Write the report of a linear probe."""
    run = run_probe(LinearProbe("embedded/sprig", n_folds=3), digits(count))
    report = collect(
        run, data_name=name, command="modelgraft probe digits/ --model embedded/sprig --report report.html"
    )
    path.write_text(build_report(report), encoding="utf-8")
    return path, report


def exploration(path: Path, count: int = 300) -> Path:
    """Write the page of an exploration."""
    seen = Explorer("embedded/sprig").explore(digits(count), whiten=20, duplicates=False)
    path.write_text(build_page(seen, "handwritten digits"), encoding="utf-8")
    return path


def screenshot(target: Path, width: int = 1180, height: int = 1660) -> None:
    """The top of a report as a PNG."""
    import subprocess

    from PIL import Image

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        page, _ = probe_report(Path(folder) / "probe.html", 1797)
        picture = Path(folder) / "probe.png"
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--window-size={width},{height}",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        Image.open(picture).convert("RGB").save(target, optimize=True)


if __name__ == "__main__":
    screenshot(Path(sys.argv[1]))
