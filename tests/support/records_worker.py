"""A worker that is there to be killed while it copies records: its pages are small, and a few records are many.

As a process: `python -m tests.support.records_worker 1`, with the settings around it.
"""

from __future__ import annotations

import sys

from fbs_worker.connectors import records
from fbs_worker.core.settings import load_settings
from fbs_worker.jobs.worker.run import run_worker
from fbs_worker.replication import sweep, table
from tests.support.fault_worker import LOST_AFTER
from tests.support.processes import exit_with, shorten_times

PAGE = 100
PART_ROWS = 400


def shorten() -> None:
    """Make pages, ranges and small tables of this process shorter."""
    for module, values in (
        (records, {"FIRST_SIZE": PAGE, "LARGEST_SIZE": PAGE, "SMALLEST_SIZE": PAGE // 2}),
        (table, {"SMALL": 20, "PART_ROWS": PART_ROWS, "CONFIRM_SECONDS": 0.1}),
        (sweep, {"IDS_PER_RANGE": 700}),
    ):
        for name, value in values.items():
            assert hasattr(module, name)
            setattr(module, name, value)


if __name__ == "__main__":
    shorten_times(LOST_AFTER)
    shorten()
    exit_with(lambda: run_worker(load_settings(), concurrency=int(sys.argv[1])))
