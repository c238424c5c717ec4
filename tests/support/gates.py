"""What the tests of politeness do with gates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from fbs_worker.connectors.limiter import OdooGate
from fbs_worker.core.errors import FBSError, OdooCircuitOpen, OdooServerError
from fbs_worker.core.settings import OdooConnection
from tests.support.odoo_server import OdooServer

SERVER: Final = "http://odoo.example:8069"
PASSWORD: Final = "admin-password"
PATIENCE: Final = 30.0

MakeGate = Callable[..., OdooGate]


@contextmanager
def gates(redis_url: str) -> Iterator[MakeGate]:
    """Makes gates, each as a worker of its own would have it; afterwards nothing of them is left."""
    made: list[OdooGate] = []

    def make(server: str = SERVER, **given: Any) -> OdooGate:
        made.append(OdooGate(redis_url, server, **{"max_calls": 1, "max_failures": 3, "pause": 60, **given}))
        return made[-1]

    yield make
    for gate in made:
        gate.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fbs-odoo-lease"]


@contextmanager
def taken(gate: OdooGate) -> Iterator[threading.Event]:
    """A lease that another thread holds, until the event is set or the block ends."""
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with gate.turn():
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


def fail(gate: OdooGate, error: type[FBSError] = OdooServerError) -> None:
    """A call that goes wrong."""
    with pytest.raises(error), gate.turn():
        raise error("it went wrong")


def rest(gate: OdooGate) -> OdooCircuitOpen:
    """A call that is not made."""
    with pytest.raises(OdooCircuitOpen) as caught, gate.turn():
        raise AssertionError("a call was made")
    return caught.value


def key(part: str, server: str = SERVER) -> str:
    """The key in Redis of one part of a gate."""
    return f"fbs:odoo:{server}:{part}"


def connection(odoo: OdooServer, **given: Any) -> OdooConnection:
    """A connection to the small Odoo."""
    return OdooConnection(**{"url": odoo.url, "db": odoo.database, "user": "admin", "password": PASSWORD, **given})


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes to pass."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
