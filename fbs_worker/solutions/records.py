"""A solution's row in `<prefix>solution_schemas`: what it says, how it is read and written.

The table's columns are the design's; what they have no room for is kept in `schema_definition`: `server` (host and
port) and `own` (the row speaks of the database that it lies in). Neither shows in a `SolutionRecord`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

import orjson
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling
from pydantic import SecretStr

from fbs_worker.catalogue.copy_rows import to_json
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, SecretError, SolutionConflict, UsageError
from fbs_worker.core.identifiers import DEFAULT_TABLE_PREFIX
from fbs_worker.core.settings import DEFAULT_CONNECTION
from fbs_worker.core.vault import ENCRYPTED, Vault
from fbs_worker.schema.system_tables import table_exists
from fbs_worker.solutions.config import SolutionConfig

MAX_PASSWORD: Final = 255
"""Characters of `database_password`: a password of up to 127 bytes fits once it is sealed."""

_SERVER: Final = "server"
_OWN: Final = "own"
OWN_MARK: Final = f'{{"{_OWN}": true}}'
"""What `schema_definition` of an own row contains, as JSON."""

LAST_REFRESH: Final = "last_refresh"
SCHEDULE: Final = "schedule"
SHAPE: Final = "shape"
_KEPT: Final = (LAST_REFRESH, "source", SHAPE)
"""What a refresh has found out, and what was made, stays when a row is written by someone who does not speak of it."""

_COLUMNS: Final = (
    "solution_name",
    "domain",
    "database_name",
    "database_user",
    "database_password",
    "table_prefix",
    "business_prefix",
    "schema_definition",
    "is_active",
)

_FIELDS: Final = sql.SQL(", ").join(
    sql.Identifier(name) for name in (*_COLUMNS, "created_at", "updated_at") if name != "schema_definition"
)
_DEFINITION: Final = sql.SQL("schema_definition::text")
_BRIEF: Final = sql.SQL("(schema_definition - 'shape' - 'last_refresh')::text")


@dataclass(frozen=True, slots=True, kw_only=True)
class SolutionRecord:
    """A solution as a row keeps it.

    Attributes:
        solution_name: e.g. `fayvad_rentals`.
        domain: e.g. `rental`.
        database: where it lives, the password sealed or a reference.
        table_prefix: prefix of the system tables.
        business_prefix: prefix of the business tables.
        is_active: it is set up; False while a set-up or a drop is under way, or after one was cut off.
        schema_definition: what FBS owns for it: `version`, `tables`, `mirrored`, `odoo`, and in its own row
            `last_refresh` and `shape`. Its `schedule` is for `registry_schedule` alone to change.
        created_at: when the row was made, UTC; None before.
        updated_at: when it was last written, UTC; None before.
    """

    solution_name: str
    domain: str
    database: DatabaseConfig
    table_prefix: str = DEFAULT_TABLE_PREFIX
    business_prefix: str = ""
    is_active: bool = True
    schema_definition: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @classmethod
    def from_config(cls, config: SolutionConfig, *, is_active: bool, schema_definition: Mapping[str, Any]) -> Self:
        """A record of a solution that is being set up.

        Args:
            config: the solution.
            is_active: see the attributes.
            schema_definition: see the attributes.
        """
        return cls(
            solution_name=config.solution_name,
            domain=config.domain,
            database=config.database_config,
            table_prefix=config.table_prefix,
            business_prefix=config.business_prefix,
            is_active=is_active,
            schema_definition=schema_definition,
        )

    @property
    def owned(self) -> frozenset[str]:
        """The business and mirrored tables that FBS made for it, by their real names."""
        return frozenset(self.schema_definition.get("tables") or ())

    @property
    def mirrored(self) -> dict[str, str]:
        """Its mirrored models, each with its main table."""
        return dict(self.schema_definition.get("mirrored") or {})

    @property
    def odoo(self) -> str:
        """The name of the Odoo connection that it reads."""
        return str(self.schema_definition.get("odoo") or DEFAULT_CONNECTION)

    @property
    def last_refresh(self) -> dict[str, Any] | None:
        """What its last refresh was; None where there was none, and in the address book."""
        told = self.schema_definition.get(LAST_REFRESH)
        return dict(told) if told else None

    @property
    def shape(self) -> dict[str, Any]:
        """What FBS made, as `migration.shape.to_json`, as far as that was recorded; nothing in the address book."""
        return dict(self.schema_definition.get(SHAPE) or {})

    @property
    def schedule(self) -> dict[str, Any] | None:
        """When it is refreshed, as `Schedule.to_dict`; None without a schedule of its own."""
        told = self.schema_definition.get(SCHEDULE)
        return dict(told) if isinstance(told, Mapping) else None

    def to_config(self) -> SolutionConfig:
        """The configuration that would set it up again.

        Raises:
            UsageError: the row holds something that is not valid.
        """
        return SolutionConfig(
            solution_name=self.solution_name,
            domain=self.domain,
            database_config=self.database,
            table_prefix=self.table_prefix,
            business_prefix=self.business_prefix,
            mirror=tuple(self.mirrored),
            odoo=self.odoo,
        )

    def redacted(self) -> dict[str, Any]:
        """JSON-ready for display, without the password."""
        return {
            "solution_name": self.solution_name,
            "domain": self.domain,
            "database_config": self.database.redacted(),
            "table_prefix": self.table_prefix,
            "business_prefix": self.business_prefix,
            "is_active": self.is_active,
            "tables": sorted(self.owned),
            "mirrored": dict(sorted(self.mirrored.items())),
            "odoo": self.odoo,
            "created_at": self.created_at.isoformat() if self.created_at else None,
            "updated_at": self.updated_at.isoformat() if self.updated_at else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedRow:
    """A row of `solution_name` that FBS cannot have written so: somebody changed it; `error` says what is wrong."""

    solution_name: str
    error: DatabaseError


def table_name(prefix: str) -> str:
    """The table of a prefix that holds solutions."""
    return f"{prefix}solution_schemas"


def read_row(cursor: Cursor, table: str, name: str, *, own: bool = False) -> SolutionRecord | None:
    """A solution's row; None where there is none, or no table.

    Args:
        cursor: in a transaction.
        table: the table's name.
        name: the solution's.
        own: only if it speaks of the database that it lies in.

    Raises:
        DatabaseError: the row was damaged.
        psycopg2.Error: to be translated by the caller.
    """
    found = read_rows(cursor, table, name=name, own=own)
    if not found:
        return None
    if isinstance(found[0], DamagedRow):
        raise found[0].error
    return found[0]


def read_rows(
    cursor: Cursor, table: str, *, name: str | None = None, own: bool = False, brief: bool = False
) -> list[SolutionRecord | DamagedRow]:
    """The rows of a table in the order of their names; none where there is no table. Other arguments as for `read_row`.

    Args:
        brief: without shapes and last refreshes, which are long; for own rows alone.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    if not table_exists(cursor.connection, table):
        return []
    cursor.execute(
        sql.SQL(
            "SELECT {fields}, {definition} FROM {table} WHERE (%(name)s::text IS NULL OR solution_name = %(name)s)"
            " AND (NOT %(own)s OR schema_definition @> %(mark)s) ORDER BY solution_name"
        ).format(fields=_FIELDS, definition=_BRIEF if brief else _DEFINITION, table=sql.Identifier(table)),
        {"name": name, "own": own, "mark": OWN_MARK},
    )
    return [_record(table, row) for row in cursor.fetchall()]


