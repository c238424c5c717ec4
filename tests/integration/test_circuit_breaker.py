"""The circuit breaker: no calls to an Odoo that failed repeatedly, until a probe succeeds."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import pytest
import redis
from pydantic import SecretStr

from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.limiter import MAX_PAUSE
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
from tests.support.limiters import PASSWORD, MakeLimiter, circuit_open, connection, fail, key, taken
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_server import OdooServer, OdooUser
from tests.support.waiting import until

pytestmark = pytest.mark.faults

KEY = "a" * 40


def test_failures_in_a_row_open_it_and_a_good_answer_closes_it(make_limiter: MakeLimiter, raw: redis.Redis) -> None:
    one, other = make_limiter(), make_limiter()
    for _ in range(3):  # never three in a row, over both workers
        fail(one)
        fail(other)
        with one.slot():
            pass
    fail(one)
    fail(other)
    fail(one)
    error = circuit_open(other)
    assert 50 < error.retry_after <= 66
    assert error.retryable
    assert error.to_dict()["context"] == {"retry_after": error.retry_after}
    assert "http://odoo.example:8069" in error.message
    assert "FBS_ODOO_MAX_FAILURES" in error.hint
    assert "FBS_ODOO_PAUSE" in error.hint
    raw.hset(key("breaker"), "until", 1)
    with one.slot():
        pass
    fail(one)
    fail(one)
    with other.slot():  # two failures are not three: what was before is forgotten
        pass


def test_one_call_is_let_through_when_the_pause_is_over(make_limiter: MakeLimiter, raw: redis.Redis) -> None:
    one, other = make_limiter(max_calls=4), make_limiter(max_calls=4)
    for _ in range(3):
        fail(one)
    raw.hset(key("breaker"), "until", 1)
    with one.slot():
        assert circuit_open(other).retry_after > 0
    with other.slot(), one.slot():
        pass


def test_the_pause_doubles_while_it_keeps_failing(make_limiter: MakeLimiter, raw: redis.Redis) -> None:
    one = make_limiter(pause=100)
    for _ in range(3):
        fail(one)
    for pause in (100, 200, 400, MAX_PAUSE, MAX_PAUSE):
        assert pause - 5 < circuit_open(one).retry_after <= pause * 1.1
        raw.hset(key("breaker"), "until", 1)
        fail(one)
    raw.hset(key("breaker"), "until", 1)
    with one.slot():
        pass
    for _ in range(3):
        fail(one)
    assert circuit_open(one).retry_after <= 110, "a good answer did not end the doubling"


def test_a_call_begun_before_it_opened_does_not_count(make_limiter: MakeLimiter) -> None:
    one, other = make_limiter(max_calls=2), make_limiter(max_calls=2)
    with taken(other):
        for _ in range(3):
            fail(one)
    assert 50 < circuit_open(one).retry_after <= 66, "its good answer closed it"


def test_a_probe_that_died_is_replaced(make_limiter: MakeLimiter, raw: redis.Redis) -> None:
    one, other = make_limiter(lease_seconds=0.3), make_limiter(lease_seconds=0.3)
    for _ in range(3):
        fail(one)
    raw.hset(key("breaker"), "until", 1)
    assert one._acquire_script(**one._script_call("of-a-dead-worker", 1))[0] == "acquired"
    circuit_open(other)
    until(lambda: raw.zcount(key("leases"), time.time() * 1000, "+inf") == 0)
    with other.slot():
        pass
    with one.slot():
        pass


def test_an_aborted_call_counts_neither_way(make_limiter: MakeLimiter, raw: redis.Redis) -> None:
    one = make_limiter(max_failures=1)
    with pytest.raises(JobCancelled), one.slot():
        raise JobCancelled("The job was cancelled.")
    fail(one)
    raw.hset(key("breaker"), "until", 1)
    with pytest.raises(KeyboardInterrupt), one.slot():
        raise KeyboardInterrupt
    fail(one)  # it was let through in that one's place
    circuit_open(one)


def test_wrong_passwords_and_missing_rights_do_not_open_it(odoo: OdooServer, make_limiter: MakeLimiter) -> None:
    odoo.users = (OdooUser(login="admin", password=PASSWORD, denied={"ir.model": ["Administrator"]}),)
    for _ in range(10):
        with pytest.raises(OdooLoginRefused):
            open_transport(connection(odoo, password="wrong"), limiter=make_limiter(odoo.url, max_failures=1))
    with closing(open_transport(connection(odoo), limiter=make_limiter(odoo.url, max_failures=1))) as transport:
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
    odoo: OdooServer, make_limiter: MakeLimiter, how: Misbehaviour, opens: bool, secret: dict[str, str]
) -> None:
    guarded = make_limiter(odoo.url, max_failures=1)
    with closing(open_transport(connection(odoo, timeout=0.4, **secret), limiter=guarded)) as transport:
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


def test_an_odoo_that_is_not_there_is_not_asked_again_and_again(make_limiter: MakeLimiter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    gone = OdooConnection(url=url, db="live", user="admin", password=SecretStr("x"))
    for expected in (OdooUnreachable, OdooUnreachable, OdooCircuitOpen):
        with pytest.raises(OdooUnreachable) as caught:
            open_transport(gone, limiter=make_limiter(url, max_failures=2))
        assert type(caught.value) is expected


def test_a_hanging_odoo_opens_it_and_one_that_comes_back_closes_it(odoo: OdooServer, make_limiter: MakeLimiter) -> None:
    hasty = connection(odoo, timeout=0.3)
    odoo.misbehave(Misbehaviour.HANG)
    for _ in range(2):
        with pytest.raises(OdooTimeout):
            open_transport(hasty, limiter=make_limiter(odoo.url, max_failures=2, pause=1.0))
    odoo.behave()
    with pytest.raises(OdooCircuitOpen) as caught:
        open_transport(hasty, limiter=make_limiter(odoo.url, max_failures=2, pause=1.0))
    time.sleep(caught.value.retry_after)
    with closing(open_transport(hasty, limiter=make_limiter(odoo.url, max_failures=2, pause=1.0))) as transport:
        assert len(transport.call("ir.model", "search_read", domain=[], fields=["model"])) == 5
