"""Operating system processes: know one again after its number was given away, and end it politely.

A process id alone is not an identity: the system hands it out again. A `ProcessRef` holds the time at which the process
started as well, so that nothing but the process that was meant is ever signalled.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

POLL_SECONDS: Final = 0.02
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRef:
    """One process, this run of it.

    Attributes:
        pid: its number.
        started: when it started, in the system's own words; compared, never parsed.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessRef | None:
        """The process that has this number now; None when there is none (a zombie counts as none)."""
        started = _start_mark(pid)
        return None if started is None else cls(pid=pid, started=started)

    @property
    def alive(self) -> bool:
        """This very process still runs."""
        return _start_mark(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still this one."""
        if self.alive:
            with suppress(ProcessLookupError):  # it ended between the look and the signal: what was wanted
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait for its end, also when it is not a child of ours.

        Args:
            seconds: the most to wait.

        Returns:
            It has ended.
        """
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        """End it, growing less polite.

        Args:
            steps: signals, each with the seconds to wait for the end before the next; SIGKILL comes last by itself.
        """
        for number, seconds in steps:
            self.send(number)
            if self.wait(seconds):
                break
        else:
            self.send(signal.SIGKILL)
            self.wait(10)
        if ProcessRef.of(self.pid) is None:
            # A number is not given away again while a group bears it: whoever is left there is a child without parent.
            with suppress(ProcessLookupError, PermissionError):  # none left; macOS: zombies only
                os.killpg(self.pid, signal.SIGKILL)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"pid": self.pid, "started": self.started}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProcessRef:
        """Back from `to_dict`."""
        return cls(pid=int(values["pid"]), started=str(values["started"]))


def spawn(arguments: Sequence[str], *, output: IO[bytes], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that may outlive this one: in a session of its own, which Ctrl-C in a terminal does not reach.

    It is reaped as soon as it ends, so that it never stays behind as a zombie.

    Args:
        arguments: the program and its arguments; no secret, for every user of the machine can see them.
        output: gets what it prints, errors too.
        **options: further ones of `subprocess.Popen`.
    """
    child = subprocess.Popen(  # noqa: S603 -- every caller gives its own arguments
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
    """The arguments that the process was started with; empty when it is gone or may not be looked at."""
    if _PROC.joinpath("self").exists():
        try:
            raw = _PROC.joinpath(str(pid), "cmdline").read_bytes()
        except OSError:
            return []
        return [part.decode(errors="replace") for part in raw.split(b"\0") if part]
    return _ps(pid, "command").split()


def last_line(log: Path, *, containing: str = "") -> str:
    """The last line of a log that is not empty, for an error's message; empty when there is none.

    Args:
        log: the file.
        containing: a word that the line must have.
    """
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line and containing in line), "")


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock between processes while the block runs; the system lets go of it when the holder dies.

    Args:
        path: a file of its own, made where it is missing and left there.
        wait: until it is free.

    Raises:
        BlockingIOError: it is taken, and waiting was not wanted.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


@contextmanager
def ending_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, clean-up included; for the main thread.

    Raises:
        SystemExit: one of them came, with 128 and the signal's number as shells tell it.
    """

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep Ctrl-C and requests to end waiting while the block runs, and let them through after it.

    For what must not stop half-way: a process that was started but not noted yet, a clean-up. Outside the main thread
    Python delivers no signal, so there is nothing to hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.signal(number, lambda got, _: waiting.append(got)) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if waiting:
            signal.raise_signal(waiting[0])


def _start_mark(pid: int) -> str | None:
    """Linux: boot id and clock ticks since boot, which a change of the wall clock leaves alone. Elsewhere: `ps`."""
    if not _PROC.joinpath("self", "stat").exists():
        if _ps(pid, "stat").startswith("Z"):
            return None
        return _ps(pid, "lstart") or None
    try:
        stat = _PROC.joinpath(str(pid), "stat").read_text()
        boot = _PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): after the name, which may hold blanks and brackets, state is field 3 and the start time field 22.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def _ps(pid: int, column: str) -> str:
    told = subprocess.run(  # noqa: S603 -- fixed arguments
        ["/bin/ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()
