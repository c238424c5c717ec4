"""A worker of the tests' own tasks whose jobs count as lost sooner than usual: `python -m tests.support.quick_worker`."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.jobs.worker.run import run_worker
from tests.support.processes import end, exit_with, shorten_times, start_module

LOST_AFTER: Final = 1.5


class QuickWorker:
    """Such a worker, as a process group of its own.

    Args:
        settings: what it works with.
        log: gets its output.
        concurrency: how many jobs it runs at a time.
    """

    def __init__(self, settings: Settings, *, log: Path, concurrency: int = 1) -> None:
        self._process = start_module("quick_worker", str(concurrency), settings=settings, log=log)

    def signal(self, number: signal.Signals) -> None:
        """Send all of its processes a signal."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End all of its processes at once."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it politely, or at once if that takes long."""
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            end(self._process, seconds=5)
        self.kill()


if __name__ == "__main__":
    shorten_times(LOST_AFTER)
    exit_with(lambda: run_worker(load_settings(), concurrency=int(sys.argv[1]), include=("tests.support.job_tasks",)))
