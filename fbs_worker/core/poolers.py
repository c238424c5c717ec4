"""Recognise a pooler such as PgBouncer that gives each transaction another session of the server."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

import psycopg2
from psycopg2.extensions import make_dsn

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError
from fbs_worker.core.fanout import shutdown_after
from fbs_worker.core.postgres import Connection, config_of, errors_translated

_ROUNDS: Final = 3
_SECONDS: Final = 5


def refuse_transaction_pooler(connection: Connection) -> None:
    """Check that the transactions of a connection run in one session of the server.

    A pooler makes up the process id that a client gets at its start. Only then a second connection is opened: if it
    runs in the first one's process, or that changes, sessions are shared.

    Args:
        connection: outside of a transaction.

    Raises:
        DatabaseError: a pooler shares sessions among transactions.
        DatabaseUnreachable: the connection failed, or the pooler has no second session free.
    """
    pid = _backend(connection)
    if pid == connection.info.backend_pid:
        return
    config = config_of(connection) or DatabaseConfig.model_construct()
    with errors_translated(config):
        info = connection.info
        given: dict[str, Any] = {"host": info.host, "port": info.port, "password": info.password}  # of several hosts
        second = psycopg2.connect(make_dsn(None, **{**info.dsn_parameters, **given, "connect_timeout": _SECONDS}))
    with closing(second), shutdown_after(second, config, _SECONDS):
        for _ in range(_ROUNDS):
            if _backend(second) == pid or _backend(connection) != pid:
                raise DatabaseError(
                    f"A pooler at {config.address()} gives each transaction another session, which cannot hold a lock.",
                    hint="Use the server's own port, or a pool with pool_mode=session; reading works through this one.",
                )


def _backend(connection: Connection) -> int:
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ((pid,),) = cursor.fetchall()
    return int(pid)
