"""What the tests of solutions ask for: databases that solutions live in, and settings to work with."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI

from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.web.app import create_app
from tests.conftest import MakeSettings
from tests.support.asgi import Asking
from tests.support.limiters import MakeLimiter, limiters
from tests.support.migrating import TABLES
from tests.support.odoo_server import OdooServer
from tests.support.servers import create_database, fresh_database
from tests.support.small_odoo import write_small_recording
from tests.support.solutions import few_models, run

if TYPE_CHECKING:
    from tests.support.api_stage import ApiStage


@pytest.fixture
def connection(database: DatabaseConfig) -> Iterator[Connection]:
    """A connection to this test's database."""
    with closing(connect(database)) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A connection to a database that the tests of a file share."""
    name = f"shared_{secrets.token_hex(6)}"
    create_database(postgres, name)
    with closing(connect(postgres.config(name))) as opened:
        yield opened
    postgres.drop_database(name)


@pytest.fixture
def filled(database: DatabaseConfig) -> DatabaseConfig:
    """A database with the tables that migrations by hand change."""
    run(database, *TABLES)
    return database


@pytest.fixture
def make_limiter(redis_url: str) -> Iterator[MakeLimiter]:
    """Makes limiters, each as in a worker of its own."""
    with limiters(redis_url) as make:
        yield make


@pytest.fixture
def backend(tmp_path: Path) -> RecordingTransport:
    """The recording of `small_odoo`."""
    return RecordingTransport(write_small_recording(tmp_path / "small.json"))


@pytest.fixture
def odoo(backend: RecordingTransport) -> Iterator[OdooServer]:
    """A small Odoo."""
    with OdooServer(backend) as server:
        yield server


@pytest.fixture
def other(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """One more."""
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture(scope="session")
def api_stage(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[ApiStage]:
    """The HTTP API, a worker that reads the recorded Odoo, and the solution `shop`."""
    from tests.support.api_stage import open_stage

    with open_stage(postgres, redis_server, run_folder) as stage:
        yield stage


@pytest.fixture
def made(settings: MakeSettings) -> Settings:
    """Settings with the recorded Odoo, this test's home database, and `hr_` before business tables."""
    return settings(odoo_url=f"recording:{few_models()}", fbs_business_prefix="hr_")


@pytest.fixture
def app(settings: MakeSettings) -> Iterator[FastAPI]:
    """The API in this process."""
    made = create_app(settings(fbs_api_rate=0))
    yield made
    for part in (made.state.client, made.state.databases, made.state.idempotency):
        part.close()


@pytest.fixture
def asking(app: FastAPI) -> Asking:
    """Someone who asks it."""
    return Asking(app=app)


@pytest.fixture
def no_redis(without_pauses: None) -> str:
    """The address of a Redis that is away; who asks again there does so at once."""
    return "redis://127.0.0.1:1/0"


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows a job sees often whether anybody listens still, and whether the job was lost."""
    monkeypatch.setattr("fbs_worker.jobs.store._FOLLOW_SECONDS", 0.05)


@pytest.fixture
def store(redis_url: str) -> Iterator[JobStore]:
    """The records of its jobs."""
    with JobStore(redis_url, ttl=600) as jobs:
        yield jobs
