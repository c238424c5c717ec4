"""`fbs health` against real workers: idle, busy, stopped, killed, of one queue only, or not there at all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
from celery.utils.nodenames import gethostname

from fbs_worker.cli.app import run
from fbs_worker.client.client import Client
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.workers import WorkerHeartbeat, WorkerRegistry
from fbs_worker.ops.health import Check, Health, HealthReport, check_health
from fbs_worker.ops.local.embedded import EmbeddedRedis
from fbs_worker.ops.local.programs import Program, settings_environment
from tests.conftest import MakeSettings
from tests.support.job_worker import job_worker
from tests.support.servers import redis_database

PATIENCE = 30.0
SHORT = 1.0
WHOLE = 3.0  # longer than the time from one sign of life to the next
SECRET = "hunter2-of-redis"


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def by_name(report: HealthReport) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


def looked_at(settings: Settings, *, worker: str | None = None, seconds: float = SHORT) -> HealthReport:
    began = time.monotonic()
    report = check_health(settings, worker=worker, seconds=seconds)
    assert time.monotonic() - began < seconds + 7
    return report


def keys(settings: Settings) -> set[str]:
    with closing(redis.Redis.from_url(settings.fbs_redis_url, decode_responses=True)) as client:
        return set(client.scan_iter())


def sign_of(settings: Settings, name: str) -> WorkerHeartbeat | None:
    with WorkerRegistry(settings.fbs_redis_url) as presence:
        return next((sign for sign in presence.workers() if sign.name == name), None)


# ------------------------------------------------------------------------------------------------ one worker for all


@pytest.fixture(scope="module")
def running(redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[tuple[Settings, subprocess.Popen[bytes]]]:
    """A worker with two slots that knows the tests' own tasks."""
    with redis_database(redis_server.url) as url:
        settings = Settings(fbs_redis_url=url)
        with job_worker(settings, log=run_folder / "health-worker.log") as worker:
            until(lambda: sign_of(settings, name_of(worker)))
            yield settings, worker


def name_of(worker: subprocess.Popen[bytes]) -> str:
    return f"fbs-{worker.pid}@{gethostname()}"


@contextmanager
def stopped(worker: subprocess.Popen[bytes]) -> Iterator[None]:
    """The worker's main process stands still; its connections stay."""
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def test_all_is_fine(running: tuple[Settings, subprocess.Popen[bytes]]) -> None:
    settings, worker = running
    before = keys(settings)
    report = looked_at(settings, seconds=10)
    assert [check.name for check in report.checks] == ["redis", "fbs.discovery", "fbs.schema"]
    assert report.health is Health.FINE
    assert report.error is None
    assert by_name(report)["fbs.schema"].to_dict()["answered_by"] == name_of(worker)
    assert [sign.name for sign in report.workers] == [name_of(worker)]
    assert report.workers[0].slots == 2
    until(lambda: keys(settings) == before)  # a probe leaves no record, no result, no answer


def test_one_worker_is_asked_by_its_name(running: tuple[Settings, subprocess.Popen[bytes]]) -> None:
    settings, worker = running
    for name in (name_of(worker), name_of(worker).partition("@")[0]):
        report = looked_at(settings, worker=name, seconds=10)
        assert report.health is Health.FINE
        assert by_name(report)[name_of(worker)].to_dict()["answered_by"] == name_of(worker)
    report = looked_at(settings, worker="somebody-else")
    assert report.error is not None
    assert "it is not there" in report.error.message
    assert not [key for key in keys(settings) if "somebody-else" in key]


