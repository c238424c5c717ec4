"""Schedules as tables and sentences: pure, printed by `output`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render import local_time
from fbs_worker.scheduling.model import Schedule


def schedule_blocks(told: Mapping[str, Any]) -> list[Block]:
    """The table of `fbs schedule list`.

    Args:
        told: what `list_schedules` yields.
    """
    if not told["schedules"]:
        return ["There are no solutions. Set one up: fbs setup", *told["notes"]]
    rows = [
        (
            one["solution"],
            schedule_words(one["schedule"]),
            local_time(one["next_run"]) or "-",
            local_time(one["last_run"]) or "-",
            one["source"] or "-",
        )
        for one in told["schedules"]
    ]
    columns = ("solution", "schedule", "next run", "last run", "from")
    return [Table(title="Schedules", columns=columns, rows=rows, whole=("next run", "last run")), *told["notes"]]


def schedule_words(told: Mapping[str, Any] | None) -> str:
    """A schedule for a person, e.g. `every 6h`.

    Args:
        told: `Schedule.to_dict`; None: it has none.
    """
    return "never" if told is None else str(Schedule.from_dict(told))


def schedule_line(told: Mapping[str, Any] | None) -> str:
    """When a solution is refreshed, in one line of its status; empty where it never is by itself.

    Args:
        told: what `planned` yields.
    """
    if not told or told["schedule"] is None:
        return ""
    of_all = "" if told["source"] == "solution" else f" ({told['source']})"
    return f"{schedule_words(told['schedule'])}{of_all}, next at {local_time(told['next_run'])}"
