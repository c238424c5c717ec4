"""Job records, events, retry delays, redacted addresses and the Celery configuration, without a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import FBSError, JobError, QueueUnreachable, SettingsError
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.jobs.app import make_app, redacted_kwargs
from fbs_worker.jobs.config import QUEUES, ROUTES, configuration
from fbs_worker.jobs.model import JobEvent, JobRecord, JobState
from fbs_worker.jobs.worker.task import JobFailure, internal_error, retry_delay
from fbs_worker.solutions.requests import DiscoverRequest, check_odoo, expected_odoo

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z
KEPT = {"action": "discover", "state": "running", "created_at": str(NOW), "heartbeat_at": str(NOW), "attempts": "1"}


def record(**changed: str) -> JobRecord:
    return JobRecord.from_hash("one", KEPT | changed, now=NOW, lost_after=30)


def test_a_record_is_parsed_and_serialised() -> None:
    reported = record(
        step="fields",
        current="5",
        total="8",
        error='{"code": "x"}',
        started_at=str(NOW),
        waited="1500",
        queue="fbs.discovery",
        worker="one@here",
        variant="full",
    ).to_dict()
    assert reported == {
        "id": "one",
        "action": "discover",
        "solution": "",
        "domain": "",
        "state": "running",
        "step": "fields",
        "current": 5,
        "total": 8,
        "percent": 62,
        "message": "",
        "created_at": "2026-01-01T00:00:00.000+00:00",
        "started_at": "2026-01-01T00:00:00.000+00:00",
        "finished_at": None,
        "heartbeat_at": "2026-01-01T00:00:00.000+00:00",
        "attempts": 1,
        "queue": "fbs.discovery",
        "worker": "one@here",
        "waited_seconds": 1.5,
        "variant": "full",
        "result": None,
        "error": {"code": "x"},
    }


@pytest.mark.parametrize(
    ("changed", "percent"),
    [
        ({}, None),
        ({"total": ""}, None),
        ({"total": "0"}, None),
        ({"current": "0", "total": "3"}, 0),
        ({"current": "1", "total": "3"}, 33),
        ({"current": "9", "total": "3"}, 100),
        ({"state": "succeeded"}, 100),
    ],
)
def test_percent(changed: dict[str, str], percent: int | None) -> None:
    assert record(**changed).percent == percent


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"heartbeat_at": str(NOW - 29_000)}, JobState.RUNNING),
        ({"heartbeat_at": str(NOW - 31_000)}, JobState.LOST),
        ({"heartbeat_at": str(NOW - 31_000), "state": "retrying"}, JobState.RETRYING),
        ({"heartbeat_at": str(NOW - 31_000), "state": "failed"}, JobState.FAILED),
    ],
)
def test_only_a_running_job_without_heartbeats_is_lost(changed: dict[str, str], state: JobState) -> None:
    assert record(**changed).state is state


def test_an_event_is_parsed_and_serialised() -> None:
    event = JobEvent.from_entry(
        "one", f"{NOW}-3", {"kind": "progress", "state": "running", "step": "fields", "current": "2", "total": "4"}
    )
    assert event.at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (event.percent, event.last) == (50, False)
    assert event.to_dict()["at"] == "2026-01-01T00:00:00.000+00:00"


@pytest.mark.parametrize("state", JobState)
def test_which_event_is_the_last(state: JobState) -> None:
    event = JobEvent.from_entry("one", f"{NOW}-0", {"kind": "state", "state": str(state)})
    assert event.last is (state in {"succeeded", "failed", "cancelled", "lost"})


def test_retry_delays_grow_to_a_maximum_with_jitter() -> None:
    assert [retry_delay(attempt, jitter=1) for attempt in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert retry_delay(3, jitter=0) == 2
    assert retry_delay(10_000, jitter=1) == 120


def test_an_unexpected_error_has_its_location_without_its_message() -> None:
    try:
        raise ValueError("the password is swordfish")
    except ValueError as exc:
        error = internal_error(exc)
    assert error.code == "internal"
    assert "ValueError at test_jobs.py:" in error.message
    assert "swordfish" not in str(error.to_dict())


def test_a_failure_carries_the_whole_error() -> None:
    error = JobError("It broke.", hint="Mend it.", table="x").to_dict()
    failure = JobFailure(error)
    assert failure.args == (error,)
    assert str(failure) == "It broke. [job]"


# ------------------------------------------------------------------------------------------------------------ Redis


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", "localhost:6379"),
        ("redis://:secret@127.0.0.1:6380/3", "127.0.0.1:6380"),
        ("rediss://user:secret@redis.example:7000/0", "redis.example:7000"),
        ("redis://[::1]:7000/0", "::1:7000"),
    ],
)
def test_an_address_has_no_password(url: str, address: str) -> None:
    assert queue.address(queue.check_url(url)) == address


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://:secret@x:1", "redis://", "redis://:secret@x:port/0", "redis://:secret@x/one"]
)
def test_an_invalid_redis_url_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        queue.check_url(url)
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("raised", "reported"),
    [
        (redis.exceptions.ConnectionError("Error 111"), QueueUnreachable),
        (redis.exceptions.TimeoutError("late"), QueueUnreachable),
        (redis.exceptions.BusyLoadingError("loading"), QueueUnreachable),
        (redis.exceptions.AuthenticationError("invalid password"), SettingsError),
        (redis.exceptions.NoPermissionError("no"), SettingsError),
        (redis.exceptions.OutOfMemoryError("OOM command not allowed"), QueueUnreachable),
        (redis.exceptions.ReadOnlyError("READONLY"), QueueUnreachable),
        (redis.exceptions.ResponseError("ERR unknown command, with args beginning with: 'secret'"), JobError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_redis_errors_are_translated(raised: Exception, reported: type[FBSError]) -> None:
    with pytest.raises(reported, match="host:1") as caught, queue.errors_translated("host:1"):
        raise raised
    assert type(caught.value) is reported
    assert "secret" not in caught.value.message


# ----------------------------------------------------------------------------------------------------------- Celery


def settings(**given: Any) -> Settings:
    return Settings(**{"fbs_redis_url": "redis://127.0.0.1:1/0", **given})


@pytest.mark.parametrize(
    ("limit", "visibility", "accepted"),
    [(3000, 3600, True), (3000, 3031, True), (3000, 3030, False), (3600, 3600, False), (10, 20, True)],
)
def test_the_time_limit_lies_below_the_visibility_timeout(limit: int, visibility: int, accepted: bool) -> None:
    given = settings(fbs_job_time_limit=limit, fbs_visibility_timeout=visibility)
    if accepted:
        reported = configuration(given)
        assert reported["task_soft_time_limit"] < reported["task_time_limit"]
        assert reported["task_time_limit"] < reported["broker_transport_options"]["visibility_timeout"]
    else:
        with pytest.raises(SettingsError, match=rf"not below FBS_VISIBILITY_TIMEOUT \({visibility} s\)"):
            configuration(given)


def test_only_json_travels_and_every_task_has_its_own_queue() -> None:
    conf = make_app(settings()).conf
    assert conf.accept_content == ["json"]
    assert (conf.task_serializer, conf.result_serializer, conf.event_serializer) == ("json", "json", "json")
    assert {reported["queue"] for reported in ROUTES.values()} == set(QUEUES)
    assert {(each.name, each.exchange.name, each.routing_key) for each in conf.task_queues} == {
        (name, name, name) for name in QUEUES
    }


def test_redacted_arguments_have_no_password() -> None:
    given = {"domain": "hr", "full": None, "database_config": {"name": "x", "password": "sealed:abc"}}
    assert redacted_kwargs(given) == {"domain": "hr", "database_config": {"name": "x", "password": "***"}}
    assert redacted_kwargs({"database_config": "secret"}) == {"database_config": "***"}


# --------------------------------------------------------------------------------------------------------- requests


def test_a_request_takes_what_is_missing_from_the_settings() -> None:
    given = settings(fbs_table_prefix="shop_", fbs_default_database_host="db", fbs_default_database_user="me")
    request = DiscoverRequest.parse(
        domain="hr",
        database_config={"name": "x", "port": "5433"},
        discovery_types=["model", "module"],
        settings=given,
    )
    assert request.table_prefix == "shop_"
    assert request.discovery_types == ("module", "model")
    assert request.database_config is not None
    assert request.database_config.address() == "me@db:5433/x"


@pytest.mark.parametrize(
    ("expected", "fits"),
    [
        (None, True),
        ({}, True),
        ({"url": "http://odoo:8069", "database": "live"}, True),
        ({"url": "http://odoo:8069", "database": ""}, True),
        ({"url": "http://odoo:8070", "database": "live"}, False),
        ({"url": "http://odoo:8069", "database": "test"}, False),
    ],
)
def test_the_odoo_that_is_meant_is_the_one_that_is_read(expected: dict[str, str] | None, fits: bool) -> None:
    connection = OdooConnection(url="http://ODOO:8069/", db="live")
    check: Callable[[], None] = lambda: check_odoo(connection, expected)  # noqa: E731
    if fits:
        check()
    else:
        with pytest.raises(SettingsError, match="the job requests"):
            check()


def test_what_is_expected_of_odoo_has_no_credentials() -> None:
    given = settings(odoo_url="http://me:secret@odoo:8069/", odoo_db="live")
    assert expected_odoo(given, "default") == {"url": "http://odoo:8069", "database": "live"}
    assert expected_odoo(given, "elsewhere") is None
    assert expected_odoo(settings(odoo_url="recording:/A/File.json"), "default") == {
        "url": "recording:/A/File.json",
        "database": "",
    }
