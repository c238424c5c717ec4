"""A process of Celery's own: its set-up of logging, the output of its signal handlers, its banner, its commands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.app.log import Logging
from celery.apps import worker
from click import get_current_context

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.apps.worker:safe_say": "replaced: writes the words of the worker's signal handlers to a stream",
    "celery.apps.worker:Worker.quiet": "set: no banner",
    "celery.worker.worker:WorkController.exitcode": "set when the worker stops; None after a plain end",
    "celery.bin.celery:celery": "Celery's commands are click's: their context is the current one while they run",
    "celery.app.base:Celery.log_cls": "overridden: the class that sets logging up",
    "celery.app.log:Logging.setup_handlers": "overridden: adds the handler of a logger that has none",
    "celery.app.log:Logging.setup_logging_subsystem": "overridden: sets logging up, once per process",
}

LOGGER: Final = worker.__name__
"""The logger that the words of the signal handlers belong to."""


class LoggingSetup(Logging):  # type: ignore[misc]  # Celery has no types
    """Celery's set-up of logging with hooks; an application's `log_cls`."""

    def before_setup(self, level: int) -> None:
        """Logging is about to be set up.

        Args:
            level: the lowest level that is logged.
        """

    def wrap(self, formatter: logging.Formatter) -> logging.Formatter:
        """The formatter of a new handler.

        Args:
            formatter: the one that Celery chose.
        """
        return formatter

    def setup_logging_subsystem(self, loglevel: int | str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Set logging up, once per process."""
        level = loglevel or self.loglevel
        self.before_setup(logging.getLevelNamesMapping()[level.upper()] if isinstance(level, str) else level)
        return super().setup_logging_subsystem(loglevel, *args, **kwargs)

    def setup_handlers(self, logger: logging.Logger, *args: Any, **kwargs: Any) -> logging.Logger:
        """Add the handler of a logger that has none."""
        before = set(logger.handlers)
        super().setup_handlers(logger, *args, **kwargs)
        for handler in logger.handlers:
            if handler not in before:
                handler.setFormatter(self.wrap(handler.formatter or logging.Formatter()))
        return logger


def replace_signal_output(write: Callable[[str], None]) -> None:
    """Send the words of the worker's signal handlers elsewhere than to stderr and stdout.

    Args:
        write: is called within a signal handler: it must not wait for a lock.
    """

    def say(words: object, _stream: object = None) -> None:
        write(str(words))

    worker.safe_say = say


def omit_banner(instance: Any) -> None:
    """Start a worker without its banner.

    Args:
        instance: the worker, as the signal `celeryd_init` passes it.
    """
    instance.quiet = True


def exit_code_of(worker: Any) -> int:
    """The exit code that a worker gives its process, once it has stopped."""
    return int(worker.exitcode or 0)


def runs_celery_command() -> bool:
    """Whether one of Celery's own commands (`celery -A fbs_worker.app …`) runs in this thread."""
    return get_current_context(silent=True) is not None
