"""Runs `fbs`, and the programs that it starts, in processes forked from one that has imported it: importing costs most.

Such a process is as real as another one: it has an id, a session, an environment, a folder and files of its own. What
a process is like from its very first instruction (the console script itself, `-m`, the encoding of a terminal) is
tried by the tests that start one.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Final

import psutil
import typer

from fbs_worker.cli import main
from fbs_worker.cli.app import app
from fbs_worker.connectors.recording import transport
from fbs_worker.connectors.recording.rows import Database
from fbs_worker.connectors.recording.transport import read_database
from fbs_worker.core.collector import collect_no_more, collect_rarely
from fbs_worker.ops.local import programs
from fbs_worker.ops.local.embedded import postgres
from fbs_worker.ops.local.processes import ProcessRef
from tests.support.solutions import RECORDING
from tests.support.waiting import PATIENCE

FBS: Final = "fbs_worker.cli"
PRELOADED = (
    *("fbs_worker.client.client", "fbs_worker.client.service", "fbs_worker.jobs.app", "fbs_worker.jobs.worker.run"),
    *("fbs_worker.jobs.worker.heartbeat", "fbs_worker.jobs.worker.logging", "fbs_worker.jobs.worker.task"),
    *("fbs_worker.connectors", "fbs_worker.connectors.connect", "fbs_worker.connectors.odoo", "fbs_worker.tasks"),
    *("fbs_worker.solutions.drop", "fbs_worker.solutions.migrate", "fbs_worker.solutions.refresh"),
    *(
        "fbs_worker.solutions.setup",
        "fbs_worker.ops.doctor",
        "fbs_worker.ops.health",
        "fbs_worker.ops.local.supervisor",
    ),
    *("fbs_worker.scheduling.beat", "fbs_worker.web.app", "fbs_worker.web.server", "fbs_worker.web.pages.home"),
    *("celery.app.control", "celery.app.events", "celery.app.log", "celery.apps.worker", "celery.backends.base"),
    *("celery.concurrency.prefork", "celery.events.receiver", "celery.worker.autoscale", "celery.worker.components"),
    *("celery.worker.consumer", "celery.worker.strategy", "billiard.popen_fork", "billiard.sharedctypes"),
    *("encodings.idna", "tests.support.processes"),
)
_KEPT = 3  # standard input, output and error output


_read = cache(lambda path, _state: read_database(path))
_state_of = attrgetter("st_ino", "st_mtime_ns", "st_size")


def read_once(path: Path) -> Database:
    """As `read_database`, but each state of a file is read once: that costs more than most tests."""
    return _read(path, _state_of(path.stat()) if path.exists() else None)


_init_database = postgres._init_database


def init_once(folder: Path, binaries: Path, account: postgres._Account, *, durable: bool) -> None:
    """As `_init_database`, but initdb runs once: a copy of what it has made costs a tenth."""
    if _made.exists():
        subprocess.run(["cp", "-a", _made, folder / "data"], check=True)
        return
    _init_database(folder, binaries, account, durable=durable)
    own = _made.with_suffix(f".{os.getpid()}")
    subprocess.run(["cp", "-a", folder / "data", own], check=True)
    with suppress(OSError):  # another process was faster
        own.rename(_made)


class Forked:
    """A process that runs `fbs` or a module; it is no child of this process, but waited for and signalled like one.

    Attributes:
        pid: its id.
        returncode: its exit code, or negative the signal that ended it; None while it runs.
    """

    def __init__(self, pid: int, ended: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def forget(self) -> None:
        """Do not wait for it."""
        self._ended.close()

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit code, once it has ended."""
        if self.returncode is None:
            self._ended.settimeout(timeout)
            try:
                self.returncode = json.loads(self._ended.recv(100))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout) from None
            self._ended.close()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class _Launcher:
    """The process that forks, started once and ended with this one.

    Attributes:
        address: where it is asked.
        process: the process.
    """

    def __init__(self) -> None:
        self._alive, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind("")  # Linux takes a name that is free
            listening.listen(100)
            self.address: bytes = listening.getsockname()
            self.process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(listening.fileno()), str(theirs.fileno()), os.environ["TMPDIR"]],
                env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[listening.fileno(), theirs.fileno()],
                start_new_session=True,
            )

    def end(self) -> list[psutil.Process]:
        """End it; what it forked and still runs comes back."""
        left = [one for one in psutil.Process(self.process.pid).children(recursive=True) if ProcessRef.of(one.pid)]
        self._alive.close()
        self.process.wait()
        return left


@cache
def launcher() -> _Launcher:
    """The launcher of this test process; it also ends when this process does, which closes its socket."""
    return _Launcher()


def end_launcher() -> list[psutil.Process]:
    """End the launcher, if it was started; what it forked and still runs comes back."""
    if not launcher.cache_info().currsize:
        return []
    left = launcher().end()
    launcher.cache_clear()
    return left


_address = b""
"""Where the launcher is asked, in the processes that it forks."""

_made = Path()
"""There, a copy of what initdb makes."""


