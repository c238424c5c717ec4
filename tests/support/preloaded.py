"""Runs `fbs` in processes forked from one that has imported it already: importing costs more than most commands do.

Such a process is as real as another one: it has an id, a session, an environment, a folder and files of its own. What
a process is like from its very first instruction (the console script itself, `-m`, the encoding of a terminal) is
tried by the tests that start one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from fbs_worker.connectors.recording import transport
from fbs_worker.connectors.recording.rows import Database
from fbs_worker.connectors.recording.transport import read_database
from fbs_worker.core.collector import collect_no_more, collect_rarely
from tests.support.solutions import RECORDING
from tests.support.waiting import PATIENCE

PRELOADED = (
    *("fbs_worker.cli.app", "fbs_worker.jobs.app", "fbs_worker.jobs.worker.run", "fbs_worker.tasks"),
    *("fbs_worker.client.client", "fbs_worker.connectors", "fbs_worker.ops.health", "fbs_worker.web.app"),
    *("celery.apps.worker", "celery.concurrency.prefork", "celery.worker.consumer", "fbs_worker.web.server"),
)
_KEPT = 3  # standard input, output and error output


_read = cache(lambda path, _state: read_database(path))
_state_of = attrgetter("st_ino", "st_mtime_ns", "st_size")


def read_once(path: Path) -> Database:
    """As `read_database`, but each state of a file is read once: that costs more than most tests."""
    return _read(path, _state_of(path.stat()) if path.exists() else None)


@dataclass(frozen=True, slots=True)
class Forked:
    """A process that runs `fbs`.

    Attributes:
        pid: its id; it is no child of this process.
    """

    pid: int
    _ended: socket.socket

    def forget(self) -> None:
        """Do not wait for it."""
        self._ended.close()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended; negative the signal that ended it."""
        with self._ended:
            self._ended.settimeout(seconds)
            return json.loads(self._ended.recv(100))  # type: ignore[no-any-return]


class _Launcher:
    """The process that forks, started once and ended with this one."""

    def __init__(self) -> None:
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one = threading.Lock()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, arguments: Sequence[str], files: Mapping[int, int], *, env: Mapping[str, str], cwd: Path) -> Forked:
        """Run `fbs`.

        Args:
            arguments: those of the command.
            files: the numbers of its open files, and which file of this process each is.
            env: its whole environment.
            cwd: its folder.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self._one, theirs:
            asked = {"arguments": arguments, "files": list(files), "env": dict(env), "cwd": str(cwd)}
            socket.send_fds(self._asking, [json.dumps(asked).encode()], [theirs.fileno(), *files.values()])
            return Forked(int(self._asking.recv(100)), ours)

    def end(self) -> None:
        self._asking.close()
        self.process.wait()


@cache
def launcher() -> _Launcher:
    """The launcher of this test process; it also ends when this process does, which closes its socket."""
    return _Launcher()


def end_launcher() -> None:
    """End the launcher, if it was started."""
    if launcher.cache_info().currsize:
        launcher().end()
        launcher.cache_clear()


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, piped: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `fbs` to its end.

    Args:
        arguments: those of the command.
        env: its whole environment.
        cwd: its folder.
        piped: what it reads.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write(piped.encode())
        given.seek(0)
        files = {0: given.fileno(), 1: output.fileno(), 2: errors.fileno()}
        code = launcher().fork(arguments, files, env=env, cwd=cwd).wait()
        return subprocess.CompletedProcess(arguments, code, _content(output), _content(errors))


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def spawn(
    arguments: Sequence[str], *, output: IO[bytes], env: Mapping[str, str], pass_fds: Sequence[int]
) -> SimpleNamespace:
    """As `fbs_worker.ops.local.processes.spawn`, for programs of ours."""
    assert list(arguments[:4]) == [sys.executable, "-P", "-m", "fbs_worker.cli"]
    with Path(os.devnull).open("rb") as nothing:
        files = {0: nothing.fileno(), 1: output.fileno(), 2: output.fileno(), **{number: number for number in pass_fds}}
        forked = launcher().fork(arguments[4:], files, env=env, cwd=Path.cwd())
    forked.forget()
    return SimpleNamespace(pid=forked.pid)


def _serve(asked: socket.socket) -> None:
    """Fork a process for each request, and say how each has ended."""
    running: dict[int, socket.socket] = {}

    def reap(*_: Any) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            with running.pop(pid) as waiting:
                try:
                    waiting.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
                except BrokenPipeError:
                    continue  # it was forgotten

    signal.signal(signal.SIGCHLD, reap)
    while True:
        message, files, _flags, _address = socket.recv_fds(asked, 1_000_000, 20)
        if not message:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if not pid:
            for kept in (asked, *running.values()):
                kept.detach()  # the number may be another file's from now on
            _become(json.loads(message), files)
        for number in files[1:]:
            os.close(number)
        running[pid] = socket.socket(fileno=files[0])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        asked.send(str(pid).encode())


def _become(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    """Be a process that runs `fbs` with these arguments; it does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    os.setsid()
    top = 1 + max([*asked["files"], *files])
    for offset, number in enumerate(files[1:]):
        os.dup2(number, top + offset)
    os.closerange(_KEPT, top)
    for offset, number in enumerate(asked["files"]):
        os.dup2(top + offset, number, inheritable=True)
    os.closerange(top, top + len(files))
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.argv = ["fbs", *asked["arguments"]]
    from fbs_worker.cli import main

    main()


if __name__ == "__main__":
    from importlib import import_module

    collect_rarely()
    for name in PRELOADED:
        import_module(name)
    transport.read_database = read_once
    read_once(RECORDING).fields("res.partner")
    collect_no_more()
    sys.path.remove(os.environ["PYTHONPATH"])  # a folder `tasks` or `connectors` is not to be found there
    with socket.socket(fileno=int(sys.argv[1])) as theirs:
        _serve(theirs)
