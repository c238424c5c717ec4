"""A worker of the tests' own tasks whose jobs count as lost sooner than usual: `python -m tests.support.quick_worker`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.jobs.store import JobStore
from fbs_worker.jobs.worker.run import run_worker
from tests.support.job_worker import ROOT, environment

LOST_AFTER: Final = 1.5


class QuickWorker:
    """Such a worker, as a process group of its own.

    Args:
        settings: what it works with.
        log: gets its output.
        concurrency: how many jobs it runs at a time.
    """

    def __init__(self, settings: Settings, *, log: Path, concurrency: int = 1) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.quick_worker", str(concurrency)],
                cwd=ROOT,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

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
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self.kill()


if __name__ == "__main__":
    defaults = JobStore.__init__.__kwdefaults__
    assert defaults is not None
    defaults["lost_after"] = LOST_AFTER  # every other length of time follows from it
    sys.exit(run_worker(load_settings(), concurrency=int(sys.argv[1]), include=("tests.support.job_tasks",)))
