"""The saved history: one JSON file, replaced atomically.

Flower's own format, pickles in the parts of a `dbm`, can be corrupted when the process is killed between two writes.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

from fbs_worker.ops.dashboard.events import DashboardState, DashboardTask
from fbs_worker.ops.local.state import write_private

_log = logging.getLogger(__name__)

_RELATIONS: Final = frozenset({"root", "parent", "children"})
"""Fields that Celery derives from other tasks."""

_TRANSIENT: Final = frozenset({"active", "heartbeats"})
"""Fields of a worker that are true only while its heartbeats arrive."""


def save_history(state: DashboardState, file: Path) -> None:
    """Write tasks, workers and counters to a file.

    Args:
        state: the state to save.
        file: the file; readable to its owner alone.

    Raises:
        OSError: the file cannot be written.
    """
    document = {
        "tasks": [_fields(task) for task in state.tasks_by_id().values()],
        "workers": state.worker_values(without=_TRANSIENT),
        "counter": state.counter,
    }
    write_private(file, json.dumps(document, default=str))


def load_history(file: Path, *, max_tasks: int) -> DashboardState:
    """Read a saved history. An unreadable file is renamed to `.unreadable`.

    Args:
        file: the file.
        max_tasks: how many of the newest tasks to load and to hold.

    Returns:
        The state; an empty one if there is no readable file.
    """
    try:
        return _state(json.loads(file.read_bytes()), max_tasks)
    except FileNotFoundError:
        return DashboardState(max_tasks_in_memory=max_tasks)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        backup = file.with_suffix(".unreadable")
        _log.error("the history %s cannot be read (%s); renamed it to %s", file, type(exc).__name__, backup.name)
        file.replace(backup)
        return DashboardState(max_tasks_in_memory=max_tasks)


def _fields(task: DashboardTask) -> dict[str, Any]:
    values = {name: value for name, value in task.values().items() if name not in _RELATIONS}
    worker = values.pop("worker")
    values["worker"] = worker.hostname if worker is not None else None
    return {name: value for name, value in values.items() if value is not None}


def _state(document: dict[str, Any], max_tasks: int) -> DashboardState:
    state = DashboardState(max_tasks_in_memory=max_tasks)
    tasks = document["tasks"][-max_tasks:]
    named = {fields.get("worker") for fields in tasks}  # each start of a worker adds a name: load only those in use
    for fields in document["workers"]:
        if fields["hostname"] in named:
            state.restore_worker(fields)
    for fields in tasks:
        name = fields.pop("worker", None)
        state.restore_task(DashboardTask(cluster_state=state, **fields), worker=name)
    for worker, counts in document["counter"].items():
        if worker in named:
            state.counter[worker].update(counts)
    return state
