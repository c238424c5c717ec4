"""Servers that end and come back where they were: same folder, same address, same contents."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Final

from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.embedded.wheels import redis_executable
from fbs_worker.ops.local.processes import spawn

_PATIENCE: Final = 30.0


def stop_redis(server: EmbeddedRedis, *, kill: bool = False) -> None:
    """End a Redis.

    Args:
        server: which.
        kill: as a crash does it.
    """
    if not kill:
        server.stop()
        return
    server.process.send(signal.SIGKILL)
    assert server.process.wait(_PATIENCE)


def start_redis(folder: Path) -> EmbeddedRedis:
    """Start the Redis of a folder with the configuration that it had: port and password stay.

    `EmbeddedRedis.start` chooses both anew, as `fbs up` may: everybody who uses it is started after it there.
    """
    log = folder / "log"
    until = time.monotonic() + _PATIENCE
    child = None
    while True:
        if child is None or child.poll() is not None:  # a client's own end of a connection may use its port briefly
            with log.open("ab") as output:
                child = spawn([str(redis_executable()), str(folder / "redis.conf")], output=output, env={}, cwd=folder)
        found = EmbeddedRedis.find(folder)
        if found is not None:
            return found
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def stop_postgres(server: EmbeddedPostgres, *, kill: bool = False) -> None:
    """End a PostgreSQL: transactions are rolled back.

    Args:
        server: which.
        kill: without a word to anyone and without a checkpoint (the immediate shutdown): the next start recovers.
    """
    if kill:
        server.process.send(signal.SIGQUIT)
        assert server.process.wait(_PATIENCE)
    server.stop()


def restart_postgres(server: EmbeddedPostgres, *, kill: bool = False) -> EmbeddedPostgres:
    """End a PostgreSQL and start it again; its socket is where it was."""
    stop_postgres(server, kill=kill)
    return EmbeddedPostgres.start(server.folder)
