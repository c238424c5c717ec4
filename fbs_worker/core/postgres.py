"""psycopg2 adapter: open connections and translate the driver's errors to FBSErrors.

Errors are mapped by SQLSTATE (PostgreSQL's documentation, appendix A). psycopg2 sets none for a failed connection, so
these are classified by libpq's text.

Nothing is set for a session: behind a pooler, the next transaction of a server connection is another application's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from psycopg2 import extensions, sql
from psycopg2.extensions import connection as Connection  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseHostUnknown,
    DatabaseLoginRefused,
    DatabaseMissing,
    DatabaseRightsMissing,
    DatabaseTLSFailed,
    DatabaseUnreachable,
    FBSError,
)

__all__ = ["Connection", "config_of", "connect", "errors_translated", "set_for_transactions", "translate"]

_SQLSTATES: Final[dict[str, type[FBSError]]] = {
    # whole classes, by their first two characters
    "08": DatabaseUnreachable,  # connection exception
    "28": DatabaseLoginRefused,  # invalid authorization
    "40": DatabaseBusy,  # transaction rollback: deadlock, serialisation failure
    # conditions
    "25P03": DatabaseUnreachable,  # idle in transaction session time-out: disconnected
    "25P04": DatabaseUnreachable,  # transaction time-out: disconnected
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

_NO_SUCH_HOST: Final = "could not translate host name"
_REQUIRE_AUTH: Final = 160000
"""The version of libpq that can refuse to send a password otherwise than by SCRAM."""

_SCRAM_ONLY: Final = r"authentication method requirement .* failed"

_TEXTS: Final[tuple[tuple[re.Pattern[str], type[FBSError]], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), kind)
    for pattern, kind in (
        (r"temporary failure in name resolution", DatabaseUnreachable),
        (rf"{_NO_SUCH_HOST}.*\n.*failed:|failed:.*\n.*{_NO_SUCH_HOST}", DatabaseUnreachable),  # one of several hosts
        (_NO_SUCH_HOST, DatabaseHostUnknown),
        (r"too many clients|too many connections|remaining connection slots", DatabaseUnreachable),
        (r"is starting up|is shutting down|in recovery mode|not (yet )?accepting connections", DatabaseUnreachable),
        (r"authentication failed|no password supplied|pg_hba|role .* does not exist", DatabaseLoginRefused),
        (r"not permitted to log in|no PostgreSQL user name", DatabaseLoginRefused),
        (r"database .* does not exist", DatabaseMissing),
        (r"permission denied for", DatabaseRightsMissing),
        (_SCRAM_ONLY, DatabaseLoginRefused),
        (r"certificate|private key|(not|but) .*SSL.* (required|supported)|not support SSL", DatabaseTLSFailed),
        (r"channel binding|sslmode|SSL required", DatabaseTLSFailed),
    )
)

# libpq puts two blanks after the severity of a server message, in every language; its own messages have none
_SERVER_MESSAGE = re.compile(r"(?:failed: |^)\S+:  (?P<text>.+)", re.DOTALL)
_TLS_FILE = re.compile(r"(certificate|private key) file|certificate authentication from file")
_LIBPQ_PREFIX = re.compile(r'^connection to server (at|on socket) "[^"]*"(?: \([^)]*\))?(?:, port \d+)? failed: ?')


_SETTINGS: Final = {"TimeZone": "UTC", "quote_all_identifiers": "off"}


class _Connection(Connection):
    """Sends its settings with the first statement of each transaction, for that transaction alone."""

    preamble = ""
    """The statement that sets them."""
    in_autocommit = False
    """Whether it is sent with each statement in autocommit, too: not all statements bear that, e.g. CREATE DATABASE."""


class _Cursor(extensions.cursor):
    def execute(self, query: str | bytes | sql.Composable, vars: Any = None) -> None:  # noqa: A002 -- psycopg2's name
        connection = self.connection
        if (
            isinstance(connection, _Connection)
            and (connection.in_autocommit or not connection.autocommit)
            and connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
        ):
            text = query.as_string(connection) if isinstance(query, sql.Composable) else query
            query = connection.preamble.encode() + text if isinstance(text, bytes) else connection.preamble + text
        super().execute(query, vars)


def connect(config: DatabaseConfig, *, application_name: str = "fbs-worker", connect_timeout: int = 10) -> Connection:
    """Open a connection.

    Args:
        config: the database and role, with a resolved password.
        application_name: shown in `pg_stat_activity`.
        connect_timeout: time to connect to each host, in seconds, unless the configuration gives one.

    Returns:
        A psycopg2 connection in its default mode (a transaction begins with the first statement).

    Raises:
        DatabaseUnreachable: the server does not answer, or accepts no more connections.
        DatabaseLoginRefused: the server rejects the role or its password.
        DatabaseMissing: the database does not exist; the hint shows how to create it.
        DatabaseRightsMissing: the role has no CONNECT privilege.
    """
    options: dict[str, Any] = {"connect_timeout": connect_timeout, **config.options}
    options["application_name"] = application_name.replace("fbs-worker", config.application_name or "fbs-worker", 1)
    if config.scram_only and extensions.libpq_version() >= _REQUIRE_AUTH:
        options["require_auth"] = "scram-sha-256,none"  # none: a socket, or a certificate, without any password sent
    with errors_translated(config):
        connection: Connection = psycopg2.connect(
            connection_factory=_Connection,
            cursor_factory=_Cursor,
            dbname=config.name,
            user=config.user or None,
            password=config.password.get_secret_value() or None,
            host=",".join(host for host, _ in config.servers),
            port=",".join(str(port) for _, port in config.servers),
            client_encoding="UTF8",
            # a worker may wait long for Odoo between two rows: detect a dead peer within about a minute
            keepalives=1,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            **options,
        )
    set_for_transactions(connection)
    return connection


def set_for_transactions(connection: Connection, **settings: str) -> None:
    """Replace the settings of the transactions that follow.

    Args:
        connection: the result of `connect`; if it is in autocommit now, they are for each statement there.
        **settings: values by name, in addition to UTC as the time zone, and names that are quoted as usual.
    """
    calls = (f"set_config('{name}', '{value}', TRUE)" for name, value in {**_SETTINGS, **settings}.items())
    if isinstance(connection, _Connection):
        connection.preamble, connection.in_autocommit = f"SELECT {', '.join(calls)}; ", connection.autocommit


def config_of(connection: Connection) -> DatabaseConfig | None:
    """Return the address of a connection, without a password; None if it is closed."""
    if connection.closed:
        return None
    info = connection.info
    return DatabaseConfig.model_construct(name=info.dbname, user=info.user, host=info.host, port=info.port)


@contextmanager
def errors_translated(database: DatabaseConfig | Connection) -> Iterator[None]:
    """Translate psycopg2's errors to FBSErrors.

    Args:
        database: the database, for the messages.

    Raises:
        DatabaseUnreachable: the connection failed or was lost.
        DatabaseError: PostgreSQL answered with an error; see `translate` for the subclasses.
    """
    config = database if isinstance(database, DatabaseConfig) else config_of(database)
    try:
        yield
    except psycopg2.Error as exc:
        raise translate(exc, config) from exc


def translate(exc: psycopg2.Error, config: DatabaseConfig | None = None) -> FBSError:
    """Return the FBSError for an error of psycopg2.

    Args:
        exc: the error; libpq never repeats a password in its text.
        config: the database, for message and hint.
    """
    reason = _reason(exc)
    kind = _kind(exc)
    address = config.address() if config else "the database"
    context = {"sqlstate": exc.pgcode} if exc.pgcode else {}
    return kind(
        _message(kind, exc.pgcode, address, config, reason), hint=_hint(kind, exc.pgcode, config, reason), **context
    )


def _kind(exc: psycopg2.Error) -> type[FBSError]:
    if exc.pgcode:
        return _SQLSTATES.get(exc.pgcode) or _SQLSTATES.get(exc.pgcode[:2]) or DatabaseError
    text = str(exc)
    for pattern, kind in _TEXTS:
        if pattern.search(text):
            return kind
    if isinstance(exc, psycopg2.OperationalError):
        return DatabaseError if _SERVER_MESSAGE.search(text) else DatabaseUnreachable
    # psycopg2 reports a connection lost in mid-query under several classes
    return DatabaseUnreachable if re.search(r"closed|no message from the libpq|lost|SSL", text) else DatabaseError


def _reason(exc: psycopg2.Error) -> str:
    """Return the server's or libpq's message, one line, without the detail (which may show a row's values)."""
    if exc.pgcode and exc.diag.message_primary:
        return exc.diag.message_primary
    text = _LIBPQ_PREFIX.sub("", str(exc).strip())
    match = _SERVER_MESSAGE.search(text)
    if _TLS_FILE.search(text):  # not which: the files are the worker's, and their names may be a caller's
        return "a certificate or key file cannot be used"
    lines = (match["text"] if match else text).splitlines()
    return (lines[0] if lines else type(exc).__name__).strip().rstrip(".")


def _message(
    kind: type[FBSError], sqlstate: str | None, address: str, config: DatabaseConfig | None, reason: str
) -> str:
    if kind is DatabaseMissing and config:
        return f"PostgreSQL at {config.place} has no database {config.name!r}."
    summary = {
        DatabaseHostUnknown: f"No connection to PostgreSQL at {address}",
        DatabaseTLSFailed: f"No secure connection to PostgreSQL at {address}",
        DatabaseUnreachable: f"No connection to PostgreSQL at {address}",
        DatabaseLoginRefused: f"PostgreSQL rejected the login at {address}",
        DatabaseMissing: "PostgreSQL has no such database",
        DatabaseRightsMissing: f"The database user lacks a privilege at {address}",
        DatabaseBusy: f"Blocked by another session at {address}",
    }.get(kind, f"PostgreSQL reported an error at {address}")
    if sqlstate == "57014":
        summary = f"PostgreSQL cancelled a statement at {address}"
    return f"{summary}: {reason}."


def _hint(kind: type[FBSError], sqlstate: str | None, config: DatabaseConfig | None, reason: str) -> str:
    user = _quoted(config.user) if config and config.user else "the user"
    name = _quoted(config.name) if config else "the database"
    hints: dict[type[FBSError], str] = {
        DatabaseUnreachable: "Check host and port and that PostgreSQL runs there; `fbs up` starts one on this machine.",
        DatabaseHostUnknown: "Check the spelling of the host, and the name server of the machine that runs the job.",
        DatabaseTLSFailed: "Check sslmode, sslrootcert, sslcert and sslkey (files of the worker), and the host.",
        DatabaseLoginRefused: "Check the user and the password (--database-user, --database-password).",
        DatabaseMissing: f"Create it: {_createdb(config)}" if config else "Create it with createdb, or check its name.",
        DatabaseRightsMissing: f"As its owner: GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {user};",
        DatabaseBusy: "Try again once the other session is done; pg_stat_activity shows it.",
    }
    if kind is DatabaseUnreachable and (sqlstate == "53300" or re.search("connection slots|too many", reason)):
        return "Wait until connections are free, or raise max_connections there."
    if kind is DatabaseRightsMissing and (schema := re.search(r"for schema (\S+)", reason)):
        return f"As its owner: GRANT USAGE, CREATE ON SCHEMA {_quoted(schema[1])} TO {user};"
    if hiding := re.search(r"row-level security policy for table (.+)", reason):
        return (
            "Nothing is done where rows are hidden. As a superuser: ALTER ROLE"
            f" {user} BYPASSRLS; or as the owner: ALTER TABLE {hiding[1]} NO FORCE ROW LEVEL SECURITY;"
        )
    if kind is DatabaseRightsMissing and re.search(r"for (table|relation|sequence)|must be owner", reason):
        return "Connect as the owner of the tables, or use another --table-prefix."
    if sqlstate == "57014" and "user request" not in reason:
        return f"Try again later, or raise it if it is the role's: ALTER ROLE {user} SET statement_timeout = '15min';"
    if sqlstate in {"25P03", "25P04", "57P05"}:
        return f"A time-out of the role or the server ended the session: see ALTER ROLE {user} SET, and raise it."
    if kind is DatabaseLoginRefused and re.search(_SCRAM_ONLY, reason):
        return (
            "A stored or referenced password is sent by SCRAM only: set password_encryption there, then the password."
        )
    if sqlstate in {"22P05", "22021"}:
        return "The database needs the encoding UTF8: createdb --encoding=UTF8 --template=template0."
    if sqlstate == "25006":
        return "This is a read-only server (a standby?): use the address of the primary."
    if sqlstate == "53200" and "shared memory" in reason:
        return "The transaction needs more locks: raise max_locks_per_transaction, and restart PostgreSQL."
    if sqlstate in {"53100", "53200"}:
        return "The server ran out of disk space or memory: make room there."
    return hints.get(kind, "The PostgreSQL log has the details.")


def _createdb(config: DatabaseConfig) -> str:
    owner = f" OWNER {_quoted(config.user)}" if config.user else ""
    host, port = config.servers[0]
    return f"psql -h {host} -p {port} -d postgres -c 'CREATE DATABASE {_quoted(config.name)}{owner}'"


def _quoted(name: Any) -> str:
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", str(name))
    return str(name) if plain else '"' + str(name).strip('"').replace('"', '""') + '"'
