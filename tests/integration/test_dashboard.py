"""`fbs flower` as a real process: authentication, saved history, redaction."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from flower.urls import handlers
from pydantic import SecretStr

from fbs_worker.core.errors import EXIT_USAGE, JobError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.dashboard.auth import basic_auth_header
from fbs_worker.ops.local.embedded import EmbeddedRedis
from fbs_worker.ops.local.programs import Program, settings_environment
from tests.support import preloaded
from tests.support.dashboard import PASSWORD, USER, Dashboard, dashboard
from tests.support.processes import ROOT
from tests.support.restarts import start_redis, stop_redis
from tests.support.servers import redis_database
from tests.support.waiting import until

SECRET = "hunter-2-of-a-database"


def example(route: Any) -> str:
    """An address that a route of Flower's takes."""
    pattern = route[0] if isinstance(route, tuple) else route.regex.pattern
    return "/" + re.sub(r"\(?\.[*+]\)?", "x", pattern.removesuffix("$").replace("/?", "")).removeprefix("/")


ADDRESSES = sorted(
    {
        *map(example, handlers),
        *(
            "/static/js/flower.js",
            "/static/favicon.ico",
            "/static/../options.py",
            "/login",
            "/nothing",
            "//",
            "/%2e%2e/",
        ),
        *("/api/tasks?limit=1", "/workers?json=1", "/task/1", "/metrics/", "/METRICS"),
    }
)


def settings_for(redis_url: str, home: Path, **more: Any) -> Settings:
    key = SecretStr(Fernet.generate_key().decode())
    return Settings(
        fbs_redis_url=redis_url, fbs_secret_keys=key, fbs_home=home, fbs_pages_url="http://pages.example", **more
    )


