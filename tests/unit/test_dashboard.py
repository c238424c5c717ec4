"""What the dashboard makes of events and records, and whom it lets in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.ops.dashboard.auth import Door, header_of
from fbs_worker.ops.dashboard.events import ShownState, ShownTask
from fbs_worker.ops.dashboard.flower_app import without_secrets
from fbs_worker.ops.dashboard.history import missing
from fbs_worker.ops.dashboard.history_file import keep, recall

ENQUEUED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORKER = "fbs@here"
HERE = "127.0.0.1"


# ------------------------------------------------------------------------------------------------------------ the door


@pytest.mark.parametrize("password", ["secret", "pässwörd ✓", "with:colon", " "])
def test_the_door_opens_for_user_and_password(password: str) -> None:
    door = Door("fbs", password)
    assert door.lets_in(header_of("fbs", password), address=HERE)
    assert door.lets_in(header_of("fbs", password).replace("Basic", "basic"), address=HERE)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic ***",
        "Basic é",
        header_of("", ""),
        header_of("fbs", ""),
        header_of("fbs", "Secret"),
        header_of("fbs", "secret "),
        header_of("", "secret"),
        header_of("admin", "secret"),
        header_of("fbs", "secret").replace("Basic", "Bearer"),
        header_of("fbs", "secret") + "," + header_of("fbs", "other"),  # two headers
        "fbs:secret",
    ],
)
def test_the_door_stays_closed(header: str) -> None:
    assert not Door("fbs", "secret").lets_in(header, address=HERE)


def test_there_is_no_door_without_a_password() -> None:
    with pytest.raises(SettingsError, match="no password"):
        Door("fbs", "")
    with pytest.raises(SettingsError, match="colon"):
        Door("f:bs", "secret")


# --------------------------------------------------------------------------------------------------------- the states


def after(*kinds: str) -> ShownTask:
    task = ShownTask("1")
    for time, kind in enumerate(kinds):
        fields = {"step": f"step {time}", "percent": time} if kind == "progress" else {}
        task.event(kind, timestamp=float(time), fields=fields)
    return task


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (("sent",), "PENDING"),
        (("received", "sent"), "RECEIVED"),
        (("sent", "received", "started", "progress"), "PROGRESS"),
        (("progress", "started"), "PROGRESS"),  # two processes tell them
        (("started", "progress", "succeeded"), "SUCCESS"),
        (("started", "succeeded", "progress"), "SUCCESS"),
        (("started", "progress", "failed"), "FAILURE"),
        (("started", "progress", "revoked"), "REVOKED"),
        (("started", "revoked", "progress"), "REVOKED"),
        (("started", "progress", "retried"), "RETRY"),
        (("progress", "retried", "received", "started", "progress"), "PROGRESS"),
        (("started", "progress", "lost"), "LOST"),
        (("retried", "lost"), "LOST"),
        (("lost", "started"), "STARTED"),
        (("progress", "lost", "received", "started", "progress"), "PROGRESS"),
        (("lost", "succeeded"), "SUCCESS"),
    ],
)
def test_the_state_after_events(kinds: tuple[str, ...], state: str) -> None:
    assert after(*kinds).state == state


def test_a_progress_is_shown_until_the_end() -> None:
    assert after("started", "progress").progress == "step 1 1 %"
    assert after("started", "progress", "failed").progress == "step 1 1 %"
    assert after("started", "progress", "succeeded").progress == ""
    done = after("started", "progress", "succeeded", "progress")
    assert (done.step, done.percent) == ("step 1", 100)
    task = ShownTask("1")
    task.event("progress", fields={"step": "fields", "percent": None})
    assert task.progress == "fields"


def test_what_waits_is_sorted_by_its_enqueuing() -> None:
    assert after("sent").received == 0.0
    assert after("sent", "received").received == 1.0
    assert after("received", "sent").received == 0.0


def heard(kind: str, **fields: Any) -> dict[str, Any]:
    told = {"type": f"task-{kind}", "uuid": "1", "hostname": WORKER, "timestamp": 1.0, "local_received": 1.0}
    return {**told, "clock": 1, "utcoffset": 0, "pid": 1, **fields}


def test_arguments_are_kept_without_secrets() -> None:
    state = ShownState()
    kwargs = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "x", "password": "hunter-2"}}
    state.event(heard("received", name="fbs.setup", args="('postgresql://me:hunter-2@host/x',)", kwargs=repr(kwargs)))
    assert state.shown()["1"].args == "(not shown)"
    state.event(heard("failed", exception="no: postgresql://me:hunter-2@host/x", traceback="password='hunter-2'"))
    state.tell("2", "sent", 1.0, name="fbs.setup", kwargs=repr(kwargs))
    for task in state.shown().values():
        assert "hunter-2" not in str(task.as_dict())
        assert "hunter-2" not in str(vars(task))
        assert task.as_dict()["subject"] == "shop"
        assert task.domain == "hr"


def test_a_short_secret_does_not_garble_names() -> None:
    state = ShownState()
    state.redact = Redactor(["test"])
    state.event(heard("received", name="test.steps", kwargs="{'x': 'test'}"))
    assert state.shown()["1"].name == "test.steps"
    assert state.shown()["1"].kwargs == "{'x': '***'}"


def test_what_is_told_counts_in_no_workers_figures() -> None:
    state = ShownState(max_tasks_in_memory=2)
    for number in range(3):
        state.tell(str(number), "succeeded", 1.0, worker=WORKER, name="fbs.setup")
    assert list(state.shown()) == ["1", "2"]
    assert list(state.search_engine.documents) == ["1", "2"]
    assert state.shown()["2"].worker.hostname == WORKER
    assert state.task_types() == ["fbs.setup"]
    assert not state.counter
    assert state.changes == 3


def test_what_workers_tell_of_themselves_has_no_secrets() -> None:
    told = {
        "reserved": [{"name": "fbs.setup", "args": ["hunter-2"], "kwargs": {"config": {"password": "hunter-2"}}}],
        "scheduled": [{"request": {"args": "()", "kwargs": "{'database_password': 'hunter-2'}"}, "priority": 6}],
        "conf": {"broker_url": "redis://:hunter-2@host/0", "sentinel_kwargs": {"password": "hunter-2"}, "limit": None},
        "list": ["redis://:hunter-2@host/0"],
    }
    seen = without_secrets(told, Redactor(["hunter-2"]))
    assert "hunter-2" not in str(seen)
    assert seen["reserved"][0] == {
        "name": "fbs.setup",
        "args": "(not shown)",
        "kwargs": "{'config': {'password': ***}}",
    }
    assert seen["scheduled"][0]["request"]["args"] == "()"
    assert seen["conf"]["broker_url"] == "redis://:***@host/0"
    assert seen["conf"]["limit"] is None


# --------------------------------------------------------------------------------------------------------- the memory


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    state = ShownState(max_tasks_in_memory=10)
    state.event({**heard("x"), "type": "worker-heartbeat", "freq": 2.0, "active": 3, "sw_sys": "Linux"})
    state.event(heard("received", name="fbs.setup", kwargs="{'solution_name': 'sköp ✓'}", root_id="1", parent_id="0"))
    state.event(heard("progress", step="tables", percent=25, message="lease"))
    state.tell("2", "sent", 2.0, name="fbs.drop")
    keep(state, tmp_path / "kept")
    again = recall(tmp_path / "kept", most=10)
    for name, task in state.shown().items():
        told, was = again.shown()[name].as_dict(), task.as_dict()
        assert {key: told[key] for key in told if key != "worker"} == {key: was[key] for key in was if key != "worker"}
    assert again.shown()["1"].worker.hostname == WORKER
    assert again.shown()["2"].worker is None
    assert again.workers[WORKER].sw_sys == "Linux"
    assert not again.workers[WORKER].alive
    assert again.counter == state.counter
    assert again.task_types() == ["fbs.drop", "fbs.setup"]
    assert set(again.search_engine.documents) == {"1", "2"}
    again.event(heard("succeeded", result="{}"))
    keep(again, tmp_path / "kept")
    assert recall(tmp_path / "kept", most=1).shown().keys() == {"1"}  # the newest
    assert recall(tmp_path / "kept", most=1).shown()["1"].state == "SUCCESS"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"workers": [1]}', '{"workers": [], "tasks": [{"state": "x"}]}']
)
def test_a_memory_that_cannot_be_read_is_put_aside(text: str, tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text(text)
    assert not recall(file, most=10).shown()
    assert [path.read_text() for path in tmp_path.iterdir()] == [text]
    assert not file.exists()


# -------------------------------------------------------------------------------------------------------- the records


def record(state: JobState, **changes: Any) -> JobRecord:
    queued = JobRecord(
        id="1",
        action="setup",
        solution="shop",
        domain="hr",
        state=state,
        step="",
        current=0,
        total=None,
        message="",
        created_at=ENQUEUED,
        started_at=None,
        finished_at=None,
        heartbeat_at=None,
        attempts=0,
        result=None,
        error=None,
    )
    if state is not JobState.QUEUED:
        queued = replace(queued, started_at=ENQUEUED + timedelta(seconds=1), worker=WORKER, attempts=1)
        queued = replace(queued, step="tables", current=1, total=4, message="lease")
    if state.finished:
        queued = replace(queued, finished_at=ENQUEUED + timedelta(seconds=3))
    return replace(queued, **changes)


def shown_after(told: JobRecord, *, twice: bool = True) -> ShownTask:
    """A task after a look at its record; a second look has nothing more to say."""
    state = ShownState()
    for kind, time, fields in missing(told, None):
        state.tell(told.id, kind, time, worker=told.worker, **fields)
    task = state.shown()[told.id]
    if twice:
        assert list(missing(told, task)) == []
    return task


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (JobState.QUEUED, "PENDING"),
        (JobState.RUNNING, "PROGRESS"),
        (JobState.RETRYING, "RETRY"),
        (JobState.LOST, "LOST"),
        (JobState.SUCCEEDED, "SUCCESS"),
        (JobState.FAILED, "FAILURE"),
        (JobState.CANCELLED, "REVOKED"),
    ],
)
def test_a_job_that_nobody_heard_of_is_shown_as_its_record_says(state: JobState, shown: str) -> None:
    task = shown_after(record(state))
    assert (task.state, task.name, task.solution, task.received) == (shown, "fbs.setup", "shop", ENQUEUED.timestamp())


def test_a_job_cancelled_while_it_waited_has_no_worker() -> None:
    told = record(JobState.QUEUED, finished_at=ENQUEUED + timedelta(seconds=2))
    task = shown_after(replace(told, state=JobState.CANCELLED))
    assert (task.state, task.started, task.worker) == ("REVOKED", None, None)


def test_how_a_job_ended() -> None:
    done = shown_after(record(JobState.SUCCEEDED, result={"rows": 3}))
    assert (done.result, done.runtime, done.percent) == ("{'rows': 3}", 2.0, 100)
    failed = shown_after(record(JobState.FAILED, error={"message": "No such role.", "code": "database"}))
    assert (failed.exception, failed.progress) == ("No such role. [database]", "tables 25 %")


def test_other_peoples_actions_keep_their_name() -> None:
    assert shown_after(record(JobState.QUEUED, action="test.steps")).name == "test.steps"


@pytest.mark.parametrize(
    ("kinds", "told", "shown"),
    [
        (("sent", "started"), JobState.RUNNING, "PROGRESS"),
        (("sent", "started", "progress"), JobState.RUNNING, "PROGRESS"),
        (("sent", "started", "progress", "lost"), JobState.RUNNING, "PROGRESS"),
        (("sent", "started", "progress", "retried"), JobState.RUNNING, "PROGRESS"),
        (("sent", "started", "progress", "retried", "received"), JobState.RETRYING, "RECEIVED"),
        (("sent", "started", "progress"), JobState.CANCELLED, "REVOKED"),
        (("sent", "started", "progress"), JobState.LOST, "LOST"),
        (("sent", "started", "progress", "succeeded"), JobState.LOST, "SUCCESS"),
        (("progress",), JobState.FAILED, "FAILURE"),
    ],
)
def test_what_was_not_heard_is_put_right(kinds: tuple[str, ...], told: JobState, shown: str) -> None:
    state, kept = ShownState(), record(told)
    for kind in kinds:
        known = {"step": "tables", "percent": 25} if kinds[-1] in {"lost", "received", "retried"} else {"step": "x"}
        about = {"name": "fbs.setup"} if kind == "sent" else {}
        state.tell("1", kind, 1.0, **(known if kind == "progress" else about))
    for kind, time, fields in list(missing(kept, state.shown()["1"])):
        state.tell("1", kind, time, **fields)
    assert state.shown()["1"].state == shown
    assert state.shown()["1"].name == "fbs.setup"
