"""A worker with the tests' own tasks: `python -m tests.support.job_worker`, with settings in its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.jobs.worker.run import run_worker
from tests.support.preloaded import Forked
from tests.support.processes import end, exit_with, start_module


@contextmanager
def job_worker(settings: Settings, *, log: Path) -> Iterator[Forked]:
    """A running worker; it is stopped at the end, warmly if that goes quickly."""
    worker = start_module("job_worker", settings=settings, log=log)
    try:
        yield worker
    finally:
        end(worker)


if __name__ == "__main__":
    exit_with(lambda: run_worker(load_settings(), concurrency=2, include=("tests.support.job_tasks",)))
