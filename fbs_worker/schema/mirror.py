"""Mirrored models: map a discovered Odoo model to a business table. Pure.

The table has `id SERIAL PRIMARY KEY`, `odoo_id INTEGER UNIQUE NOT NULL` (the record's id in Odoo), a column for each
stored field with one below, `created_at` and `updated_at` (of the row; Odoo's own timestamps are the fields
`create_date` and `write_date`). Computed fields that are not stored have no column.

    Odoo's type               column
    ------------------------  ------------------------------------------------------------------------------------
    char                      VARCHAR(size) where Odoo limits it, else VARCHAR
    text, html                TEXT
    integer                   INTEGER
    float, monetary           NUMERIC without precision: a field's digits (in the definition, from `fields_get`) say how
                              Odoo rounds, which a setting changes at any time; a value is kept as it is
    boolean                   BOOLEAN
    date                      DATE
    datetime                  TIMESTAMP, in UTC as Odoo has it
    binary, image             BYTEA
    selection                 VARCHAR: the value, not its label; the set of values depends on installed modules
    reference                 VARCHAR: `model,id`
    many2one                  INTEGER: the other record's id in Odoo, the other table's `odoo_id` if that model is
                              mirrored too
    many2one_reference        INTEGER: the other record's id in Odoo; its model is in another field
    many2many                 a link table if the other model is mirrored too, else nothing
    one2many                  nothing: the inverse of the other table's many2one
    json, properties,         JSONB
    properties_definition,
    serialized
    any other type            JSONB: any value of the RPC response

- No link between mirrored tables is enforced: the Odoo user may not see the other record, records refer to each
  other in cycles, and Odoo itself has ids of records that are gone. Each has an index, a comment
  (`→ model, table.odoo_id`), and on PostgreSQL 18 and later a foreign key that is NOT ENFORCED, without actions.
- A column's comment is the field's label and its link; a table's comment says which records it holds, and how.
- A required field is NOT NULL, unless it is company-dependent.
- A translated or company-dependent field has one value: that of the RPC session's language and company.
- A link table is named `<table>__<field>`. Its primary key is `from_id` (the record with the field) and `to_id` (the
  referenced record), both an `odoo_id`, with a further index on `to_id`. A relation with a field on both sides has two
  link tables: RPC does not expose that they are one.
- A field with a reserved column name (`odoo_id`, `created_at`, `updated_at`, system columns of PostgreSQL such as
  `xmin`) is prefixed with `odoo_`.
- Table and column names longer than 63 bytes are rejected; the name of a link table is shortened with a hash.

Sources: `odoo/orm/fields*.py` of Odoo 19 and `odoo/fields.py` of 14 (`column_type`), PostgreSQL's
documentation, section 5.6 (system columns).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

from fbs_worker.core.errors import UsageError
from fbs_worker.schema.columns import column, id_column, time_column
from fbs_worker.schema.naming import checked_name, derived_name

RESERVED_COLUMNS: Final = frozenset(
    ("id", "odoo_id", "created_at", "updated_at", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
)

_LONGEST_VARCHAR: Final = 10_485_760

_NO_COLUMN: Final = frozenset(("one2many", "many2many"))


def _char(field: Mapping[str, Any]) -> TypeEngine[Any]:
    size = field.get("size")
    return String(size if isinstance(size, int) and 0 < size <= _LONGEST_VARCHAR else None)


def _json(_: Mapping[str, Any]) -> TypeEngine[Any]:
    return JSONB()


_TYPES: Final[Mapping[str, Callable[[Mapping[str, Any]], TypeEngine[Any]]]] = {
    "char": _char,
    "text": lambda _: Text(),
    "html": lambda _: Text(),
    "integer": lambda _: Integer(),
    "float": lambda _: Numeric(),
    "monetary": lambda _: Numeric(),
    "boolean": lambda _: Boolean(),
    "date": lambda _: Date(),
    "datetime": lambda _: DateTime(),
    "binary": lambda _: LargeBinary(),
    "image": lambda _: LargeBinary(),
    "selection": lambda _: String(),
    "reference": lambda _: String(),
    "many2one": lambda _: Integer(),
    "many2one_reference": lambda _: Integer(),
    "json": _json,
    "properties": _json,
    "properties_definition": _json,
    "serialized": _json,
}


def add_tables(model: str, definition: Mapping[str, Any], *, names: Mapping[str, str], metadata: MetaData) -> None:
    """Add a model's table and the link tables of its many2many fields; `connect_tables` adds what links them.

    Args:
        model: the model's technical name.
        definition: its discovered `schema_definition`: `fields` → name → type, required, stored, relation, …
        names: mirrored model → table.
        metadata: receives the tables.

    Raises:
        UsageError: the definition has no fields, or a field's name is not a valid column name.
    """
    fields = _stored(model, definition)
    columns = {name: _column_name(name, fields) for name, field in fields.items() if field["type"] not in _NO_COLUMN}
    table = Table(
        checked_name(names[model]),
        metadata,
        id_column(),
        column("odoo_id", Integer, unique=True, nullable=False),
        *(_column(columns[name], fields[name], names) for name in columns),
        time_column("created_at"),
        time_column("updated_at"),
        comment=_table_comment(model, fields, columns),
    )
    for name, link_name in link_names(model, definition, names=names).items():
        relation = str(fields[name]["relation"])
        link = Table(
            link_name,
            metadata,
            _link_column("from_id", model, names),
            _link_column("to_id", relation, names),
            comment=f"Links of the field {name} of Odoo's model {model}: a row for each {relation} of a record."
            " No foreign key is enforced: the Odoo user may not see each of them.",
        )
        Index(None, link.c.to_id)
    for name, field in fields.items():
        if field["type"] == "many2one" and field.get("relation") in names:
            Index(None, table.c[columns[name]])


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredColumn:
    """A column that holds a field's values.

    Attributes:
        field: the field's name in Odoo.
        column: the column's name.
        type: the field's type in Odoo, e.g. `many2one`.
        required: whether the column is NOT NULL.
        relation: the model that a relation leads to; empty for others.
        depends: what its values depend on besides the record: `translated`, `company`.
    """

    field: str
    column: str
    type: str
    required: bool
    relation: str = ""
    depends: tuple[str, ...] = ()


def mirrored_columns(model: str, definition: Mapping[str, Any]) -> list[MirroredColumn]:
    """Return the columns of a model's table that hold values of Odoo, in the order of their fields.

    Args:
        model: the model's technical name.
        definition: its discovered `schema_definition`.

    Raises:
        UsageError: the definition has no fields.
    """
    fields = _stored(model, definition)
    return [
        MirroredColumn(
            field=name,
            column=_column_name(name, fields),
            type=str(field["type"]),
            required=not _is_nullable(field),
            relation=str(field.get("relation") or ""),
            depends=tuple(
                name for name, key in (("translated", "translate"), ("company", "company_dependent")) if field.get(key)
            ),
        )
        for name, field in fields.items()
        if field["type"] not in _NO_COLUMN
    ]


def link_names(model: str, definition: Mapping[str, Any], *, names: Mapping[str, str]) -> dict[str, quoted_name]:
    """Return the link tables of a model: many2many field → table.

    Args:
        model: the model's technical name.
        definition: its discovered `schema_definition`.
        names: mirrored model → table.

    Raises:
        UsageError: the definition has no fields.
    """
    return {
        name: derived_name(f"{names[model]}__{name}")
        for name, field in _stored(model, definition).items()
        if field["type"] == "many2many" and field.get("relation") in names
    }


def connect_tables(model: str, definition: Mapping[str, Any], *, names: Mapping[str, str], metadata: MetaData) -> None:
    """Add the foreign keys of a model's tables, none of them enforced, after `add_tables` of all mirrored models.

    Args:
        model: the model's technical name.
        definition: its discovered `schema_definition`.
        names: mirrored model → table.
        metadata: contains the tables of all mirrored models.

    Raises:
        UsageError: the definition has no fields.
    """
    table = metadata.tables[names[model]]
    fields = _stored(model, definition)
    links = link_names(model, definition, names=names)
    for name, field in fields.items():
        relation = str(field.get("relation"))
        if relation not in names:
            continue
        target = metadata.tables[names[relation]].c.odoo_id
        if field["type"] == "many2one":
            _refer(table.c[_column_name(name, fields)], target)
        elif field["type"] == "many2many":
            link = metadata.tables[links[name]]
            _refer(link.c.from_id, table.c.odoo_id)
            _refer(link.c.to_id, target)


def _stored(model: str, definition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    fields = definition.get("fields")
    if not isinstance(fields, Mapping) or not fields:
        raise UsageError(
            f"The discovery of {model} has no fields.",
            hint="Refresh the discoveries as an Odoo user with read access to the model, then mirror it.",
            model=model,
        )
    return {name: field for name, field in sorted(fields.items()) if field.get("stored") and name != "id"}


def _column_name(name: str, fields: Mapping[str, Any]) -> str:
    if name not in RESERVED_COLUMNS:
        return name
    renamed = f"odoo_{name}"
    while renamed in fields or renamed in RESERVED_COLUMNS:
        renamed = f"odoo_{renamed}"
    return renamed


def _column(name: str, field: Mapping[str, Any], names: Mapping[str, str]) -> Column[object]:
    kind = _TYPES.get(field["type"], _json)(field)
    comment = str(field.get("label") or "")
    if field["type"] == "many2one" and field.get("relation"):
        link = _link(str(field["relation"]), names)
        comment = f"{comment} ({link})" if comment else link
    return column(name, kind, nullable=_is_nullable(field), comment=comment or None)


def _is_nullable(field: Mapping[str, Any]) -> bool:
    return not field.get("required") or bool(field.get("company_dependent"))


def _link_column(name: str, relation: str, names: Mapping[str, str]) -> Column[object]:
    return column(name, Integer, primary_key=True, autoincrement=False, comment=_link(relation, names))


def _link(relation: str, names: Mapping[str, str]) -> str:
    """State where an id refers to: the model, and its table if it is mirrored."""
    return f"→ {relation}, {names[relation]}.odoo_id" if relation in names else f"→ {relation}"


def _table_comment(model: str, fields: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """State which records a model's table holds, and what is particular to their values."""
    archived = ", archived ones with active = false" if "active" in columns else ""
    companies = [columns[name] for name in columns if fields[name].get("company_dependent")]
    company = f" Columns with the value of that user's company: {', '.join(companies)}." if companies else ""
    return (
        f"Records of Odoo's model {model} as Odoo shows them to the user of the connection{archived}.{company}"
        " Text is in the language of the Odoo connection; no foreign key is enforced."
    )


def _refer(source: Column[Any], target: Column[Any]) -> None:
    name = derived_name(f"{source.table.name}_{source.name}", "_fkey")
    key = ForeignKeyConstraint([source], [target], name=name, info={"enforced": False})
    source.table.append_constraint(key)
