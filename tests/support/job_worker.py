"""A worker with the tests' own tasks: `python -m tests.support.job_worker`, with settings in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.jobs.worker.run import run_worker
from fbs_worker.ops.local.programs import settings_environment

ROOT = Path(__file__).parents[2]


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a process with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ODOO_", "FBS_"))}
    return inherited | settings_environment(settings)


@contextmanager
def job_worker(settings: Settings, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running worker; it is stopped at the end, warmly if that goes quickly."""
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.support.job_worker"],
            cwd=ROOT,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield worker
    finally:
        worker.terminate()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def main() -> int:
    """Run the worker; print an error in one line."""
    try:
        return run_worker(load_settings(), concurrency=2, include=("tests.support.job_tasks",))
    except FBSError as exc:
        sys.stderr.write(f"{exc.message}\n{exc.hint}\n")
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
