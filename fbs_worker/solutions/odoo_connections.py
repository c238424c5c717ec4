"""Connections to Odoo: those of the environment, and those kept in the home database (`<prefix>odoo_connections`).

Both are one list; of two with the same name, that of the environment counts. Jobs look a connection up when they start
(`find_odoo`), so workers need no restart. Secrets are stored encrypted, or as references; nothing here returns them but
`find_odoo`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extras import RealDictCursor
from pydantic import SecretStr, ValidationError

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import (
    DatabaseError,
    OdooConnectionConflict,
    OdooConnectionNotFound,
    SettingsError,
    UsageError,
)
from fbs_worker.core.host_allowlist import check_odoo_url, is_reference_allowed
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import DEFAULT_CONNECTION, OdooConnection, Settings
from fbs_worker.core.vault import ENCRYPTED, Vault, unresolved
from fbs_worker.schema.system_tables import ensure_tables, odoo_connections_table, table_exists
from fbs_worker.solutions.databases import Databases
from fbs_worker.solutions.odoo_requests import OdooAddRequest, OdooEditRequest
from fbs_worker.solutions.registry import table_name

PASSWORD: Final = "password"  # noqa: S105 -- the name of a kind
API_KEY: Final = "api_key"
ENVIRONMENT: Final = "environment"
DATABASE: Final = "database"

SECRETS: Final = ("secret", "headers")
"""Columns that hold encrypted text or references."""

_COLUMNS: Final = {"db": "database", "user": "login", "lang": "language"}
"""Columns that are called otherwise than the fields."""

_WRITTEN: Final = (
    *("name", "url", "database", "login", "secret", "secret_kind", "protocol", "headers", "language", "timeout"),
)

Row = dict[str, Any]


def connections_table(prefix: str) -> str:
    """Return the name of the table of connections for a prefix."""
    return f"{prefix}odoo_connections"


def find_odoo(settings: Settings, name: str = DEFAULT_CONNECTION) -> OdooConnection:
    """Return the connection of a name, with its secrets: that of the environment, else the stored one.

    Args:
        settings: the environment, the home database and the keys.
        name: the connection's name.

    Raises:
        OdooConnectionNotFound: no connection has that name; the message lists the known ones.
        SettingsError: there is no `default`, because ODOO_URL is not set.
        SecretError: a secret cannot be decrypted or looked up.
        DatabaseError: the row is damaged, or the home database answered with an error.
        DatabaseUnreachable: the home database does not answer.
    """
    name, stored = name.lower(), dict[str, Row]()
    if name not in settings.odoo_names() and settings.fbs_database_url:
        with _home(settings) as (connection, vault):
            stored = {row["name"]: row for row in _rows(connection, settings)}
        if name in stored:
            return _opened(stored[name], vault)
    try:
        return settings.odoo(name)
    except OdooConnectionNotFound as exc:
        known = ", ".join(sorted({*settings.odoo_names(), *stored})) or "none"
        raise OdooConnectionNotFound(
            f"No Odoo connection is called {name!r} (known: {known}).", hint=exc.hint
        ) from None
    except SettingsError as exc:
        others = f" Stored are: {', '.join(stored)}; name one (--odoo)." if stored else ""
        raise SettingsError(exc.message, hint=f"{exc.hint}{others}") from None


def list_odoo(settings: Settings, *, databases: Databases | None = None) -> dict[str, Any]:
    """List the connections, without secrets.

    Args:
        settings: the environment, the home database and the keys.
        databases: lends the connection to the home database; None opens one.

    Returns:
        JSON-ready: `connections` (by name; see `describe`) and `notes`.

    Raises:
        DatabaseError: the home database answered with an error.
        DatabaseUnreachable: the home database does not answer.
    """
    rows, users, notes = list[Row](), dict[str, list[str]](), list[str]()
    if settings.fbs_database_url:
        with _home(settings, databases=databases) as (connection, _):
            rows, users = _rows(connection, settings), _users(connection, settings)
    else:
        notes.append("FBS_DATABASE_URL is not set: only the connections of the environment are known.")
    found = [_of_environment(settings, name, users) for name in settings.odoo_names()]
    found += [describe(row, settings, users) for row in rows]
    return {"connections": sorted(found, key=lambda each: (each["name"], each["origin"] == DATABASE)), "notes": notes}


def show_odoo(settings: Settings, name: str, *, databases: Databases | None = None) -> dict[str, Any]:
    """Return the connection of a name that counts, as `list_odoo` does.

    Raises:
        OdooConnectionNotFound: no connection has that name.
        DatabaseError: the home database answered with an error.
        DatabaseUnreachable: the home database does not answer.
    """
    listed = list_odoo(settings, databases=databases)["connections"]
    found = next((each for each in listed if each["name"] == name.lower()), None)
    if found is None:
        raise _not_found(name, sorted({each["name"] for each in listed}))
    return dict(found)


def add_odoo(settings: Settings, request: OdooAddRequest, *, by_caller: bool = False) -> dict[str, Any]:
    """Store a connection. Odoo is not asked.

    Args:
        settings: the home database and the keys.
        request: the connection.
        by_caller: it comes by the API or a page: its host and references must be allowed.

    Returns:
        The connection, as `describe` does.

    Raises:
        OdooConnectionConflict: a connection of that name is stored already.
        UsageError: the database, the login or the secret is missing.
        SecretError: no key is set to encrypt the secret with, or a reference is not allowed.
        HostRefused: a caller may not name that host.
        DatabaseError: the home database answered with an error.
        DatabaseUnreachable: the home database does not answer.
    """
    with _home(settings, read_only=False) as (connection, vault):
        row = _changed({}, dict(request), vault)
        _check(row)
        if by_caller:
            _check_caller(row, {}, dict(request), settings)
        with transaction(connection) as cursor:
            ensure_tables(connection, settings.fbs_table_prefix, (odoo_connections_table,))
            cursor.execute(
                sql.SQL(
                    "INSERT INTO {table} ({columns}, created_at, updated_at) VALUES ({values},"
                    " NOW() AT TIME ZONE 'UTC', NOW() AT TIME ZONE 'UTC') ON CONFLICT DO NOTHING"
                ).format(**_names(settings)),
                [row[column] for column in _WRITTEN],
            )
            if not cursor.rowcount:
                raise OdooConnectionConflict(
                    f"The Odoo connection {row['name']!r} exists already; nothing was changed.",
                    hint=f"Change it: `fbs odoo edit {row['name']}`, or choose another name.",
                )
        return _stored(connection, settings, row["name"])


def edit_odoo(settings: Settings, request: OdooEditRequest, *, by_caller: bool = False) -> dict[str, Any]:
    """Change a stored connection: only what is given. Jobs use it from their next start on.

    Args:
        settings: the home database and the keys.
        request: the changes.
        by_caller: they come by the API or a page: see `add_odoo`; a secret does not go to another server.

    Returns:
        The connection, as `describe` does.

    Raises:
        OdooConnectionNotFound: no connection has that name.
        OdooConnectionConflict: it is one of the environment.
        UsageError: nothing is given, or something would be missing.
        SecretError: no key is set to encrypt the secret with, or a reference is not allowed.
        HostRefused: a caller may not name that host.
        DatabaseError: the home database answered with an error.
        DatabaseUnreachable: the home database does not answer.
    """
    if not request.given:
        raise UsageError("Nothing to change is given.", hint="Give what should change, e.g. the URL (--url).")
    with _home(settings, read_only=False) as (connection, vault):
        with transaction(connection) as cursor:
            before = _locked(connection, settings, request.name)
            row = _changed(before, request.given, vault)
            _check(row)
            if by_caller:
                _check_caller(row, before, request.given, settings)
            cursor.execute(
                sql.SQL(
                    "UPDATE {table} SET ({columns}, updated_at) = ROW({values}, NOW() AT TIME ZONE 'UTC')"
                    " WHERE name = %s"
                ).format(**_names(settings)),
                [*(row[column] for column in _WRITTEN), row["name"]],
            )
        return _stored(connection, settings, row["name"])


def remove_odoo(settings: Settings, name: str) -> dict[str, Any]:
    """Remove a stored connection that no solution uses.

    Args:
        settings: the home database.
        name: the connection's name.

    Returns:
        `name` and `removed`.

    Raises:
        OdooConnectionNotFound: no connection has that name.
        OdooConnectionConflict: it is one of the environment, or solutions use it.
        DatabaseError: the home database answered with an error.
        DatabaseUnreachable: the home database does not answer.
    """
    with _home(settings, read_only=False) as (connection, _), transaction(connection) as cursor:
        row = _locked(connection, settings, name)
        users = _users(connection, settings).get(row["name"], [])
        if users and row["name"] not in settings.odoo_names():
            raise OdooConnectionConflict(
                f"Solutions use the Odoo connection {row['name']!r}: {', '.join(users)}; nothing was removed.",
                hint="Set them up with another one (`fbs setup --odoo`), or drop them, first.",
                solutions=users,
            )
        cursor.execute(sql.SQL("DELETE FROM {table} WHERE name = %s").format(**_names(settings)), (row["name"],))
    return {"name": row["name"], "removed": True}


def describe(row: Mapping[str, Any], settings: Settings, users: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a stored connection for display, without its secrets.

    Args:
        row: its row.
        settings: the environment.
        users: names of solutions by connection.

    Returns:
        `name`, `origin` (`environment` or `database`), `url`, `db`, `user`, `credentials` (`password`, `api_key` or
        empty), `secret` (`encrypted`, `reference`, `setting` or empty), `protocol`, `lang`, `timeout` (seconds),
        `headers` (whether it has some), `overridden_by` (the variable of the environment's connection of that name;
        empty if it counts itself), `solutions` (names of those that use it), `created_at` and `updated_at`.
    """
    secret, variable = row["secret"] or "", settings.odoo_names().get(row["name"], "")
    return {
        "name": row["name"],
        "origin": DATABASE,
        "url": row["url"],
        "db": row["database"] or "",
        "user": row["login"] or "",
        "credentials": row["secret_kind"] if secret else "",
        "secret": ("encrypted" if secret.startswith(ENCRYPTED) else "reference") if secret else "",
        "protocol": row["protocol"] or "auto",
        "lang": row["language"] or "en_US",
        "timeout": row["timeout"],
        "headers": bool(row["headers"]),
        "overridden_by": variable,
        "solutions": [] if variable else list(users.get(row["name"], ())),
        "created_at": _iso(row["created_at"]),
        "updated_at": _iso(row["updated_at"]),
    }