@pytest.fixture(scope="module")
def shown(redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[Dashboard]:
    """One dashboard for the tests that only read."""
    home = run_folder / "dashboard"
    home.mkdir()
    with redis_database(redis_server.url) as url, dashboard(settings_for(url, home), log=home / "log") as running:
        yield running


@pytest.fixture
def own(redis_url: str, tmp_path: Path) -> Settings:
    """Settings of one test's own."""
    return settings_for(redis_url, tmp_path / "home", fbs_flower_password=SecretStr(PASSWORD), fbs_flower_port=0)


def test_the_addresses_are_all() -> None:
    assert {"/", "/metrics", "/healthcheck", "/api/tasks", "/api/worker/shutdown/x", "/tasks/datatable"} <= set(
        ADDRESSES
    )
    assert len(ADDRESSES) > len(handlers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_nothing_is_shown_without_the_password(shown: Dashboard, method: str) -> None:
    for authorization in (
        "",
        basic_auth_header(USER, ""),
        basic_auth_header(USER, "wrong"),
        basic_auth_header("admin", PASSWORD),
        "Basic x",
    ):
        for address in ADDRESSES if authorization in {"", basic_auth_header(USER, "wrong")} else ADDRESSES[:3]:
            answer = shown.ask(address, method=method, authorization=authorization)
            assert answer.status == 401, address
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert answer.body == (b"" if method == "HEAD" else b"User and password are required.\n")
            assert "set-cookie" not in answer.headers


def test_no_websocket_opens_without_the_password(shown: Dashboard) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    for address in ("/", "/api/task/events/task-succeeded/", "/update-workers"):
        assert shown.ask(address, authorization="", **upgrade, Sec_WebSocket_Key="eA==").status == 401


def test_with_the_password_everything_is_shown(shown: Dashboard) -> None:
    for address in (
        "/",
        "/workers",
        "/tasks",
        "/broker",
        "/metrics",
        "/healthcheck",
        "/static/js/flower.js",
        "/api/tasks",
    ):
        assert shown.get(address), address
    assert shown.ask("/nothing").status == 404


def test_it_is_read_only(shown: Dashboard) -> None:
    doing = [path for path in ADDRESSES if path.startswith("/api/")]
    answers = {path: shown.ask(path, method="POST").status for path in doing}
    assert set(answers.values()) == {403, 405}
    assert {path for path, status in answers.items() if status == 405} == {
        *("/api/tasks", "/api/tasks?limit=1", "/api/workers", "/api/queues/length"),
        *("/api/task/types", "/api/task/info/x", "/api/task/result/x"),
    }


def test_the_password_of_redis_is_not_shown(shown: Dashboard) -> None:
    password = shown.program.settings.fbs_redis_url.split("@")[0].rpartition(":")[2]
    for address in ("/", "/broker", "/api/workers?refresh=1", "/api/queues/length", "/metrics"):
        assert password not in shown.get(address)
    assert password not in shown.program.log.read_text()


def test_a_wrong_password_is_in_the_log_without_itself(shown: Dashboard) -> None:
    shown.ask("/", authorization=basic_auth_header(USER, "guess-of-a-guest"))
    log = shown.program.log.read_text()
    assert "rejected 127.0.0.1" in log
    assert "guess-of-a-guest" not in log
    assert PASSWORD not in log


def send_events(shown: Dashboard, task_id: str, *events: tuple[str, dict[str, Any]], state: str) -> None:
    """Send events as a worker does, until the dashboard, which may have just started, has received them all.

    The first names the task: one that begins to listen in between has the state without it.
    """

    def arrived() -> bool:
        _send(shown.program.settings, task_id, *events)
        task = shown.tasks().get(task_id, {})
        return bool(task.get("name")) and task["state"] == state

    until(arrived)


def _send(settings: Settings, task_id: str, *events: tuple[str, dict[str, Any]]) -> None:
    with (
        make_app(settings) as app,
        app.connection_for_write() as connection,
        app.events.Dispatcher(connection, hostname="someone@else") as dispatcher,
    ):
        for kind, fields in events:
            dispatcher.send(f"task-{kind}", uuid=task_id, **fields)


def test_a_password_in_a_foreign_message_is_not_shown(shown: Dashboard) -> None:
    kwargs = {"config": {"solution_name": "shop", "database_config": {"name": "x", "password": SECRET}}}
    about = {"name": "fbs.setup", "args": "()", "kwargs": repr(kwargs)}
    send_events(shown, "foreign", ("sent", about), ("received", about), state="RECEIVED")
    for address in ("/api/tasks", "/api/task/info/foreign", "/task/foreign"):
        page = shown.get(address)
        assert SECRET not in page
        assert "shop" in page
    assert 'href="http://pages.example/jobs/foreign/"' in page
    assert 'id="fbs-job"' not in shown.get("/tasks")


def test_it_does_not_start_without_a_password(own: Settings, tmp_path: Path) -> None:
    environment = settings_environment(own.model_copy(update={"fbs_flower_password": SecretStr("")}))
    environment |= {"PATH": os.defpath, "HOME": str(tmp_path)}
    ended = preloaded.run(("flower",), env=environment, cwd=ROOT)
    assert ended.returncode == EXIT_USAGE
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: The dashboard has no password.\nhint: Set FBS_FLOWER_PASSWORD")


def test_it_says_why_it_cannot_listen(own: Settings, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(JobError, match=rf"Port {port} of 127\.0\.0\.1 is in use"):
            Program.start("flower", f"--port={port}", settings=own, log=tmp_path / "taken.log")


@pytest.mark.faults
def test_the_history_survives_a_kill(own: Settings, tmp_path: Path) -> None:
    job = "22222222-2222-2222-2222-222222222222"
    with dashboard(own, log=tmp_path / "first.log") as first:
        about = {"name": "fbs.setup", "args": "()", "kwargs": "{'solution_name': 'shop', 'password': '" + SECRET + "'}"}
        progress = {"step": "tables", "percent": 50, "message": "lease", "current": 1, "total": 2}
        send_events(first, "1", ("received", about), ("started", {}), ("progress", progress), state="PROGRESS")
        with pytest.raises(JobError, match="Another dashboard"):
            Program.start("flower", settings=own, log=tmp_path / "second.log")
        folder = own.home() / "flower"
        # not in the file that is being written beside it
        until(lambda: any(b"lease" in path.read_bytes() for path in folder.glob("history*") if ".tmp" not in path.name))
        os.kill(first.program.process.pid, signal.SIGKILL)
        assert first.program.process.wait(10)
    with redis.Redis.from_url(own.fbs_redis_url) as raw:
        raw.flushdb()
    saved = [path for path in folder.iterdir() if path.name.startswith("history")]
    assert all(SECRET.encode() not in path.read_bytes() for path in saved)
    assert all(path.stat().st_mode & 0o077 == 0 for path in saved)
    with JobStore(own.fbs_redis_url, ttl=60) as jobs:  # what happens while it is away is in the jobs' records
        jobs.create(job, action="refresh", solution="shop")
        jobs.request_cancel(job)
    with dashboard(own, log=tmp_path / "third.log") as third:
        until(lambda: third.state(job) == "REVOKED")
        kept = third.tasks()["1"]
        assert (kept["state"], kept["progress"], kept["subject"]) == ("PROGRESS", "tables 50 %", "shop")
        assert kept["worker"] == "someone@else"
        page = third.get("/task/1")
        assert all(words in page for words in ("PROGRESS", "tables", "lease", "50"))
    assert sorted(folder.iterdir()) == sorted([*saved, folder / "lock"])


@pytest.mark.faults
def test_it_reconnects_when_redis_is_back(run_folder: Path, tmp_path: Path) -> None:
    folder = run_folder / "redis-of-the-dashboard"
    server = EmbeddedRedis.start(folder, durable=False)
    about = {"name": "fbs.setup"}
    try:
        with dashboard(settings_for(server.url, tmp_path / "home"), log=tmp_path / "log") as shown:
            send_events(shown, "before", ("received", about), state="RECEIVED")
            stop_redis(server, kill=True)
            assert shown.state("before") == "RECEIVED"
            server = start_redis(folder)
            send_events(shown, "after", ("received", about), state="RECEIVED")
            assert shown.state("before") == "RECEIVED"
    finally:
        server.stop()
