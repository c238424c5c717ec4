"""A job's events over HTTP, on a real Redis; the test is the worker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from fbs_worker.jobs.store import JobReader, JobStore
from fbs_worker.web.api import sse
from fbs_worker.web.api.long_poll import JobWaiters
from fbs_worker.web.api.response_models import EventBody
from tests.conftest import MakeSettings
from tests.support.api_server import WRITER, api_server, bearer
from tests.support.asgi import Asking
from tests.support.waiting import until

EVENTS = "/api/v1/jobs/job-1/events/"


def read(text: str) -> list[dict[str, Any]]:
    """The events of a stream, as a browser reads them."""
    found = []
    for block in text.split("\n\n"):
        result = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in result:
            data = json.loads(result["data"])
            EventBody.model_validate(data)
            assert (result["id"], result["event"]) == (data["id"], data["kind"])
            found.append(data)
    return found


def run_through(store: JobStore) -> None:
    store.create("job-1", action="discover")
    claim = store.start("job-1", action="discover")
    store.progress("job-1", claim.attempt, kind="step", step="fields", total=4)
    store.progress("job-1", claim.attempt, kind="progress", step="fields", current=2, total=4, message="two\nlines")
    store.mark_succeeded("job-1", claim.attempt, {})


def test_all_events_come_and_then_an_end(asking: Asking, store: JobStore) -> None:
    run_through(store)
    answer = asking.get(EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    result = read(answer.text)
    assert [(one["kind"], one["state"], one["percent"]) for one in result] == [
        ("state", "queued", None),
        ("state", "running", None),
        ("step", "running", 0),
        ("progress", "running", 50),
        ("state", "succeeded", 50),
    ]
    assert result[3]["message"] == "two\nlines"


def test_a_stream_goes_on_where_it_was(asking: Asking, store: JobStore) -> None:
    run_through(store)
    result = read(asking.get(EVENTS).text)
    again = asking.get(EVENTS[:-1], headers={"Last-Event-ID": result[2]["id"]})
    assert read(again.text) == result[3:]
    over = asking.get(EVENTS, headers={"Last-Event-ID": result[-1]["id"]})
    assert (over.status_code, over.content) == (204, b"")


@pytest.mark.parametrize("given", ["x", "1", "-", "1-1-1", "1" * 16 + "-0"])
def test_an_id_that_is_none_is_refused(asking: Asking, store: JobStore, given: str) -> None:
    store.create("job-1", action="discover")
    assert asking.get(EVENTS, headers={"Last-Event-ID": given}).status_code == 422


def test_events_come_as_they_happen(
    asking: Asking, store: JobStore, settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a real server: none is held back until the end."""
    store.create("job-1", action="discover")
    with (
        api_server(settings(), log=tmp_path / "api.log") as served,
        served.client.stream("GET", EVENTS, headers=bearer(WRITER)) as answer,
    ):
        lines = answer.iter_lines()
        first = _next_event(lines)
        assert first["state"] == "queued"
        claim = store.start("job-1", action="discover")
        assert _next_event(lines)["state"] == "running"
        store.progress("job-1", claim.attempt, kind="step", step="fields", total=4)
        assert _next_event(lines)["step"] == "fields"
        store.mark_succeeded("job-1", claim.attempt, {})
        assert _next_event(lines)["state"] == "succeeded"
        assert not [line for line in lines if line]


def _next_event(lines: Iterator[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    return found


@pytest.mark.usefixtures("often")
def test_silence_is_broken(asking: Asking, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEPALIVE_SECONDS", 1)
    looks: list[None] = []
    look = JobReader._entries_after

    def counted(self: JobReader, *given: Any) -> Any:
        looks.append(None)
        return look(self, *given)

    def end() -> None:
        until(lambda: len(looks) > 3)  # two have found nothing
        store.request_cancel("job-1")

    monkeypatch.setattr(JobReader, "_entries_after", counted)
    store.create("job-1", action="discover")
    ending = threading.Thread(target=end)
    ending.start()
    text = asking.get(EVENTS).text
    ending.join()
    assert ": keep-alive\n\n" in text
    assert [one["state"] for one in read(text)] == ["queued", "cancelled"]


def test_only_so_many_follow_and_each_gives_its_place_back(app: FastAPI, asking: Asking, store: JobStore) -> None:
    run_through(store)
    databases = app.state.databases
    databases.waiters = JobWaiters(databases.jobs, limit=1)
    for _ in range(3):
        assert asking.get(EVENTS).status_code == 200
    with databases.waiters.slot("local"):
        refused = asking.get(EVENTS)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")


@pytest.mark.usefixtures("often")
def test_a_server_that_ends_ends_its_streams(app: FastAPI, asking: Asking, store: JobStore) -> None:
    store.create("job-1", action="discover")
    threading.Timer(0.2, app.state.closing.set).start()
    began = time.monotonic()
    assert [one["state"] for one in read(asking.get(EVENTS).text)] == ["queued"]
    assert time.monotonic() - began < 10