def _of_environment(settings: Settings, name: str, users: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    connection = settings.odoo(name)
    kind = API_KEY if connection.api_key.get_secret_value() else PASSWORD
    has_secret = bool(connection.api_key.get_secret_value() or connection.password.get_secret_value())
    return {
        "name": name,
        "origin": ENVIRONMENT,
        # what is before an @ is not valid there, and must not be shown
        "url": connection.url.rpartition("@")[2],
        "db": connection.db,
        "user": connection.user,
        "credentials": kind if has_secret else "",
        "secret": "setting" if has_secret else "",
        "protocol": connection.protocol,
        "lang": connection.lang,
        "timeout": connection.timeout,
        "headers": bool(connection.headers.get_secret_value()),
        "overridden_by": "",
        "solutions": list(users.get(name, ())),
        "created_at": None,
        "updated_at": None,
    }


@contextmanager
def _home(
    settings: Settings, *, databases: Databases | None = None, read_only: bool = True
) -> Iterator[tuple[Connection, Vault]]:
    databases = databases or Databases(settings)
    with databases.connection(databases.home, read_only=read_only) as connection:
        yield connection, databases.vault


def _names(settings: Settings) -> dict[str, sql.Composable]:
    return {
        "table": sql.Identifier(connections_table(settings.fbs_table_prefix)),
        "columns": sql.SQL(", ").join(map(sql.Identifier, _WRITTEN)),
        "values": sql.SQL(", ").join([sql.Placeholder()] * len(_WRITTEN)),
    }


def _rows(connection: Connection, settings: Settings, *, lock: str = "") -> list[Row]:
    """The stored connections; with `lock`, only that one, locked in the caller's transaction."""
    where = sql.SQL("WHERE name = %s FOR UPDATE" if lock else "ORDER BY name")
    statement = sql.SQL("SELECT {columns}, created_at, updated_at FROM {table} {where}")
    with errors_translated(connection), connection.cursor(cursor_factory=RealDictCursor) as cursor:
        if not table_exists(connection, connections_table(settings.fbs_table_prefix)):
            return []
        cursor.execute(statement.format(**_names(settings), where=where), (lock,) if lock else ())
        return [dict(row) for row in cursor.fetchall()]


def _locked(connection: Connection, settings: Settings, name: str) -> Row:
    name = name.lower()
    found = _rows(connection, settings, lock=name)
    if found:
        return found[0]
    variable = settings.odoo_names().get(name)
    if variable:
        prefix = variable.removesuffix("URL")
        raise OdooConnectionConflict(
            f"The Odoo connection {name!r} is one of the environment ({variable}); nothing was changed.",
            hint=f"Change or unset {prefix}… where workers and other processes start.",
            variable=variable,
        )
    raise _not_found(name, sorted({*settings.odoo_names(), *(row["name"] for row in _rows(connection, settings))}))


def _not_found(name: str, known: Sequence[str]) -> OdooConnectionNotFound:
    return OdooConnectionNotFound(
        f"No Odoo connection is called {name.lower()!r} (known: {', '.join(known) or 'none'}).",
        hint=f"`fbs odoo list` shows them; `fbs odoo add {name.lower()}` adds it.",
    )


def _users(connection: Connection, settings: Settings) -> dict[str, list[str]]:
    """Names of solutions by the connection that they use."""
    table, users = table_name(settings.fbs_table_prefix), dict[str, list[str]]()
    with errors_translated(connection), connection.cursor() as cursor:
        if table_exists(connection, table):
            cursor.execute(
                sql.SQL(
                    "SELECT lower(coalesce(schema_definition ->> 'odoo', %s)), solution_name FROM {} ORDER BY 2"
                ).format(sql.Identifier(table)),
                (DEFAULT_CONNECTION,),
            )
            for name, solution in cursor.fetchall():
                users.setdefault(name, []).append(solution)
    return users


def _stored(connection: Connection, settings: Settings, name: str) -> dict[str, Any]:
    row = next(row for row in _rows(connection, settings) if row["name"] == name)
    return describe(row, settings, _users(connection, settings))


def _changed(before: Row, given: Mapping[str, Any], vault: Vault) -> Row:
    """The row after a change; `before` is empty for a new one."""
    row = dict.fromkeys(_WRITTEN, "") | before
    for name, value in given.items():
        if name not in (PASSWORD, API_KEY, "headers"):
            row[_COLUMNS.get(name, name)] = value
    row["name"] = row["name"].lower()
    for kind in (PASSWORD, API_KEY):
        if given.get(kind) is not None and (
            given[kind].get_secret_value() or (before and before["secret_kind"] == kind)
        ):
            row |= {"secret": _sealed(given[kind], vault), "secret_kind": kind}
    if given.get("headers") is not None:
        row["headers"] = _sealed(given["headers"], vault)
    return row | {"secret_kind": row["secret_kind"] or PASSWORD}


def _sealed(secret: SecretStr, vault: Vault) -> str:
    text = secret.get_secret_value()
    return text if not text or vault.is_reference(text) else vault.encrypt(text)


def _check(row: Row) -> None:
    """Check that a row is complete.

    Raises:
        UsageError: something is missing.
    """
    if not row["url"].lower().startswith("recording:"):
        for column, field, words in (
            ("database", "db", "db"),
            ("secret", PASSWORD, "password or api_key"),
            *([("login", "user", "user")] if row["secret_kind"] == PASSWORD else []),
        ):
            if not row[column]:
                flags = " or ".join(f"--{each.replace('_', '-')}" for each in words.split(" or "))
                hint = f"Pass {words} (on the command line: {flags})."
                raise UsageError(f"{words} is missing.", hint=hint, field=field)
        if row["protocol"] == "json2" and row["secret_kind"] == PASSWORD:
            hint = "Give an API key (--api-key), or another protocol."
            raise UsageError("JSON-2 needs an API key.", hint=hint, field=API_KEY)


def _check_caller(row: Row, before: Row, given: Mapping[str, Any], settings: Settings) -> None:
    """Check whether a caller of the API may have a row written.

    Raises:
        SecretError: a reference is not allowed.
        HostRefused: the host is not allowed, or not with a reference.
        UsageError: a stored secret would be sent to another server.
    """
    moved = row["url"] != before.get("url")
    fields = {"secret": (PASSWORD, API_KEY), "headers": ("headers",)}
    new = [column for column in SECRETS if row[column] and any(given.get(field) for field in fields[column])]
    if moved and any(row[column] and column not in new for column in SECRETS):
        raise UsageError(
            "Another URL needs the secret again: a stored one is not sent to another server.",
            hint="Give the password or the API key, and the headers if it has some, together with the URL.",
            field="url",
        )
    references = [row[column] for column in new if not row[column].startswith(ENCRYPTED)]
    for reference in references:
        if not is_reference_allowed(reference, settings):
            raise unresolved(reference)
    if moved or references:
        check_odoo_url(row["url"], settings, sends_own=bool(references))


def _opened(row: Row, vault: Vault) -> OdooConnection:
    secrets = {column: vault.resolve(row[column]) if row[column] else "" for column in SECRETS}
    try:
        return OdooConnection(
            url=row["url"],
            db=row["database"] or "",
            user=row["login"] or "",
            protocol=row["protocol"] or "auto",
            timeout=row["timeout"],
            lang=row["language"] or "en_US",
            headers=SecretStr(secrets["headers"]),
            **{API_KEY if row["secret_kind"] == API_KEY else PASSWORD: SecretStr(secrets["secret"])},
        ).stored(row["name"])
    except ValidationError as exc:
        column = exc.errors(include_input=False, include_url=False)[0]["loc"][0]
        raise DatabaseError(
            f"The row of the Odoo connection {row['name']!r} is damaged: {column} is not valid.",
            hint=f"Correct it: `fbs odoo edit {row['name']}`.",
        ) from None


def _iso(instant: datetime | None) -> str | None:
    return instant.replace(tzinfo=UTC).isoformat(timespec="seconds") if instant else None
