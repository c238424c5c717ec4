"""The client: validation before anything is enqueued, and its imports."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

import fbs_worker
from fbs_worker.client.client import Client, JobHandle, outcome
from fbs_worker.core.errors import (
    JobCancelled,
    JobError,
    JobFailed,
    QueueUnreachable,
    SecretError,
    SettingsError,
    UsageError,
)
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import JobRecord, JobState

NOWHERE = "redis://127.0.0.1:1/0"  # a closed port: validation fails before connecting


def python(code: str, **environment: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_importing_the_client_is_cheap() -> None:
    heavy = (
        "celery",
        "kombu",
        "redis",
        "pydantic",
        "sqlalchemy",
        "psycopg2",
        "fbs_worker.connectors",
        "fbs_worker.tasks",
    )
    code = f"import sys, fbs_worker.client.client\nprint([name for name in {heavy} if name in sys.modules])"
    assert python(code).strip() == "[]"


def test_enqueuing_knows_neither_tasks_nor_connectors() -> None:
    code = (
        "import sys\nfrom fbs_worker.client.client import Client\nfrom fbs_worker.core.errors import QueueUnreachable\n"
        f"try:\n    Client({NOWHERE!r}).discover(domain='hr')\nexcept QueueUnreachable:\n"
        "    print(sorted({'fbs_worker.connectors', 'fbs_worker.tasks'} & sys.modules.keys()))"
    )
    assert python(code).strip() == "[]"


def test_importing_the_application_reads_no_setting() -> None:
    python("import fbs_worker.app", FBS_JOB_TIME_LIMIT="not a number", FBS_REDIS_URL="not a URL")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"domain": "nowhere"}, UsageError),
        ({"domain": "hr", "discovery_types": ["modules"]}, UsageError),
        ({"domain": "hr", "table_prefix": "1"}, UsageError),
        ({"domain": "hr", "database_config": {"user": "me"}}, UsageError),
        ({"domain": "hr", "database_config": {"name": "x", "password": "plain, and no key"}}, SecretError),
    ],
)
def test_what_is_not_valid_is_never_enqueued(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Client(NOWHERE, settings=Settings()).discover(**given)
    assert "plain, and no key" not in str(caught.value)


def test_without_a_redis_url_the_hint_says_how_to_start_one() -> None:
    with pytest.raises(SettingsError, match="FBS_REDIS_URL is not set") as caught:
        Client(settings=Settings()).jobs()
    assert "fbs up" in caught.value.hint


def ended(state: JobState, **given: Any) -> JobRecord:
    empty: dict[str, Any] = dict.fromkeys(("total", "started_at", "finished_at", "heartbeat_at", "result", "error"))
    words = dict.fromkeys(("action", "solution", "domain", "step", "message"), "")
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return JobRecord(
        **{**empty, **words, "id": "one", "state": state, "current": 0, "attempts": 1, "created_at": created, **given}
    )


def test_the_outcome_of_a_job() -> None:
    assert outcome(ended(JobState.SUCCEEDED, result={"rows": 1})) == {"rows": 1}
    error = {"code": "odoo_timeout", "message": "Odoo took too long.", "hint": "Wait."}
    with pytest.raises(JobFailed, match="took too long") as caught:
        outcome(ended(JobState.FAILED, error=error))
    assert caught.value.hint == "Wait."
    assert caught.value.context["error"] == error
    with pytest.raises(JobCancelled):
        outcome(ended(JobState.CANCELLED))
    for state in (JobState.LOST, JobState.RUNNING, JobState.QUEUED, JobState.RETRYING):
        with pytest.raises(JobError) as pending:
            outcome(ended(state))
        assert "fbs jobs watch one" in pending.value.hint


CONFIG = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "x", "password": "env:X"}}


@pytest.mark.parametrize(
    ("method", "given", "error"),
    [
        ("setup", {}, UsageError),
        ("setup", {**CONFIG, "domain": "nowhere"}, UsageError),
        ("setup", {**CONFIG, "mirror": ["Not a model"]}, UsageError),
        ("setup", {**CONFIG, "business_prefix": 'x"; DROP TABLE'}, UsageError),
        ("setup", {**CONFIG, "database_config": {"name": "x", "password": "plain, and no key"}}, SecretError),
        ("setup", CONFIG, QueueUnreachable),
        ("setup", {"config": CONFIG}, QueueUnreachable),
        ("refresh", {"solution_name": 'shop"'}, UsageError),
        ("refresh", {"solution_name": "shop", "full": "yes"}, UsageError),
        ("refresh", {"solution_name": "shop"}, QueueUnreachable),
        ("drop", {"solution_name": ""}, UsageError),
        ("drop", {"solution_name": "shop", "dry_run": 1}, UsageError),
        ("drop", {"solution_name": "shop"}, QueueUnreachable),
    ],
)
def test_the_arguments_of_solution_jobs_are_validated_first(
    method: str, given: dict[str, Any], error: type[Exception]
) -> None:
    with Client(NOWHERE, settings=Settings()) as client, pytest.raises(error) as caught:
        getattr(client, method)(**given)
    assert "plain, and no key" not in str(caught.value)


def test_status_and_list_ask_the_home_database() -> None:
    client = Client(NOWHERE, settings=Settings())
    for ask in (client.list, lambda: client.status("shop")):
        with pytest.raises(SettingsError, match="No home database"):
            ask()


def test_the_package_exports_the_client_and_stays_cheap_to_import() -> None:
    assert fbs_worker.Client is Client
    assert fbs_worker.JobHandle is JobHandle
    with pytest.raises(AttributeError, match="nothing"):
        _ = fbs_worker.nothing
    code = "import sys, fbs_worker\nprint([name for name in sys.modules if name.startswith('fbs_worker.')])"
    assert python(code).strip() == "['fbs_worker._version']"
