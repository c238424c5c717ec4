"""A person's own PostgreSQL: what a role may do there, and how role and database are created."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseMissing
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.postgres import Connection, connect, errors_translated

_CONNECT_SECONDS: Final = 3
_FACTS: Final = """
    SELECT current_user, current_schema(), current_setting('server_version'), clock_timestamp(), pg_is_in_recovery(),
           has_database_privilege(current_database(), 'TEMPORARY'),
           COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """What a database says about itself and the role that looks.

    Attributes:
        version: of PostgreSQL, e.g. `18.1`.
        clock_offset: seconds that its clock is ahead of ours.
        is_standby: it accepts no changes.
        grants: the statements that give the role the rights that it lacks.
    """

    version: str
    clock_offset: float
    is_standby: bool
    grants: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "clock_offset": round(self.clock_offset, 3), "grants": list(self.grants)}


def examine(
    database: DatabaseConfig, *, connect_seconds: int = _CONNECT_SECONDS, seconds: float = 5.0
) -> DatabaseFacts:
    """Connect to a database, and find version and rights.

    Args:
        database: the database, with a resolved password.
        connect_seconds: time to connect.
        seconds: time for everything after the connection.

    Raises:
        FBSError: as `bounded_connection`.
    """
    with (
        bounded_connection(database, connect_seconds=connect_seconds, seconds=seconds) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(_FACTS)
        user, schema, version, clock, is_standby, may_create_temporary, may_create = cursor.fetchone() or ()
        grants = []
        if not may_create_temporary:
            grants.append(_text(connection, "GRANT TEMPORARY ON DATABASE {} TO {};", database.name, user))
        if not may_create:
            statement = "GRANT USAGE, CREATE ON SCHEMA {} TO {};"
            grants.append(_text(connection, statement, schema or "public", user))
        ahead = clock.timestamp() - time.time()
    return DatabaseFacts(version=version.split()[0], clock_offset=ahead, is_standby=is_standby, grants=tuple(grants))


@contextmanager
def created(database: DatabaseConfig, admin: DatabaseConfig | None = None) -> Iterator[list[str]]:
    """Create a database, and its role if it does not exist; both are dropped again if the block fails.

    Args:
        database: the database, its role and its password.
        admin: a role on the same server that may create them; None: the role itself creates the database.

    Returns:
        What was created: `role`, `database`.

    Raises:
        DatabaseRightsMissing: the role that was to create them may not.
        FBSError: as `connect`.
    """
    done: list[str] = []
    name, role = sql.Identifier(database.name), sql.Identifier(database.user)
    with closing(_maintenance(admin or database)) as connection:
        connection.autocommit = True

        def run(statement: str, **parts: sql.Composable) -> bool:
            with errors_translated(admin or database), connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(name=name, role=role, **parts))
                return cursor.description is not None and cursor.fetchone() is not None

        def exists(catalogue: str, column: str, value: str) -> bool:
            return run(f"SELECT 1 FROM {catalogue} WHERE {column} = {{value}}", value=sql.Literal(value))  # noqa: S608

        try:
            if admin is not None and not exists("pg_roles", "rolname", database.user):
                password = database.password.get_secret_value()
                hashed = encrypt_password(password, database.user, scope=connection, algorithm="scram-sha-256")
                run("CREATE ROLE {role} LOGIN PASSWORD {hashed}", hashed=sql.Literal(hashed))
                done.append("role")
            if not exists("pg_database", "datname", database.name):
                run("CREATE DATABASE {name}" + (" OWNER {role}" if admin is not None else ""))
                done.append("database")
            yield done
        except BaseException:
            if "database" in done:
                run("DROP DATABASE IF EXISTS {name}")
            if "role" in done:
                run("DROP ROLE IF EXISTS {role}")
            raise


def _maintenance(database: DatabaseConfig) -> Connection:
    """A connection to a database that each server has."""
    try:
        return connect(database.model_copy(update={"name": "postgres"}), connect_timeout=_CONNECT_SECONDS)
    except DatabaseMissing:
        return connect(database.model_copy(update={"name": "template1"}), connect_timeout=_CONNECT_SECONDS)


def _text(connection: Connection, statement: str, *names: str) -> str:
    return sql.SQL(statement).format(*map(sql.Identifier, names)).as_string(connection)
