"""Tasks of the tests' workers: one for each way in which a job can end."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from celery import shared_task

from fbs_worker.core.errors import OdooLoginRefused, OdooTimeout
from fbs_worker.jobs.worker.task import JobTask

SECRET = "hunter2-in-an-error"

_never = threading.Event()


def _wait_for(path: Path, job: JobTask) -> None:
    while not path.exists():
        job.progress.advance(0)
        _never.wait(0.02)


@shared_task(name="test.steps", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def steps(self: JobTask, *, gate: str, domain: str = "rental") -> dict[str, Any]:
    """Two steps; the second waits in its middle until the file `gate` is there."""
    self.progress.step("modules", total=2, message="reading modules")
    self.progress.advance()
    self.progress.advance()
    self.progress.step("fields", total=4)
    self.progress.advance(2, message="sale.order")
    _wait_for(Path(gate), self)
    self.progress.advance(2)
    return {"domain": domain, "done": True}


@shared_task(name="test.flaky", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def flaky(self: JobTask, *, runs: str, failures: int) -> dict[str, Any]:
    """Fails a few times with a temporary error; `runs` counts the runs."""
    with Path(runs).open("a") as file:
        file.write("x")
    count = len(Path(runs).read_text())
    if count <= failures:
        raise OdooTimeout("Odoo took too long.", hint="Wait.")
    return {"runs": count}


class Resting(OdooTimeout):
    """A server whose circuit is open."""

    retry_after = 0.1


@shared_task(name="test.resting", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def resting(self: JobTask, *, runs: str, times: int) -> dict[str, Any]:
    """Is asked to wait a few times; `runs` counts the runs."""
    with Path(runs).open("a") as file:
        file.write("x")
    count = len(Path(runs).read_text())
    if count <= times:
        raise Resting("Odoo rests.", hint="Wait.")
    return {"runs": count}


@shared_task(name="test.refused", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def refused(self: JobTask, *, runs: str) -> dict[str, Any]:
    """Fails with a permanent error."""
    with Path(runs).open("a") as file:
        file.write("x")
    try:
        raise ValueError(SECRET)
    except ValueError as exc:
        raise OdooLoginRefused("Wrong user.", hint="Correct ODOO_USER.", user="admin") from exc


@shared_task(name="test.broken", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def broken(self: JobTask) -> dict[str, Any]:
    """Fails unexpectedly, with a secret in the message."""
    password = SECRET
    raise ValueError(f"bad password {password}")


@shared_task(name="test.not_json", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def not_json(self: JobTask) -> dict[str, Any]:
    """Returns a result that is not JSON-ready."""
    return {"types": {1, 2}}


@shared_task(name="test.slow", bind=True, base=JobTask, soft_time_limit=1)  # type: ignore[untyped-decorator]
def slow(self: JobTask) -> dict[str, Any]:
    """Never ends by itself."""
    self.progress.step("waiting")
    while True:
        _never.wait(0.05)


@shared_task(name="test.deadly", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def deadly(self: JobTask, *, runs: str) -> dict[str, Any]:
    """Kills the process that runs it."""
    with Path(runs).open("a") as file:
        file.write("x")
    os._exit(9)
