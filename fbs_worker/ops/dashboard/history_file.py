"""The history as a file: JSON, whole or not at all.

Flower's own way, Python's pickles in the parts of a `dbm`, can be cut between two parts when it is killed.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

from fbs_worker.ops.dashboard.events import ShownState, ShownTask
from fbs_worker.ops.local.state import write_private

_log = logging.getLogger(__name__)

_RELATIONS: Final = frozenset({"root", "parent", "children"})
"""What Celery works out from the other tasks."""

_OF_NOW: Final = frozenset({"active", "heartbeats"})
"""What of a worker is true only while it is heard."""


def keep(state: ShownState, file: Path) -> None:
    """Write down what is known.

    Args:
        state: what is known.
        file: gets it; readable to its owner alone.
    """
    told = {
        "tasks": [_fields(task) for task in state.shown().values()],
        "workers": [
            {name: getattr(worker, name) for name in worker._fields if name not in _OF_NOW}
            for worker in state.workers.data.values()
        ],
        "counter": state.counter,
    }
    write_private(file, json.dumps(told, default=str))


def recall(file: Path, *, most: int) -> ShownState:
    """What was written down. A file that cannot be read is put aside, and nothing is known then.

    Args:
        file: where it was written down.
        most: how many tasks are kept.
    """
    try:
        return _state(json.loads(file.read_bytes()), most)
    except FileNotFoundError:
        return ShownState(max_tasks_in_memory=most)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        aside = file.with_suffix(".unreadable")
        _log.error("the history %s cannot be read (%s); it is put aside as %s", file, type(exc).__name__, aside.name)
        file.replace(aside)
        return ShownState(max_tasks_in_memory=most)


def _fields(task: ShownTask) -> dict[str, Any]:
    told = {name: getattr(task, name) for name in task._fields if name not in _RELATIONS}
    worker = told.pop("worker")
    told["worker"] = worker.hostname if worker is not None else None
    return {name: value for name, value in told.items() if value is not None}


def _state(told: dict[str, Any], most: int) -> ShownState:
    state = ShownState(max_tasks_in_memory=most)
    tasks = told["tasks"][-most:]
    named = {fields.get("worker") for fields in tasks}  # of each start of a worker there is one more
    for fields in told["workers"]:
        if fields["hostname"] in named:
            state.get_or_create_worker(**fields)
    for fields in tasks:
        name = fields.pop("worker", None)
        task = state.tasks[fields["uuid"]] = ShownTask(cluster_state=state, **fields)
        if name is not None:
            task.worker, _ = state.get_or_create_worker(name)
        state.know(task)
    for worker, counts in told["counter"].items():
        if worker in named:
            state.counter[worker].update(counts)
    return state
