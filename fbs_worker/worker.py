"""A Celery worker as a process of its own: started with given settings, ended politely."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

from pydantic import BaseModel, SecretStr

from fbs_worker.errors import JobError
from fbs_worker.processes import ProcessRef, last_line, signals_held, spawn
from fbs_worker.settings import Settings

WARM_SECONDS: Final = 30.0
"""How long a worker may finish what it is doing before its jobs are cut off (they run again later)."""

START_SECONDS: Final = 60.0
"""How long a worker may take until it is ready for jobs."""

_OURS: Final = ("ODOO_", "FBS_")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A running worker.

    Attributes:
        settings: what it works with.
        process: its main process.
        log: where its output goes.
    """

    settings: Settings = field(repr=False)
    process: ProcessRef
    log: Path
    _ready: IO[bytes] = field(repr=False, compare=False)

    @classmethod
    def start(cls, settings: Settings, *, log: Path, concurrency: int = 2) -> WorkerProcess:
        """`spawn` a worker and wait until it takes jobs; it is ended again if it does not come to that.

        Args:
            settings: what it works with.
            log: gets its output.
            concurrency: how many jobs it runs at a time.

        Raises:
            JobError: it ended at its start, or was not ready in time; the message has its last words.
        """
        worker = cls.spawn(settings, log=log, concurrency=concurrency)
        try:
            worker.wait_until_ready()
        except BaseException:
            worker.stop(seconds=1)
            raise
        return worker

    @classmethod
    def spawn(cls, settings: Settings, *, log: Path, concurrency: int = 2) -> WorkerProcess:
        """Start `fbs worker`; Ctrl-C in a terminal does not reach it.

        Args:
            settings: handed over in the new process's environment, in place of any ODOO_… and FBS_… of ours.
            log: gets its output, readable to its owner alone.
            concurrency: how many jobs it runs at a time.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        ready, tell = os.pipe()
        with os.fdopen(tell, "wb"):
            child = _spawn(settings, log=log, concurrency=concurrency, tell=tell)
        process = ProcessRef.of(child.pid) or ProcessRef(pid=child.pid, started="ended at once")
        return cls(settings=settings, process=process, log=log, _ready=os.fdopen(ready, "rb"))

    def wait_until_ready(self) -> None:
        """Wait until it takes jobs: Celery says so through a pipe, which ends when the process does.

        Raises:
            JobError: it ended at its start, or was not ready in time; the message has its last words.
        """
        with self._ready:
            readable, _, _ = select.select([self._ready], [], [], START_SECONDS)
            if not readable:
                raise self._trouble(f"was not ready within {START_SECONDS:.0f} s")
            if not self._ready.read(1):
                raise self._trouble("ended at its start")

    def _trouble(self, what: str) -> JobError:
        words = last_line(self.log, containing="error: ").removeprefix("error: ") or last_line(self.log)
        return JobError(f"The worker {what}: {words or 'its log is empty'}", hint=f"Its log is {self.log}")

    def stop(self, *, seconds: float = WARM_SECONDS) -> None:
        """End it; see `stop_worker`."""
        stop_worker(self.process, seconds=seconds)
        self._ready.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _spawn(settings: Settings, *, log: Path, concurrency: int, tell: int) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        return spawn(
            [
                *(sys.executable, "-P", "-m", "fbs_worker.cli", "worker"),
                *(f"--concurrency={concurrency}", f"--ready-fd={tell}"),
            ],
            output=output,
            env=inherited | settings_environment(settings),
            pass_fds=[tell],
        )


def stop_worker(process: ProcessRef, *, seconds: float = WARM_SECONDS) -> None:
    """End a worker: it takes no new job and finishes those it has, and is cut off when that takes too long.

    Celery's page on workers: SIGTERM is the warm shutdown, SIGQUIT the cold one.

    Args:
        process: the worker's main process.
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
