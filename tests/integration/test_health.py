"""`fbs health` against real workers: idle, busy, stopped, killed, of one queue only, or none."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from fbs_worker.cli.app import run
from fbs_worker.client.client import Client
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.workers import WorkerHeartbeat, WorkerRegistry, worker_name
from fbs_worker.ops.health import Check, Health, HealthReport, check_health
from fbs_worker.ops.local.embedded import EmbeddedRedis
from fbs_worker.ops.local.programs import Program, settings_environment
from tests.conftest import MakeSettings
from tests.support.job_worker import job_worker
from tests.support.preloaded import Forked
from tests.support.servers import redis_database
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.faults

SHORT = 1.0
WHOLE = 3.0  # longer than the time from one heartbeat to the next
SECRET = "hunter2-of-redis"


def by_name(report: HealthReport) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


def checked(settings: Settings, *, worker: str | None = None, seconds: float = SHORT) -> HealthReport:
    began = time.monotonic()
    report = check_health(settings, worker=worker, seconds=seconds)
    assert time.monotonic() - began < seconds + 7
    return report


def keys(settings: Settings) -> set[str]:
    with closing(redis.Redis.from_url(settings.fbs_redis_url, decode_responses=True)) as client:
        return set(client.scan_iter())


def heartbeat_of(settings: Settings, name: str) -> WorkerHeartbeat | None:
    with WorkerRegistry(settings.fbs_redis_url) as registry:
        return next((heartbeat for heartbeat in registry.workers() if heartbeat.name == name), None)


@pytest.fixture(scope="module")
def running(redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[tuple[Settings, Forked]]:
    """A worker with two slots that knows the tests' own tasks."""
    with redis_database(redis_server.url) as url:
        settings = Settings(fbs_redis_url=url)
        with job_worker(settings, log=run_folder / "health-worker.log") as worker:
            until(lambda: heartbeat_of(settings, name_of(worker)))
            until(lambda: "_kombu.binding.celery.pidbox" in keys(settings))  # the last step of the start
            yield settings, worker


def name_of(worker: Forked) -> str:
    return worker_name(f"fbs-{worker.pid}")


@contextmanager
def stopped(worker: Forked) -> Iterator[None]:
    """The worker's main process stands still; its connections stay."""
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def test_everything_is_fine(running: tuple[Settings, Forked]) -> None:
    settings, worker = running
    before = keys(settings)
    report = checked(settings, seconds=10)
    assert [check.name for check in report.checks] == ["redis", "fbs.discovery", "fbs.schema", "fbs.records"]
    assert report.health is Health.FINE
    assert report.error is None
    assert by_name(report)["fbs.schema"].to_dict()["answered_by"] == name_of(worker)
    assert [heartbeat.name for heartbeat in report.workers] == [name_of(worker)]
    assert report.workers[0].slots == 2
    until(lambda: keys(settings) == before)  # a probe leaves no record, no result, no answer


def test_one_worker_is_checked_by_its_name(running: tuple[Settings, Forked]) -> None:
    settings, worker = running
    for name in (name_of(worker), name_of(worker).partition("@")[0]):
        report = checked(settings, worker=name, seconds=10)
        assert report.health is Health.FINE
        assert by_name(report)[name_of(worker)].to_dict()["answered_by"] == name_of(worker)
    report = checked(settings, worker="another")
    assert report.error is not None
    assert "it is not running" in report.error.message
    assert not [key for key in keys(settings) if "another" in key]


