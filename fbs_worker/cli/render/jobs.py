"""Rendering of job records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render.formats import local_time
from fbs_worker.jobs.model import SHORT_ID


def job_blocks(records: Sequence[Mapping[str, Any]]) -> list[Block]:
    """A table of jobs.

    Args:
        records: the jobs, as `JobRecord.to_dict`.
    """
    if not records:
        return ["There are no jobs."]
    rows = [
        (
            str(record["id"])[:SHORT_ID],
            _action(record),
            str(record["solution"] or record["domain"]),
            ": ".join(filter(None, (str(record["state"]), _progress(record)))),
            local_time(record["created_at"], seconds=False),
        )
        for record in records
    ]
    return [
        Table(title="Jobs", columns=("id", "action", "for", "state", "enqueued"), rows=rows, whole=("id", "enqueued"))
    ]


def job_lines(record: Mapping[str, Any]) -> list[Block]:
    """The details of one job.

    Args:
        record: the job, as `JobRecord.to_dict`.
    """
    error = record["error"] or {}
    facts = {
        "job": record["id"],
        "action": _action(record),
        "for": record["solution"] or record["domain"],
        "state": record["state"],
        "progress": _progress(record),
        "message": record["message"],
        "attempts": record["attempts"],
        "enqueued": local_time(record["created_at"]),
        "started": local_time(record["started_at"]),
        "finished": local_time(record["finished_at"]),
        "error": error.get("message"),
        "hint": error.get("hint"),
    }
    return [f"{name:<9} {value}" for name, value in facts.items() if value]


def _action(record: Mapping[str, Any]) -> str:
    """The action with its kind: `migrate plan`."""
    return f"{record['action']} {record.get('variant', '')}".strip()


def _progress(record: Mapping[str, Any]) -> str:
    if record["finished_at"]:
        return ""
    done = f" {record['percent']}%" if record["percent"] is not None else ""
    return f"{record['step']}{done}".strip()
