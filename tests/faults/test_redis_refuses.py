"""Redis answers, but refuses: everything waits, says what is wrong, and goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import redis
from cryptography.fernet import Fernet
from pydantic import SecretStr

from fbs_worker.client.client import Client, JobHandle
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.state import database_url
from fbs_worker.scheduling.service import BEAT
from tests.support.api_server import api_server
from tests.support.beat_process import beat_process
from tests.support.dashboard import dashboard
from tests.support.job_worker import job_worker
from tests.support.redis_faults import OwnRedis, own_redis
from tests.support.waiting import until

pytestmark = pytest.mark.faults

PROMISED: Final = 10.0
"""Seconds within which everything goes on after Redis is well."""

USER: Final = ("on", ">worker", "~*", "&*", "+@all")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to refuse.

    Attributes:
        strike: makes Redis refuse.
        mend: makes it well.
        words: what errors and logs say.
    """

    strike: Callable[[OwnRedis], object]
    mend: Callable[[OwnRedis], object]
    words: str


def disk_full(server: OwnRedis) -> None:
    """As with a full disk: the last attempt to save failed."""
    server.admin("CONFIG", "SET", "save", "3600 1000")
    server.admin("CONFIG", "SET", "dir", "/proc")
    server.admin("BGSAVE")
    until(lambda: server.admin("INFO", "persistence")["rdb_last_bgsave_status"] == "err")


def disk_free(server: OwnRedis) -> None:
    """The last save counts no more, and the next test finds a folder that takes files."""
    server.admin("CONFIG", "SET", "save", "")
    server.admin("CONFIG", "SET", "dir", str(server.folder))


def append_only_disk_full(server: OwnRedis) -> None:
    """The append-only file cannot grow: the kernel refuses each write to it."""
    server.admin("CONFIG", "SET", "appendonly", "yes")
    until(lambda: not server.admin("INFO", "persistence")["aof_rewrite_in_progress"])
    psutil.Process(server.pid).rlimit(psutil.RLIMIT_FSIZE, (1, psutil.RLIM_INFINITY))
    with suppress(redis.ResponseError):
        server.admin("SET", "other:one", "more")
    until(lambda: server.admin("INFO", "persistence")["aof_last_write_status"] == "err")