def test_a_busy_worker_is_told_from_one_that_hangs(
    running: tuple[Settings, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    settings, worker = running
    with Client(settings=settings) as client:
        gates = [tmp_path / name for name in ("one", "two", "three")]
        jobs = [client._enqueue("test.steps", {"gate": str(gate)}, domain=gate.name) for gate in gates]
        try:
            until(lambda: sum(job.status().state == "running" for job in jobs) == 2)
            report = looked_at(settings, seconds=WHOLE)
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
    until(lambda: looked_at(settings).health is Health.FINE)  # no probe that nobody took is left in the way


def test_a_worker_that_is_connected_and_takes_nothing_is_told(
    running: tuple[Settings, subprocess.Popen[bytes]],
) -> None:
    settings, worker = running
    until(lambda: (told := sign_of(settings, name_of(worker))) is not None and told.running == 0)
    with stopped(worker):
        report = looked_at(settings)
        assert report.error is not None
        assert report.error.message.startswith("Nobody takes jobs from fbs.discovery: ")
        assert name_of(worker) in report.error.message
        assert "Restart it" in report.error.hint
        report = looked_at(settings, worker=name_of(worker))
        assert report.error is not None
        assert report.error.message.startswith(f"Worker {name_of(worker)} takes no jobs: ")
    until(lambda: looked_at(settings).health is Health.FINE)


def test_a_worker_that_lives_and_has_lost_its_queue_is_told(running: tuple[Settings, subprocess.Popen[bytes]]) -> None:
    """What Celery was seen to do after a loss of Redis: all is connected, its main loop turns, and it asks for no job."""
    settings, worker = running
    with make_app(settings) as app:
        until(lambda: app.control.cancel_consumer("fbs.schema", reply=True, timeout=0.5))
        try:
            report = looked_at(settings)
        finally:
            until(lambda: app.control.add_consumer("fbs.schema", reply=True, timeout=0.5))
    checks = by_name(report)
    assert checks["fbs.discovery"].health is Health.FINE
    assert checks["fbs.schema"].health is Health.FAILED
    assert f"{name_of(worker)} is there with 2 of 2 slots free, but takes nothing" in checks["fbs.schema"].detail
    until(lambda: looked_at(settings).health is Health.FINE)


# ------------------------------------------------------------------------------------------------ workers with names


def test_a_worker_of_one_queue_answers_for_that_one_alone_and_leaves_nothing_behind(
    settings: MakeSettings, tmp_path: Path
) -> None:
    made = settings()
    with Program.start(
        *("worker", "--name=reader", "--queues=fbs.discovery,fbs.discovery", "--concurrency=1"),
        settings=made,
        log=tmp_path / "worker.log",
    ):
        report = looked_at(made)
        checks = by_name(report)
        assert list(checks) == ["redis", "fbs.discovery", "fbs.schema", "home database"]
        assert [check.health for check in checks.values()] == ["fine", "fine", "failed", "fine"]
        assert f"only others (reader@{gethostname()} takes fbs.discovery)" in checks["fbs.schema"].detail
        assert "--queues fbs.schema" in checks["fbs.schema"].hint
        assert looked_at(made, worker="reader", seconds=10).health is Health.FINE
        with closing(redis.Redis.from_url(made.fbs_redis_url)) as client:
            client.client_kill_filter(_type="normal", skipme=True)  # a broker that is away for a moment
        until(lambda: looked_at(made, worker="reader").health is Health.FINE)
    assert not [key for key in keys(made) if "reader" in key or key == "fbs:workers"]
    told = by_name(looked_at(made))
    assert "no worker is there" in told["fbs.discovery"].detail
    assert not {key for key in keys(made) if not key.startswith("_kombu.")}


def test_of_a_killed_worker_nothing_stays(settings: MakeSettings, tmp_path: Path) -> None:
    made = settings()
    worker = Program.start("worker", "--name=victim", "--concurrency=1", settings=made, log=tmp_path / "worker.log")
    os.killpg(worker.process.pid, signal.SIGKILL)
    until(lambda: not worker.process.alive)
    worker.stop()
    report = looked_at(made, worker="victim")
    assert report.error is not None
    assert "victim" in report.error.message
    ours = [key for key in keys(made) if key.startswith("fbs")]
    assert ours  # its last sign
    with closing(redis.Redis.from_url(made.fbs_redis_url)) as client:
        assert all(0 < client.ttl(key) <= 60 for key in ours)
        assert not client.exists("_kombu.binding.C.dq2")


# ------------------------------------------------------------------------------------------------ servers that are away


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port at which nobody answers."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port at which somebody takes calls and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["nobody", "silent"])
def test_redis_is_away(kind: str, request: pytest.FixtureRequest, settings: MakeSettings) -> None:
    port = request.getfixturevalue(kind)
    made = settings(fbs_redis_url=f"redis://:{SECRET}@127.0.0.1:{port}/0")
    report = looked_at(made)
    checks = by_name(report)
    assert [check.health for check in checks.values()] == ["failed", "unknown", "unknown", "fine"]
    assert report.error is not None
    assert report.error.message == f"Redis at 127.0.0.1:{port} does not answer."
    assert SECRET not in json.dumps(report.to_dict())


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_of_its_own_is_away(scheme: str, nobody: int, redis_url: str) -> None:
    url = f"{scheme}://me:{SECRET}@127.0.0.1:{nobody}/0"
    report = looked_at(Settings(fbs_redis_url=redis_url, fbs_broker_url=url))
    assert [(check.name, str(check.health)) for check in report.checks] == [
        ("redis", "fine"),
        ("broker", "failed"),
        ("fbs.discovery", "unknown"),
        ("fbs.schema", "unknown"),
    ]
    assert report.error is not None
    assert report.error.message == f"The broker at 127.0.0.1:{nobody} does not answer."
    assert SECRET not in json.dumps(report.to_dict())


@pytest.mark.parametrize("kind", ["nobody", "silent"])
def test_the_home_database_is_away(
    kind: str, request: pytest.FixtureRequest, running: tuple[Settings, subprocess.Popen[bytes]]
) -> None:
    port = request.getfixturevalue(kind)
    url = f"postgresql://me:{SECRET}@127.0.0.1:{port}/fbs"
    report = looked_at(running[0].model_copy(update={"fbs_database_url": url}))
    checks = by_name(report)
    assert checks["fbs.schema"].health is Health.FINE
    assert checks["home database"].health is Health.FAILED
    assert str(port) in checks["home database"].detail
    assert SECRET not in json.dumps(report.to_dict())


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_tells_it_in_a_table_and_two_lines(
    running: tuple[Settings, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, worker = running
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert run(["health"]) == 0
    told = capsys.readouterr()
    assert [line.split()[:2] for line in told.out.splitlines()[1:]] == [
        ["what", "how"],
        ["redis", "fine"],
        ["fbs.discovery", "fine"],
        ["fbs.schema", "fine"],
    ]
    assert told.err == ""
    assert run(["health", "--worker", name_of(worker), "--output-format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["health"] == "fine"


def test_the_command_ends_with_3_where_something_is_wrong(
    nobody: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FBS_REDIS_URL", f"redis://127.0.0.1:{nobody}/0")
    assert run(["health", "--timeout", "1"]) == 3
    told = capsys.readouterr()
    assert "redis" in told.out
    error, hint = told.err.splitlines()
    assert error == f"error: Redis at 127.0.0.1:{nobody} does not answer."
    assert hint.startswith("hint: ")
    assert run(["health", "--timeout", "1", "--output-format", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unhealthy"
    assert run(["health", "--timeout", "0"]) == 2
