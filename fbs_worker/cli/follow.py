"""Follow a job until it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from fbs_worker.cli.display import Display
from fbs_worker.cli.output import note
from fbs_worker.core.errors import JobFailed, SettingsError
from fbs_worker.jobs.model import SHORT_ID

if TYPE_CHECKING:
    from fbs_worker.client.client import JobHandle
    from fbs_worker.jobs.model import JobEvent

QUEUED_HINT_SECONDS: Final = 5.0
"""Print a hint if no worker has started the job after this time."""


def follow(job: JobHandle, display: Display) -> dict[str, Any]:
    """Show a job's progress until it ends.

    Args:
        job: the job.
        display: the display, not entered yet.

    Returns:
        The job's result.

    Raises:
        JobFailed: the job failed.
        JobCancelled: the job was cancelled.
        JobError: the worker of the job is lost.
        KeyboardInterrupt: Ctrl-C was pressed; the job continues, and a line on stderr says so.
    """
    try:
        with display, _queued_hint(display) as cancel_hint:
            for event in job.follow():
                if event.state != "queued":
                    cancel_hint()
                _show(event, display)
    except KeyboardInterrupt:
        short = job.id[:SHORT_ID]
        note(f"The job continues. Follow it: fbs jobs watch {short}   Stop it: fbs jobs cancel {short}")
        raise
    return _outcome(job)


def _outcome(job: JobHandle) -> dict[str, Any]:
    from fbs_worker.client.client import outcome

    try:
        return outcome(job.status())
    except JobFailed as exc:
        if exc.context["error"].get("code") != SettingsError.code or "worker" in exc.hint:
            raise
        # the setting may be set in this process and missing in the worker's
        hint = f"{exc.hint} The worker has the settings of its start: set it there and restart the worker."
        raise JobFailed(exc.message, hint=hint, **exc.context) from None


def _show(event: JobEvent, display: Display) -> None:
    match event.kind:
        case "step":
            display.step(event.step, total=event.total, message=event.message)
        case "progress":
            display.at(event.current, event.total)
        case "message":
            display.say(event.message)
        case "state" if event.state == "retrying":
            display.say(event.message or "The job failed and is retried.")
        case "state":
            pass  # visible by the following steps or the result


@contextmanager
def _queued_hint(display: Display) -> Iterator[Any]:
    text = "No worker has started the job yet. If none is running, start one: fbs worker (or everything: fbs up)"
    timer = threading.Timer(QUEUED_HINT_SECONDS, display.say, [text])
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()
