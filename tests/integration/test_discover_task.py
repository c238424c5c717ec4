"""The job `fbs.discover`: a recorded Odoo 19 into a real PostgreSQL, inline and through a real worker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from pydantic import SecretStr

from fbs_worker.catalogue.model import DiscoveryType, Section, SectionStatus
from fbs_worker.catalogue.store import SnapshotRecord
from fbs_worker.client.client import Client
from fbs_worker.client.in_process import run_in_process
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    JobCancelled,
    JobFailed,
    OdooLoginRefused,
    RefusedError,
    SecretError,
    SettingsError,
    UsageError,
)
from fbs_worker.core.postgres import connect
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.store import JobState
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.tasks.discover import comparable
from tests.support.job_worker import job_worker
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_server import OdooServer
from tests.support.redis_contents import everything_in
from tests.support.servers import redis_database
from tests.support.solutions import few_models
from tests.support.waiting import PATIENCE, until

PASSWORD = "a-password-of-its-own"


def config_of(database: DatabaseConfig, password: str = PASSWORD) -> dict[str, Any]:
    """The dictionary that a caller gives; the embedded PostgreSQL asks for no password, so any will do."""
    return {**database.model_dump(exclude={"password"}), "password": password}


def rows(database: DatabaseConfig, statement: str) -> list[tuple[Any, ...]]:
    with closing(connect(database, application_name="the-test")) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


# ------------------------------------------------------------------------------------------------------------ inline


def inline(progress: Progress | None = None, *, settings: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    made = Settings(**{"odoo_url": f"recording:{few_models()}", **(settings or {})})
    return run_in_process("fbs.discover", {"domain": "hr", **kwargs}, settings=made, progress=progress)


def test_without_a_database_the_discoveries_are_returned() -> None:
    result = inline()
    assert result["source"] == {"url": "recording:odoo19.json", "database": "live", "series": "19.0"}
    assert set(result["found"]) == set(DiscoveryType)
    assert result["counts"] == {kind: len(found) for kind, found in result["found"].items()}
    assert all(result["counts"].values())
    hr = next(found for found in result["found"]["module"] if found["name"] == "hr")
    assert hr["title"] == "Employees"
    assert re.fullmatch(r"19\.0\.\d.*", hr["version"])
    assert {section["status"] for section in result["sections"]} == {"complete"}
    assert 0 < result["calls"] <= 12
    assert result["seconds"] > 0


def test_discovery_types_narrow_it() -> None:
    result = inline(discovery_types=["module"])
    assert set(result["found"]) == {"module"}
    assert result["calls"] == 1


def test_with_a_database_it_keeps_what_it_found_and_then_finds_nothing_new(database: DatabaseConfig) -> None:
    first = inline(database_config=config_of(database))
    assert first["report"]["read"]
    assert first["report"]["added"]
    assert first["database"] == DatabaseConfig.parse({**config_of(database), "password": "x"}).redacted()
    assert rows(database, "SELECT count(*) FROM fbs_discoveries WHERE is_active") == [
        (sum(first["report"]["counts"].values()),)
    ]

    again = inline(database_config=config_of(database))
    assert not again["report"]["read"]
    assert again["report"]["unchanged"] == sum(first["report"]["counts"].values())
    assert again["calls"] <= 4

    full = inline(database_config=config_of(database), full=True)
    assert full["report"]["read"]
    assert [full["report"][kind] for kind in ("added", "changed", "removed")] == [[], [], []]

    old = inline(database_config=config_of(database), settings={"fbs_full_after": 0})
    assert old["report"]["read"]


def test_a_wider_question_is_read_though_nothing_changed(database: DatabaseConfig) -> None:
    inline(database_config=config_of(database), discovery_types=["module"])
    wider = inline(database_config=config_of(database))
    assert wider["report"]["read"]
    assert {change["type"] for change in wider["report"]["added"]} == {"model", "workflow", "bi_feature"}


def test_an_end_on_request_leaves_nothing_behind(postgres: EmbeddedPostgres, database: DatabaseConfig) -> None:
    class Stopping(NullProgress):
        def advance(self, units: int = 1, *, message: str = "") -> None:
            if units:
                raise JobCancelled("Enough.")

    with pytest.raises(JobCancelled):
        inline(Stopping(), database_config=config_of(database))
    statement = (
        f"SELECT application_name FROM pg_stat_activity WHERE datname = '{database.name}' AND pid <> pg_backend_pid()"
    )
    until(lambda: rows(database, statement) == [])
    assert rows(database, "SELECT to_regclass('fbs_discoveries')") == [(None,)]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"domain": "nowhere"}, UsageError, "no domain 'nowhere'"),
        ({"odoo": "elsewhere"}, SettingsError, "'elsewhere'"),
        ({"database_config": {"name": "x", "password": "env:FBS_NOT_SET"}}, SecretError, "FBS_NOT_SET"),
        ({"surprise": 1}, UsageError, "surprise"),
        (
            {"odoo_expected": {"url": "http://other:8069", "database": ""}},
            SettingsError,
            "the job requests http://other",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_parameters_are_rejected(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        inline(**given)


def test_an_unknown_task_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"fbs\.nothing"):
        run_in_process("fbs.nothing", {}, settings=Settings())


def test_a_recording_is_written_inline(tmp_path: Path) -> None:
    target = tmp_path / "again.json.xz"
    settings = Settings(odoo_url=f"recording:{few_models()}")
    result = run_in_process("fbs.record", {"path": str(target)}, settings=settings)
    assert result["bytes"] == target.stat().st_size
    with closing(RecordingTransport(target)) as transport:
        assert transport.server.series == "19.0"


LAST = SnapshotRecord(
    domain="hr",
    types=frozenset(DiscoveryType),
    source={"url": "http://odoo", "database": "live", "series": "19.0"},
    fingerprint={"counts": {}},
    sections=(Section(name="modules", status=SectionStatus.COMPLETE),),
    taken_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("changed", "source", "age", "can"),
    [
        ({}, "http://odoo", 10, True),
        ({}, "http://odoo", 100, False),
        ({}, "http://other", 10, False),
        ({"fingerprint": None}, "http://odoo", 10, False),
        ({"sections": (Section(name="views", status=SectionStatus.DENIED),)}, "http://odoo", 10, False),
    ],
)
def test_when_a_fingerprint_can_stand_for_a_read(changed: dict[str, Any], source: str, age: int, can: bool) -> None:
    kept = {name: getattr(LAST, name) for name in SnapshotRecord.__slots__}
    last = SnapshotRecord(**{**kept, **changed})
    now = last.taken_at + timedelta(seconds=age)
    assert comparable(last, source={**LAST.source, "url": source}, now=now, full_after=100) is can


# ---------------------------------------------------------------------------------------------------------- a worker


@pytest.fixture(scope="module")
def odoo() -> Iterator[OdooServer]:
    with OdooServer(RecordingTransport(few_models())) as server:
        yield server


@pytest.fixture(scope="module")
def worker_settings(odoo: OdooServer, redis_server: EmbeddedRedis) -> Iterator[Settings]:
    with redis_database(redis_server.url) as url:
        yield Settings(
            odoo_url=odoo.url,
            odoo_db=odoo.database,
            odoo_user="admin",
            odoo_password=SecretStr("admin-password"),
            odoo_timeout=20,
            fbs_redis_url=url,
            fbs_secret_keys=SecretStr(Fernet.generate_key().decode()),
        )


@pytest.fixture(scope="module")
def running(worker_settings: Settings, run_folder: Path) -> Iterator[Path]:
    log = run_folder / "discover-worker.log"
    with job_worker(worker_settings, log=log):
        yield log


@pytest.fixture
def client(odoo: OdooServer, worker_settings: Settings, running: Path) -> Iterator[Client]:
    odoo.behave()
    with Client(settings=worker_settings) as client:
        yield client
    odoo.behave()


def test_a_discovery_through_the_queue(client: Client, odoo: OdooServer, database: DatabaseConfig) -> None:
    job = client.discover(domain="rental", database_config=config_of(database))
    events = list(job.follow())
    assert [event.step for event in events if event.kind == "step"][:3] == ["connect", "modules", "models"]
    assert events[-1].state is JobState.SUCCEEDED
    result = job.wait(1)
    assert result["report"]["added"]
    assert result["source"]["url"] == odoo.url
    again = client.discover(domain="rental", database_config=config_of(database)).wait(PATIENCE)
    assert not again["report"]["read"]


def test_no_password_is_anywhere_in_redis_or_the_log(
    client: Client, worker_settings: Settings, running: Path, database: DatabaseConfig
) -> None:
    wrong = config_of(database) | {"port": 1, "host": "127.0.0.1"}
    jobs = [
        client.discover(domain="hr", database_config=config_of(database)),
        client.discover(domain="hr", database_config=wrong),
    ]
    with closing(redis.Redis.from_url(worker_settings.fbs_redis_url)) as raw:
        until(lambda: jobs[0].status().state.finished and jobs[1].status().state is JobState.RETRYING)
        seen = b"".join(everything_in(raw))
        jobs[1].cancel()  # it may just be running again: then it ends at its next step
        until(lambda: jobs[1].status().state is JobState.CANCELLED)
    assert b"sealed:" in seen  # it has looked where the password would be
    for secret in (PASSWORD, "admin-password", worker_settings.fbs_secret_keys.get_secret_value()):
        assert secret.encode() not in seen
        assert secret not in running.read_text()


def test_no_password_waits_in_redis(redis_url: str, worker_settings: Settings) -> None:
    with Client(redis_url, settings=worker_settings) as client, closing(redis.Redis.from_url(redis_url)) as raw:
        client.discover(domain="hr", database_config={"name": "shop", "password": PASSWORD})
        seen = b"".join(everything_in(raw))
    assert b"sealed:" in seen
    assert PASSWORD.encode() not in seen


def test_a_plain_password_in_a_raw_message_is_refused(client: Client, database: DatabaseConfig) -> None:
    job = client._enqueue("fbs.discover", {"domain": "hr", "database_config": config_of(database)})
    with pytest.raises(JobFailed, match="plain password") as caught:
        job.wait(PATIENCE)
    assert caught.value.context["error"]["code"] == "secret"
    assert PASSWORD not in str(caught.value.context)


def test_an_odoo_that_stumbles_is_asked_again(client: Client, odoo: OdooServer) -> None:
    odoo.misbehave(Misbehaviour.BAD_GATEWAY, times=1)
    job = client.discover(domain="hr", discovery_types=["module"])
    assert job.wait(PATIENCE)["counts"]["module"] > 0
    assert job.status().attempts == 2
    assert "retrying" in [event.state for event in job.follow()]


def test_a_wrong_password_is_not_tried_again(worker_settings: Settings, odoo: OdooServer, run_folder: Path) -> None:
    with pytest.raises(OdooLoginRefused):
        run_in_process(
            "fbs.discover",
            {"domain": "hr"},
            settings=worker_settings.model_copy(update={"odoo_user": "unknown"}),
        )


def test_another_odoo_than_the_worker_reads_is_refused(client: Client, worker_settings: Settings) -> None:
    mine = worker_settings.model_copy(update={"odoo_url": "http://user:secret@elsewhere.example:8069/"})
    with Client(settings=mine) as other:
        job = other.discover(domain="hr")
    with pytest.raises(JobFailed, match=r"the job requests http://elsewhere\.example:8069") as caught:
        client.job(job.id).wait(PATIENCE)
    assert caught.value.context["error"]["code"] == "settings"
    with Client(worker_settings.fbs_redis_url, settings=Settings()) as unknowing:  # leaves it to the worker
        assert unknowing.discover(domain="hr", discovery_types=["module"]).wait(PATIENCE)["counts"]["module"] > 0


def test_a_discovery_is_cancelled_while_odoo_hangs(client: Client, odoo: OdooServer, database: DatabaseConfig) -> None:
    job = client.discover(domain="hr", database_config=config_of(database))
    until(lambda: job.status().step not in {"", "connect"})
    odoo.misbehave(Misbehaviour.HANG)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.wait(10)
    assert rows(database, "SELECT to_regclass('fbs_discoveries')") == [(None,)]


def test_a_recording_is_not_written_by_a_worker(client: Client, tmp_path: Path) -> None:
    job = client._enqueue("fbs.record", {"path": str(tmp_path / "file.json")})
    with pytest.raises(JobFailed, match="only on the caller's machine") as caught:
        job.wait(PATIENCE)
    assert caught.value.context["error"]["code"] == RefusedError.code


@pytest.mark.parametrize(
    ("arguments", "is_kept"),
    [
        ({"domain": "hr", "database_config": {"name": "shop", "password": "sealed:x", "port": 5432}}, True),
        ({"domain": "hr", "database_config": {"name": "shop", "password": "env:PASSWORD"}}, True),
        ({"domain": "hr", "database_config": None}, True),
        ({"domain": "hr", "database_config": {"name": "shop", "password": PASSWORD}}, False),
        ({"config": {"database_config": {"password": PASSWORD}}}, False),
        ({"database_config": PASSWORD}, False),
        ({"database_config": {"name": f"postgresql://me:{PASSWORD}@db/shop"}}, False),
        ({"several": [{"api_key": PASSWORD}]}, False),
    ],
)
def test_the_arguments_of_a_job_are_kept_without_a_plain_secret(
    redis_url: str, arguments: dict[str, Any], *, is_kept: bool
) -> None:
    app = make_app(Settings(fbs_redis_url=redis_url), results=False)
    job = app.enqueue("fbs.discover", arguments)
    assert app.jobs.request(job) == (arguments if is_kept else {})
    app.close()
    app.jobs.close()
