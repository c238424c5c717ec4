"""Apply a task in this process: the same task that a worker runs, without Redis, without a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fbs_worker.core.errors import UsageError
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.core.settings import Settings


def run_in_process(
    task_name: str, kwargs: Mapping[str, Any], *, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Apply a task and wait for its end; Ctrl-C ends it.

    Args:
        task_name: e.g. `fbs.discover`.
        kwargs: its keyword arguments; a password may be plain.
        settings: what it works with.
        progress: told its steps; may raise JobCancelled to end it.

    Returns:
        The task's result.

    Raises:
        UsageError: no task has that name.
        FBSError: whatever the task raises; it is not tried again.
    """
    from fbs_worker.jobs.app import make_app

    app = make_app(settings, in_process=progress or NullProgress())
    app.loader.import_default_modules()
    task = app.tasks.get(task_name)
    if task is None:
        raise UsageError(f"There is no task {task_name!r}.", hint="Tasks are called fbs.discover, fbs.record, …")
    return cast("dict[str, Any]", task.apply(kwargs=dict(kwargs), throw=True).result)
