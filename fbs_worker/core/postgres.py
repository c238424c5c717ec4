"""PostgreSQL through psycopg2: open a connection, and turn the driver's errors into ours.

This is the only place that knows psycopg2's errors. The map goes by SQLSTATE (PostgreSQL's documentation, appendix A);
psycopg2 gives none for a connection that fails, so there libpq's text decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseLoginRefused,
    DatabaseMissing,
    DatabaseRightsMissing,
    DatabaseUnreachable,
    FBSError,
)

__all__ = ["Connection", "config_of", "connect", "errors_translated", "translate"]

_SQLSTATES: Final[dict[str, type[FBSError]]] = {
    # whole classes, by their first two characters
    "08": DatabaseUnreachable,  # connection exception
    "28": DatabaseLoginRefused,  # invalid authorization
    "40": DatabaseBusy,  # transaction rollback: deadlock, serialisation failure
    # conditions
    "25P03": DatabaseUnreachable,  # idle in transaction for too long: the server hung up
    "25P04": DatabaseUnreachable,  # the same, transaction time-out
    "3D000": DatabaseMissing,  # invalid catalog name
    "42501": DatabaseRightsMissing,  # insufficient privilege
    "53300": DatabaseUnreachable,  # too many connections
    "55006": DatabaseBusy,  # object in use
    "55P03": DatabaseBusy,  # lock not available
    "57014": DatabaseBusy,  # query cancelled: statement time-out
    "57P01": DatabaseUnreachable,  # admin shutdown
    "57P02": DatabaseUnreachable,  # crash shutdown
    "57P03": DatabaseUnreachable,  # cannot connect now: starting up
    "57P04": DatabaseMissing,  # database dropped
    "57P05": DatabaseUnreachable,  # idle session time-out
}

_TEXTS: Final[tuple[tuple[re.Pattern[str], type[FBSError]], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"too many clients|too many connections|remaining connection slots", DatabaseUnreachable),
        (r"is starting up|is shutting down|in recovery mode|not (yet )?accepting connections", DatabaseUnreachable),
        (r"authentication failed|no password supplied|pg_hba|role .* does not exist", DatabaseLoginRefused),
        (r"not permitted to log in|no PostgreSQL user name", DatabaseLoginRefused),
        (r"database .* does not exist", DatabaseMissing),
        (r"permission denied", DatabaseRightsMissing),
    )
)

# libpq puts two blanks after the severity of what the server said, in every language; its own texts have none
_SERVER_SAID = re.compile(r"(?:failed: |^)\S+:  (?P<said>.+)", re.DOTALL)
_LIBPQ_PREFIX = re.compile(r'^connection to server (at|on socket) "[^"]*"(?: \([^)]*\))?(?:, port \d+)? failed: ?')


def connect(config: DatabaseConfig, *, application_name: str = "fbs-worker", connect_timeout: int = 10) -> Connection:
    """Open a connection.

    Args:
        config: which database, as whom; its password already opened.
        application_name: what `pg_stat_activity` shows.
        connect_timeout: seconds that connecting may take.

    Returns:
        A psycopg2 connection in its usual mode (a transaction begins with the first statement).

    Raises:
        DatabaseUnreachable: nobody answers there, or the server takes no more connections.
        DatabaseLoginRefused: the role or its password is refused.
        DatabaseMissing: there is no such database; the hint tells how to make it.
        DatabaseRightsMissing: the role may not connect to it.
    """
    with errors_translated(config):
        return psycopg2.connect(
            dbname=config.name,
            user=config.user or None,
            password=config.password.get_secret_value() or None,
            host=config.host,
            port=config.port,
            application_name=application_name,
            connect_timeout=connect_timeout,
            client_encoding="UTF8",
            # a worker may wait long for Odoo between two rows: notice a dead peer within about a minute
            keepalives=1,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )


def config_of(connection: Connection) -> DatabaseConfig | None:
    """Where a connection leads, without its password; None once it is closed."""
    if connection.closed:
        return None
    info = connection.info
    return DatabaseConfig.model_construct(name=info.dbname, user=info.user, host=info.host, port=info.port)


@contextmanager
def errors_translated(place: DatabaseConfig | Connection) -> Iterator[None]:
    """Raise FBSErrors in the place of psycopg2's.

    Args:
        place: the database that is spoken to, for the messages.
    """
    where = place if isinstance(place, DatabaseConfig) else config_of(place)
    try:
        yield
    except psycopg2.Error as exc:
        raise translate(exc, where) from exc


def translate(exc: psycopg2.Error, place: DatabaseConfig | None = None) -> FBSError:
    """The FBSError for an error of psycopg2.

    Args:
        exc: the error; its text holds no password, libpq never repeats one.
        place: which database, for message and hint.
    """
    said = _said(exc)
    kind = _kind(exc)
    where = place.address() if place else "the database"
    context = {"sqlstate": exc.pgcode} if exc.pgcode else {}
    return kind(_message(kind, where, place, said), hint=_hint(kind, exc.pgcode, place, said), **context)


def _kind(exc: psycopg2.Error) -> type[FBSError]:
    if exc.pgcode:
        return _SQLSTATES.get(exc.pgcode) or _SQLSTATES.get(exc.pgcode[:2]) or DatabaseError
    text = str(exc)
    for pattern, kind in _TEXTS:
        if pattern.search(text):
            return kind
    if isinstance(exc, psycopg2.OperationalError):
        return DatabaseError if _SERVER_SAID.search(text) else DatabaseUnreachable
    # psycopg2 reports a connection lost in mid-query under several classes
    return DatabaseUnreachable if re.search(r"closed|no message from the libpq|lost|SSL", text) else DatabaseError


def _said(exc: psycopg2.Error) -> str:
    """What went wrong in the server's or libpq's words, one line, without detail (which may show a row's values)."""
    if exc.pgcode and exc.diag.message_primary:
        return exc.diag.message_primary
    text = _LIBPQ_PREFIX.sub("", str(exc).strip())
    found = _SERVER_SAID.search(text)
    lines = (found["said"] if found else text).splitlines()
    return (lines[0] if lines else type(exc).__name__).strip().rstrip(".")


def _message(kind: type[FBSError], where: str, place: DatabaseConfig | None, said: str) -> str:
    if kind is DatabaseMissing and place:
        return f"PostgreSQL at {place.host}:{place.port} has no database {place.name!r}."
    what = {
        DatabaseUnreachable: f"No connection to PostgreSQL at {where}",
        DatabaseLoginRefused: f"PostgreSQL refused the login at {where}",
        DatabaseMissing: "PostgreSQL has no such database",
        DatabaseRightsMissing: f"The database user lacks a right at {where}",
        DatabaseBusy: f"Another session holds what is needed at {where}",
    }.get(kind, f"PostgreSQL reported an error at {where}")
    return f"{what}: {said}."


def _hint(kind: type[FBSError], sqlstate: str | None, place: DatabaseConfig | None, said: str) -> str:
    user = _quoted(place.user) if place and place.user else "the user"
    name = _quoted(place.name) if place else "the database"
    hints: dict[type[FBSError], str] = {
        DatabaseUnreachable: "Check host and port and that PostgreSQL runs there; `fbs up` starts one on this machine.",
        DatabaseLoginRefused: "Check the user and the password (--database-user, --database-password).",
        DatabaseMissing: f"Create it: {_createdb(place)}" if place else "Create it with createdb, or check its name.",
        DatabaseRightsMissing: f"As its owner: GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {user};",
        DatabaseBusy: "Try again once the other session is done; pg_stat_activity shows who it is.",
    }
    if kind is DatabaseUnreachable and (sqlstate == "53300" or re.search("connection slots|too many", said)):
        return "Wait until others are done, or raise max_connections there."
    if kind is DatabaseRightsMissing and (schema := re.search(r"for schema (\S+)", said)):
        return f"As its owner: GRANT USAGE, CREATE ON SCHEMA {_quoted(schema[1])} TO {user};"
    if kind is DatabaseRightsMissing and re.search(r"for (table|relation|sequence)|must be owner", said):
        return "Connect as the user that made the tables, or give this one another --table-prefix."
    if sqlstate in {"22P05", "22021"}:
        return "The database wants the encoding UTF8: createdb --encoding=UTF8 --template=template0."
    if sqlstate == "25006":
        return "This is a read-only server (a standby?): give the address of the primary."
    if sqlstate == "53200" and "shared memory" in said:
        return "So many tables at once want more locks: raise max_locks_per_transaction there, and restart it."
    if sqlstate in {"53100", "53200"}:
        return "The server ran out of disk space or memory: make room there."
    return hints.get(kind, "The server's own log tells more.")


def _createdb(place: DatabaseConfig) -> str:
    owner = f" OWNER {_quoted(place.user)}" if place.user else ""
    return f"psql -h {place.host} -p {place.port} -d postgres -c 'CREATE DATABASE {_quoted(place.name)}{owner}'"


def _quoted(name: Any) -> str:
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", str(name))
    return str(name) if plain else '"' + str(name).strip('"').replace('"', '""') + '"'
