"""What the command line shows of records, and the exit code of a sync."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.cli.render import records
from fbs_worker.cli.render.results import exit_code_of, result_blocks
from fbs_worker.jobs.model import TABLE_STATUSES, variant_of
from fbs_worker.replication.state import Status, TableState

RUN = {"read": 1200, "inserted": 1000, "updated": 200, "deleted": 0, "rejected": 3, "calls": 2, "seconds": 1.5}
EQUAL: dict[str, Any] = {"verified": {"equal": True, "difference": ""}}
DIFFERS: dict[str, Any] = {"verified": {"equal": False, "difference": "id 7, name: 'a' is 'b' in Odoo"}}


def table(model: str = "res.partner", status: Status = Status.OK, reason: str = "", **run: Any) -> dict[str, Any]:
    """The state of a table."""
    state = TableState(
        solution_name="shop",
        model=model,
        table_name=model.replace(".", "_"),
        status=status,
        reason=reason,
        row_count=1200,
        rejected=3,
        last_run={**RUN, **run},
    )
    return state.to_dict()


def result(*tables: dict[str, Any]) -> dict[str, Any]:
    """The result of a sync."""
    totals = {"read": 1200, "written": 1200, "deleted": 0, "rejected": 3, "calls": 2, "seconds": 1.5}
    review = [each["model"] for each in tables if each["status"] == Status.REVIEW]
    return {"solution": "shop", "tables": list(tables), **totals, "needs_review": review}


def lines(*tables: dict[str, Any]) -> list[str]:
    """The lines below the table."""
    return [block for block in result_blocks("sync", result(*tables), name="shop") if isinstance(block, str)][1:]


def test_a_sync_is_shown_by_table() -> None:
    head, shown = result_blocks("sync", result(table(), table("res.users", **EQUAL)), name="shop")
    assert head == "Records of shop: 1,200 read, 1,200 written, 0 deleted, 3 rejected; 2 calls, 1.5 s."
    assert [row[:3] for row in shown.rows] == [("res_partner", "ok", "1,200"), ("res_users", "equal", "1,200")]  # type: ignore[union-attr]
    (part,) = result_blocks("sync_table", {"solution": "shop", "model": "res.partner", "table": table()}, name="shop")
    assert part.rows[0][:3] == ("res_partner", "ok", "1,200")  # type: ignore[union-attr]
    elsewhere = {"solution": "shop", "model": "res.partner", "table": None}
    assert result_blocks("sync_table", elsewhere, name="shop") == ["Another worker copied res.partner."]
    assert "mirrors no model" in str(result_blocks("sync", result(), name="shop"))


@pytest.mark.parametrize(
    ("shown", "code", "words"),
    [
        (table(), 0, ""),
        (table(**EQUAL), 0, ""),
        (table(**DIFFERS), 1, "fbs sync shop --model res.partner --full"),
        (table(status=Status.FAILED, reason="Odoo does not answer."), 1, "fbs sync shop --model res.partner"),
        (table(status=Status.REVIEW, reason="Too many: fbs sync shop --allow-delete 7"), 4, "--allow-delete 7"),
        (table(status=Status.STOPPED, reason="No table: fbs migrate shop"), 4, "fbs migrate shop"),
        (table(status=Status.STOPPED, reason="No rows."), 4, "--no-mirror res.partner"),
        (table(status=Status.PENDING), 0, ""),
    ],
)
def test_what_is_left_to_do_is_said(shown: dict[str, Any], code: int, words: str) -> None:
    assert exit_code_of("sync", result(shown)) == code
    assert exit_code_of("refresh", {}) == 0
    said = lines(table("res.users"), shown)
    assert len(said) == (0 if not words else 1 if words in shown["reason"] else 2)
    assert words in "".join(said[-1:])
    assert (shown["reason"] or "id 7" if words else "") in "".join(said)


def test_the_statuses_are_those_of_the_states() -> None:
    assert tuple(Status) == TABLE_STATUSES
    shown = (records._OK, records._REVIEW, records._FAILED, records._STOPPED)
    assert (*shown, "pending") == (Status.OK, Status.REVIEW, Status.FAILED, Status.STOPPED, Status.PENDING)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")]
)
def test_a_lag_is_short(seconds: float | None, text: str) -> None:
    assert records.lag_text(seconds) == text


def test_kinds_of_syncs() -> None:
    assert variant_of("sync", {"solution_name": "shop"}) == ""
    assert variant_of("sync", {"full": True, "verify": True}) == "full verify"
    assert variant_of("sync_table", {"model": "res.partner", "full": True}) == "res.partner"
