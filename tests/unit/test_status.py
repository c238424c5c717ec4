"""How a solution is judged from both sides, and asking many servers in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, DatabaseMissing
from fbs_worker.core.fanout import PER_SERVER, fan_out
from fbs_worker.ops.status import OverallStatus, Verdict, judge
from fbs_worker.ops.status_queries import Look
from fbs_worker.solutions.registry import DamagedRow, SolutionRecord

DEFINITION: dict[str, Any] = {"version": 1, "tables": ["b", "a"], "mirrored": {"x.y": "x_y"}, "odoo": "default"}
ENTRY = SolutionRecord(
    solution_name="fayvad",
    domain="rental",
    database=DatabaseConfig(name="d", user="u", host="h"),
    business_prefix="rental_",
    schema_definition=DEFINITION,
)
SETUP = {"id": "1", "action": "setup", "state": "running"}


def changed(**definition: Any) -> SolutionRecord:
    return replace(ENTRY, schema_definition={**DEFINITION, **definition})


def test_two_sides_that_agree_are_active() -> None:
    own = changed(last_refresh={"at": "now"}, source={"url": "u"}, tables=["a", "b"])
    assert judge(ENTRY, Look(own=own)) == Verdict(status=OverallStatus.ACTIVE)


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (replace(ENTRY, domain="hr"), "domain is 'rental' there and 'hr' here"),
        (replace(ENTRY, table_prefix="x_"), "table_prefix is 'fbs_' there and 'x_' here"),
        (replace(ENTRY, business_prefix=""), "business_prefix is 'rental_' there and '' here"),
        (replace(ENTRY, is_active=False), "is_active is True there and False here"),
        (changed(odoo="erp"), "odoo is 'default' there and 'erp' here"),
        (changed(tables=["a"]), "tables is 'a, b' there and 'a' here"),
        (changed(mirrored={}), "mirrored is 'x.y' there and '' here"),
        *(
            (replace(ENTRY, database=ENTRY.database.model_copy(update={field: value})), told)
            for field, value, told in (
                ("name", "e", "u@h:5432/e"),
                ("user", "v", "v@h:5432/d"),
                ("host", "i", "u@i:5432/d"),
                ("port", 5433, "u@h:5433/d"),
            )
        ),
    ],
)
def test_whatever_differs_is_drift(own: SolutionRecord, reason: str) -> None:
    verdict = judge(ENTRY, Look(own=own))
    assert verdict.status is OverallStatus.DRIFTED
    assert reason in verdict.reason
    assert "fbs setup" in verdict.hint


def test_everything_that_differs_is_told() -> None:
    verdict = judge(ENTRY, Look(own=replace(ENTRY, domain="hr", is_active=False)))
    assert "domain is" in verdict.reason
    assert "is_active is" in verdict.reason


def test_what_is_missing_there() -> None:
    verdict = judge(ENTRY, Look(own=None))
    assert verdict.status is OverallStatus.DRIFTED
    assert "'d'" in verdict.reason
    assert "fbs_solution_schemas" in verdict.reason
    verdict = judge(ENTRY, Look(own=ENTRY, missing=("a", "b")))
    assert verdict.status is OverallStatus.DRIFTED
    assert "a, b" in verdict.reason
    damaged = DamagedRow(solution_name="fayvad", error=DatabaseError("It is damaged.", hint="Mend it."))
    assert judge(ENTRY, Look(own=damaged)) == Verdict(
        status=OverallStatus.DRIFTED, reason="It is damaged.", hint="Mend it."
    )


def test_what_was_not_completed_is_inactive() -> None:
    entry = replace(ENTRY, is_active=False)
    for look in (Look(own=None), Look(own=entry)):
        verdict = judge(entry, look)
        assert verdict.status is OverallStatus.INACTIVE
        assert verdict.reason
        assert "fbs setup" in verdict.hint


@pytest.mark.parametrize("own", [None, ENTRY])
def test_what_a_job_works_on_is_inactive_and_says_so(own: SolutionRecord | None) -> None:
    verdict = judge(replace(ENTRY, is_active=False), Look(own=own), jobs=[SETUP])
    assert verdict.status is OverallStatus.INACTIVE
    assert "setup" in verdict.reason
    assert "fbs jobs watch 1" in verdict.hint


@pytest.mark.parametrize("job", [{**SETUP, "state": "queued"}, {**SETUP, "action": "refresh"}])
def test_other_jobs_change_no_verdict(job: dict[str, Any]) -> None:
    assert judge(ENTRY, Look(own=ENTRY), jobs=[job]).status is OverallStatus.ACTIVE
    assert judge(replace(ENTRY, is_active=False), Look(own=ENTRY), jobs=[job]).status is OverallStatus.DRIFTED


def test_a_running_job_does_not_hide_drift() -> None:
    assert judge(ENTRY, Look(own=None), jobs=[SETUP]).status is OverallStatus.DRIFTED


def test_an_error_is_unreachable() -> None:
    verdict = Verdict.of_error(DatabaseMissing("Gone.", hint="Make it."))
    assert verdict.to_dict() == {"overall_status": "unreachable", "reason": "Gone.", "hint": "Make it."}


# ------------------------------------------------------------------------------------------------------------- fan_out


def test_results_come_in_the_order_of_the_questions() -> None:
    asks = [(number % 3, partial(int, number)) for number in range(50)]
    assert fan_out(asks, seconds=30) == list(range(50))
    assert fan_out(asks) == list(range(50))
    assert fan_out([], seconds=1) == []


def test_what_hangs_is_not_waited_for() -> None:
    release = threading.Event()
    ended = threading.Semaphore(0)

    def hang() -> str:
        release.wait(30)
        ended.release()
        return "late"

    asks: list[tuple[Hashable, Callable[[], str]]] = [("bad", hang) for _ in range(PER_SERVER + 3)]
    asks.append(("good", lambda: "there"))
    began = time.monotonic()
    try:
        assert fan_out(asks, seconds=0.2) == [None] * (PER_SERVER + 3) + ["there"]
        assert time.monotonic() - began < 5
    finally:
        release.set()
    for _ in range(PER_SERVER):
        assert ended.acquire(timeout=30)
    assert not ended.acquire(timeout=0.05)  # nothing more was begun


def test_a_server_gets_only_so_many_questions_at_a_time() -> None:
    lock = threading.Lock()
    at_once, most = 0, 0

    def ask() -> bool:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.005)
        with lock:
            at_once -= 1
        return True

    assert all(fan_out([("one", ask) for _ in range(40)], seconds=30))
    assert most <= PER_SERVER


def test_an_error_comes_through() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fan_out([("a", lambda: 1), ("b", fail)], seconds=30)
