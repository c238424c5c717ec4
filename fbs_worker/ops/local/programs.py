"""Our own programs (worker, beat, dashboard) as processes: started with given settings, ended politely."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

from pydantic import BaseModel, SecretStr

from fbs_worker.core.errors import JobError
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.processes import ProcessRef, last_line, signals_held, spawn

WARM_SECONDS: Final = 30.0
"""How long a worker may finish what it is doing before its jobs are cut off (they run again later)."""

START_SECONDS: Final = 60.0
"""How long a program may take until it is ready."""

_OURS: Final = ("ODOO_", "FBS_")
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command of ours that runs until it is told to end: `fbs worker`, `fbs beat`, `fbs flower`.

    Attributes:
        name: the command.
        settings: what it works with.
        process: its main process.
        log: where its output goes.
    """

    name: str
    settings: Settings = field(repr=False)
    process: ProcessRef
    log: Path
    _ready: IO[bytes] = field(repr=False, compare=False)

    @classmethod
    def spawn(cls, name: str, *arguments: str, settings: Settings, log: Path) -> Self:
        """Start one; Ctrl-C in a terminal does not reach it.

        Args:
            name: the command.
            *arguments: the command's.
            settings: handed over in the new process's environment, in place of any ODOO_… and FBS_… of ours.
            log: gets its output, readable to its owner alone.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        ready, tell = os.pipe()
        with os.fdopen(tell, "wb"), os.fdopen(os.open(log, _APPEND, 0o600), "ab") as output:
            child = spawn(
                [sys.executable, "-P", "-m", "fbs_worker.cli", name, *arguments, f"--ready-fd={tell}"],
                output=output,
                env=inherited | settings_environment(settings),
                pass_fds=[tell],
            )
        process = ProcessRef.of(child.pid) or ProcessRef(pid=child.pid, started="ended at once")
        return cls(name=name, settings=settings, process=process, log=log, _ready=os.fdopen(ready, "rb"))

    @classmethod
    def start(cls, name: str, *arguments: str, settings: Settings, log: Path) -> Self:
        """`spawn` one and wait until it is ready; it is ended again if it does not come to that.

        Args:
            name: see `spawn`, and the same for the others.
            *arguments: see `spawn`.
            settings: see `spawn`.
            log: see `spawn`.

        Raises:
            JobError: it ended at its start, or was not ready in time; the message has its last words.
        """
        program = cls.spawn(name, *arguments, settings=settings, log=log)
        try:
            program.wait_until_ready()
        except BaseException:
            program.stop(seconds=1)
            raise
        return program

    def wait_until_ready(self) -> None:
        """Wait until it does its work: it says so through a pipe, which ends when the process does.

        Raises:
            JobError: it ended at its start, or was not ready in time; the message has its last words.
        """
        with self._ready:
            readable, _, _ = select.select([self._ready], [], [], START_SECONDS)
            if not readable:
                raise self._trouble(f"was not ready within {START_SECONDS:.0f} s")
            if not self._ready.read(1):
                raise self._trouble("ended at its start")

    def stop(self, *, seconds: float = WARM_SECONDS) -> None:
        """End it; see `stop_program`."""
        stop_program(self.process, seconds=seconds)
        self._ready.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _trouble(self, what: str) -> JobError:
        words = last_line(self.log, containing="error: ").removeprefix("error: ") or last_line(self.log)
        return JobError(f"`fbs {self.name}` {what}: {words or 'its log is empty'}", hint=f"Its log is {self.log}")


def tell_ready(ready_fd: int | None) -> None:
    """Tell whoever started this program that it does its work; see `Program.wait_until_ready`.

    Args:
        ready_fd: the pipe's end, from the command's `--ready-fd`; None where nobody waits.
    """
    if ready_fd is not None:
        os.write(ready_fd, b"!")
        os.close(ready_fd)


def tell_ready_at(signal: Any, ready_fd: int | None) -> None:
    """`tell_ready` when Celery gives a signal.

    Args:
        signal: e.g. `celery.signals.worker_ready`.
        ready_fd: see `tell_ready`.
    """

    @signal.connect(weak=False)  # type: ignore[untyped-decorator]
    def tell(**_: Any) -> None:
        tell_ready(ready_fd)


def start_worker(settings: Settings, *, log: Path, concurrency: int = 2) -> Program:
    """Start a worker and wait until it takes jobs; see `Program.start`.

    Args:
        settings: what it works with.
        log: gets its output.
        concurrency: how many jobs it runs at a time.

    Raises:
        JobError: it ended at its start, or was not ready in time; the message has its last words.
    """
    return Program.start("worker", f"--concurrency={concurrency}", settings=settings, log=log)


def stop_program(process: ProcessRef, *, seconds: float = WARM_SECONDS) -> None:
    """End a program: a worker takes no new job and finishes those it has, and is cut off when that takes too long.

    Celery's page on workers: SIGTERM is the warm shutdown, SIGQUIT the cold one.

    Args:
        process: its main process.
        seconds: how long it may take to finish.
    """
    with signals_held():
        process.stop([(signal.SIGTERM, seconds), (signal.SIGQUIT, 10.0)])


def settings_environment(settings: Settings) -> dict[str, str]:
    """The environment from which another process reads these same settings. It holds their secrets."""
    told = {}
    for name, described in Settings.model_fields.items():
        value = getattr(settings, name)
        if value != described.get_default(call_default_factory=True):
            plain = _plain(value)
            told[name.upper()] = plain if isinstance(plain, str) else json.dumps(plain)
    return told


def _plain(value: Any) -> Any:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case BaseModel():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case Path():
            return str(value)
    return value
