"""The dashboard's authentication, task states, redaction, saved history and reconciliation with job records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.ops.dashboard.auth import BasicAuth, basic_auth_header
from fbs_worker.ops.dashboard.flower_compat import DashboardState, DashboardTask
from fbs_worker.ops.dashboard.history import missing_events
from fbs_worker.ops.dashboard.redaction import redact_reply

ENQUEUED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORKER = "fbs@here"
HERE = "127.0.0.1"


@pytest.mark.parametrize("password", ["secret", "pässwörd ✓", "with:colon", " "])
def test_user_and_password_are_accepted(password: str) -> None:
    auth = BasicAuth("fbs", password)
    assert auth.accepts(basic_auth_header("fbs", password), address=HERE)
    assert auth.accepts(basic_auth_header("fbs", password).replace("Basic", "basic"), address=HERE)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic ***",
        "Basic é",
        basic_auth_header("", ""),
        basic_auth_header("fbs", ""),
        basic_auth_header("fbs", "Secret"),
        basic_auth_header("fbs", "secret "),
        basic_auth_header("", "secret"),
        basic_auth_header("admin", "secret"),
        basic_auth_header("fbs", "secret").replace("Basic", "Bearer"),
        basic_auth_header("fbs", "secret") + "," + basic_auth_header("fbs", "other"),  # two headers
        "fbs:secret",
    ],
)
def test_wrong_credentials_are_rejected(header: str) -> None:
    assert not BasicAuth("fbs", "secret").accepts(header, address=HERE)


def test_a_password_and_a_user_without_colon_are_required() -> None:
    with pytest.raises(SettingsError, match="no password"):
        BasicAuth("fbs", "")
    with pytest.raises(SettingsError, match="colon"):
        BasicAuth("f:bs", "secret")


def after(*kinds: str) -> DashboardTask:
    task = DashboardTask("1")
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
        (("progress", "started"), "PROGRESS"),  # sent by two processes
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
    task = DashboardTask("1")
    task.event("progress", fields={"step": "fields", "percent": None})
    assert task.progress == "fields"


@pytest.mark.parametrize("late", ["sent", "received"])
def test_what_a_task_is_for_is_learned_late_too(late: str) -> None:
    task = after("started", "progress")
    task.event(late, timestamp=0.0, fields={"name": "fbs.setup", "kwargs": "{'solution_name': 'shop'}"})
    assert (task.state, task.as_dict()["subject"], task.progress) == ("PROGRESS", "shop", "step 1 1 %")


def test_a_queued_task_is_sorted_by_its_enqueuing() -> None:
    assert after("sent").received == 0.0
    assert after("sent", "received").received == 1.0
    assert after("received", "sent").received == 0.0


def received(kind: str, **fields: Any) -> dict[str, Any]:
    event = {"type": f"task-{kind}", "uuid": "1", "hostname": WORKER, "timestamp": 1.0, "local_received": 1.0}
    return {**event, "clock": 1, "utcoffset": 0, "pid": 1, **fields}


def test_arguments_are_stored_without_secrets() -> None:
    state = DashboardState()
    kwargs = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "x", "password": "hunter-2"}}
    state.event(
        received("received", name="fbs.setup", args="('postgresql://me:hunter-2@host/x',)", kwargs=repr(kwargs))
    )
    assert state.tasks_by_id()["1"].args == "(not shown)"
    state.event(received("failed", exception="no: postgresql://me:hunter-2@host/x", traceback="password='hunter-2'"))
    state.apply("2", "sent", 1.0, name="fbs.setup", kwargs=repr(kwargs))
    for task in state.tasks_by_id().values():
        assert "hunter-2" not in str(task.as_dict())
        assert "hunter-2" not in str(vars(task))
        assert task.as_dict()["subject"] == "shop"
        assert task.domain == "hr"


def test_arguments_called_like_a_secret_are_stars() -> None:
    given = {
        "db_pass": "hunter-2",
        "api_tokens": ["hunter-2"],
        "x": [{"KEY": 12345678}],
        "my_secret": None,
        "n": "shop",
    }
    state = DashboardState()
    for kwargs in (repr(given), given):
        state.event(received("received", name="other.task", kwargs=kwargs))
        stored = str(state.tasks_by_id()["1"].kwargs)
        assert "hunter-2" not in stored
        assert "12345678" not in stored
        assert "'n': 'shop'" in stored


def test_the_direction_of_text_is_shown_as_an_escape() -> None:
    state = DashboardState()
    state.event(received("failed", name="other.\u202etask", exception="\u2066x"))
    task = state.tasks_by_id()["1"]
    assert (task.name, task.exception) == (r"other.\u202etask", r"\u2066x")


def test_a_short_secret_does_not_garble_names() -> None:
    state = DashboardState()
    state.redact = Redactor(["test"])
    state.event(received("received", name="test.steps", kwargs="{'x': 'test'}"))
    assert state.tasks_by_id()["1"].name == "test.steps"
    assert state.tasks_by_id()["1"].kwargs == "{'x': '***'}"


def test_applied_events_change_no_worker_counter() -> None:
    state = DashboardState(max_tasks_in_memory=2)
    for number in range(3):
        state.apply(str(number), "succeeded", 1.0, worker=WORKER, name="fbs.setup")
    assert list(state.tasks_by_id()) == ["1", "2"]
    assert list(state.search_engine.documents) == ["1", "2"]
    assert state.tasks_by_id()["2"].worker.hostname == WORKER
    assert state.task_types() == ["fbs.setup"]
    assert not state.counter
    assert state.version == 3


def test_replies_of_workers_have_no_secrets() -> None:
    reply = {
        "reserved": [{"name": "fbs.setup", "args": ["hunter-2"], "kwargs": {"config": {"password": "hunter-2"}}}],
        "scheduled": [{"request": {"args": "()", "kwargs": "{'database_password': 'hunter-2'}"}, "priority": 6}],
        "conf": {"broker_url": "redis://:hunter-2@host/0", "sentinel_kwargs": {"password": "hunter-2"}, "limit": None},
        "list": ["redis://:hunter-2@host/0"],
    }
    seen = redact_reply(reply, Redactor(["hunter-2"]))
    assert "hunter-2" not in str(seen)
    assert seen["reserved"][0] == {
        "name": "fbs.setup",
        "args": "(not shown)",
        "kwargs": "{'config': {'password': ***}}",
    }
    assert seen["scheduled"][0]["request"]["args"] == "()"
    assert seen["conf"]["broker_url"] == "redis://:***@host/0"
    assert seen["conf"]["limit"] is None


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


def shown_after(job: JobRecord, *, twice: bool = True) -> DashboardTask:
    """A task after a look at its record; a second look has nothing more to say."""
    state = DashboardState()
    for kind, time, fields in missing_events(job, None):
        state.apply(job.id, kind, time, worker=job.worker, **fields)
    task = state.tasks_by_id()[job.id]
    if twice:
        assert list(missing_events(job, task)) == []
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
def test_a_job_without_events_gets_the_state_of_its_record(state: JobState, shown: str) -> None:
    task = shown_after(record(state))
    assert (task.state, task.name, task.solution, task.received) == (shown, "fbs.setup", "shop", ENQUEUED.timestamp())


def test_a_job_cancelled_while_it_waited_has_no_worker() -> None:
    job = record(JobState.QUEUED, finished_at=ENQUEUED + timedelta(seconds=2))
    task = shown_after(replace(job, state=JobState.CANCELLED))
    assert (task.state, task.started, task.worker) == ("REVOKED", None, None)


def test_how_a_job_ended() -> None:
    done = shown_after(record(JobState.SUCCEEDED, result={"rows": 3}))
    assert (done.result, done.runtime, done.percent) == ("{'rows': 3}", 2.0, 100)
    failed = shown_after(record(JobState.FAILED, error={"message": "No such role.", "code": "database"}))
    assert (failed.exception, failed.progress) == ("No such role. [database]", "tables 25 %")


def test_actions_of_other_applications_keep_their_name() -> None:
    assert shown_after(record(JobState.QUEUED, action="test.steps")).name == "test.steps"


@pytest.mark.parametrize(
    ("kinds", "job", "shown"),
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
def test_a_task_is_reconciled_with_its_record(kinds: tuple[str, ...], job: JobState, shown: str) -> None:
    state, kept = DashboardState(), record(job)
    for kind in kinds:
        known = {"step": "tables", "percent": 25} if kinds[-1] in {"lost", "received", "retried"} else {"step": "x"}
        about = {"name": "fbs.setup"} if kind == "sent" else {}
        state.apply("1", kind, 1.0, **(known if kind == "progress" else about))
    for kind, time, fields in list(missing_events(kept, state.tasks_by_id()["1"])):
        state.apply("1", kind, time, **fields)
    assert state.tasks_by_id()["1"].state == shown
    assert state.tasks_by_id()["1"].name == "fbs.setup"
