"""Records of mirrored models: the state of their tables, and rows by pages. Read-only.

Only tables that a solution made for its mirrored models are read, and never what is in their BYTEA columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg2
from psycopg2 import sql

from fbs_worker.catalogue.pagination import MAX_ID, Page, bad_cursor, checked_limit, cut, decode_cursor, encode_cursor
from fbs_worker.catalogue.store import model_definitions
from fbs_worker.core.errors import TableNotFound, UsageError
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.replication.state import Status, TableState, replication_table_name, states
from fbs_worker.schema.mirror import link_names, mirrored_columns
from fbs_worker.schema.system_tables import table_exists
from fbs_worker.solutions.registry import SolutionRecord

REJECTED: Final = "rejected_records"
DELETED: Final = "deleted_records"

MAX_FILTERS: Final = 20
_MAX_VALUE: Final = 1_000
_SHARED: Final = 25
"""Characters of a table's name that the names of its link tables have in common with it, however long they are."""

_NAMED: Final = 20
"""How many tables the hint of TableNotFound lists."""

_OF_ALL: Final = ("solution_name", "table_name")
"""Columns of side tables that are the same for all records of a table."""

_ROW_ID: Final = "odoo_id"
_LINK: Final = ("from_id", "to_id")

_COLUMNS: Final = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_CALLED: Final = ("name", "complete_name", "display_name", "code")
_NAME_COLUMNS: Final = """
SELECT name, attname FROM unnest(%s::text[]) AS name JOIN pg_attribute ON attrelid = to_regclass(quote_ident(name))
WHERE attname = ANY(%s) AND NOT attisdropped
"""

_SUMMARIES: Final = """
SELECT solution_name, count(*), sum(row_count)::bigint,
    extract(epoch FROM clock_timestamp() AT TIME ZONE 'UTC' - min(synced_at))::float8,
    count(*) FILTER (WHERE status = %s), count(*) FILTER (WHERE status IN (%s, %s))
FROM {} WHERE solution_name = ANY(%s) GROUP BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTable:
    """A table that is read.

    Attributes:
        name: the table's name.
        model: the mirrored model; of a link table that with the field.
        key: its rows are ordered by these columns.
        columns: column → type, without those of type BYTEA.
        labels: column → the field's label in Odoo.
        relations: column → the mirrored table that its values refer to by their `odoo_id`.
        links: many2many field → its link table.
        where: what all rows have in common.
    """

    name: str
    model: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    relations: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_link(self) -> bool:
        """Whether it is a link table."""
        return self.key == _LINK


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A condition.

    Attributes:
        column: the column.
        value: its value as text; empty: none (NULL).
        contains: whether the value is only a part of the column's text, in any case of letters.
    """

    column: str
    value: str
    contains: bool = False


def record_states(connection: Connection, record: SolutionRecord) -> list[dict[str, Any]]:
    """Return the state of each mirrored table, as `TableState.to_dict`; those that were never copied are pending.

    Args:
        connection: to the solution's database, outside of a transaction.
        record: the solution.

    Raises:
        DatabaseError, DatabaseUnreachable: the database cannot be read.
    """
    if not record.mirrored:
        return []
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        ((now,),) = cursor.fetchall()
        known = {each.model: each for each in states(cursor, record.table_prefix, record.solution_name)}
    for model, table in record.mirrored.items():
        if model not in known:
            known[model] = TableState(solution_name=record.solution_name, model=model, table_name=table)
    return [known[model].to_dict(now=now) for model in sorted(record.mirrored)]


