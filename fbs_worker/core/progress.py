"""Progress as an interface: a job tells its steps, whoever follows decides what to do with them.

`Progress` is also where a job learns that it was cancelled: `step` and `advance` raise JobCancelled then, so that a
job stops at its next step and rolls back.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the steps of a job."""

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """A new step begins.

        Args:
            name: the step's name, e.g. `fields`.
            total: how many units the step will take (rows, models), if known.
            message: one line for a person.

        Raises:
            JobCancelled: someone asked for the job to stop.
        """

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Some units of the current step are done. Cheap enough to be called per row.

        Raises:
            JobCancelled: someone asked for the job to stop.
        """


class NullProgress:
    """Progress that nobody follows."""

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """Nothing to tell."""

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Nothing to tell."""
