"""Outcomes of calls as the circuit breaker counts them, and the limited transport."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.limiter import Outcome, outcome_of
from fbs_worker.core.errors import (
    InternalError,
    JobCancelled,
    OdooAccessDenied,
    OdooAnswerCutShort,
    OdooBadAnswer,
    OdooCallFailed,
    OdooCircuitOpen,
    OdooDatabaseMissing,
    OdooLoginRefused,
    OdooModelMissing,
    OdooServerError,
    OdooTimeout,
    OdooUnreachable,
    RecordingError,
    SettingsError,
)
from fbs_worker.core.settings import OdooConnection
from tests.support.small_odoo import write_small_recording

OUTCOMES: list[tuple[Outcome, list[type[BaseException]]]] = [
    (Outcome.FAILED, [OdooUnreachable, OdooTimeout, OdooServerError, OdooBadAnswer, OdooAnswerCutShort]),
    (
        Outcome.ANSWERED,
        [OdooLoginRefused, OdooAccessDenied, OdooDatabaseMissing, OdooModelMissing, OdooCallFailed],
    ),
    (Outcome.NONE, [JobCancelled, SettingsError, InternalError, KeyboardInterrupt, ValueError]),
]


@pytest.mark.parametrize(("outcome", "error"), [(outcome, error) for outcome, errors in OUTCOMES for error in errors])
def test_an_error_is_an_outcome(outcome: Outcome, error: type[BaseException]) -> None:
    assert outcome_of(error("it went wrong")) is outcome


def test_an_error_keeps_how_long_to_wait_when_it_travels() -> None:
    error = OdooCircuitOpen("it rests", hint="wait", retry_after=2.5)
    assert copy.copy(error).retry_after == 2.5


class CountingLimiter:
    """A limiter that lets everybody through and remembers it."""

    def __init__(self) -> None:
        self.slots = 0
        self.closed = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        self.slots += 1
        yield

    def close(self) -> None:
        self.closed += 1


def test_every_call_takes_a_slot(tmp_path: Path) -> None:
    path, limiter = write_small_recording(tmp_path / "small.json"), CountingLimiter()
    plain = open_transport(OdooConnection(url=f"recording:{path}"))
    limited = open_transport(OdooConnection(url=f"recording:{path}"), limiter=limiter)
    for transport in (plain, limited):
        assert len(transport.call("ir.model", "search_read", domain=[], fields=["model"])) == 5
        assert transport.call("ir.model", "search_count", domain=[]) == 5
        transport.close()
    assert limiter.slots == 2
    assert limiter.closed == 1
    assert (limited.server, limited.clock, limited.calls) == (plain.server, plain.clock, plain.calls)


@pytest.mark.parametrize(("url", "error"), [("localhost", SettingsError), ("recording:missing.json", RecordingError)])
def test_the_limiter_is_closed_when_nothing_can_be_opened(url: str, error: type[Exception]) -> None:
    limiter = CountingLimiter()
    with pytest.raises(error):
        open_transport(OdooConnection(url=url), limiter=limiter)
    assert (limiter.slots, limiter.closed) == (0, 1)
