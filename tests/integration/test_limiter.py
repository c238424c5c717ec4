"""The limiter: a maximum of concurrent calls to one Odoo, over all workers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from fbs_worker.client.in_process import run_in_process
from fbs_worker.connectors import limiter
from fbs_worker.connectors.connect import limiter_for, open_transport
from fbs_worker.connectors.limiter import OdooLimiter
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import JobCancelled, OdooServerError
from fbs_worker.core.progress import NullProgress
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.domains import load_domain
from fbs_worker.ops.local.embedded import EmbeddedRedis
from tests.support.limiters import PASSWORD, MakeLimiter, connection, fail, key, taken
from tests.support.odoo_caller import start_caller
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_server import OdooServer
from tests.support.restarts import start_redis
from tests.support.solutions import few_models
from tests.support.waiting import PATIENCE, until

# calls at once


@pytest.mark.parametrize("max_calls", [1, 3])
def test_never_more_calls_at_once_than_allowed_over_processes_and_threads(
    odoo: OdooServer, redis_url: str, raw: redis.Redis, max_calls: int
) -> None:
    odoo.latency = 0.005 * max_calls
    for how in (Misbehaviour.BAD_GATEWAY, Misbehaviour.CLOSE_WITHOUT_ANSWER, Misbehaviour.CUT_SHORT, Misbehaviour.HANG):
        odoo.misbehave(how, times=2)
    given = {"redis": redis_url, "odoo": odoo.url, "threads": 4, "calls": 8, "max_calls": max_calls, "timeout": 0.5}
    callers = [start_caller(**given) for _ in range(3)]
    ended: Counter[str] = Counter()
    for caller, output in callers:
        with output:
            ended += Counter(json.load(output))
        assert caller.wait() == 0
    assert odoo.most_in_flight == max_calls, "as many as allowed, and never one more"
    failures = {kind: times for kind, times in ended.items() if kind != "answered"}
    assert failures, "it did not misbehave"
    lost = sum(times for kind, times in failures.items() if kind.startswith("opening"))
    assert sum(ended.values()) == 8 * (12 - lost) + lost
    server = odoo.url.partition("://")[2]
    assert int(raw.hget("fbs:metrics", f"call_failures|{server}") or 0) == sum(failures.values())
    assert raw.zcard(key("leases", odoo.url)) == 0


def test_a_waiting_call_goes_on_as_soon_as_a_lease_is_free(
    make_limiter: MakeLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter, "_WAKE_SECONDS", 3)
    first, second = make_limiter(), make_limiter()
    came: list[float] = []

    def wait() -> None:
        with second.slot():
            came.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    with taken(first) as release:
        waiting.start()
        time.sleep(0.2)
        assert not came
        freed = time.monotonic()
        release.set()
        waiting.join(PATIENCE)
    assert came[0] - freed < 2, "it was woken, it did not look by chance"


def test_a_lease_is_renewed_for_as_long_as_its_call_lasts(make_limiter: MakeLimiter) -> None:
    holder = make_limiter(lease_seconds=0.3)
    asked: list[None] = []
    other = make_limiter(lease_seconds=0.3, waiting=lambda: asked.append(None))
    with taken(holder) as release:
        timer = threading.Timer(1.2, release.set)
        timer.start()
        began = time.monotonic()
        with other.slot():
            assert time.monotonic() - began > 1.1
        timer.join()
    assert asked


@pytest.mark.faults
def test_the_lease_of_a_killed_process_expires(odoo: OdooServer, redis_url: str, make_limiter: MakeLimiter) -> None:
    lease = 1.0
    odoo.misbehave(Misbehaviour.HANG)
    given = {"redis": redis_url, "odoo": odoo.url, "threads": 1, "calls": 1, "max_calls": 1, "lease": lease}
    caller, output = start_caller(**given)
    until(lambda: odoo.requests == 1)
    caller.kill()
    killed = time.monotonic()
    with make_limiter(odoo.url, lease_seconds=lease).slot():
        assert time.monotonic() - killed < lease + 4
    output.close()
    caller.wait()


def test_two_servers_have_two_limiters(make_limiter: MakeLimiter) -> None:
    with taken(make_limiter("http://one:8069")), make_limiter("http://two:8069").slot():
        pass


def test_nothing_of_a_limiter_stays_in_redis_for_good(make_limiter: MakeLimiter, raw: redis.Redis) -> None:
    one = make_limiter()
    fail(one)
    with one.slot():
        assert raw.keys("fbs:odoo:*")
        assert all(raw.pttl(name) > 0 for name in raw.keys("fbs:odoo:*"))
    fail(one)
    assert all(raw.pttl(name) > 0 for name in raw.keys("fbs:odoo:*"))


def test_a_lost_answer_of_redis_does_not_make_a_call_wait_for_itself(make_limiter: MakeLimiter) -> None:
    one = make_limiter()
    about = one._script_call("the-same-lease", 1)
    assert one._acquire_script(**about) == ["acquired", 0]
    assert one._acquire_script(**about) == ["acquired", 0]


# cancelling


def test_a_job_that_is_cancelled_while_it_waits_stops_at_once(make_limiter: MakeLimiter, raw: redis.Redis) -> None:
    def cancelled() -> None:
        raise JobCancelled("The job was cancelled.")

    with taken(make_limiter()):
        began = time.monotonic()
        with pytest.raises(JobCancelled), make_limiter(waiting=cancelled).slot():
            raise AssertionError("a call was made")
        assert time.monotonic() - began < 3
        assert raw.zcard(key("leases")) == 1


def test_a_read_that_is_cancelled_while_it_waits_stops_at_once(odoo: OdooServer, make_limiter: MakeLimiter) -> None:
    class Cancelled(NullProgress):
        asked = 0

        def advance(self, units: int = 1, *, message: str = "") -> None:
            self.asked += 1
            if self.asked == 3:
                raise JobCancelled("The job was cancelled.")

    def reading() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "fbs-odoo-reader"]

    others = reading()
    transport = open_transport(connection(odoo), limiter=make_limiter(odoo.url))
    with taken(make_limiter(odoo.url)):
        with closing(transport), pytest.raises(JobCancelled):
            list(OdooConnector(transport).read(load_domain("hr"), progress=Cancelled()))
        until(lambda: set(reading()) <= set(others))
    assert odoo.calls == []


def test_progress_is_reported_in_the_thread_of_the_job_only(make_limiter: MakeLimiter) -> None:
    reported: list[int] = []
    waiting = make_limiter(waiting=lambda: reported.append(threading.get_ident()))
    with taken(make_limiter()) as release:
        timer = threading.Timer(0.3, release.set)
        timer.start()
        with taken(waiting):
            assert reported == []
        timer.join()


# whole reads


def discover(odoo: OdooServer, progress: NullProgress | None = None, **settings: Any) -> dict[str, Any]:
    given = Settings(
        odoo_url=odoo.url, odoo_db="live", odoo_user="admin", odoo_password=SecretStr(PASSWORD), **settings
    )
    return run_in_process("fbs.discover", {"domain": "hr"}, settings=given, progress=progress)


@pytest.fixture(scope="module")
def full_odoo() -> Iterator[OdooServer]:
    with OdooServer(RecordingTransport(few_models())) as server:
        yield server


def test_a_read_takes_as_many_calls_as_without_a_limiter(
    full_odoo: OdooServer, redis_url: str, raw: redis.Redis
) -> None:
    full_odoo.calls.clear()
    without = discover(full_odoo)
    assert raw.keys("*") == []
    asked, full_odoo.calls[:] = list(full_odoo.calls), []
    within = discover(full_odoo, fbs_redis_url=redis_url, fbs_odoo_max_calls=1)
    assert within["calls"] == without["calls"] == len(full_odoo.calls) <= 12
    assert full_odoo.calls == asked
    assert within["counts"] == without["counts"]
    place = full_odoo.url.partition("://")[2]
    assert raw.hgetall("fbs:metrics") == {f"calls|{place}": str(within["calls"] + 2)}, "and the version, and the login"


@pytest.mark.faults
def test_a_redis_that_goes_away_and_comes_back_fails_no_call(
    odoo: OdooServer, tmp_path: Path, run_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ask() -> None:
        assert len(transport.call("ir.model", "search_read", domain=[], fields=["model"])) == 5

    folder = run_folder / f"redis-of-{tmp_path.name}"
    server = EmbeddedRedis.start(folder, durable=False)
    guarded = OdooLimiter(server.url, odoo.url, max_calls=1, max_failures=1, pause=60)
    try:
        with closing(open_transport(connection(odoo), limiter=guarded)) as transport:
            with guarded.slot():
                server.stop()  # while a call is made: its lease cannot be given back
            for _ in range(3):
                ask()
            odoo.misbehave(Misbehaviour.BAD_GATEWAY, times=1)
            with pytest.raises(OdooServerError):
                ask()
            server = start_redis(folder)
            guarded._without_redis_until = 0.0
            ask()
            with redis.Redis.from_url(server.url, decode_responses=True) as client:
                assert client.hgetall("fbs:metrics") == {f"calls|{odoo.url.partition('://')[2]}": "1"}
    finally:
        server.stop()
    assert len([line for line in caplog.messages if "are not limited while Redis is unreachable" in line]) == 1


def test_a_read_goes_on_without_redis(full_odoo: OdooServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
    began = time.monotonic()
    assert discover(full_odoo, fbs_redis_url=closed)["counts"] == discover(full_odoo)["counts"]
    assert time.monotonic() - began < 10, "Redis is not asked again and again"


def test_there_is_a_limiter_for_a_server_and_a_redis(redis_url: str) -> None:
    def server(url: str, **settings: Any) -> str | None:
        made = limiter_for(OdooConnection(url=url), settings=Settings(**settings), progress=NullProgress())
        if made is None:
            return None
        made.close()
        return made._server

    assert server("HTTP://Odoo.Example:80/", fbs_redis_url=redis_url) == "http://odoo.example:80"
    assert server("https://odoo.example", fbs_redis_url=redis_url) == "https://odoo.example:443"
    assert server("http://[::1]:8069", fbs_redis_url=redis_url) == "http://[::1]:8069"
    assert server("http://odoo.example") is None
    assert server(f"recording:{few_models()}", fbs_redis_url=redis_url) is None
