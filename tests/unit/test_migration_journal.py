"""Which migrations are interrupted, and which statements run together."""

from __future__ import annotations

import pytest

from fbs_worker.core.errors import DatabaseBusy, DatabaseError, FBSError, RefusedError
from fbs_worker.migration.apply import journal
from fbs_worker.migration.apply.lock_retry import strongest
from fbs_worker.migration.apply.preflight import statement_error
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Step, transactions


def step(mode: Mode = Mode.TRANSACTION, *hazards: Hazard) -> Step:
    return Step(
        sql="SELECT 1", kind="add_column", table="r_tenant", reason="a test", mode=mode, hazards=frozenset(hazards)
    )


def row(number: int, status: str, run: str = "a", **facts: object) -> journal.JournalRow:
    return journal.JournalRow(
        number=number,
        kind="x",
        table="t",
        statement="SELECT 1",
        status=status,
        executed_at=None,
        facts={"run": run, **facts} if run else {},
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], False),
        ([row(1, "executed")], False),
        ([row(1, "pending"), row(2, "executed")], True),
        ([row(1, "pending", run=""), row(2, "executed")], False),
        ([row(1, "failed"), row(2, "executed")], False),
        ([row(1, "executed"), row(2, "failed")], True),
        ([row(1, "failed", closed=True)], False),
    ],
)
def test_interrupted_migrations_are_detected(rows: list[journal.JournalRow], expected: bool) -> None:
    assert journal.is_unfinished(rows) is expected


def test_adjacent_transactional_steps_are_grouped() -> None:
    modes = [Mode.TRANSACTION, Mode.TRANSACTION, Mode.ALONE, Mode.ALONE, Mode.BATCHES, Mode.TRANSACTION]
    assert transactions([step(mode) for mode in modes]) == [[0, 1], [2], [3], [4], [5]]
    assert transactions([]) == []


def test_what_takes_long_has_a_transaction_of_its_own() -> None:
    quick, long = step(), step(Mode.TRANSACTION, Hazard.REWRITES_TABLE)
    assert transactions([quick, quick, long, long, quick, quick]) == [[0, 1], [2], [3], [4, 5]]


def test_the_strongest_lock() -> None:
    assert strongest([]) is Lock.NONE
    assert strongest([Lock.ROW_EXCLUSIVE, Lock.SHARE_UPDATE_EXCLUSIVE]) is Lock.SHARE_UPDATE_EXCLUSIVE
    assert strongest(list(Lock)) is Lock.ACCESS_EXCLUSIVE


@pytest.mark.parametrize(
    ("sqlstate", "kind", "hint"),
    [
        ("2BP01", RefusedError, "Dependent objects exist"),
        ("23505", DatabaseError, "plan again"),
        ("42703", DatabaseError, "look"),
    ],
)
def test_an_error_says_how_far_it_came(sqlstate: str, kind: type[FBSError], hint: str) -> None:
    error = statement_error(DatabaseError("No.", hint="look", sqlstate=sqlstate), step(), done=1, total=3)
    assert type(error) is kind
    assert error.message == "r_tenant: add column failed: No. 1 of 3 statements were applied and stay."
    assert hint in error.hint
    assert error.context == {
        "sqlstate": sqlstate, "statement": "SELECT 1", "table": "r_tenant", "executed": 1, "total": 3
    }  # fmt: skip
    busy = statement_error(DatabaseBusy("Busy."), step(), done=0, total=3)
    assert (busy.message, busy.retryable) == ("r_tenant: add column failed: Busy.", True)
