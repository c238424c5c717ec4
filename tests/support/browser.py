"""Chromium, without a window and without anybody's profile."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.processes import ROOT
from tests.support.waiting import PATIENCE

ARTEFACTS: Final = Path(os.environ.get("FBS_ARTEFACTS") or ROOT / "build" / "artefacts")
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
NO_BROWSER: Final = "" if CHROMIUM and DRIVER else "NO BROWSER: apt-get install chromium chromium-driver"

_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--window-size=1400,1000", "--hide-scrollbars"),
)

_PAGE_WENT: Final = "unhandled inspector error"
"""What Chromium's driver says of an element whose page goes in the middle of a look (selenium issue 15401)."""


@contextmanager
def chromium() -> Iterator[WebDriver]:
    """A browser with a log of its console and its requests, until the end of the block."""
    assert CHROMIUM is not None
    options = Options()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(prefix="fbs-browser-", ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def until(browser: WebDriver, condition: Callable[[], Any]) -> Any:
    """Wait until something is so; a page may go while it is looked at."""

    def look(_: WebDriver) -> Any:
        try:
            return condition()
        except (NoSuchElementException, StaleElementReferenceException):
            return False
        except WebDriverException as error:
            if _PAGE_WENT not in str(error):
                raise
            return False

    return WebDriverWait(browser, PATIENCE, poll_frequency=0.05).until(look)
