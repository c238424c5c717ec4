"""An unreachable Redis or broker, and missing settings: a clear error within seconds."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from fbs_worker.client.client import Client
from fbs_worker.core import redis as queue
from fbs_worker.core.errors import QueueUnreachable, SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.ops.local.embedded import EmbeddedRedis
from fbs_worker.ops.local.programs import settings_environment
from tests.support.job_tasks import SECRET
from tests.support.processes import ROOT

pytestmark = pytest.mark.faults


@pytest.fixture
def closed_port() -> Iterator[str]:
    """The URL of a closed port."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/0"


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and never replies."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def assert_fails_quickly(url: str, attempt: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(QueueUnreachable) as caught:
        attempt()
    assert time.monotonic() - began < 6
    place = url.rpartition("@")[2].removeprefix("redis://").partition("/")[0]
    assert place in caught.value.message
    assert "fbs up" in caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["closed_port", "silent"])
def test_enqueuing_without_redis_is_a_quick_error(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(kind)
    with Client(settings=Settings(fbs_redis_url=url)) as client:
        assert_fails_quickly(url, lambda: client.discover(domain="rental"))


@pytest.mark.parametrize("kind", ["closed_port", "silent"])
def test_sending_itself_does_not_hang_either(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(kind)
    with make_app(Settings(fbs_redis_url=url), results=False) as app:
        send_it = app.broker.errors_translated()(lambda: app.send_task("fbs.discover"))
        assert_fails_quickly(url, send_it)


@pytest.mark.parametrize("kind", ["redis", "amqp", "sentinel"])
def test_a_job_that_the_broker_rejected_leaves_no_record(redis_url: str, closed_port: str, kind: str) -> None:
    url = f"{kind}{closed_port.removeprefix('redis')}{'?master_name=mine' if kind == 'sentinel' else ''}"
    with Client(settings=Settings(fbs_redis_url=redis_url, fbs_broker_url=url)) as broken:
        for _ in range(2 if kind == "redis" else 1):  # what was not sent stands for no other
            with pytest.raises(QueueUnreachable, match=r"127\.0\.0\.1") as caught:
                broken.discover(domain="rental")
            assert "FBS_BROKER_URL" in caught.value.hint
            assert SECRET not in str(caught.value) + caught.value.hint
        assert list(broken.jobs()) == []


@pytest.mark.parametrize("command", ["worker", "beat", "status"])
def test_a_command_of_celery_s_own_without_settings_says_so_in_two_lines(command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "fbs_worker.app", command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == ["FBS_REDIS_URL is not set.", queue.HOW_TO_START]


@pytest.mark.parametrize(
    "command",
    [["-m", "tests.support.job_worker"], ["-m", "celery", "-A", "fbs_worker.app", "worker"]],
    ids=["ours", "celery's"],
)
def test_a_worker_without_redis_says_so_and_ends(command: list[str], closed_port: str) -> None:
    environment = settings_environment(Settings(fbs_redis_url=closed_port))
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert closed_port.rpartition("@")[2].partition("/")[0] in ended.stderr
    assert "fbs up" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


def test_a_wrong_password_of_redis_is_a_settings_error(redis_server: EmbeddedRedis) -> None:
    place = redis_server.url.rpartition("@")[2]
    client = Client(f"redis://:wrong-password@{place}", settings=Settings())
    with pytest.raises(SettingsError, match="rejects") as caught:
        client.jobs()
    assert "wrong-password" not in str(caught.value) + caught.value.hint


def test_nothing_of_a_message_shows_its_arguments(redis_url: str) -> None:
    with Client(settings=Settings(fbs_redis_url=redis_url)) as client, closing(redis.Redis.from_url(redis_url)) as raw:
        client.discover(domain="rental", database_config={"name": "shop", "password": "env:SHOP_PASSWORD"})
        (message,) = raw.lrange("fbs.discovery", 0, -1)  # type: ignore[misc,unused-ignore]
    assert b"SHOP_PASSWORD" not in message  # the body is encoded, and its description has no password
    assert b"'***'" in message
