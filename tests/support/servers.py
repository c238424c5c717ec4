"""The real servers that tests run against: one PostgreSQL and one Redis per test process, made for it alone."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.ops.local.embedded import EmbeddedPostgres

REDIS_DATABASES = 64
"""How many the embedded Redis has; number 0 belongs to the session's worker."""

_free = deque(range(1, REDIS_DATABASES))

_kept: dict[Path, Connection] = {}
"""By a server's folder a connection to it."""

_untouched: defaultdict[Path, list[str]] = defaultdict(list)
"""By a server's folder the databases that are as they were made."""

_UNTOUCHED = """
SELECT (SELECT count(*) FROM pg_stat_get_activity(NULL) a WHERE a.datid = d.oid), pg_stat_get_db_sessions(d.oid)
FROM pg_database d WHERE datname = '{}' AND datacl IS NULL AND datallowconn AND datconnlimit = -1
    AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = d.oid)
"""
"""Sessions now, then all that have ended: each is counted before it is gone (since PostgreSQL 15; a crash resets it)."""


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for a socket's name; pytest's own are too long for that."""
    folder = Path(tempfile.mkdtemp(prefix="fbs-test-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def command(postgres: EmbeddedPostgres, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the database `postgres`, on a connection that stays: to connect costs as much as most of them."""
    folder = postgres.socket_folder
    while True:
        if is_new := folder not in _kept:
            _kept[folder] = connect(postgres.config())
            _kept[folder].autocommit = True
        try:
            with _kept[folder].cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as exc:
            if is_new or not (_kept[folder].closed or exc.pgcode is None):
                raise
            del _kept[folder]  # the server was restarted: psycopg2 does not always see that it is closed


def create_database(postgres: EmbeddedPostgres, name: str, *, template: str = "template1") -> DatabaseConfig:
    """An empty database, or a copy; by copying files, which costs a test's server a third of what the default costs.

    Args:
        postgres: the server.
        name: the database's name.
        template: the database to copy.
    """
    command(postgres, "SELECT")
    strategy = "STRATEGY FILE_COPY" if _kept[postgres.socket_folder].server_version >= 150000 else ""
    command(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{template}" {strategy}')
    return postgres.config(name)


def drop_database(postgres: EmbeddedPostgres, name: str) -> None:
    """Drop a database with the sessions in it."""
    command(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """An empty database; it goes afterwards, or is the next test's if no session has ever connected to it."""
    free = _untouched[postgres.socket_folder]
    name = free.pop() if free else create_database(postgres, f"test_{secrets.token_hex(6)}").name
    since = _kept.get(postgres.socket_folder)
    try:
        yield postgres.config(name)
    finally:
        untouched = command(postgres, _UNTOUCHED.format(name)) == [(0, 0)]
        kept = _kept[postgres.socket_folder]
        if untouched and kept is since and kept.server_version >= 150000:
            free.append(name)
        else:
            drop_database(postgres, name)


@contextmanager
def redis_database(server_url: str) -> Iterator[str]:
    """The URL of a Redis database for one test; it alone is emptied afterwards."""
    number = _free.popleft()  # the one that was free for the longest: what ends late meets no other test
    url = f"{server_url.rpartition('/')[0]}/{number}"
    try:
        yield url
    finally:
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        _free.append(number)


def processes_about(folder: Path) -> list[psutil.Process]:
    """Processes that have to do with this folder, whatever their parent is: by command line, FBS_HOME, or where they run."""
    return [process for process in psutil.process_iter() if _is_about(process, str(folder))]


def _is_about(process: psutil.Process, folder: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        texts = (*process.cmdline(), process.environ().get("FBS_HOME", ""), process.cwd())
        return any(folder in part for part in texts)
    except psutil.Error:  # ended meanwhile, or owned by another user
        return False


def describe(processes: list[psutil.Process]) -> str:
    """One line per process, for a failure's message."""
    lines = []
    for process in processes:
        try:
            lines.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        except psutil.NoSuchProcess:
            continue
    return "\n".join(lines)
