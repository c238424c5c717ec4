"""Progress by records, with their rate and the time that is left."""

from __future__ import annotations

import time

import humanize

from fbs_worker.core.progress import Progress


class Meter:
    """Counts the records of a step.

    Args:
        progress: receives the step and its units.
        step: the step's name.
        total: the number of records, if known.
    """

    def __init__(self, progress: Progress, step: str, *, total: int | None = None) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        progress.step(step, total=total or None)

    def advance(self, records: int) -> None:
        """Report records as done."""
        self._done += records
        rate = self._done / max(time.monotonic() - self._began, 0.001)
        left = (self._total or 0) - self._done
        ends = f", {humanize.naturaldelta(left / rate)} left" if left > 0 and rate > 0 else ""
        self._progress.advance(records, message=f"{rate:,.0f} records/s{ends}")
