"""The pages in headless Chromium: they run nothing, fetch nothing, fit the window, and say the numbers of the evaluation."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft_adapters.report import ProbeReport
from PIL import Image

PAGES = ("probe", "explore")


@pytest.fixture
def pages(probe_page: tuple[Path, ProbeReport], explore_page: Path) -> dict[str, Path]:
    """By name."""
    return {"probe": probe_page[0], "explore": explore_page}


def opened(chrome: Any, page: Path, width: int = 1280, dark: bool = False) -> None:
    """Open a page in a window of a width, with empty logs."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    chrome.get_log("browser"), chrome.get_log("performance")
    chrome.get(page.as_uri())


def requests(chrome: Any) -> list[str]:
    """Everything the page asked for since `opened`."""
    sent = (json.loads(row["message"])["message"] for row in chrome.get_log("performance"))
    return [row["params"]["request"]["url"] for row in sent if row["method"] == "Network.requestWillBeSent"]


@pytest.mark.full
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_fetched_and_the_console_is_silent(chrome: Any, pages: dict[str, Path], name: str) -> None:
    opened(chrome, pages[name])
    assert chrome.get_log("browser") == []
    asked = requests(chrome)
    assert pages[name].as_uri() in asked, "the log is of this page"
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]


def test_the_pages_policy_holds(chrome: Any, tmp_path: Path, pages: dict[str, Path]) -> None:
    """Were a name ever not escaped, the browser would still run and fetch nothing."""
    page = tmp_path / "hostile.html"
    hostile = (
        "<script>document.title='run'</script><img src='http://127.0.0.1:9/x.png' onerror=\"document.title='run'\">"
    )
    page.write_text(pages["probe"].read_text(encoding="utf-8").replace("<main>", f"<main>{hostile}"), encoding="utf-8")
    opened(chrome, page)
    assert chrome.title != "run"
    assert len([row for row in chrome.get_log("browser") if "Content Security Policy" in row["message"]]) >= 2


def test_the_numbers_on_the_page_are_those_of_the_evaluation(chrome: Any, probe_page: tuple[Path, ProbeReport]) -> None:
    page, report = probe_page
    opened(chrome, page)
    score = report.evaluation.score
    tiles = [element.text for element in chrome.find_elements("css selector", ".tile")]
    assert f"{100 * score.value:.1f} %" in tiles[0]
    assert f"{100 * score.low:.1f} % to {100 * score.high:.1f} %" in tiles[0]
    assert report.zero_shot is not None and f"{100 * report.zero_shot.value:.1f} %" in tiles[1]
    assert "10.0 %" in tiles[-1]
    cells = chrome.execute_script(
        "return [...document.querySelectorAll('table.confusion tbody tr')]"
        ".map(r => [...r.querySelectorAll('td')].map(c => +c.textContent))"
    )
    assert cells == report.evaluation.confusion.tolist()
    heights = chrome.execute_script(
        "return [...document.querySelector('svg.chart').querySelectorAll('.point.one circle')].map(c => +c.getAttribute('cy'))"
    )
    means = [point.mean for point in report.curve]
    assert np.argsort(heights).tolist() == np.argsort([-m for m in means]).tolist(), "higher is better"
    slope, offset = np.polyfit(means, heights, 1)
    assert heights == pytest.approx([slope * m + offset for m in means], abs=0.2)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_window(chrome: Any, pages: dict[str, Path], name: str, width: int) -> None:
    opened(chrome, pages[name], width)
    assert chrome.execute_script("return window.innerWidth") == width
    # Everything is unfolded first: what is hidden takes no room.
    chrome.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
    spilt = chrome.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('svg')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert spilt == []


@pytest.mark.parametrize("name", PAGES)
def test_pictures_are_there_and_small(chrome: Any, pages: dict[str, Path], name: str) -> None:
    opened(chrome, pages[name])
    sizes = chrome.execute_script(
        "return [...document.querySelectorAll('img')].map(i => [i.complete, i.naturalWidth, i.naturalHeight])"
    )
    assert sizes and all(done and 0 < wide <= 128 and 0 < high <= 128 for done, wide, high in sizes)


@pytest.mark.full
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read_in_light_and_dark(chrome: Any, pages: dict[str, Path], name: str, dark: bool) -> None:
    """Contrast of 4.5 : 1 or more between words and what lies behind them (WCAG 2.1, AA), as painted."""
    opened(chrome, pages[name], dark=dark)
    back = light(chrome.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert (back < 0.1) == dark
    for selector in (
        "h1",
        "h2",
        "h3",
        ".sub",
        ".tile .value",
        ".tile .detail",
        "figcaption",
        "td",
        "summary",
        ".legend li",
    ):
        for element in chrome.find_elements("css selector", f"{selector}:not(.confusion *)")[:4]:
            words = light(element.value_of_css_property("color"))
            ratio = (max(words, back) + 0.05) / (min(words, back) + 0.05)
            assert ratio >= 4.5, f"{selector}: {ratio:.1f}"
    shot = np.asarray(Image.open(io.BytesIO(base64.b64decode(chrome.get_screenshot_as_base64()))).convert("L"))
    assert (np.median(shot) < 60) == dark, "as painted"


def light(colour: str) -> float:
    """The relative luminance of ``rgb(1, 2, 3)`` (WCAG 2.1)."""
    parts = np.array([float(v) for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_page_prints(chrome: Any, pages: dict[str, Path]) -> None:
    opened(chrome, pages["probe"], dark=True)
    pdf = base64.b64decode(chrome.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert light(paper) == pytest.approx(1), "paper is white, also in the dark"
