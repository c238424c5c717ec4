"""Embedded PostgreSQL.

Facts relied on are in PostgreSQL's documentation of initdb, postgres, `pg_hba.conf`, `pg_ident.conf` and the file
`postmaster.pid`.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import psycopg2.errorcodes
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, DatabaseUnreachable, SettingsError
from fbs_worker.core.postgres import connect, errors_translated
from fbs_worker.core.sockets import LOOPBACK
from fbs_worker.ops.local.embedded.server import START_SECONDS, Server
from fbs_worker.ops.local.embedded.wheels import postgres_binaries
from fbs_worker.ops.local.processes import (
    POLL_SECONDS,
    ProcessRef,
    command_line,
    file_lock,
    signals_deferred,
    spawn,
)

POSTGRES_PORT: Final = 5432
"""Part of the socket's file name: saved addresses stay valid when the server gets another port."""

INITDB_LOCALE: Final = (
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--set", "timezone=UTC"),
)
"""Sorts and compares alike on each machine; PostgreSQL 17 and later."""

_MAX_SOCKET_PATH_BYTES: Final = 100
"""The path of a Unix socket is limited to 104 bytes on macOS and 108 on Linux."""

_SOCKET: Final = ".s.PGSQL.{}"
_SOCKET_FOLDER: Final = "fbs-postgres-"
_BY_PASSWORD: Final = f"host all all {LOOPBACK}/32 scram-sha-256\n"

_SERVER_USERS: Final = ("postgres", "nobody")
"""Users that run the server of a fresh folder for root."""

_UNUSED_PID: Final = 2**31 - 2
"""Above the largest process id of every system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres(Server):
    """A running PostgreSQL 18 that listens on a Unix socket, and on a loopback port if it was given one.

    On the socket only the operating system user that started the server can connect: as role `postgres` without a
    password (peer authentication), as any other role with its password. On the port each role needs its password.

    Attributes:
        folder: its files: `data`, `log`, `lock`.
        process: the server's main process.
        socket_folder: the folder of its Unix socket.
        port: its port on 127.0.0.1; 0: it listens on the socket only.
        was_running: it was already running.
    """

    folder: Path
    process: ProcessRef
    socket_folder: Path
    port: int = 0
    was_running: bool = False

    name = "postgres"
    label = "PostgreSQL"
    start_failure = DatabaseUnreachable

    @classmethod
    def _programs(cls) -> Path:
        return postgres_binaries()

    @classmethod
    def _start(cls, folder: Path, programs: Path, *, port: int | None, durable: bool) -> Self:
        data = folder / "data"
        _neutralise_pid_file(data)
        account = _Account.for_data(data, programs)
        if not (data / "PG_VERSION").exists():
            _init_database(folder, programs, account, durable=durable)
        return cls._launch(folder, programs, account, port=port or 0, durable=durable)

    @classmethod
    def _find(cls, folder: Path) -> Self | None:
        """Find the server, waiting for it if the process that started it died before it was ready."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            pid_file = _PidFile.read(folder / "data")
            process = ProcessRef.of(pid_file.pid) if pid_file else None
            if pid_file is None or process is None or not _serves(process.pid, folder / "data"):
                return None
            if pid_file.ready:
                return cls(
                    folder=folder,
                    process=process,
                    socket_folder=pid_file.socket_folder,
                    port=pid_file.port if pid_file.listens else 0,
                    was_running=True,
                )
            if time.monotonic() > deadline:
                raise cls._late(folder)
            time.sleep(POLL_SECONDS)

    @classmethod
    def _launch(cls, folder: Path, binaries: Path, account: _Account, *, port: int, durable: bool) -> Self:
        data, log = folder / "data", folder / "log"
        options = {"listen_addresses": "", "port": str(POSTGRES_PORT), "unix_socket_permissions": "0700"}
        if port:
            options |= {"listen_addresses": LOOPBACK, "port": str(port)}
            _accept_passwords(data / "pg_hba.conf")
        if not durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
        socket_folder = _socket_folder(data, account)
        options["unix_socket_directories"] = str(socket_folder)
        if port not in {0, POSTGRES_PORT}:
            usual = socket_folder / _SOCKET.format(POSTGRES_PORT)
            usual.unlink(missing_ok=True)
            usual.symlink_to(_SOCKET.format(port))
        arguments = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]

        def ready(process: ProcessRef) -> bool:
            pid_file = _PidFile.read(data)
            return pid_file is not None and pid_file.pid == process.pid and pid_file.ready

        deadline = time.monotonic() + START_SECONDS
        while True:
            with log.open("ab") as output:
                child = account.spawn(arguments, output=output)
            process = cls._await(child, folder, deadline, ready)
            if process is not None:
                return cls(folder=folder, process=process, socket_folder=socket_folder, port=port)
            # After a `kill -9` of the server, its backends release their shared memory with a delay: retry.
            if "still in use" not in log.read_text(errors="replace")[-2000:] or time.monotonic() > deadline:
                _remove_socket_folder(socket_folder, data)
                raise cls._failed(folder, "ended at its start")
            time.sleep(POLL_SECONDS * 10)

    def config(self, database: str = "postgres") -> DatabaseConfig:
        """The connection to one of its databases, as role `postgres`, through the socket.

        Args:
            database: the database's name.
        """
        return DatabaseConfig(name=database, user="postgres", host=str(self.socket_folder), port=POSTGRES_PORT)

    def set_password(self, password: str) -> None:
        """Set the password of role `postgres`, which it needs on the port; the server gets its hash.

        Raises:
            DatabaseError: the server rejected the statement.
            DatabaseUnreachable: the server does not answer.
        """
        with closing(connect(self.config())) as connection, errors_translated(self.config()), connection:
            hashed = encrypt_password(password, "postgres", scope=connection, algorithm="scram-sha-256")
            with connection.cursor() as cursor:
                cursor.execute("ALTER ROLE postgres PASSWORD %s", [hashed])

    def create_database(self, name: str, *, template: str = "template1") -> bool:
        """Create a database unless it exists.

        Args:
            name: its name.
            template: the database to copy.

        Returns:
            True if it was created, False if it existed.

        Raises:
            DatabaseError: the server rejected the statement.
            DatabaseUnreachable: the server does not answer.
        """
        try:
            self._command(sql.SQL("CREATE DATABASE {} TEMPLATE {}"), name, template)
        except DatabaseError as exc:
            if exc.context.get("sqlstate") == psycopg2.errorcodes.DUPLICATE_DATABASE:
                return False
            raise
        return True

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and terminate its connections.

        Raises:
            DatabaseError: the server rejected the statement.
            DatabaseUnreachable: the server does not answer.
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
        """Stop the server: connections are closed and their transactions rolled back. Idempotent."""
        with signals_deferred(), file_lock(self.folder / "lock"):
            # postgres(1): SIGINT is the fast shutdown, SIGQUIT the immediate one.
            self.process.stop([(signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0)])
            _remove_socket_folder(self.socket_folder, self.folder / "data")


