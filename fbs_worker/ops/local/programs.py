"""Long-running `fbs` commands (worker, beat, dashboard, API) as child processes."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

from pydantic import SecretStr

from fbs_worker.core.collector import collect_as_usual
from fbs_worker.core.errors import JobError
from fbs_worker.core.settings import Settings
from fbs_worker.core.settings_file import PLACE
from fbs_worker.ops.local.processes import ProcessRef, last_line, signals_deferred, spawn

WARM_SECONDS: Final = 30.0
"""How long a worker may finish its jobs before they are interrupted (they are redelivered later)."""

START_SECONDS: Final = 60.0
"""How long a program may take to become ready."""

_SETTINGS_PREFIXES: Final = ("ODOO_", "FBS_")
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A running `fbs` command, e.g. `fbs worker` or `fbs beat`.

    Attributes:
        name: the command.
        settings: its settings.
        process: its main process.
        log: the file of its output.
    """

    name: str
    settings: Settings = field(repr=False)
    process: ProcessRef
    log: Path
    _ready: IO[bytes] = field(repr=False, compare=False)

    @classmethod
    def spawn(
        cls,
        name: str,
        *arguments: str,
        settings: Settings,
        log: Path,
        variables: Mapping[str, str] | None = None,
        listener: socket.socket | None = None,
    ) -> Self:
        """Start a command without waiting for it; Ctrl-C in a terminal does not reach it.

        Args:
            name: the command.
            *arguments: its arguments.
            settings: passed in its environment, in place of the ODOO_… and FBS_… variables of this process.
            log: the file of its output, readable to its owner alone.
            variables: further variables of its environment.
            listener: a socket that listens already, for the program to accept on; this process may close it afterwards.

        Returns:
            The program.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS_PREFIXES)}
        ready, notify = os.pipe()
        files = {"--ready-fd": notify} | ({"--listen-fd": listener.fileno()} if listener else {})
        with os.fdopen(notify, "wb"), os.fdopen(os.open(log, _APPEND, 0o600), "ab") as output:
            child = spawn(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "fbs_worker.cli",
                    name,
                    *arguments,
                    *(f"{option}={fd}" for option, fd in files.items()),
                ],
                output=output,
                env=inherited | settings_environment(settings) | {PLACE: ""} | dict(variables or {}),
                pass_fds=list(files.values()),
            )
        process = ProcessRef.of(child.pid) or ProcessRef(pid=child.pid, started=0.0)
        return cls(name=name, settings=settings, process=process, log=log, _ready=os.fdopen(ready, "rb"))

    @classmethod
    def start(cls, name: str, *arguments: str, settings: Settings, log: Path) -> Self:
        """Start a command and wait until it is ready; stop it again on failure.

        Args:
            name: the command.
            *arguments: its arguments.
            settings: as for `spawn`.
            log: the file of its output.

        Returns:
            The program.

        Raises:
            JobError: it ended at its start or was not ready in time; the message has the last line of its log.
        """
        program = cls.spawn(name, *arguments, settings=settings, log=log)
        try:
            program.wait_until_ready()
        except BaseException:
            program.stop(seconds=1)
            raise
        return program

    def wait_until_ready(self) -> None:
        """Wait until the program reports through a pipe that it is ready; the pipe closes when the process ends.

        Raises:
            JobError: it ended at its start or was not ready in time; the message has the last line of its log.
        """
        with self._ready:
            readable, _, _ = select.select([self._ready], [], [], START_SECONDS)
            if not readable:
                raise self._error(f"was not ready within {START_SECONDS:.0f} s")
            if not self._ready.read(1):
                raise self._error("ended at its start")

    def stop(self, *, seconds: float = WARM_SECONDS) -> None:
        """Stop it; see `stop_program`."""
        stop_program(self.process, seconds=seconds)
        self._ready.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _error(self, problem: str) -> JobError:
        reason = last_line(self.log, containing="error: ").removeprefix("error: ") or last_line(self.log)
        return JobError(f"`fbs {self.name}` {problem}: {reason or 'its log is empty'}", hint=f"Its log is {self.log}")


def notify_ready(ready_fd: int | None) -> None:
    """Report to the parent process that this program is ready; see `Program.wait_until_ready`.

    From now on garbage is collected as usual.

    Args:
        ready_fd: the write end of the pipe, from `--ready-fd`; None if no process waits.
    """
    collect_as_usual()
    if ready_fd is not None:
        os.write(ready_fd, b"!")
        os.close(ready_fd)


def notify_ready_on(signal: Any, ready_fd: int | None) -> None:
    """Call `notify_ready` when Celery sends a signal.

    Args:
        signal: the signal, e.g. `celery.signals.worker_ready`.
        ready_fd: the write end of the pipe; None if no process waits.
    """

    @signal.connect(weak=False)  # type: ignore[untyped-decorator]
    def notify(**_: Any) -> None:
        notify_ready(ready_fd)


def stop_program(process: ProcessRef, *, seconds: float = WARM_SECONDS) -> None:
    """Stop a program by Celery's warm shutdown (SIGTERM), then the cold one (SIGQUIT).

    In the warm shutdown a worker takes no new jobs and finishes the running ones.

    Args:
        process: its main process.
        seconds: the time limit of the warm shutdown.
    """
    with signals_deferred():
        process.stop([(signal.SIGTERM, seconds), (signal.SIGQUIT, 10.0)])


def settings_environment(settings: Settings) -> dict[str, str]:
    """The environment variables from which another process reads the same settings. They contain secrets."""
    changed = json.loads(json.dumps(settings.model_dump(exclude_defaults=True), default=_plain))
    return {name.upper(): value if isinstance(value, str) else json.dumps(value) for name, value in changed.items()}


def _plain(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
