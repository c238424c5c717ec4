"""Limiters for tests: create them, hold a slot, fail a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from fbs_worker.connectors.limiter import OdooLimiter
from fbs_worker.core.errors import FBSError, OdooCircuitOpen, OdooServerError
from fbs_worker.core.settings import OdooConnection
from tests.support.odoo_server import OdooServer
from tests.support.waiting import PATIENCE

SERVER: Final = "http://odoo.example:8069"
PASSWORD: Final = "admin-password"

MakeLimiter = Callable[..., OdooLimiter]


@contextmanager
def limiters(redis_url: str) -> Iterator[MakeLimiter]:
    """Create limiters, each as in a worker of its own; check that none leaves a thread."""
    made: list[OdooLimiter] = []

    def make(server: str = SERVER, **given: Any) -> OdooLimiter:
        made.append(OdooLimiter(redis_url, server, **{"max_calls": 1, "max_failures": 3, "pause": 60, **given}))
        return made[-1]

    yield make
    for limiter in made:
        limiter.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fbs-odoo-lease"]


@contextmanager
def taken(limiter: OdooLimiter) -> Iterator[threading.Event]:
    """A lease that another thread holds, until the event is set or the block ends."""
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with limiter.slot():
            holding.set()
            release.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(PATIENCE)
        yield release
    finally:
        release.set()
        thread.join()


def fail(limiter: OdooLimiter, error: type[FBSError] = OdooServerError) -> None:
    """A call that goes wrong."""
    with pytest.raises(error), limiter.slot():
        raise error("it went wrong")


def circuit_open(limiter: OdooLimiter) -> OdooCircuitOpen:
    """A call that is not made."""
    with pytest.raises(OdooCircuitOpen) as caught, limiter.slot():
        raise AssertionError("a call was made")
    return caught.value


def key(part: str, server: str = SERVER) -> str:
    """The key in Redis of one part of a limiter."""
    return f"fbs:odoo:{server}:{part}"


def connection(odoo: OdooServer, **given: Any) -> OdooConnection:
    """A connection to the small Odoo."""
    return OdooConnection(**{"url": odoo.url, "db": odoo.database, "user": "admin", "password": PASSWORD, **given})
