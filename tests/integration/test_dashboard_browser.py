"""The dashboard as a person sees it, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

from fbs_worker.client.client import Client
from tests.conftest import MakeSettings
from tests.support.browser import ARTEFACTS, NO_BROWSER, chromium, until
from tests.support.dashboard import PASSWORD, USER, Dashboard, dashboard
from tests.support.job_worker import job_worker

pytestmark = pytest.mark.browser


@pytest.fixture
def browser() -> Iterator[WebDriver]:
    with chromium() as driver:
        yield driver


def log_in(browser: WebDriver, shown: Dashboard) -> None:
    """Answer the question for user and password; Chromium remembers the answer."""
    place = urlsplit(shown.url).netloc
    browser.get(f"http://{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@{place}/workers")
    assert browser.title == "Workers · Flower"


def rows(browser: WebDriver) -> dict[str, str]:
    """The words of each task's row, by its id."""
    script = "return Array.from(document.querySelectorAll('#tasks-table tbody tr[id]'), row => [row.id, row.innerText])"
    return dict(browser.execute_script(script))


def details(browser: WebDriver) -> dict[str, str]:
    """The values on the page of a task, by name."""
    script = """return Array.from(document.querySelectorAll('.detail-row'),
        row => [row.querySelector('dt').innerText, row.querySelector('dd').innerText.trim()])"""
    return dict(browser.execute_script(script))


def picture(browser: WebDriver, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(ARTEFACTS / f"flower-{name}.png"))


def complaints(browser: WebDriver) -> list[dict[str, Any]]:
    return [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


def nothing_is_shown(browser: WebDriver, shown: Dashboard) -> None:
    for path in ("/", "/tasks", "/metrics", "/api/tasks"):
        browser.get(shown.url + path)
        assert browser.find_element(By.TAG_NAME, "body").text in {"", "User and password are required."}
        assert "flower" not in browser.page_source.lower()


@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_a_person_sees_a_job_run_and_end(browser: WebDriver, settings: MakeSettings, tmp_path: Path) -> None:
    made, gate = settings(), tmp_path / "gate"
    with (
        job_worker(made, log=tmp_path / "worker.log"),
        dashboard(made, log=tmp_path / "flower.log") as shown,
        Client(settings=made) as client,
    ):
        nothing_is_shown(browser, shown)
        browser.get_log("browser")  # type: ignore[no-untyped-call]  # discard the logged 401
        log_in(browser, shown)
        done = client._enqueue("test.steps", {"gate": str(tmp_path), "domain": "hr"})
        running = client._enqueue("test.steps", {"gate": str(gate), "domain": "rental"})
        browser.get(f"{shown.url}/tasks")
        until(browser, lambda: "PROGRESS" in rows(browser).get(running.id, ""))
        until(browser, lambda: "SUCCESS" in rows(browser).get(done.id, ""))
        until(browser, lambda: "fields 50 %" in rows(browser)[running.id])
        assert "fields" not in rows(browser)[done.id]
        picture(browser, "tasks")

        browser.find_element(By.CSS_SELECTOR, '[data-task-state="PROGRESS"]').click()
        until(browser, lambda: list(rows(browser)) == [running.id])
        browser.get(f"{shown.url}/task/{running.id}")
        page = details(browser)
        assert (page["Status"], page["Step"], page["Percent"]) == ("PROGRESS", "fields", "50")
        picture(browser, "running-task")

        gate.touch()
        until(browser, lambda: details(browser).get("Status") == "SUCCESS")  # the page follows by itself
        assert "done" in details(browser)["Result"]
        picture(browser, "finished-task")

        browser.get(f"{shown.url}/workers")
        until(browser, lambda: browser.find_element(By.ID, "workers-succeeded").text == "2")
        picture(browser, "workers")
        assert complaints(browser) == []