def _record(table: str, row: tuple[Any, ...]) -> SolutionRecord | DamagedRow:
    name, domain, database_name, user, password, table_prefix, business_prefix, active, made, written, definition = row
    try:
        told = orjson.loads(definition or "{}")
        server = told.pop(_SERVER, {})
        told.pop(_OWN, None)
        record = SolutionRecord(
            solution_name=name,
            domain=domain,
            database=DatabaseConfig.parse(
                {"name": database_name, "user": user, "password": SecretStr(password or ""), **server}
            ),
            table_prefix=table_prefix or "",
            business_prefix=business_prefix or "",
            is_active=bool(active),
            schema_definition=told,
            created_at=made.replace(tzinfo=UTC) if made else None,
            updated_at=written.replace(tzinfo=UTC) if written else None,
        )
        _ = record.shape, record.to_config()  # every other field is checked there
    except (UsageError, TypeError, AttributeError, ValueError) as exc:
        reason = exc.message if isinstance(exc, UsageError) else "schema_definition is not what FBS keeps there."
        error = DatabaseError(
            f"The row of the solution {name!r} in {table} is damaged: {reason}",
            hint="Correct that row, or delete it and run setup again.",
        )
        return DamagedRow(solution_name=name, error=error)
    return record


def write_row(cursor: Cursor, table: str, record: SolutionRecord, vault: Vault, *, own: bool) -> bool:
    """Write a solution's row; what is so already is not written again.

    It updates under the row's lock; a row that another session makes meanwhile is found on the second round.

    Args:
        cursor: in a transaction.
        table: the table's name; it is there.
        record: the solution.
        vault: seals a password that was given plain.
        own: the row speaks of the database that it lies in.

    Returns:
        Whether anything was written.

    Raises:
        SolutionConflict: the row stands for tables of another domain, database or prefix.
        SecretError: the password cannot be sealed, or is too long then.
        psycopg2.Error: to be translated by the caller.
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    names = {
        "table": sql.Identifier(table),
        "columns": columns,
        "values": sql.SQL(", ").join([sql.Placeholder()] * len(_COLUMNS)),
    }
    while True:
        cursor.execute(
            sql.SQL("SELECT {columns} FROM {table} WHERE solution_name = %s FOR UPDATE").format(**names),
            (record.solution_name,),
        )
        row = cursor.fetchone()
        if row is not None:
            before = dict(zip(_COLUMNS, row, strict=True))
            after = _values(record, vault, own=own, before=before)
            if after == before:
                return False
            cursor.execute(
                sql.SQL(
                    "UPDATE {table} SET ({columns}, updated_at) = ROW({values}, NOW() AT TIME ZONE 'UTC')"
                    " WHERE solution_name = %s"
                ).format(**names),
                (*_adapted(after), record.solution_name),
            )
            return True
        cursor.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}, created_at, updated_at)"
                " VALUES ({values}, NOW() AT TIME ZONE 'UTC', NOW() AT TIME ZONE 'UTC') ON CONFLICT DO NOTHING"
            ).format(**names),
            _adapted(_values(record, vault, own=own, before=None)),
        )
        if cursor.rowcount:
            return True


def delete_row(cursor: Cursor, table: str, name: str, *, own: bool = False) -> bool:
    """Take a solution's row away. Arguments as for `read_row`.

    Returns:
        Whether there was one.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    if not table_exists(cursor.connection, table):
        return False
    cursor.execute(
        sql.SQL("DELETE FROM {} WHERE solution_name = %s AND (NOT %s OR schema_definition @> %s)").format(
            sql.Identifier(table)
        ),
        (name, own, OWN_MARK),
    )
    return bool(cursor.rowcount)


