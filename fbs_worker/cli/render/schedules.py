"""Rendering of schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render.formats import local_time
from fbs_worker.scheduling.model import Schedule


def schedule_blocks(listing: Mapping[str, Any]) -> list[Block]:
    """The table of `fbs schedule list`.

    Args:
        listing: the result of `list_schedules`.
    """
    if not listing["schedules"]:
        return ["There are no solutions. Set one up: fbs setup", *listing["notes"]]
    rows = [
        (
            one["solution"],
            schedule_text(one["schedule"]),
            local_time(one["next_run"]) or "-",
            local_time(one["last_run"]) or "-",
            one["source"] or "-",
        )
        for one in listing["schedules"]
    ]
    columns = ("solution", "schedule", "next run", "last run", "from")
    return [Table(title="Schedules", columns=columns, rows=rows, whole=("next run", "last run")), *listing["notes"]]


def schedule_text(schedule: Mapping[str, Any] | None) -> str:
    """A schedule in text form, e.g. `every 6h`; `never` for None.

    Args:
        schedule: the schedule, as `Schedule.to_dict`.
    """
    return "never" if schedule is None else str(Schedule.from_dict(schedule))


def schedule_line(entry: Mapping[str, Any] | None) -> str:
    """A solution's schedule in one line of its status; empty if it has none.

    Args:
        entry: the schedule with its source and next run, as in `solution_status`.
    """
    if not entry or entry["schedule"] is None:
        return ""
    source = "" if entry["source"] == "solution" else f" ({entry['source']})"
    following = f", next at {local_time(entry['next_run'])}" if entry["next_run"] else ""
    return f"{schedule_text(entry['schedule'])}{source}{following}"