def fork(
    arguments: Sequence[str],
    files: Mapping[int, int],
    *,
    env: Mapping[str, str],
    cwd: Path,
    module: str = FBS,
    needs: Sequence[str] = (),
    in_full: bool = False,
) -> Forked:
    """Start `fbs`, or another module, in a process of its own.

    Args:
        arguments: those of the command.
        files: the numbers of its open files, and which file of this process each is.
        env: its whole environment.
        cwd: its folder.
        module: what is run, as by `python -m`; or a path.
        needs: modules that are imported before it is forked, once.
        in_full: the programs that it starts are not forked.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asked: dict[str, Any] = {"module": module, "arguments": arguments, "needs": needs, "in_full": in_full}
    asked |= {"files": list(files), "env": dict(env), "cwd": str(cwd)}
    with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(_address or launcher().address)
        socket.send_fds(asking, [json.dumps(asked).encode()], [theirs.fileno(), *files.values()])
    return Forked(int(ours.recv(100)), ours)


def run(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    piped: str = "",
    module: str = FBS,
    needs: Sequence[str] = (),
    in_full: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `fbs`, or another module, to its end.

    Args:
        arguments: those of the command.
        env: its whole environment.
        cwd: its folder.
        piped: what it reads.
        module: what is run.
        needs: modules that are imported before.
        in_full: the programs that it starts are not forked.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write(piped.encode())
        given.seek(0)
        files = {0: given.fileno(), 1: output.fileno(), 2: errors.fileno()}
        code = fork(arguments, files, env=env, cwd=cwd, module=module, needs=needs, in_full=in_full).wait()
        return subprocess.CompletedProcess(arguments, code, _content(output), _content(errors))


def start(
    *arguments: str, env: Mapping[str, str], cwd: Path, module: str = FBS, output: int = 1
) -> tuple[Forked, IO[str]]:
    """Start `fbs`, or another module, and read what it writes meanwhile.

    Args:
        *arguments: those of the command.
        env: its whole environment.
        cwd: its folder.
        module: what is run.
        output: the number of the file that is read.
    """
    read, written = os.pipe()
    with os.fdopen(written, "wb"), Path(os.devnull).open("r+b") as nothing:
        files = {number: nothing.fileno() for number in range(_KEPT)} | {output: written}
        return fork(arguments, files, env=env, cwd=cwd, module=module), os.fdopen(read)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def spawn(
    arguments: Sequence[str], *, output: IO[bytes], env: Mapping[str, str], pass_fds: Sequence[int]
) -> SimpleNamespace:
    """As `fbs_worker.ops.local.processes.spawn`, for programs of ours."""
    assert list(arguments[:4]) == [sys.executable, "-P", "-m", FBS]
    with Path(os.devnull).open("rb") as nothing:
        files = {0: nothing.fileno(), 1: output.fileno(), 2: output.fileno(), **{number: number for number in pass_fds}}
        forked = fork(arguments[4:], files, env=env, cwd=Path.cwd())
    forked.forget()
    return SimpleNamespace(pid=forked.pid)


def _serve(listening: socket.socket, alive: socket.socket) -> None:
    """Fork a process for each request, and say how each has ended; until the process that is served ends."""
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
    while select.select([listening, alive], [], [])[0] == [listening]:
        asking, _ = listening.accept()
        with asking:
            message, files, _flags, _sender = socket.recv_fds(asking, 1_000_000, 20)
        if not message:
            continue  # who asks was killed
        asked = json.loads(message)
        for name in asked["needs"]:
            import_module(name)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if not pid:
            for kept in (listening, alive, *running.values()):
                kept.detach()  # the number may be another file's from now on
            _become(asked, files)
        for number in files[1:]:
            os.close(number)
        running[pid] = socket.socket(fileno=files[0])
        with suppress(BrokenPipeError):
            running[pid].send(str(pid).encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    """Be a process that runs a module with these arguments; it does not return."""
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
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 -- a pipe may be where a file was
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    if not asked["in_full"]:
        programs.__dict__["spawn"] = spawn
    sys.argv = ["fbs", *asked["arguments"]]
    if os.environ.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")
    try:
        if asked["module"] == FBS:
            main()
        elif asked["module"].endswith(".py"):
            sys.path.insert(0, str(Path(asked["module"]).parent))
            runpy.run_path(asked["module"], run_name="__main__")
        else:
            runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        _end(ended.code)
    _end(0)


def _end_soon() -> None:
    """A process of Celery's pool pauses for a second before it ends, and the pool for half a one; here for 50 ms."""
    pauses = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(min(seconds, 0.05))})
    for module in ("billiard.pool", "celery.concurrency.prefork"):
        sys.modules[module].__dict__["time"] = pauses


def _end(code: int) -> None:
    """End this process as Python does, but for taking its memory apart: that costs more than most commands."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    collect_rarely()
    for name in PRELOADED:
        import_module(name)
    typer.main.get_command = cache(typer.main.get_command)
    typer.main.get_command(app)
    transport.read_database = read_once
    postgres._init_database = init_once
    _end_soon()
    read_once(RECORDING).fields("res.partner")
    collect_no_more()
    sys.path.remove(os.environ["PYTHONPATH"])  # a folder `tasks` or `connectors` is not to be found there
    with socket.socket(fileno=int(sys.argv[1])) as asked, socket.socket(fileno=int(sys.argv[2])) as served:
        _address, _made = asked.getsockname(), Path(sys.argv[3], "initdb")
        _serve(asked, served)
