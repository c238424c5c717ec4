"""Apply a task in this process: the same task as in a worker, without Redis and without a job record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fbs_worker.core.errors import UsageError
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.core.settings import Settings


def run_in_process(
    task_name: str, kwargs: Mapping[str, Any], *, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Apply a task and return its result.

    Args:
        task_name: e.g. `fbs.discover`.
        kwargs: its keyword arguments; a password may be plain.
        settings: the settings of the task.
        progress: receives the steps; may raise JobCancelled to cancel the task.

    Raises:
        UsageError: no task has that name.
        FBSError: raised by the task, which is not retried.
    """
    from fbs_worker.jobs.app import make_app

    app = make_app(settings, in_process=progress or NullProgress())
    app.loader.import_default_modules()
    task = app.tasks.get(task_name)
    if task is None:
        raise UsageError(f"There is no task {task_name!r}.", hint="The tasks are fbs.discover, fbs.record, …")
    return cast("dict[str, Any]", task.apply(kwargs=dict(kwargs), throw=True).result)
