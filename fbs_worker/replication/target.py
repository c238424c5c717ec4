"""Where records go: the columns and link tables of a mirrored model. Pure, but for `present`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.postgres import errors_translated
from fbs_worker.schema.mirror import MirroredColumn, link_names, mirrored_columns

BINARY: Final = frozenset(("binary", "image"))
WRITE_DATE: Final = "write_date"

_COLUMNS: Final = """
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = ANY(SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name)
    AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTable:
    """A link table of a many2many field.

    Attributes:
        field: the field's name in Odoo.
        table: the table, with `from_id` and `to_id`.
        relation: the model that the field leads to.
    """

    field: str
    table: str
    relation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The tables of one mirrored model.

    Attributes:
        model: the model's technical name.
        table: its table.
        columns: the columns to fill.
        links: the link tables to fill.
        files: the columns of files and images, if they are copied.
        is_transient: its records are those of dialogs, which Odoo deletes by itself.
        exists: the table is there; it comes with a migration.
    """

    model: str
    table: str
    columns: tuple[MirroredColumn, ...]
    links: tuple[LinkTable, ...] = ()
    files: tuple[MirroredColumn, ...] = ()
    is_transient: bool = False
    exists: bool = True

    @property
    def fields(self) -> list[str]:
        """The fields to read, without `id`."""
        return [*(each.field for each in self.columns), *(each.field for each in self.links)]

    @property
    def link_fields(self) -> list[str]:
        """The many2many fields among them."""
        return [each.field for each in self.links]

    @property
    def is_logged(self) -> bool:
        """Whether Odoo keeps when a record was written: neither views nor some tables have that."""
        return any(each.field == WRITE_DATE for each in self.columns)

    def without(self, fields: Collection[str]) -> Target:
        """The same without some fields."""
        columns = tuple(each for each in self.columns if each.field not in fields)
        links = tuple(each for each in self.links if each.field not in fields)
        return replace(self, columns=columns, links=links)

    def only(self, fields: Collection[str]) -> Target:
        """The same with some fields alone."""
        return self.without([name for name in self.fields if name not in fields])


def targets(
    definitions: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], *, transient: Collection[str], binary: bool
) -> dict[str, Target]:
    """Return the target of each mirrored model.

    Args:
        definitions: model → its discovered `schema_definition`.
        names: mirrored model → table.
        transient: the models of dialogs.
        binary: whether files and images are copied.

    Raises:
        UsageError: a definition has no fields.
    """
    found = {}
    for model, definition in definitions.items():
        fields = definition.get("fields") or {}
        links = link_names(model, definition, names=names)
        columns = mirrored_columns(model, definition)
        found[model] = Target(
            model=model,
            table=names[model],
            columns=tuple(each for each in columns if each.type not in BINARY),
            files=tuple(each for each in columns if binary and each.type in BINARY),
            links=tuple(
                LinkTable(field=name, table=str(table), relation=str(fields[name].get("relation")))
                for name, table in links.items()
            ),
            is_transient=model in transient,
        )
    return found


def present(cursor: Cursor, target: Target) -> Target:
    """Return a target with those of its columns and link tables that the database has.

    Args:
        cursor: in the caller's transaction.
        target: what the catalogue says.

    Raises:
        DatabaseError, DatabaseUnreachable: the statement failed.
    """
    with errors_translated(cursor.connection):
        cursor.execute(_COLUMNS, ([target.table, *(each.table for each in target.links)],))
        found: dict[str, set[str]] = {}
        for table, column in cursor.fetchall():
            found.setdefault(table, set()).add(column)
    columns = found.get(target.table, set())
    return replace(
        target,
        columns=tuple(each for each in target.columns if each.column in columns),
        files=tuple(each for each in target.files if each.column in columns),
        links=tuple(each for each in target.links if {"from_id", "to_id"} <= found.get(each.table, set())),
        exists="odoo_id" in columns,
    )
