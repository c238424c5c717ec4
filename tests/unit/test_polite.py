"""What a call says of the server, and what a polite transport passes on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.limiter import Verdict, verdict_on
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

VERDICTS: list[tuple[Verdict, list[type[BaseException]]]] = [
    (Verdict.FAILED, [OdooUnreachable, OdooTimeout, OdooServerError, OdooBadAnswer, OdooAnswerCutShort]),
    (
        Verdict.ANSWERED,
        [OdooLoginRefused, OdooAccessDenied, OdooDatabaseMissing, OdooModelMissing, OdooCallFailed],
    ),
    (Verdict.NONE, [JobCancelled, SettingsError, InternalError, KeyboardInterrupt, ValueError]),
]


@pytest.mark.parametrize(("verdict", "error"), [(verdict, error) for verdict, errors in VERDICTS for error in errors])
def test_what_an_error_says_of_the_server(verdict: Verdict, error: type[BaseException]) -> None:
    assert verdict_on(error("it went wrong")) is verdict


def test_an_error_keeps_how_long_to_wait_when_it_travels() -> None:
    error = OdooCircuitOpen("it rests", hint="wait", retry_after=2.5)
    assert copy.copy(error).retry_after == 2.5


class Turns:
    """A gate that lets everybody through and remembers it."""

    def __init__(self) -> None:
        self.turns = 0
        self.closed = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        self.turns += 1
        yield

    def close(self) -> None:
        self.closed += 1


def test_every_call_waits_for_its_turn(tmp_path: Path) -> None:
    path, gate = write_small_recording(tmp_path / "small.json"), Turns()
    plain = open_transport(OdooConnection(url=f"recording:{path}"))
    polite = open_transport(OdooConnection(url=f"recording:{path}"), gate=gate)
    for transport in (plain, polite):
        assert len(transport.call("ir.model", "search_read", domain=[], fields=["model"])) == 5
        assert transport.call("ir.model", "search_count", domain=[]) == 5
        transport.close()
    assert gate.turns == 2
    assert gate.closed == 1
    assert (polite.server, polite.clock, polite.calls) == (plain.server, plain.clock, plain.calls)


@pytest.mark.parametrize(("url", "error"), [("localhost", SettingsError), ("recording:missing.json", RecordingError)])
def test_a_gate_is_closed_when_nothing_can_be_opened(url: str, error: type[Exception]) -> None:
    gate = Turns()
    with pytest.raises(error):
        open_transport(OdooConnection(url=url), gate=gate)
    assert (gate.turns, gate.closed) == (0, 1)
