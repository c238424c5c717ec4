"""The broker is a Redis behind Sentinel: its master dies, a replica becomes master, and the jobs go on there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from fbs_worker.client.client import Client
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import free_port
from fbs_worker.ops.local.embedded.wheels import redis_executable
from fbs_worker.ops.local.processes import ProcessRef, spawn
from tests.support.job_worker import job_worker
from tests.support.redis_faults import PASSWORD, OwnRedis, own_redis
from tests.support.waiting import until

pytestmark = pytest.mark.faults

NAME = "mine"


@contextmanager
def sentinel(folder: Path, master: OwnRedis) -> Iterator[Any]:
    """A client of a Sentinel that watches a master; it decides alone, half a second after the master is gone."""
    folder.mkdir()
    port = free_port()
    lines = [
        f"port {port}",
        f"dir {folder}",
        f"sentinel monitor {NAME} 127.0.0.1 {master.port} 1",
        f"sentinel auth-pass {NAME} {PASSWORD}",
        f"sentinel down-after-milliseconds {NAME} 500",
        f"sentinel failover-timeout {NAME} 3000",
    ]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("ab") as output:
        child = spawn([str(redis_executable()), str(folder / "sentinel.conf"), "--sentinel"], output=output, env={})
    process = ProcessRef.of(child.pid)
    assert process is not None
    try:
        with redis.Redis(port=port, decode_responses=True) as client:
            until(lambda: "+monitor master" in (folder / "log").read_text(), (folder / "log").read_text)
            yield client
    finally:
        process.stop([])


def test_jobs_go_on_with_the_new_master(redis_url: str, run_folder: Path, tmp_path: Path) -> None:
    home, log, auth = run_folder / "sentinel", tmp_path / "worker.log", f"masterauth {PASSWORD}"
    with (
        own_redis(home / "one", auth) as master,
        own_redis(home / "two", auth, f"replicaof 127.0.0.1 {master.port}") as replica,
        sentinel(home / "watch", master) as watch,
    ):
        until(lambda: watch.execute_command("SENTINEL MASTER", NAME)["num-slaves"] == 1)
        port = watch.connection_pool.connection_kwargs["port"]
        settings = Settings(
            fbs_redis_url=redis_url,
            fbs_broker_url=f"sentinel://:{PASSWORD}@127.0.0.1:{port}/0?master_name={NAME}",
        )
        with job_worker(settings, log=log) as worker, Client(settings=settings) as client:

            def send(name: str) -> str:
                return client._enqueue("test.flaky", {"runs": str(tmp_path / name), "failures": 0}, domain=name).id

            def ended(job_id: str) -> bool:
                return str(client.job(job_id).status().state) == "succeeded"

            first = send("first")
            until(lambda: ended(first), log.read_text)
            gate = tmp_path / "gate"
            running = client._enqueue("test.steps", {"gate": str(gate)}, domain="held")
            until(lambda: running.status().step == "fields", log.read_text)
            with suppress(redis.ConnectionError):
                master.admin("SHUTDOWN", "NOSAVE")
            until(lambda: watch.sentinel_get_master_addr_by_name(NAME) == ("127.0.0.1", replica.port))
            gate.touch()
            until(lambda: ended(running.id), log.read_text)
            second = send("second")
            until(lambda: ended(second), log.read_text)
            assert worker.poll() is None
            assert "Traceback" not in log.read_text()
            assert replica.admin("HLEN", "unacked") == 0
