"""The real servers that tests run against: one PostgreSQL and one Redis per test process, made for it alone."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import redis

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.ops.local.embedded import EmbeddedPostgres

REDIS_DATABASES = 64
"""How many the embedded Redis has; number 0 belongs to the session's worker."""

_free = deque(range(1, REDIS_DATABASES))


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for a socket's name; pytest's own are too long for that."""
    folder = Path(tempfile.mkdtemp(prefix="fbs-test-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def create_database(postgres: EmbeddedPostgres, name: str, *, template: str = "template1") -> DatabaseConfig:
    """An empty database, or a copy; by copying files, which costs a test's server a third of what the default costs.

    Args:
        postgres: the server.
        name: the database's name.
        template: the database to copy.
    """
    with closing(connect(postgres.config())) as connection:
        connection.autocommit = True
        strategy = "STRATEGY FILE_COPY" if connection.server_version >= 150000 else ""
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {strategy}')
    return postgres.config(name)


@contextmanager
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """An empty database; it goes afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    try:
        yield create_database(postgres, name)
    finally:
        postgres.drop_database(name)


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
        told = (*process.cmdline(), process.environ().get("FBS_HOME", ""), process.cwd())
        return any(folder in part for part in told)
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
