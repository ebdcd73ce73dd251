"""The page of a comparison in headless Chromium: it fetches nothing, fits the window, and its lines are where the scores are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelgraft_adapters.report.compare_page import build_comparison

from tests.adapters.compare.comparisons import made_up
from tests.browser.test_report import light, opened, requests

HOSTILE = "<script>document.title='run'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare") / "compare.html"
    path.write_text(build_comparison(made_up(), "photos", "modelgraft compare photos/"), encoding="utf-8")
    return path


@pytest.mark.full
def test_nothing_is_fetched_or_run(chrome: Any, page: Path, tmp_path: Path) -> None:
    opened(chrome, page)
    assert chrome.get_log("browser") == []
    # A browser that has just started may still be loading its own first page.
    asked = [url for url in requests(chrome) if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))]
    assert asked == [page.as_uri()]
    hostile = tmp_path / "hostile.html"
    hostile.write_text(build_comparison(made_up(HOSTILE), HOSTILE, HOSTILE), encoding="utf-8")
    opened(chrome, hostile)
    assert chrome.title != "run" and chrome.get_log("browser") == [], "escaped: not even refused by the policy"
    assert chrome.find_elements("css selector", "script") == []


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_window(chrome: Any, page: Path, width: int) -> None:
    opened(chrome, page, width)
    chrome.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_table_is_the_comparison(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    rows = chrome.execute_script(
        "return [...document.querySelectorAll('table.results tbody tr')].map(r => [...r.children].map(c => c.textContent.trim()))"
    )
    assert len(rows) == 5 and rows[0][1:4] == ["ViT-B-32:laion2b_s34b_b79k", "full", "93.0 %"] and rows[0][5] == "best"
    assert rows[1][5:7] == ["−1.0 %", "−3.0 to +1.0 %"]
    assert [row[3] for row in rows] == ["93.0 %", "92.0 %", "90.0 %", "85.0 %", "72.0 %"]
    text = chrome.find_element("css selector", "main").text
    assert "Not told apart from it by these items and seeds: ViT-B-32:laion2b_s34b_b79k · probe." in text
    assert "no text tower" in text and "signal 9" in text and "8.1 s" not in text


def test_the_lines_are_where_the_scores_are(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    places = chrome.execute_script(
        "return [...document.querySelector('svg.chart').querySelectorAll('.point')].map(p => {const b = p.firstChild.getBBox();"
        " return [p.querySelector('title').textContent, b.x + b.width / 2, b.y + b.height / 2]})"
    )
    assert len(places) == 12  # four ways of three points; zero-shot and chance are lines across
    means = [float(title.split(": ")[1].split(" %")[0]) for title, _, _ in places]
    heights = [y for _, _, y in places]
    slope, offset = np.polyfit(means, heights, 1)
    assert slope < 0 and heights == pytest.approx([slope * m + offset for m in means], abs=1.5)
    levels = chrome.execute_script(
        "return [...document.querySelectorAll('svg.chart')][0].querySelectorAll('.level').values()"
        ".map(l => [l.textContent, +l.getAttribute('y1')]).toArray()"
    )
    assert [text for text, _ in levels] == ["chance 20.0 %", "ViT-B-32:laion2b_s34b_b79k · zero-shot 72.0 %"]
    assert [y for _, y in levels] == pytest.approx([slope * m + offset for m in (20, 72)], abs=1.5)


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read_in_light_and_dark(chrome: Any, page: Path, dark: bool) -> None:
    opened(chrome, page, dark=dark)
    back = light(chrome.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert (back < 0.1) == dark
    for selector in ("h1", ".sub", ".tile .value", "td", "th", ".legend li", ".notes li", ".detail"):
        for element in chrome.find_elements("css selector", selector)[:3]:
            words = light(element.value_of_css_property("color"))
            assert (max(words, back) + 0.05) / (min(words, back) + 0.05) >= 4.5, selector
    for number in range(2):  # lines: 3 : 1 (WCAG 2.1, 1.4.11)
        colour = chrome.find_element("css selector", f".line.c{number}").value_of_css_property("stroke")
        tone = light(colour)
        assert (max(tone, back) + 0.05) / (min(tone, back) + 0.05) >= 3, colour