def record_summaries(connection: Connection, table_prefix: str, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the copies of solutions in short: those that have any.

    Args:
        connection: to their database, outside of a transaction.
        table_prefix: of their system tables.
        names: the solutions.

    Returns:
        By name: `tables`, `rows`, `lag_seconds` (of the table that was synced longest ago), and the numbers of tables
        that are in `needs_review`, or `failed`.

    Raises:
        DatabaseError, DatabaseUnreachable: the database cannot be read.
    """
    table = replication_table_name(table_prefix)
    with errors_translated(connection), connection, connection.cursor() as cursor:
        if not table_exists(connection, table):
            return {}
        statuses = (str(Status.REVIEW), str(Status.FAILED), str(Status.STOPPED))
        cursor.execute(sql.SQL(_SUMMARIES).format(sql.Identifier(table)), (*statuses, list(names)))
        return {
            name: {
                "tables": tables,
                "rows": rows,
                "lag_seconds": None if lag is None else round(max(0.0, lag), 1),
                "needs_review": review,
                "failed": failed,
            }
            for name, tables, rows, lag, review, failed in cursor.fetchall()
        }


def find_table(connection: Connection, record: SolutionRecord, name: str) -> RecordTable:
    """Return a mirrored table or link table of a solution.

    Args:
        connection: to the solution's database, outside of a transaction.
        record: the solution.
        name: the table's name.

    Raises:
        TableNotFound: the solution made no such table for a mirrored model.
        DatabaseError, DatabaseUnreachable: the database cannot be read.
    """
    names = {model: table for model, table in record.mirrored.items() if table in record.owned}
    models = [model for model, table in names.items() if table == name] or [
        model for model, table in names.items() if name.startswith(table[:_SHARED]) and name in record.owned
    ]
    with errors_translated(connection), connection, connection.cursor() as cursor:
        definitions = model_definitions(cursor, record.table_prefix, record.domain, models)
        cursor.execute(_COLUMNS, (name,))
        columns = {column: kind for column, kind in cursor.fetchall() if kind != "bytea"}
    for model in models if columns else ():
        definition = definitions.get(model) or {}
        fields = definition.get("fields") or {}
        links = link_names(model, definition, names=names) if fields else {}
        if names[model] == name:
            mirrored = mirrored_columns(model, definition) if fields else []
            return RecordTable(
                name=name,
                model=model,
                key=(_ROW_ID,),
                columns=columns,
                labels={each.column: str(fields[each.field].get("label") or "") for each in mirrored},
                relations={each.column: names[each.relation] for each in mirrored if each.relation in names},
                links={link: str(table) for link, table in links.items()},
            )
        found = next((link for link, table in links.items() if table == name), None)
        if found is not None:
            to = names[fields[found]["relation"]]
            return RecordTable(
                name=name, model=model, key=_LINK, columns=columns, relations={"from_id": names[model], "to_id": to}
            )
    raise TableNotFound(
        f"The solution {record.solution_name!r} has no table {name!r} of a mirrored model.",
        hint=f"It has: {', '.join(sorted(names.values())[:_NAMED]) or 'none'}.",
    )


def side_table(connection: Connection, record: SolutionRecord, table: RecordTable, kind: str) -> RecordTable:
    """Return the rejected or the deleted records of a mirrored table.

    Args:
        connection: to the solution's database, outside of a transaction.
        record: the solution.
        table: the mirrored table.
        kind: `REJECTED` or `DELETED`.

    Raises:
        DatabaseError, DatabaseUnreachable: the database cannot be read.
    """
    name = f"{record.table_prefix}{kind}"
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(_COLUMNS, (name,))
        columns = {column: kind for column, kind in cursor.fetchall() if column not in _OF_ALL}
    return RecordTable(name=name, model=table.model, key=("id",), columns=columns, where={"table_name": table.name})


def read_rows(
    connection: Connection,
    table: RecordTable,
    *,
    filters: Sequence[Filter] = (),
    cursor: str = "",
    limit: int = 100,
    columns: Sequence[str] | None = None,
    width: int | None = None,
) -> Page:
    """Read a page of rows, ordered by the table's key.

    Args:
        connection: to the solution's database, outside of a transaction.
        table: the table.
        filters: all of them hold for the rows.
        cursor: `next` of the previous page; empty for the first one.
        limit: maximum rows, 1 to 1,000.
        columns: only these, with the key; None for all.
        width: values as text with at most so many characters; None for values as they are.

    Returns:
        The page; an empty one where the table is not there.

    Raises:
        UsageError: a column is not known, a value is not of its column's type, or cursor or limit is not valid.
        DatabaseError, DatabaseUnreachable: the database cannot be read.
    """
    limit, after = checked_limit(limit), _position(cursor, table)
    conditions, values = _conditions(table, filters)
    if after:
        conditions.append(sql.SQL("({}) > ({})").format(_listed(table.key), _places(after)))
        values += after
    if not table.columns:
        return Page()
    chosen = [name for name in table.columns if columns is None or name in columns or name in table.key]
    value = sql.SQL("{}" if width is None else f"left({{}}::text, {width})")
    shown = [value.format(_column(name)) + sql.SQL(" AS ") + sql.Identifier(name) for name in chosen]
    statement = sql.SQL(
        "SELECT {keys}, row_to_json(s)::text FROM {table} t CROSS JOIN LATERAL (SELECT {shown}) s"
        " WHERE {conditions} ORDER BY {keys} LIMIT {limit}"
    ).format(
        keys=_listed(table.key),
        table=sql.Identifier(table.name),
        conditions=sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("TRUE"),
        limit=sql.Literal(limit + 1),
        shown=sql.SQL(", ").join(shown),
    )
    with errors_translated(connection), connection, connection.cursor() as reader:
        try:
            reader.execute(statement, values)
        except psycopg2.DataError as exc:
            raise UsageError(
                "A value to filter by is not of its column's type.",
                hint="Numbers are written as 7, dates as 2026-01-31, booleans as true or false.",
            ) from exc
        return cut(reader.fetchall(), limit, lambda row: encode_cursor(list(row[:-1])))


def name_columns(connection: Connection, tables: Collection[str]) -> dict[str, str]:
    """Return the column of each mirrored table that says what a record is called; those without one are left out.

    Args:
        connection: to the solution's database, outside of a transaction.
        tables: the tables.

    Raises:
        DatabaseError, DatabaseUnreachable: the database cannot be read.
    """
    if not tables:
        return {}
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(_NAME_COLUMNS, (list(tables), list(_CALLED)))
        found = cursor.fetchall()
    return {table: min((column for name, column in found if name == table), key=_CALLED.index) for table, _ in found}


def names_of(connection: Connection, table: str, column: str, ids: Collection[int]) -> dict[int, str]:
    """Return what records are called: `odoo_id` → the text of a column.

    Args:
        connection: to the solution's database, outside of a transaction.
        table: a mirrored table.
        column: one of its columns.
        ids: the records, at most a page of them.

    Raises:
        DatabaseError, DatabaseUnreachable: the database cannot be read.
    """
    statement = sql.SQL("SELECT odoo_id, left({}::text, 80) FROM {} WHERE odoo_id = ANY(%s)").format(
        sql.Identifier(column), sql.Identifier(table)
    )
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement, (sorted(ids),))
        return {number: name for number, name in cursor.fetchall() if name}


def _conditions(table: RecordTable, filters: Sequence[Filter]) -> tuple[list[sql.Composable], list[Any]]:
    if len(filters) > MAX_FILTERS:
        raise UsageError(f"There are more than {MAX_FILTERS} filters.", hint="Leave some of them out.")
    conditions: list[sql.Composable] = [sql.SQL("{} = %s").format(_column(name)) for name in table.where]
    values: list[Any] = list(table.where.values())
    for each in filters:
        if each.column not in table.columns:
            raise UsageError(
                "There is no such column to filter by.", hint=f"Columns are: {', '.join(sorted(table.columns))}."
            )
        if len(each.value) > _MAX_VALUE or "\0" in each.value:
            raise UsageError("A value to filter by is not valid.", hint=f"Use at most {_MAX_VALUE} characters.")
        column = _column(each.column)
        if not each.value:
            conditions.append(sql.SQL("{} IS NULL").format(column))
        elif each.contains:
            conditions.append(sql.SQL("{}::text ILIKE %s").format(column))
            values.append("%{}%".format("".join(f"\\{char}" if char in "\\%_" else char for char in each.value)))
        else:
            kind = sql.SQL(table.columns[each.column])  # as PostgreSQL spells it
            conditions.append(sql.SQL("{} = %s::{}").format(column, kind))
            values.append(each.value)
    return conditions, values


def _position(cursor: str, table: RecordTable) -> list[int]:
    if not cursor:
        return []
    position = decode_cursor(cursor)
    numbers = [each for each in position if type(each) is int and abs(each) <= MAX_ID] if type(position) is list else []
    if len(numbers) != len(table.key) or len(position) != len(numbers):
        raise bad_cursor()
    return numbers


def _column(name: str) -> sql.Identifier:
    return sql.Identifier("t", name)


def _listed(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(_column, names))


def _places(values: Sequence[Any]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Placeholder() * len(values))
