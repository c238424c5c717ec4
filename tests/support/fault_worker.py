"""Workers that are there to be killed: real processes, whose jobs count as lost sooner than usual.

As a process: `python -m tests.support.fault_worker 1`, with the settings around it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil

from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.jobs.worker.run import run_worker
from tests.support.processes import exit_with, shorten_times, start_module
from tests.support.servers import describe

LOST_AFTER: Final = 3.0
"""Seconds without a heartbeat after which a job of these workers is lost: time enough for a busy machine."""

_PATIENCE: Final = 20.0


class FaultWorker:
    """A worker.

    Args:
        settings: what it works with.
        log: gets its output.
        concurrency: how many jobs it runs at a time.
        module: what it runs, of this package.

    Attributes:
        log: see above.
        killed: `kill_main` has been called.
    """

    def __init__(self, settings: Settings, *, log: Path, concurrency: int = 1, module: str = "fault_worker") -> None:
        self.log = log
        self.killed = False
        self._process = start_module(module, str(concurrency), settings=settings, log=log)

    @property
    def alive(self) -> bool:
        """Its main process runs."""
        return self._process.poll() is None

    def children(self) -> list[psutil.Process]:
        """The processes that run its jobs."""
        return psutil.Process(self._process.pid).children(recursive=True) if self.alive else []

    def kill_main(self) -> None:
        """End its main process as the out-of-memory killer does it; its children end with it."""
        children = self.children()
        self.killed = True
        self._process.kill()
        self._process.wait()
        _, left = psutil.wait_procs(children, timeout=_PATIENCE)
        assert not left, f"a worker's processes outlive it:\n{describe(left)}"

    def kill_child(self) -> None:
        """End one of the processes that run its jobs; its main process makes a new one."""
        child = self.children()[0]
        child.kill()

    def freeze_main(self) -> None:
        """Stop its main process where it is; its jobs go on."""
        self._process.send_signal(signal.SIGSTOP)

    def freeze(self) -> None:
        """Stop all of its processes where they are."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """End it: what it does is finished if that goes quickly, else cut off."""
        if not self.alive:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill_main()

    def _signal_all(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)


if __name__ == "__main__":
    shorten_times(LOST_AFTER)
    exit_with(lambda: run_worker(load_settings(), concurrency=int(sys.argv[1])))
