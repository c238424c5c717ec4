"""Outcomes of calls as the circuit breaker counts them."""

from __future__ import annotations

import copy

import pytest

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
    SettingsError,
)

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