def _values(record: SolutionRecord, vault: Vault, *, own: bool, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns of a row, given those that it has now."""
    known = (before or {}).get("schema_definition") or {}
    if known.get(_OWN) and not own:
        told = dict(known)  # what is owned is told by the own row alone, which this row is, too
    else:
        told = {key: known[key] for key in _KEPT if key in known} | dict(record.schema_definition)
        if before is not None:  # a job knows the schedule as it was when it began
            told.pop(SCHEDULE, None)
            told |= {SCHEDULE: known[SCHEDULE]} if SCHEDULE in known else {}
    told[_SERVER] = {"host": record.database.host, "port": record.database.port}
    if own:
        told[_OWN] = True
    values = {
        "solution_name": record.solution_name,
        "domain": record.domain,
        "database_name": record.database.name,
        "database_user": record.database.user,
        "database_password": _sealed(record, vault, kept=(before or {}).get("database_password") or ""),
        "table_prefix": record.table_prefix,
        "business_prefix": record.business_prefix,
        "schema_definition": orjson.loads(to_json(told)),
        "is_active": record.is_active,
    }
    if before is not None and (before["is_active"] or known.get(_OWN)):
        _refuse_another(values, before)
    return values


def _refuse_another(values: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """A row that stands for tables may not come to stand for others: those would be nobody's."""
    name = values["solution_name"]
    for column in ("domain", "database_name", "table_prefix", "business_prefix"):
        if values[column] != before[column]:
            raise SolutionConflict(
                f"The solution {name!r} is there already with another {column}: {before[column]!r}, not"
                f" {values[column]!r}.",
                hint=f"Choose another solution name, or take that one away first: fbs drop {name}",
            )


def _sealed(record: SolutionRecord, vault: Vault, *, kept: str) -> str:
    """The password as a row may hold it; the row's own where that opens to the same."""
    secret = record.database.password.get_secret_value()
    if secret and kept and secret != kept and _same(secret, kept, vault):
        return kept
    if secret and not vault.is_reference(secret):
        secret = vault.encrypt(secret)
    if len(secret) > MAX_PASSWORD:
        raise SecretError(
            f"The database password has {len(secret)} characters once it may be stored, {MAX_PASSWORD} are possible.",
            hint="Refer to it: env:NAME or file:PATH, set where the worker runs.",
        )
    return secret


def _same(given: str, kept: str, vault: Vault) -> bool:
    """Whether two passwords, neither of them a reference to elsewhere, are the same."""
    if not kept.startswith(ENCRYPTED) or (vault.is_reference(given) and not given.startswith(ENCRYPTED)):
        return False
    try:
        return vault.resolve(given, allow_plain=True) == vault.resolve(kept)
    except SecretError:  # a key is gone: what is given counts
        return False


def _adapted(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(to_json(value).decode() if isinstance(value, dict) else value for value in values.values())
