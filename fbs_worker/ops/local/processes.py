"""Operating system processes: identify, signal, stop and lock.

A process id alone is no identity: the system reuses it. A `ProcessRef` also holds the process's start time, so that
a signal never reaches another process with the same id.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import psutil

POLL_SECONDS: Final = 0.02
TERMINATION_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_CLOCK_SECONDS: Final = 5.0
"""Start times are computed from the clock's: two processes may read that of a third one differently by this much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRef:
    """Identity of one process.

    Attributes:
        pid: the process id.
        started: its start time, seconds since 1970.
    """

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessRef | None:
        """The running process with this id; None if there is none or it is a zombie."""
        try:
            process = psutil.Process(pid)
            ended = process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
            return None if ended else cls(pid=pid, started=process.create_time())
        except psutil.NoSuchProcess:
            return None

    @property
    def alive(self) -> bool:
        """Whether this process still runs."""
        now = ProcessRef.of(self.pid)
        return now is not None and abs(now.started - self.started) < _CLOCK_SECONDS

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the process still runs."""
        if self.alive:
            with suppress(ProcessLookupError):  # it ended after the check: nothing to signal
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; it need not be a child process.

        Args:
            seconds: the time limit.

        Returns:
            True if it has ended.
        """
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        """Stop it with escalating signals.

        Args:
            steps: signals, each with the seconds to wait before the next; SIGKILL follows the last one.
        """
        for number, seconds in steps:
            self.send(number)
            if self.wait(seconds):
                break
        else:
            self.send(signal.SIGKILL)
            self.wait(10)
        if ProcessRef.of(self.pid) is None:
            # An id is not reused while a process group has it, so the members left there are its orphaned children.
            with suppress(ProcessLookupError, PermissionError):  # none left; macOS: zombies only
                os.killpg(self.pid, signal.SIGKILL)


def spawn(arguments: Sequence[str], *, output: IO[bytes], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that may outlive this one: in its own session, which Ctrl-C in a terminal does not reach.

    A thread reaps it when it ends, so that it does not remain as a zombie.

    Args:
        arguments: the program and its arguments; never secrets, which every user of the machine could read.
        output: receives stdout and stderr.
        **options: further options of `subprocess.Popen`.

    Returns:
        The process.
    """
    child = subprocess.Popen(  # noqa: S603 -- callers pass fixed programs
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )
    threading.Thread(target=child.wait, name=f"reaper-{child.pid}", daemon=True).start()
    return child


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty if it has ended or may not be inspected."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def last_line(log: Path, *, containing: str = "") -> str:
    """The last non-empty line of a log, for an error's message; empty if there is none.

    Args:
        log: the file.
        containing: a string that the line must contain.
    """
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line and containing in line), "")


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock between processes during the block; the system releases it when the holder dies.

    Args:
        path: the lock file, created if missing and never removed.
        wait: wait until the lock is free.

    Raises:
        BlockingIOError: another process holds the lock and `wait` is False.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


@contextmanager
def exit_on_termination() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and SIGHUP during the block, so that clean-up runs; for the main thread.

    Raises:
        SystemExit: one of them arrived; the code is 128 plus the signal's number, as in shells.
    """

    def terminate(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    with handled((signal.SIGTERM, signal.SIGHUP), terminate):
        yield


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer SIGINT, SIGTERM and SIGHUP until the end of the block.

    For critical sections: registering a started process, clean-up. Outside the main thread Python delivers no signals,
    and the block runs unchanged.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    try:
        with handled(TERMINATION_SIGNALS, lambda number, _: pending.append(number)):
            yield
    finally:
        if pending:
            signal.raise_signal(pending[0])


@contextmanager
def handled(numbers: Iterable[signal.Signals], handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle signals during the block; for the main thread.

    Args:
        numbers: the signals.
        handler: called with the number and the stack frame.
    """
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
