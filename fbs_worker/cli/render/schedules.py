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
    tables = [Table(title="Schedules", columns=columns, rows=rows, whole=("next run", "last run"))]
    syncs = [
        (
            one["solution"],
            schedule_text(sync["schedule"]),
            *(local_time(sync[key]) or "-" for key in ("next_run", "last_run")),
        )
        for one in listing["schedules"]
        if (sync := one.get("sync"))
    ]
    if syncs:
        tables.append(Table(title="Syncs", columns=columns[:-1], rows=syncs, whole=("next run", "last run")))
    return [*tables, *listing["notes"]]


def changed_line(result: Mapping[str, Any], kind: str) -> str:
    """What became of a schedule; empty for one of syncs that was not there before either.

    Args:
        result: the result of `set_schedules`.
        kind: `refresh` or `sync`.
    """
    name, own = result["solution"], result if kind == "refresh" else result["sync"]
    of = name if kind == "refresh" else f"the syncs of {name}"
    if own["schedule"] is not None:
        following = f"; next at {local_time(own['next_run'])}" if own["next_run"] else ""
        return f"Schedule of {of}: {schedule_text(own['schedule'])}{following}."
    if own["before"] is not None:
        return f"The schedule of {of} is removed."
    return f"{name} had no schedule of its own." if kind == "refresh" else ""


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
