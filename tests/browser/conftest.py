"""A real browser, headless. Where there is none the tests are skipped, unless MODELGRAFT_BROWSER=required (as in CI)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A driver of headless Chromium that keeps what the console and the network say."""
    required = os.environ.get("MODELGRAFT_BROWSER") == "required"
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "no Chromium with its driver: apt-get install chromium chromium-driver"
        if required:
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="session")
def probe_page(tmp_path_factory: pytest.TempPathFactory):
    """A report of a probe of scikit-learn's digits, as a file, and what it was made of."""
    from tests.browser.pages import probe_report

    return probe_report(tmp_path_factory.mktemp("report") / "probe.html")


@pytest.fixture(scope="session")
def explore_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of an exploration of the same digits."""
    from tests.browser.pages import exploration

    return exploration(tmp_path_factory.mktemp("report") / "explore.html")
