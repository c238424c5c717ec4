"""Shared fixtures: real servers, a database and a Redis of its own, settings, a worker.

With pytest-xdist each of its processes has servers of its own: nothing is shared, so nothing can be fought over.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
import redis
import typer
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.backoff import NoBackoff

from fbs_worker.core.collector import collect_no_more, collect_rarely
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings, get_settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import Program
from fbs_worker.ops.local.state import database_url
from tests.support import preloaded
from tests.support.servers import describe, fresh_database, processes_about, redis_database, short_folder

# these machines are shared: slow is not wrong; and what a failing example was is printed, no folder needs to remember it;
# continuous integration tries the same examples each time
hypothesis.settings.register_profile(
    "fbs", deadline=None, database=None, print_blob=True, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("fbs")

# most of what a test process makes stays: searching it for garbage took a quarter of its time
collect_rarely()

# the commands stay the same: to build them takes longer than to run one
typer.main.get_command = cache(typer.main.get_command)

# A process started in the background (`make test &`, many CI systems) inherits an ignored SIGINT and hands it on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

OTHER_SERVERS = {name: os.environ.get(name) for name in ("FBS_TEST_POSTGRES", "FBS_TEST_REDIS")}

MakeSettings = Callable[..., Settings]
StartWorker = Callable[[Settings], Program]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files that have a marker which `-m 'not (… or …)'` deselects are not even imported, by each of the processes."""
    without = re.fullmatch(r"not \((.+)\)", config.option.markexpr)
    if without is None or collection_path.suffix != ".py":
        return None
    marked = rf"^pytestmark = \[?\s*pytest\.mark\.({without[1].replace(' or ', '|')})\b"
    return re.search(marked, collection_path.read_text(), re.MULTILINE) is not None or None


def pytest_collection_finish() -> None:
    """What was imported and collected is never searched for garbage."""
    collect_no_more()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """What pytest's own search has left is not searched again by its next one and by Python's last."""
    collect_no_more()


@pytest.fixture(scope="session", autouse=True)
def run_folder() -> Iterator[Path]:
    """This test process's folder; once everything in it is stopped, nothing that was started may be left."""
    with short_folder() as folder:
        os.environ["TMPDIR"] = str(folder)  # workers that are killed leave temporary files
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fbs_worker.ops.local.programs.spawn", preloaded.spawn)
            patch.setattr("fbs_worker.connectors.recording.transport.read_database", preloaded.read_once)
            yield folder
        left = preloaded.end_launcher() + psutil.Process().children(recursive=True) + processes_about(folder)
        reported = describe(left)
        for process in left:
            process.kill()
        assert not reported, f"left running by the tests:\n{reported}"


@pytest.fixture(scope="session")
def servers() -> Iterator[None]:
    """Other servers than the wheels': FBS_TEST_POSTGRES is a folder of PostgreSQL's programs, FBS_TEST_REDIS a server."""
    with pytest.MonkeyPatch.context() as patch:
        if postgres_folder := OTHER_SERVERS["FBS_TEST_POSTGRES"]:
            embedded = "fbs_worker.ops.local.embedded.postgres"
            patch.setattr(f"{embedded}.postgres_binaries", lambda: Path(postgres_folder))
            patch.setattr(f"{embedded}.INITDB_LOCALE", ("--locale=C",))  # one that each version knows
        if redis_program := OTHER_SERVERS["FBS_TEST_REDIS"]:
            patch.setattr("fbs_worker.ops.local.embedded.redis.redis_executable", lambda: Path(redis_program))
        yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Isolate the tests from the settings of the environment and of each other."""
    for name in list(os.environ):
        other = name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE"
        if other or (name.startswith(("ODOO_", "FBS_")) and not name.startswith("FBS_LIVE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FBS_ENV_FILE", "")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()
    collect_rarely()  # a program that ran in this process collects as usual once it is ready


@pytest.fixture(scope="session")
def postgres(run_folder: Path, servers: None) -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL: the wheel's 18, or the one of FBS_TEST_POSTGRES."""
    with EmbeddedPostgres.start(run_folder / "postgres", durable=False) as server:
        connect(server.config("template1")).close()  # makes the cache of its catalogue, which copies begin with
        yield server


@pytest.fixture(scope="session")
def redis_server(run_folder: Path, servers: None) -> Iterator[EmbeddedRedis]:
    """A real Redis: the wheel's 6.2, or the one of FBS_TEST_REDIS."""
    with EmbeddedRedis.start(run_folder / "redis", durable=False) as server:
        yield server


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """An empty database for one test."""
    with fresh_database(postgres) as config:
        yield config


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """An empty database for a solution, beside the home database."""
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is not there is asked again at once."""
    monkeypatch.setattr("fbs_worker.core.redis.ExponentialBackoff", lambda **_: NoBackoff())


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> Iterator[str]:
    """An empty Redis database for one test."""
    with redis_database(redis_server.url) as url:
        yield url


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client of this test's Redis."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def settings(database: DatabaseConfig, redis_url: str, tmp_path: Path) -> MakeSettings:
    """Makes settings that point at this test's database, Redis and folder: `settings(odoo_url=…)`."""
    given = {
        "fbs_redis_url": redis_url,
        "fbs_database_url": database_url(database),
        "fbs_secret_keys": Fernet.generate_key().decode(),
        "fbs_home": tmp_path / "home",
    }

    def make(**overrides: Any) -> Settings:
        return Settings(**{**given, **overrides})

    return make


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Starts real worker processes with a test's settings and ends them with the test."""
    started: list[Program] = []

    def start(settings: Settings) -> Program:
        worker = Program.start(
            "worker", "--concurrency=2", settings=settings, log=tmp_path / f"worker-{len(started)}.log"
        )
        started.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in started:
            worker.stop()


@pytest.fixture(scope="session")
def worker(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[Program]:
    """One real worker for all tests that need nothing special of it; enqueue with `worker.settings`.

    Its Redis database is number 0, which no test empties: distinguish jobs by their ids.
    """
    postgres.create_database("worker_home")
    settings = Settings(
        fbs_redis_url=redis_server.url,
        fbs_database_url=database_url(postgres.config("worker_home")),
        fbs_secret_keys=SecretStr(Fernet.generate_key().decode()),
        fbs_home=run_folder / "worker-home",
    )
    with Program.start("worker", "--concurrency=2", settings=settings, log=run_folder / "worker.log") as running:
        yield running
