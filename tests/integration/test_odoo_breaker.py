"""The circuit breaker: an Odoo that keeps failing is left alone for a while."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.limiter import LONGEST_PAUSE
from fbs_worker.connectors.recording import RecordingTransport
from fbs_worker.core.errors import (
    FBSError,
    JobCancelled,
    OdooAccessDenied,
    OdooCircuitOpen,
    OdooLoginRefused,
    OdooTimeout,
    OdooUnreachable,
)
from fbs_worker.core.settings import OdooConnection
from tests.support.gates import PASSWORD, MakeGate, connection, fail, gates, key, rest, taken, until
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_server import OdooServer, OdooUser
from tests.support.small_odoo import write_small_recording

KEY = "a" * 40


@pytest.fixture
def gate(redis_url: str) -> Iterator[MakeGate]:
    with gates(redis_url) as make:
        yield make


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def odoo(tmp_path: Path) -> Iterator[OdooServer]:
    with OdooServer(RecordingTransport(write_small_recording(tmp_path / "small.json"))) as server:
        yield server


def test_failures_in_a_row_open_it_and_a_good_answer_closes_it(gate: MakeGate, raw: redis.Redis) -> None:
    one, other = gate(), gate()
    for _ in range(3):  # never three in a row, whoever makes them
        fail(one)
        fail(other)
        with one.turn():
            pass
    fail(one)
    fail(other)
    fail(one)
    error = rest(other)
    assert 50 < error.retry_after <= 66
    assert error.retryable
    assert error.to_dict()["context"] == {"retry_after": error.retry_after}
    assert "http://odoo.example:8069" in error.message
    assert "FBS_ODOO_MAX_FAILURES" in error.hint
    assert "FBS_ODOO_PAUSE" in error.hint
    raw.hset(key("breaker"), "until", 1)
    with one.turn():
        pass
    fail(one)
    fail(one)
    with other.turn():  # two failures are not three: what was before is forgotten
        pass


def test_one_call_is_let_through_when_the_pause_is_over(gate: MakeGate, raw: redis.Redis) -> None:
    one, other = gate(max_calls=4), gate(max_calls=4)
    for _ in range(3):
        fail(one)
    raw.hset(key("breaker"), "until", 1)
    with one.turn():
        assert rest(other).retry_after > 0
    with other.turn(), one.turn():
        pass


def test_the_pause_doubles_while_it_goes_on_failing(gate: MakeGate, raw: redis.Redis) -> None:
    one = gate(pause=100)
    for _ in range(3):
        fail(one)
    for pause in (100, 200, 400, LONGEST_PAUSE, LONGEST_PAUSE):
        assert pause - 5 < rest(one).retry_after <= pause * 1.1
        raw.hset(key("breaker"), "until", 1)
        fail(one)
    raw.hset(key("breaker"), "until", 1)
    with one.turn():
        pass
    for _ in range(3):
        fail(one)
    assert rest(one).retry_after <= 110, "a good answer did not end the doubling"


def test_a_call_from_before_has_no_say(gate: MakeGate) -> None:
    one, other = gate(max_calls=2), gate(max_calls=2)
    with taken(other):
        for _ in range(3):
            fail(one)
    assert 50 < rest(one).retry_after <= 66, "its good answer closed it"


def test_a_call_that_died_as_the_one_let_through_is_replaced(gate: MakeGate, raw: redis.Redis) -> None:
    one, other = gate(lease_seconds=0.3), gate(lease_seconds=0.3)
    for _ in range(3):
        fail(one)
    raw.hset(key("breaker"), "until", 1)
    assert one._take_script(**one._about("of-a-dead-worker", 1))[0] == "taken"
    rest(other)
    until(lambda: raw.zcount(key("leases"), time.time() * 1000, "+inf") == 0)
    with other.turn():
        pass
    with one.turn():
        pass


def test_what_is_broken_off_here_says_nothing_of_the_server(gate: MakeGate, raw: redis.Redis) -> None:
    one = gate(max_failures=1)
    with pytest.raises(JobCancelled), one.turn():
        raise JobCancelled("The job was cancelled.")
    fail(one)
    raw.hset(key("breaker"), "until", 1)
    with pytest.raises(KeyboardInterrupt), one.turn():
        raise KeyboardInterrupt
    fail(one)  # it was let through in that one's place
    rest(one)


def test_wrong_passwords_and_missing_rights_do_not_open_it(odoo: OdooServer, gate: MakeGate) -> None:
    odoo.users = (OdooUser(login="admin", password=PASSWORD, denied={"ir.model": ["Administrator"]}),)
    for _ in range(10):
        with pytest.raises(OdooLoginRefused):
            open_transport(connection(odoo, password="wrong"), gate=gate(odoo.url, max_failures=1))
    with closing(open_transport(connection(odoo), gate=gate(odoo.url, max_failures=1))) as transport:
        for _ in range(10):
            with pytest.raises(OdooAccessDenied):
                transport.call("ir.model", "search_read", domain=[])


@pytest.mark.parametrize(
    ("how", "opens"),
    [
        (Misbehaviour.BAD_GATEWAY, True),
        (Misbehaviour.TOO_MANY_REQUESTS, True),
        (Misbehaviour.LOGIN_PAGE, True),
        (Misbehaviour.FOREIGN_JSON, True),
        (Misbehaviour.NOT_HTTP, True),
        (Misbehaviour.CUT_SHORT, True),
        (Misbehaviour.CLOSE_WITHOUT_ANSWER, True),
        (Misbehaviour.POSTGRES_DOWN, True),
        (Misbehaviour.HANG, True),
        (Misbehaviour.PROXY_LOGIN, False),
        (Misbehaviour.ECHO_SECRETS, False),
    ],
)
@pytest.mark.parametrize("secret", [{"password": PASSWORD}, {"password": "", "api_key": KEY}])
def test_what_counts_as_a_failure(
    odoo: OdooServer, gate: MakeGate, how: Misbehaviour, opens: bool, secret: dict[str, str]
) -> None:
    guarded = gate(odoo.url, max_failures=1)
    with closing(open_transport(connection(odoo, timeout=0.4, **secret), gate=guarded)) as transport:
        odoo.misbehave(how, times=2 if how is Misbehaviour.CLOSE_WITHOUT_ANSWER else 1)
        with pytest.raises(FBSError):
            transport.call("ir.model", "search_read", domain=[], fields=["model"])
        asked = odoo.requests
        if opens:
            with pytest.raises(OdooCircuitOpen):
                transport.call("ir.model", "search_read", domain=[], fields=["model"])
            assert odoo.requests == asked, "the server was asked"
        else:
            assert len(transport.call("ir.model", "search_read", domain=[], fields=["model"])) == 5


def test_an_odoo_that_is_not_there_is_not_asked_again_and_again(gate: MakeGate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    gone = OdooConnection(url=url, db="live", user="admin", password=SecretStr("x"))
    for expected in (OdooUnreachable, OdooUnreachable, OdooCircuitOpen):
        with pytest.raises(OdooUnreachable) as caught:
            open_transport(gone, gate=gate(url, max_failures=2))
        assert type(caught.value) is expected


def test_a_hanging_odoo_opens_it_and_one_that_comes_back_closes_it(odoo: OdooServer, gate: MakeGate) -> None:
    hasty = connection(odoo, timeout=0.3)
    odoo.misbehave(Misbehaviour.HANG)
    for _ in range(2):
        with pytest.raises(OdooTimeout):
            open_transport(hasty, gate=gate(odoo.url, max_failures=2, pause=1.0))
    odoo.behave()
    with pytest.raises(OdooCircuitOpen) as caught:
        open_transport(hasty, gate=gate(odoo.url, max_failures=2, pause=1.0))
    time.sleep(caught.value.retry_after)
    with closing(open_transport(hasty, gate=gate(odoo.url, max_failures=2, pause=1.0))) as transport:
        assert len(transport.call("ir.model", "search_read", domain=[], fields=["model"])) == 5
