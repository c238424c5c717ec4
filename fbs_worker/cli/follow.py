"""Follow a job to its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from fbs_worker.cli.display import Display
from fbs_worker.cli.output import note
from fbs_worker.core.errors import JobFailed, SettingsError

if TYPE_CHECKING:
    from fbs_worker.client.client import JobHandle
    from fbs_worker.jobs.model import JobEvent

PATIENCE_SECONDS: Final = 5.0
"""A job that no worker has taken up for this long is worth a word."""


def follow(job: JobHandle, display: Display) -> dict[str, Any]:
    """Show a job's progress until it has ended.

    Args:
        job: the job.
        display: where to show it; not entered yet.

    Returns:
        The job's result.

    Raises:
        JobFailed, JobCancelled, JobError: it ended otherwise, or its worker is lost.
        KeyboardInterrupt: Ctrl-C; the job goes on, and a line says so.
    """
    try:
        with display, _word_of_waiting(display) as taken_up:
            for event in job.follow():
                if event.state != "queued":
                    taken_up()
                _show(event, display)
    except KeyboardInterrupt:
        note(f"The job goes on. Follow it: fbs jobs watch {job.id}   Stop it: fbs jobs cancel {job.id}")
        raise
    return _outcome(job)


def _outcome(job: JobHandle) -> dict[str, Any]:
    from fbs_worker.client.client import outcome

    try:
        return outcome(job.status())
    except JobFailed as exc:
        if exc.context["error"].get("code") != SettingsError.code or "worker" in exc.hint:
            raise
        # whoever reads this may well have it set: here, not where the job ran
        hint = f"{exc.hint} The worker has the settings of its start: start it anew with that set."
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
            display.say(event.message or "The job failed and is tried again.")
        case "state":
            pass  # the others show in what follows: steps, or the result


@contextmanager
def _word_of_waiting(display: Display) -> Iterator[Any]:
    words = "No worker has taken the job up yet. Does none run? Start one: fbs worker (or everything: fbs up)"
    timer = threading.Timer(PATIENCE_SECONDS, display.say, [words])
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()
