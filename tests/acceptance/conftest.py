"""Runs `fbs` as a person would: in a process of its own, with a home of its own."""

from __future__ import annotations

import os
import pty
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.support import preloaded
from tests.support.servers import describe, processes_about
from tests.support.waiting import PATIENCE, until

_SILENCE = b"\0silence"
SCRIPT = Path(sys.executable).with_name("fbs")


@dataclass(frozen=True)
class Started:
    """A command that runs, and what it writes."""

    process: preloaded.Forked | subprocess.Popen[bytes]
    output: IO[str]

    def rest(self) -> str:
        """What it still writes until its end."""
        self.process.wait(PATIENCE)
        with self.output:
            return self.output.read()


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """The console script with an environment of its own.

    Attributes:
        home: where it keeps its files, and runs.
        variables: of its environment.
        ports: variables, too: any free ports for the servers, because tests run side by side.
        in_full: neither the programs that it starts are forked from one that has imported all, nor it itself at a terminal or
            to be interrupted: they have their own words, and their own beginning.
    """

    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=lambda: {"FBS_POSTGRES_PORT": "0", "FBS_REDIS_PORT": "0"})
    in_full: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """As little as `env -i` leaves, and what the test wants."""
        return {"PATH": os.defpath, "HOME": str(self.home), "FBS_HOME": str(self.home), **self.ports, **self.variables}

    def __call__(
        self, *arguments: str, code: int = 0, piped: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and see that it ends with this exit code."""
        ended = preloaded.run(
            arguments, env=self.environment | variables, cwd=self.home, piped=piped, in_full=self.in_full
        )
        assert ended.returncode == code, f"exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def at_terminal(
        self,
        *arguments: str,
        answer: str = "",
        answers: Sequence[tuple[str, str]] = (),
        code: int = 0,
        **variables: str,
    ) -> str:
        """Run a command at a terminal to its end; what it showed comes back.

        Args:
            *arguments: the command's.
            answer: typed once a question is shown.
            answers: beginnings of questions in their order, and what is typed then; "\\x03" is Ctrl-C.
            code: the exit code that it is seen to end with.
            **variables: of its environment, besides.
        """
        ours, theirs = pty.openpty()
        running = self._begin(arguments, {"TERM": "xterm-256color", "COLUMNS": "100"} | variables, theirs, theirs)
        os.close(theirs)
        told, seen, waiting = b"", 0, [*answers, *([("[y/N]", answer)] if answer else [])]
        while read := _read(ours):
            if read == _SILENCE:
                running.kill()
                continue
            told += read
            if waiting and waiting[0][0].encode() in told[seen:]:
                seen, typed = len(told), waiting.pop(0)[1]
                time.sleep(0.05)  # the echo is switched off after the question
                if typed == "\x03":
                    running.send_signal(signal.SIGINT)
                else:
                    os.write(ours, f"{typed}\n".encode())
        os.close(ours)
        running.wait()
        assert not waiting, f"it did not ask {waiting[0][0]!r}:\n{told.decode()}"
        assert running.returncode == code, told.decode()
        return told.decode()

    def start(self, *arguments: str, **variables: str) -> Started:
        """Start a command, to be interrupted."""
        read, written = os.pipe()
        with os.fdopen(written, "wb"), Path(os.devnull).open("rb") as nothing:
            return Started(self._begin(arguments, variables, nothing.fileno(), written), os.fdopen(read))

    def _begin(
        self, arguments: Sequence[str], variables: dict[str, str], given: int, output: int
    ) -> preloaded.Forked | subprocess.Popen[bytes]:
        environment = self.environment | variables
        if self.in_full:
            return subprocess.Popen(
                [str(SCRIPT), *arguments], env=environment, cwd=self.home, stdin=given, stdout=output, stderr=output
            )
        return preloaded.fork(arguments, {0: given, 1: output, 2: output}, env=environment, cwd=self.home)

    def interrupt(self, running: Started, *, after: str, with_signal: signal.Signals) -> str:
        """Send a signal once the output has a line that begins so; what was printed in all comes back."""
        told = ""
        for line in running.output:
            told += line
            if line.startswith(after):
                running.process.send_signal(with_signal)
                break
        return told + running.rest()

    def left_running(self) -> str:
        """What runs that has to do with this home; empty when nothing does."""
        return describe(processes_about(self.home))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536) if select.select([terminal], [], [], PATIENCE)[0] else _SILENCE
    except OSError:  # Linux says so when the other end of a terminal is closed
        return b""


@contextmanager
def command_line(run_folder: Path) -> Iterator[CommandLine]:
    """The command line, with a home that is empty at first; whatever is left running there ends with it."""
    home = run_folder / secrets.token_hex(4)
    home.mkdir()
    try:
        yield CommandLine(home=home)
    finally:
        left = processes_about(home)
        for process in left:
            process.kill()
        until(lambda: not processes_about(home), lambda: describe(processes_about(home)))
        shutil.rmtree(home)


@pytest.fixture
def fbs(run_folder: Path) -> Iterator[CommandLine]:
    """The command line, with a home of this test's own."""
    with command_line(run_folder) as command:
        yield command


@pytest.fixture(scope="module")
def stack(run_folder: Path, recording: str) -> Iterator[CommandLine]:
    """The command line beside an `fbs up` that reads the recording; a module's tests share it, solutions they do not."""
    with command_line(run_folder) as command:
        command("up", "--no-beat", "--no-flower", "--no-api", ODOO_URL=recording)
        yield command
        command("down")
        assert command.left_running() == ""


@pytest.fixture(scope="session")
def recording() -> str:
    """ODOO_URL of the recording that comes with the package."""
    from fbs_worker.cli.demo import packaged_recording

    return f"recording:{packaged_recording()}"
