"""Assessment of a solution from registry and database; fan-out to many servers in bounded time."""

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
from fbs_worker.ops.status import Assessment, OverallStatus, Summary, assess
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


def test_agreeing_registry_and_manifest_are_active() -> None:
    manifest = changed(last_refresh={"at": "now"}, source={"url": "u"}, tables=["a", "b"])
    assert assess(ENTRY, Summary(manifest=manifest)) == Assessment(status=OverallStatus.ACTIVE)


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (replace(ENTRY, domain="hr"), "domain is 'rental' in the registry and 'hr' in the database"),
        (replace(ENTRY, table_prefix="x_"), "table_prefix is 'fbs_' in the registry and 'x_' in the database"),
        (replace(ENTRY, business_prefix=""), "business_prefix is 'rental_' in the registry and '' in the database"),
        (replace(ENTRY, is_active=False), "is_active is True in the registry and False in the database"),
        (changed(odoo="erp"), "odoo is 'default' in the registry and 'erp' in the database"),
        (changed(tables=["a"]), "tables is 'a, b' in the registry and 'a' in the database"),
        (changed(mirrored={}), "mirrored is 'x.y' in the registry and '' in the database"),
        *(
            (replace(ENTRY, database=ENTRY.database.model_copy(update={field: value})), address)
            for field, value, address in (
                ("name", "e", "u@h:5432/e"),
                ("user", "v", "v@h:5432/d"),
                ("host", "i", "u@i:5432/d"),
                ("port", 5433, "u@h:5433/d"),
            )
        ),
    ],
)
def test_each_difference_is_drift(manifest: SolutionRecord, reason: str) -> None:
    result = assess(ENTRY, Summary(manifest=manifest))
    assert result.status is OverallStatus.DRIFTED
    assert reason in result.reason
    assert "fbs setup" in result.hint


def test_all_differences_are_reported() -> None:
    result = assess(ENTRY, Summary(manifest=replace(ENTRY, domain="hr", is_active=False)))
    assert "domain is" in result.reason
    assert "is_active is" in result.reason


def test_missing_or_damaged_manifest_and_missing_tables() -> None:
    result = assess(ENTRY, Summary(manifest=None))
    assert result.status is OverallStatus.DRIFTED
    assert "'d'" in result.reason
    assert "fbs_solution_schemas" in result.reason
    result = assess(ENTRY, Summary(manifest=ENTRY, missing=("a", "b")))
    assert result.status is OverallStatus.DRIFTED
    assert "a, b" in result.reason
    damaged = DamagedRow(solution_name="fayvad", error=DatabaseError("It is damaged.", hint="Mend it."))
    assert assess(ENTRY, Summary(manifest=damaged)) == Assessment(
        status=OverallStatus.DRIFTED, reason="It is damaged.", hint="Mend it."
    )


def test_an_incomplete_setup_is_inactive() -> None:
    entry = replace(ENTRY, is_active=False)
    for summary in (Summary(manifest=None), Summary(manifest=entry)):
        result = assess(entry, summary)
        assert result.status is OverallStatus.INACTIVE
        assert result.reason
        assert "fbs setup" in result.hint


@pytest.mark.parametrize("manifest", [None, ENTRY])
def test_a_solution_changed_by_a_running_job_is_inactive(manifest: SolutionRecord | None) -> None:
    result = assess(replace(ENTRY, is_active=False), Summary(manifest=manifest), jobs=[SETUP])
    assert result.status is OverallStatus.INACTIVE
    assert "setup" in result.reason
    assert "fbs jobs watch 1" in result.hint


@pytest.mark.parametrize("job", [{**SETUP, "state": "queued"}, {**SETUP, "action": "refresh"}])
def test_other_jobs_change_no_status(job: dict[str, Any]) -> None:
    assert assess(ENTRY, Summary(manifest=ENTRY), jobs=[job]).status is OverallStatus.ACTIVE
    assert assess(replace(ENTRY, is_active=False), Summary(manifest=ENTRY), jobs=[job]).status is OverallStatus.DRIFTED


def test_a_running_job_does_not_hide_drift() -> None:
    assert assess(ENTRY, Summary(manifest=None), jobs=[SETUP]).status is OverallStatus.DRIFTED


def test_an_error_is_unreachable() -> None:
    result = Assessment.of_error(DatabaseMissing("Gone.", hint="Make it."))
    assert result.to_dict() == {"overall_status": "unreachable", "reason": "Gone.", "hint": "Make it."}


def test_results_come_in_the_order_of_the_calls() -> None:
    asks = [(number % 3, partial(int, number)) for number in range(50)]
    assert fan_out(asks, seconds=30) == list(range(50))
    assert fan_out(asks) == list(range(50))
    assert fan_out([], seconds=1) == []


def test_a_hanging_call_is_not_waited_for() -> None:
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


def test_calls_per_server_are_limited() -> None:
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


def test_an_error_is_raised() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fan_out([("a", lambda: 1), ("b", fail)], seconds=30)
