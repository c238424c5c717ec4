"""A Redis user with the documented rights, and users with fewer; TLS; a start against a Redis that is no good for jobs."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flower.utils.broker import Broker

from fbs_worker.client.client import Client
from fbs_worker.core.errors import FBSError, QueueUnreachable, SettingsError
from fbs_worker.core.redis import connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import check, make_app
from fbs_worker.jobs.worker.run import run_worker
from fbs_worker.ops.health import check_health
from tests.support.certificate import SelfSigned, self_signed
from tests.support.job_worker import job_worker
from tests.support.redis_faults import PASSWORD, OwnRedis, own_redis
from tests.support.waiting import until
from tests.unit.test_architecture import ROOT

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def server(run_folder: Path) -> Iterator[OwnRedis]:
    with own_redis(run_folder / "rights-redis") as running:
        yield running


def documented() -> list[str]:
    (command,) = re.findall(
        r"ACL SETUSER fbs on >PASSWORD (.*?)```", (ROOT / "docs/howto/redis.md").read_text(), re.DOTALL
    )
    return str(command).split()


def denied(server: OwnRedis) -> list[tuple[str, str]]:
    """What Redis denied; redis-py goes on without telling its name (`CLIENT SETINFO`, unknown to Redis 6.2)."""
    entries = server.admin("ACL", "LOG")
    return [(entry["reason"], entry["object"]) for entry in entries if entry["object"] != "client"]


def test_the_documented_rights_suffice(server: OwnRedis, tmp_path: Path) -> None:
    server.admin("ACL", "SETUSER", "fbs", "on", ">fbs", *documented())
    server.admin("ACL", "LOG", "RESET")
    settings = Settings(fbs_redis_url=server.url_of("fbs"), fbs_home=tmp_path / "home")
    log = tmp_path / "log"
    with job_worker(settings, log=log), Client(settings=settings) as client:
        job = client._enqueue("test.flaky", {"runs": str(tmp_path / "runs"), "failures": 1}, domain="rental")
        until(
            lambda: str(job.status().state) == "succeeded",
            lambda: (log.read_text()[-2000:], denied(server)),
            seconds=30,
        )
        assert check_health(settings).health == "fine"
        job.cancel()
        with client._app.connection_for_read() as connection:  # as the dashboard does
            client._app.events.Receiver(connection, handlers={"*": lambda _: None}).capture(limit=1, timeout=30)
    assert denied(server) == []


def test_what_the_rights_lack_is_named_and_nothing_is_enqueued(server: OwnRedis) -> None:
    server.admin("ACL", "SETUSER", "u", "on", ">u", "~*", "resetchannels", "+@all")
    with Client(settings=Settings(fbs_redis_url=server.url_of("u"))) as client:
        with pytest.raises(SettingsError, match=r"forbids its user a channel \(ACL\)"):
            client.discover(domain="hr")
        assert not [job for job in client.jobs() if job.action == "discover"]
    assert server.admin("LLEN", "fbs.discovery") == 0


# ------------------------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["replicaof 127.0.0.1 1"], "replica"),
        (["maxmemory 1"], "no memory left"),
        (["cluster-enabled yes"], "Redis Cluster"),
        (["min-replicas-to-write 1"], "too few replicas"),
    ],
)
def test_a_start_against_a_redis_that_rejects_changes_says_so(tmp_path: Path, lines: list[str], words: str) -> None:
    with own_redis(tmp_path, *lines) as server:
        settings = Settings(fbs_redis_url=server.url, fbs_home=tmp_path / "home")
        for start in (_check, run_worker, _discover):
            with pytest.raises(FBSError, match=words) as caught:
                start(settings)
            assert caught.value.hint
        report = check_health(settings, seconds=1)
        assert report.error is not None
        assert words in report.error.message


def _check(settings: Settings) -> None:
    check(make_app(settings))


def _discover(settings: Settings) -> object:
    with Client(settings=settings) as client:
        return client.discover(domain="hr")


@pytest.mark.parametrize(
    ("lines", "words"), [(["maxmemory-policy allkeys-lru"], "allkeys-lru"), (["maxmemory 3gb"], "of 3221.2 MB")]
)
def test_health_names_memory_policy_and_role(tmp_path: Path, lines: list[str], words: str) -> None:
    with own_redis(tmp_path, *lines) as server:
        (redis, *_) = check_health(Settings(fbs_redis_url=server.url), seconds=1).checks
    assert "primary" in redis.detail
    assert words in redis.detail
    assert redis.facts is not None
    assert redis.facts["role"] == "primary"
    assert redis.facts["maxmemory_policy"] == (lines[0].split()[1] if "policy" in lines[0] else "noeviction")
    assert bool(redis.hint) == ("policy" in lines[0])


# --------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def tls_redis() -> Path:
    executable = Path(shutil.which("redis-server") or "/nonexistent")
    if (
        not executable.exists()
        or "libssl" not in subprocess.run(["ldd", executable], check=False, capture_output=True, text=True).stdout
    ):
        pytest.skip("NO REDIS WITH TLS HERE: apt-get install redis-server")
    return executable


@pytest.fixture(scope="module")
def tls(run_folder: Path, tls_redis: Path) -> Iterator[tuple[str, SelfSigned]]:
    """Address of a Redis that speaks TLS only, with its certificate."""
    folder = run_folder / "tls-redis"
    folder.mkdir()
    signed = self_signed(folder, host="127.0.0.1")
    lines = [f"tls-cert-file {signed.certificate}", f"tls-key-file {signed.key}", "tls-auth-clients no"]
    with own_redis(folder, *lines, executable=tls_redis, tls=True) as server:
        yield f"rediss://:{PASSWORD}@127.0.0.1:{server.port}/0", signed


@pytest.mark.parametrize(
    "options",
    ["ssl_cert_reqs=none", "ssl_cert_reqs=CERT_NONE", "ssl_ca_certs={}", "ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={}"],
)
def test_the_options_of_tls_as_documented(tls: tuple[str, SelfSigned], tmp_path: Path, options: str) -> None:
    url = f"{tls[0]}?{options.format(tls[1].certificate)}"
    settings = Settings(fbs_redis_url=url)
    with job_worker(settings, log=tmp_path / "log"), Client(settings=settings) as client:
        job = client._enqueue("test.flaky", {"runs": str(tmp_path / "runs"), "failures": 0}, domain="rental")
        until(lambda: str(job.status().state) == "succeeded", (tmp_path / "log").read_text, seconds=30)
    if not options.startswith("ssl_ca"):
        return
    app = make_app(settings)
    broker = Broker(app.connection().as_uri(include_password=True), broker_use_ssl=app.conf.broker_use_ssl)
    assert asyncio.run(broker.queues(["fbs.discovery"])) == [{"name": "fbs.discovery", "messages": 0}]


@pytest.mark.parametrize(
    ("change", "words", "hint"),
    [
        (lambda url: url, "certificate", "ssl_ca_certs"),
        (lambda url: url.replace("rediss:", "redis:"), "closes the connection", "rediss://"),
    ],
)
def test_what_is_wrong_with_tls_is_named(tls: tuple[str, SelfSigned], change: Any, words: str, hint: str) -> None:
    with connect(change(tls[0])) as client, pytest.raises(QueueUnreachable, match=words) as caught:
        client.ping()
    assert hint in caught.value.hint


def test_tls_to_a_redis_without_it_is_named(server: OwnRedis) -> None:
    with (
        connect(server.url.replace("redis:", "rediss:")) as client,
        pytest.raises(QueueUnreachable, match="not speak TLS"),
    ):
        client.ping()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@x?ssl_cert_reqs=none",
        "rediss://:secret@x?ssl_cert_reqs=sometimes",
        "rediss://:secret@x?ssl_ca_certs=/nonexistent",
        "redis://:secret@x?no_such_option=1",
        "redis://:secret@x?socket_timeout=soon",
    ],
)
def test_an_invalid_option_is_an_error_of_the_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="FBS_REDIS_URL") as caught:
        connect(url)
    assert "secret" not in caught.value.message + caught.value.hint