@dataclass(frozen=True, slots=True, kw_only=True)
class _PidFile:
    """Content of `postmaster.pid`: pid, data folder, start time, port, socket folder, address, memory, status."""

    pid: int
    port: int
    socket_folder: Path
    listens: bool
    ready: bool

    @classmethod
    def read(cls, data: Path) -> _PidFile | None:
        """Read the file; None if it is missing or incomplete."""
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        if not lines or not lines[0].strip().isdigit():
            return None
        padded = [*lines, *[""] * 8]
        return cls(
            pid=int(lines[0]),
            port=int(padded[3].strip() or POSTGRES_PORT),
            socket_folder=Path(padded[4].strip()),
            listens=bool(padded[5].strip()),
            ready=padded[7].strip() == "ready",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """The operating system user that runs PostgreSQL, which rejects root.

    Attributes:
        name: the user; None for the current one.
        uid: the user's id.
        gid: the id of the user's group.
        groups: supplementary groups, which let the user traverse root's folders above the files.
    """

    name: str | None
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @classmethod
    def for_data(cls, data: Path, binaries: Path) -> _Account:
        """The current user; for root: the owner of the data, else the first existing one of `_SERVER_USERS`.

        Raises:
            SettingsError: that user cannot execute the server.
        """
        if os.geteuid() != 0:
            return cls(name=None, uid=os.geteuid(), gid=os.getegid())
        entry = _server_user(data)
        groups = _allow_traversal(binaries / "postgres") | _allow_traversal(data)
        account = cls(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=tuple(sorted(groups)))
        result = account.run([str(binaries / "postgres"), "--version"])
        if result.returncode != 0:
            raise SettingsError(
                f"PostgreSQL does not run as root, and the user {account.name} cannot execute {binaries / 'postgres'}.",
                hint="Run as an ordinary user, or install the Python packages where other users can read them.",
            )
        return account

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},  # not inherited: it may contain secrets
            "cwd": "/",
        }
        if self.name is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}
        return options

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        try:
            return subprocess.run(  # noqa: S603 -- fixed programs
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
    for name in _SERVER_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SettingsError("PostgreSQL does not run as root.", hint="Run as an ordinary user, or add a user `postgres`.")


def _allow_traversal(target: Path) -> set[int]:
    """Let the group of each closed parent folder traverse it; return these groups.

    A folder such as /root (0700) becomes 0710: it still cannot be listed.
    """
    groups = set()
    for folder in target.parents:
        status = folder.stat()
        if not status.st_mode & stat.S_IXOTH:
            groups.add(status.st_gid)
            if not status.st_mode & stat.S_IXGRP:
                folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXGRP)
    return groups