def append_only_disk_free(server: OwnRedis) -> None:
    psutil.Process(server.pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    until(lambda: server.admin("INFO", "persistence")["aof_last_write_status"] == "ok")
    server.admin("CONFIG", "SET", "appendonly", "no")


FAULTS: Final = {
    "a failover": Fault(
        strike=lambda server: server.admin("REPLICAOF", "127.0.0.1", "1"),
        mend=lambda server: server.admin("REPLICAOF", "NO", "ONE"),
        words="replica",
    ),
    "full memory": Fault(
        strike=lambda server: server.fill(),
        mend=lambda server: server.admin("CONFIG", "SET", "maxmemory", "0"),
        words="memory",
    ),
    "a full disk": Fault(strike=disk_full, mend=disk_free, words="disk"),
    "a full disk under the append-only file": Fault(
        strike=append_only_disk_full, mend=append_only_disk_free, words="disk"
    ),
    "rights": Fault(
        strike=lambda server: server.admin("ACL", "SETUSER", "worker", "resetkeys", "~other:*"),
        mend=lambda server: server.admin("ACL", "SETUSER", "worker", "~*"),
        words="ACL",
    ),
    "a password": Fault(
        strike=lambda server: (
            server.admin("ACL", "SETUSER", "worker", "resetpass", ">another"),
            server.admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
            server.admin("CLIENT", "KILL", "TYPE", "pubsub"),
        ),
        mend=lambda server: server.admin("ACL", "SETUSER", "worker", "resetpass", ">worker"),
        words="password",
    ),
}


@pytest.fixture(scope="module")
def server(run_folder: Path) -> Iterator[OwnRedis]:
    with own_redis(run_folder / "refusing-redis") as running:
        running.admin("ACL", "SETUSER", "worker", *USER)
        yield running


@pytest.fixture(scope="module")
def log(run_folder: Path) -> Path:
    return run_folder / "refused-worker.log"


@pytest.fixture(scope="module")
def client(server: OwnRedis, log: Path) -> Iterator[Client]:
    settings = Settings(fbs_redis_url=server.url_of("worker"))
    with job_worker(settings, log=log) as worker, Client(settings=settings) as client:
        yield client
        assert worker.poll() is None, log.read_text()


def send(client: Client, task: str, **kwargs: Any) -> JobHandle:
    return client._enqueue(task, kwargs, domain="rental")


def ends(job: JobHandle, log: Path, *, seconds: float) -> None:
    until(lambda: str(job.status().state) == "succeeded", log.read_text, seconds=seconds)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_worker_waits_and_goes_on(
    server: OwnRedis, client: Client, log: Path, tmp_path: Path, fault: Fault
) -> None:
    ends(send(client, "test.flaky", runs=str(tmp_path / "before"), failures=0), log, seconds=60)
    running = send(client, "test.steps", gate=str(tmp_path / "gate"))
    until(lambda: running.status().step == "fields")
    log_before = len(log.read_text())
    fault.strike(server)
    with pytest.raises(FBSError) as caught:
        send(client, "test.flaky", runs=str(tmp_path / "refused"), failures=0)
    assert fault.words in caught.value.message
    assert caught.value.hint
    (tmp_path / "gate").touch()  # it ends while Redis refuses
    time.sleep(3)
    until(lambda: fault.words in log.read_text()[log_before:], lambda: log.read_text()[log_before:], seconds=20)
    fault.mend(server)
    ends(running, log, seconds=PROMISED)
    ends(send(client, "test.flaky", runs=str(tmp_path / "after"), failures=0), log, seconds=PROMISED)
    assert not (tmp_path / "refused").exists()
    assert "Traceback" not in log.read_text()[log_before:]


def test_messages_wait_through_full_memory(server: OwnRedis, client: Client, log: Path, tmp_path: Path) -> None:
    """A full Redis hands messages out that it does not let store."""
    gate = str(tmp_path / "gate")
    jobs = [send(client, "test.steps", gate=gate, domain=f"number {number}") for number in range(8)]
    until(lambda: sum(job.status().step == "fields" for job in jobs) == 2)
    server.fill()
    Path(gate).touch()
    time.sleep(3)
    server.admin("CONFIG", "SET", "maxmemory", "0")
    for job in jobs:
        ends(job, log, seconds=60)
    with redis.Redis.from_url(server.url) as raw:
        until(lambda: raw.hlen("unacked") == 0, lambda: raw.hgetall("unacked"), seconds=60)


def test_beat_api_and_dashboard_live_through_a_failover(
    server: OwnRedis, database: DatabaseConfig, tmp_path: Path
) -> None:
    key = SecretStr(Fernet.generate_key().decode())
    settings = Settings(
        fbs_redis_url=server.url_of("worker"),
        fbs_database_url=database_url(database),
        fbs_secret_keys=key,
        fbs_home=tmp_path / "home",
    )
    fault, beat_log = FAULTS["a failover"], tmp_path / "beat.log"
    with (
        api_server(settings, log=tmp_path / "api.log") as api,
        beat_process(settings, log=beat_log) as beat,
        dashboard(settings, log=tmp_path / "flower.log") as flower,
    ):
        assert api.ask("POST", "/api/v1/discoveries/hr/model/", json={}).status_code == 202
        until(lambda: server.admin("EXISTS", BEAT), beat_log.read_text)
        fault.strike(server)
        answer = api.ask("POST", "/api/v1/discoveries/rental/model/", json={})
        assert (answer.status_code, "replica" in answer.text) == (503, True), answer.text
        until(lambda: "replica" in beat_log.read_text(), beat_log.read_text, seconds=20)
        assert flower.get("/workers")
        fault.mend(server)
        until(
            lambda: api.ask("POST", "/api/v1/discoveries/rental/model/", json={}).status_code == 202,
            seconds=PROMISED,
        )
        until(lambda: "runs schedules again" in beat_log.read_text(), beat_log.read_text, seconds=PROMISED)
        assert flower.get("/workers")
        assert beat.poll() is None