def test_a_busy_worker_is_not_reported_as_hanging(running: tuple[Settings, Forked], tmp_path: Path) -> None:
    settings, worker = running
    with Client(settings=settings) as client:
        gates = [tmp_path / name for name in ("one", "two", "three")]
        jobs = [client._enqueue("test.steps", {"gate": str(gate)}, domain=gate.name) for gate in gates]
        try:
            until(lambda: sum(job.status().state == "running" for job in jobs) == 2)
            report = checked(settings, seconds=WHOLE)
            assert report.health is Health.BUSY
            assert report.error is None
            check = by_name(report)["fbs.discovery"]
            assert check.detail.startswith(f"{name_of(worker)} runs 2 of 2; 1 waiting, the next for ")
            assert WHOLE <= check.to_dict()["oldest_seconds"] < PATIENCE
        finally:
            for gate in gates:
                gate.touch()
        for job in jobs:
            job.wait(PATIENCE)
    until(lambda: checked(settings).health is Health.FINE)  # no unanswered probe is left in the queue


def test_a_stopped_worker_is_reported(
    running: tuple[Settings, Forked],
) -> None:
    settings, worker = running
    until(lambda: (beat := heartbeat_of(settings, name_of(worker))) is not None and beat.running == 0)
    with stopped(worker):
        report = checked(settings)
        assert report.error is not None
        assert report.error.message.startswith("No worker consumes the queue fbs.discovery: ")
        assert name_of(worker) in report.error.message
        assert "Restart it" in report.error.hint
        report = checked(settings, worker=name_of(worker))
        assert report.error is not None
        assert report.error.message.startswith(f"Worker {name_of(worker)} consumes no jobs: ")
    until(lambda: checked(settings).health is Health.FINE)


def test_a_worker_that_lost_its_queue_is_reported(running: tuple[Settings, Forked]) -> None:
    """Seen in Celery after a loss of Redis: connected, its main loop running, consuming no queue."""
    settings, worker = running
    until(lambda: checked(settings).health is Health.FINE)  # the jobs of the test before have ended
    with make_app(settings) as app:
        until(lambda: app.control.cancel_consumer("fbs.schema", reply=True, timeout=0.5))
        try:
            report = checked(settings)
        finally:
            until(lambda: app.control.add_consumer("fbs.schema", reply=True, timeout=0.5))
    checks = by_name(report)
    assert checks["fbs.discovery"].health is Health.FINE
    assert checks["fbs.schema"].health is Health.FAILED
    # on a busy machine the first question is still being answered
    consumes = rf"{name_of(worker)} is running with [12] of 2 slots free, but consumes no messages"
    assert re.search(consumes, checks["fbs.schema"].detail)
    until(lambda: checked(settings).health is Health.FINE)


def test_a_worker_of_one_queue_answers_for_that_queue_alone(settings: MakeSettings, tmp_path: Path) -> None:
    made = settings()
    with Program.start(
        *("worker", "--name=reader", "--queues=fbs.discovery,fbs.discovery", "--concurrency=1"),
        settings=made,
        log=tmp_path / "worker.log",
    ):
        reports = [checked(made)]
        while by_name(reports[-1])["fbs.discovery"].health is not Health.FINE:  # a busy machine may be late
            assert len(reports) < PATIENCE
            reports.append(checked(made))
        checks = by_name(reports[-1])
        assert list(checks) == ["redis", "fbs.discovery", "fbs.schema", "fbs.records", "home database"]
        assert [check.health for check in checks.values()] == ["fine", "fine", "failed", "failed", "fine"]
        other = f"only other queues are consumed ({worker_name('reader')} consumes fbs.discovery)"
        assert other in checks["fbs.schema"].detail
        assert "--queues fbs.schema" in checks["fbs.schema"].hint
        assert checked(made, worker="reader", seconds=10).health is Health.FINE
        with closing(redis.Redis.from_url(made.fbs_redis_url)) as client:
            client.client_kill_filter(_type="normal", skipme=True)  # the broker is away briefly
        until(lambda: checked(made, worker="reader").health is Health.FINE)
    assert not [key for key in keys(made) if "reader" in key or key == "fbs:workers"]
    checks = by_name(checked(made))
    assert "no worker is running" in checks["fbs.discovery"].detail
    with closing(redis.Redis.from_url(made.fbs_redis_url)) as client:
        assert not {key for key in keys(made) if not key.startswith("_kombu.") and client.ttl(key) < 0}


