"""Refresh a solution from a Celery application that knows fbs-worker by the names of its tasks and queues alone.

Usage: python shop.py SOLUTION
"""

from __future__ import annotations

import os
import sys
import time

from celery import Celery
from celery.result import AsyncResult

REDIS_URL = os.environ.get("SHOP_REDIS_URL", "redis://localhost:6379/0")

app = Celery("shop", broker=REDIS_URL, backend=REDIS_URL)
app.conf.task_routes = {
    "fbs.discover": {"queue": "fbs.discovery"},
    "fbs.refresh": {"queue": "fbs.discovery"},
    "fbs.setup": {"queue": "fbs.schema"},
    "fbs.migrate": {"queue": "fbs.schema"},
    "fbs.drop": {"queue": "fbs.schema"},
    "fbs.sync": {"queue": "fbs.records"},
}


@app.task(name="shop.refresh_catalogue")  # type: ignore[untyped-decorator]  # Celery has no types
def refresh_catalogue(solution: str) -> str:
    """A task of the application's own, for a worker or beat of its own: enqueue a refresh, do not wait for it.

    Returns:
        The id of the job; `fbs jobs watch ID` follows it, too.
    """
    return str(app.send_task("fbs.refresh", kwargs={"solution_name": solution}).id)


def follow(job: AsyncResult) -> None:
    """Print the steps of a job until it has ended."""
    step = None
    while not job.ready():
        progress = job.info  # asked once: the next answer may be the result
        if isinstance(progress, dict) and progress.get("step", step) != step:
            step = progress["step"]
            print(f"{step} …")
        time.sleep(0.1)


def main(solution: str) -> None:
    """Enqueue a refresh, follow it and print what it changed.

    Raises:
        Exception: the job failed; its first argument is the error: code, message, hint, retryable.
    """
    job = app.send_task("fbs.refresh", kwargs={"solution_name": solution})
    follow(job)
    report = job.get()["report"]
    changes = {what: len(report[what]) for what in ("added", "changed", "removed")}
    print(f"{solution}: {changes}, {report['unchanged']} unchanged")


if __name__ == "__main__":
    main(sys.argv[1])
