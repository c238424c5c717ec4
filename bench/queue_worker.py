"""A worker with the benchmarks' tasks; reports through a pipe that it is ready.

python -m bench.queue_worker FILE_DESCRIPTOR [PROCESSES]
"""

from __future__ import annotations

import os
import sys
from typing import Any

from celery.signals import worker_ready

from fbs_worker.core.settings import load_settings
from fbs_worker.jobs.worker.run import run_worker


def main() -> int:
    """Run the worker until SIGTERM."""
    ready_fd, processes = int(sys.argv[1]), int((sys.argv[2:] or ["1"])[0])

    @worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def report_ready(**_: Any) -> None:
        os.write(ready_fd, b"!")
        os.close(ready_fd)

    return run_worker(load_settings(), concurrency=processes, loglevel="WARNING", include=("bench.queue_tasks",))


if __name__ == "__main__":
    sys.exit(main())
