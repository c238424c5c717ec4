"""Base class of the embedded servers."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final, Self

from fbs_worker.core.errors import FBSError
from fbs_worker.ops.local.processes import POLL_SECONDS, ProcessRef, file_lock, last_line, signals_deferred

START_SECONDS: Final = 60.0
"""How long a server may take to become ready, crash recovery of a large database included."""

INSTALL_HINT: Final = 'Install the wheels: pip install "fbs-worker[embedded]"'


class Server(ABC):
    """A server in a locked folder; a context manager that stops it at the end.

    Attributes:
        name: its name in settings and files.
        label: its name for a person.
        port: its port on 127.0.0.1.
        start_failure: the class of the error of a failed start.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    port: int
    start_failure: ClassVar[type[FBSError]]

    @classmethod
    def start(cls, folder: Path, *, port: int | None = None, durable: bool = True) -> Self:
        """Start the server of a folder, or find it running.

        Args:
            folder: the folder of this server alone, created if missing.
            port: the port on 127.0.0.1; None for Redis: any free one, for PostgreSQL: only a Unix socket.
            durable: False trades durability for speed, for tests.

        Returns:
            The server.

        Raises:
            SettingsError: the wheel is not installed or cannot run on this machine.
            DatabaseUnreachable, QueueUnreachable: the server failed to start; the message has the last line of its log.
        """
        programs = cls._programs()
        folder = folder.expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with signals_deferred(), file_lock(folder / "lock"):
            return cls._find(folder) or cls._start(folder, programs, port=port, durable=durable)

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """The running server of a folder; None if there is none."""
        folder = folder.expanduser().resolve()
        if not (folder / "lock").exists():
            return None
        with file_lock(folder / "lock"):
            return cls._find(folder)

    @classmethod
    @abstractmethod
    def _programs(cls) -> Path:
        """Where its programs are; raises SettingsError without the wheel."""

    @classmethod
    @abstractmethod
    def _find(cls, folder: Path) -> Self | None:
        """Find the running server; the caller holds the folder's lock."""

    @classmethod
    @abstractmethod
    def _start(cls, folder: Path, programs: Path, *, port: int | None, durable: bool) -> Self:
        """Start the server; the caller holds the folder's lock."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server. Idempotent."""

    @classmethod
    def _await(
        cls, child: subprocess.Popen[bytes], folder: Path, deadline: float, ready: Callable[[ProcessRef], bool]
    ) -> ProcessRef | None:
        """Wait until a started server is ready; None if it has ended."""
        while child.poll() is None:
            process = ProcessRef.of(child.pid)
            if process is not None and ready(process):
                return process
            if time.monotonic() > deadline:
                child.kill()
                child.wait()
                raise cls._late(folder)
            time.sleep(POLL_SECONDS)
        return None

    @classmethod
    def _late(cls, folder: Path) -> FBSError:
        return cls._failed(folder, f"did not become ready within {START_SECONDS:.0f} s")

    @classmethod
    def _failed(cls, folder: Path, problem: str) -> FBSError:
        log = folder / "log"
        reason = last_line(log, containing="FATAL") or last_line(log) or "its log is empty"
        return cls.start_failure(f"The embedded {cls.label} {problem}: {reason}", hint=f"Its log is {log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
