"""Rendering of schedules."""

from __future__ import annotations

from typing import Any

from fbs_worker.cli.output import Table
from fbs_worker.cli.render.formats import local_time
from fbs_worker.cli.render.schedules import schedule_blocks, schedule_line, schedule_text

OWN: dict[str, Any] = {
    "schedule": {"cron": "0 3 * * *"},
    "source": "solution",
    "next_run": "2026-01-02T03:00:00+00:00",
    "last_run": None,
}
SOURCE_DEFAULT = {**OWN, "schedule": {"every": "6h"}, "source": "FBS_REFRESH_EVERY"}
NEVER: dict[str, Any] = dict.fromkeys(OWN)


def test_schedules_in_a_table() -> None:
    given = [{"solution": "a", **OWN}, {"solution": "b", **SOURCE_DEFAULT}, {"solution": "c", **NEVER}]
    table, note = schedule_blocks({"schedules": given, "notes": ["No beat works."]})
    assert isinstance(table, Table)
    when = local_time(OWN["next_run"])
    assert list(table.rows) == [
        ("a", "0 3 * * * (UTC)", when, "-", "solution"),
        ("b", "every 6h", when, "-", "FBS_REFRESH_EVERY"),
        ("c", "never", "-", "-", "-"),
    ]
    assert note == "No beat works."
    assert schedule_blocks({"schedules": [], "notes": []}) == ["There are no solutions. Set one up: fbs setup"]


def test_a_schedule_in_a_line() -> None:
    when = local_time(OWN["next_run"])
    assert schedule_line(OWN) == f"0 3 * * * (UTC), next at {when}"
    assert schedule_line(SOURCE_DEFAULT) == f"every 6h (FBS_REFRESH_EVERY), next at {when}"
    paused = {**OWN, "schedule": {"cron": "0 3 * * *", "paused": True}, "next_run": None}
    assert schedule_line(paused) == "0 3 * * * (UTC), paused"
    assert (schedule_line(NEVER), schedule_line(None), schedule_text(None)) == ("", "", "never")