def _init_database(folder: Path, binaries: Path, account: _Account, *, durable: bool) -> None:
    """Create the data folder atomically: an interrupted run leaves only `data.new`."""
    fresh = folder / "data.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    os.chown(fresh, account.uid, account.gid)
    result = account.run(
        [
            *(str(binaries / "initdb"), "-D", str(fresh)),
            *("--username=postgres", "--encoding=UTF8", "--no-instructions"),
            *INITDB_LOCALE,
            *("--auth-local=peer", "--auth-host=scram-sha-256", *(() if durable else ("--no-sync",))),
        ]
    )
    if result.returncode != 0:
        output = result.stdout.strip().splitlines() or ["no output"]
        raise DatabaseUnreachable(
            f"PostgreSQL's initdb failed: {output[-1]}", hint=f"Check {folder} and the free space on its disk."
        )
    user = pwd.getpwuid(os.geteuid()).pw_name
    (fresh / "pg_ident.conf").write_text(f'fbs "{user}" postgres\n')
    (fresh / "pg_hba.conf").write_text("local all postgres peer map=fbs\nlocal all all scram-sha-256\n")
    fresh.rename(folder / "data")


def _accept_passwords(hba: Path) -> None:
    """Let roles with a password in by the port, in a folder of an earlier version too."""
    if _BY_PASSWORD not in hba.read_text():
        with hba.open("a") as rules:
            rules.write(_BY_PASSWORD)


def _serves(pid: int, data: Path) -> bool:
    """Whether the process is a PostgreSQL server on this data folder."""
    arguments = command_line(pid)
    return bool(arguments) and Path(arguments[0]).name == "postgres" and str(data) in arguments


def _neutralise_pid_file(data: Path) -> None:
    """Replace the id in a stale pid file by an unused one.

    PostgreSQL does not start if the id in it belongs to another process or a zombie. The rest of the file stays: it
    names the dead server's shared memory, which PostgreSQL checks for surviving backends.
    """
    pid_file = _PidFile.read(data)
    if pid_file is None or _serves(pid_file.pid, data):
        return
    path = data / "postmaster.pid"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([str(_UNUSED_PID), *lines[1:]]) + "\n")
    (pid_file.socket_folder / f"{_SOCKET.format(pid_file.port)}.lock").unlink(missing_ok=True)
    _remove_socket_folder(pid_file.socket_folder, data)


def _socket_folder(data: Path, account: _Account) -> Path:
    """The data folder, which is private; a private folder in /tmp if its path is too long for a socket.

    Its name is derived from the data folder's path: saved addresses stay valid after a restart.
    """
    if len(os.fsencode(data / _SOCKET.format(POSTGRES_PORT))) <= _MAX_SOCKET_PATH_BYTES:
        return data
    folder = Path("/tmp", _SOCKET_FOLDER + hashlib.sha256(os.fsencode(data)).hexdigest()[:16])  # noqa: S108 -- owner and mode are checked
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and not status.st_mode & 0o077:
            return folder  # left by a killed server
        folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir="/tmp"))  # owned by another user: do not use it
    os.chown(folder, account.uid, account.gid)
    return folder


def _remove_socket_folder(socket_folder: Path, data: Path) -> None:
    if socket_folder != data and socket_folder.name.startswith(_SOCKET_FOLDER) and socket_folder.exists():
        shutil.rmtree(socket_folder)