def test_a_killed_worker_leaves_nothing_behind(settings: MakeSettings, tmp_path: Path) -> None:
    made = settings()
    worker = Program.start("worker", "--name=victim", "--concurrency=1", settings=made, log=tmp_path / "worker.log")
    os.killpg(worker.process.pid, signal.SIGKILL)
    until(lambda: not worker.process.alive)
    worker.stop()
    report = checked(made, worker="victim")
    assert report.error is not None
    assert "victim" in report.error.message
    ours = [key for key in keys(made) if key.startswith("fbs")]
    assert ours  # its last heartbeat
    with closing(redis.Redis.from_url(made.fbs_redis_url)) as client:
        assert all(0 < client.ttl(key) <= 60 for key in ours)
        assert not client.exists("_kombu.binding.C.dq2")


@pytest.fixture
def closed() -> Iterator[int]:
    """A port without a listener."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose listener accepts connections and sends nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_redis_is_away(kind: str, request: pytest.FixtureRequest, settings: MakeSettings) -> None:
    port = request.getfixturevalue(kind)
    made = settings(fbs_redis_url=f"redis://:{SECRET}@127.0.0.1:{port}/0")
    report = checked(made)
    checks = by_name(report)
    assert [check.health for check in checks.values()] == ["failed", "unknown", "unknown", "unknown", "fine"]
    assert report.error is not None
    assert report.error.message == f"Redis at 127.0.0.1:{port} does not answer."
    assert SECRET not in json.dumps(report.to_dict())


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_of_its_own_is_away(scheme: str, closed: int, redis_url: str) -> None:
    url = f"{scheme}://me:{SECRET}@127.0.0.1:{closed}/0"
    report = checked(Settings(fbs_redis_url=redis_url, fbs_broker_url=url))
    assert [(check.name, str(check.health)) for check in report.checks] == [
        ("redis", "fine"),
        ("broker", "failed"),
        ("fbs.discovery", "unknown"),
        ("fbs.schema", "unknown"),
        ("fbs.records", "unknown"),
    ]
    assert report.error is not None
    assert report.error.message == f"The broker at 127.0.0.1:{closed} does not answer."
    assert SECRET not in json.dumps(report.to_dict())


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_the_home_database_is_away(kind: str, request: pytest.FixtureRequest, running: tuple[Settings, Forked]) -> None:
    port = request.getfixturevalue(kind)
    url = f"postgresql://me:{SECRET}@127.0.0.1:{port}/fbs"
    report = checked(running[0].model_copy(update={"fbs_database_url": url}))
    checks = by_name(report)
    assert checks["fbs.schema"].health is Health.FINE
    assert checks["home database"].health is Health.FAILED
    assert str(port) in checks["home database"].detail
    assert SECRET not in json.dumps(report.to_dict())


def test_the_command_prints_a_table(
    running: tuple[Settings, Forked],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, worker = running
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert run(["health"]) == 0
    output = capsys.readouterr()
    assert [line.split()[:2] for line in output.out.splitlines()[1:]] == [
        ["check", "status"],
        ["redis", "ok"],
        ["fbs.discovery", "ok"],
        ["fbs.schema", "ok"],
        ["fbs.records", "ok"],
    ]
    assert output.err == ""
    assert run(["health", "--worker", name_of(worker), "--output-format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["health"] == "fine"


def test_the_exit_code_is_3_when_a_check_fails(
    closed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FBS_REDIS_URL", f"redis://127.0.0.1:{closed}/0")
    assert run(["health", "--timeout", "1"]) == 3
    output = capsys.readouterr()
    assert "redis" in output.out
    error, hint = output.err.splitlines()
    assert error == f"error: Redis at 127.0.0.1:{closed} does not answer."
    assert hint.startswith("hint: ")
    assert run(["health", "--timeout", "1", "--output-format", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unhealthy"
    assert run(["health", "--timeout", "0"]) == 2
