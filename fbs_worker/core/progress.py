"""Progress interface: a job reports its steps, an implementation records, prints or ignores them.

It is also the point of cancellation: `step` and `advance` raise JobCancelled once the job is to stop, so that a job
stops at its next step and rolls back.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the steps of a job."""

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """Report the beginning of a step.

        Args:
            name: the step's name, e.g. `fields`.
            total: the number of units of the step (rows, models), if known.
            message: one line for a person.

        Raises:
            JobCancelled: cancellation was requested.
        """

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Report units of the current step as done. Implementations are cheap enough for a call per row.

        Args:
            units: the number of units done since the last call.
            message: one line for a person.

        Raises:
            JobCancelled: cancellation was requested.
        """


class NullProgress:
    """Progress that ignores all reports."""

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """Do nothing."""

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Do nothing."""
