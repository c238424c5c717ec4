"""Progress display: a live bar on a terminal, a line per step in a pipe, none with JSON output."""

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
    """Show the progress of a job; a context manager, which restores the terminal."""

    def at(self, current: int, total: int | None) -> None:
        """Set the number of completed units of the current step.

        Args:
            current: completed units.
            total: units of the step, if known.
        """

    def say(self, text: str) -> None:
        """Print a line above the bar."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_display(title: str, output_format: OutputFormat = OutputFormat.TEXT) -> Display:
    """Choose the display by the type of stderr.

    Args:
        title: the title, e.g. `Discovering rental`.
        output_format: with JSON, progress is shown on a terminal only.

    Returns:
        The display, not entered yet.
    """
    if sys.stderr.isatty():
        return BarDisplay(title)
    return LineDisplay(title if output_format is OutputFormat.TEXT else None)


class LineDisplay:
    """Print a line per step on stderr.

    Args:
        title: prefix of each line; None to print only messages.
    """

    def __init__(self, title: str | None) -> None:
        self._title = title

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """Print the step."""
        if self._title is not None:
            size = f" ({total:,})" if total else ""
            note(f"{self._title}: {name}{size}{': ' + message if message else ''}")

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Not shown."""

    def at(self, current: int, total: int | None) -> None:
        """Not shown."""

    def say(self, text: str) -> None:
        """Print the line."""
        note(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class BarDisplay:
    """Show a live bar of the current step on stderr, removed at the end.

    Args:
        title: prefix of the bar.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar = _bar()
        self._task = self._bar.add_task(title, total=None, step="")
        self._current = 0
        self._drawn_at = 0.0

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """Restart the bar."""
        self._current = 0
        self._drawn_at = time.monotonic()
        self._bar.reset(self._task, total=total, step=clean(message or name))

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Advance the bar; redrawn at most every `_REDRAW_SECONDS`."""
        self._current += units
        if time.monotonic() - self._drawn_at >= _REDRAW_SECONDS:
            self._drawn_at = time.monotonic()
            self._bar.update(self._task, completed=self._current)
        if message:
            self._bar.update(self._task, step=clean(message))

    def at(self, current: int, total: int | None) -> None:
        """Set the bar."""
        self._current = current
        self._bar.update(self._task, completed=current, total=total)

    def say(self, text: str) -> None:
        """Print the line above the bar."""
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
