"""Progress as people see it: a live bar on a terminal, a line per step in a pipe, nothing beside JSON."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from fbs_worker.cli.output import OutputFormat, clean, error_console, note
from fbs_worker.core.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_REDRAW_SECONDS: Final = 0.1


class Display(Progress, Protocol):
    """Shows the progress of a job; a context, so that the terminal is left clean."""

    def at(self, current: int, total: int | None) -> None:
        """So many units of the current step are done.

        Args:
            current: how many.
            total: how many the step has, if known.
        """

    def say(self, text: str) -> None:
        """A line for a person, kept above the bar."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_display(title: str, output_format: OutputFormat = OutputFormat.TEXT) -> Display:
    """The display that fits where the output goes.

    Args:
        title: what is being done, e.g. `Discovering rental`.
        output_format: with JSON nothing is shown unless a person watches stderr.
    """
    if sys.stderr.isatty():
        return BarDisplay(title)
    return LineDisplay(title if output_format is OutputFormat.TEXT else None)


class LineDisplay:
    """A line per step, on stderr.

    Args:
        title: stands before each line; None to show nothing but what is said.
    """

    def __init__(self, title: str | None) -> None:
        self._title = title

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """A step's line."""
        if self._title is not None:
            size = f" ({total:,})" if total else ""
            note(f"{self._title}: {name}{size}{': ' + message if message else ''}")

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Too fine for lines."""

    def at(self, current: int, total: int | None) -> None:
        """Too fine for lines."""

    def say(self, text: str) -> None:
        """Its line."""
        note(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class BarDisplay:
    """A live bar for the current step, on stderr; it goes when the job is done.

    Args:
        title: stands before the bar.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar = _bar()
        self._task = self._bar.add_task(title, total=None, step="")
        self._current = 0
        self._drawn_at = 0.0

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """The bar begins anew."""
        self._current = 0
        self._drawn_at = time.monotonic()
        self._bar.reset(self._task, total=total, step=clean(message or name))

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """The bar grows; drawn a few times a second, however often it is told."""
        self._current += units
        if time.monotonic() - self._drawn_at >= _REDRAW_SECONDS:
            self._drawn_at = time.monotonic()
            self._bar.update(self._task, completed=self._current)
        if message:
            self._bar.update(self._task, step=clean(message))

    def at(self, current: int, total: int | None) -> None:
        """The bar grows."""
        self._current = current
        self._bar.update(self._task, completed=current, total=total)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._bar.console.print(clean(text), markup=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _bar() -> RichProgress:
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[step]}", style="dim", markup=False),
        TimeElapsedColumn(),
        console=error_console(),
        transient=True,
    )
