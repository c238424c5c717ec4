"""Describe differences of existing tables from a definition, one line each. Pure.

Additional columns, indexes and constraints belong to the user and are not reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from sqlalchemy import Table, UniqueConstraint

from fbs_worker.schema.columns import type_of
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.inspector import Key, Relation


def differences(
    definition: Definition, existing: Mapping[str, Relation], keys: Iterable[Key], owned: Collection[str]
) -> list[str]:
    """Describe differences of existing business tables; missing tables are not reported.

    Args:
        definition: the desired tables.
        existing: existing relations by name, for the tables of the definition and the owned ones.
        keys: keys of the existing tables.
        owned: tables recorded as the solution's.
    """
    by_table: dict[str, list[Key]] = {}
    for key in keys:
        by_table.setdefault(key.table, []).append(key)
    lines: list[str] = []
    for table in definition.tables:
        if table.name in existing:
            lines += _column_differences(table, existing[table.name])
            lines += _key_differences(table, by_table.get(table.name, []))
    gone = sorted(name for name in set(owned) - set(definition.table_names) if name in existing)
    return [*lines, *(f"{name}: the table is no longer part of the definition" for name in gone)]


def _column_differences(table: Table, relation: Relation) -> Iterator[str]:
    for column in table.columns:
        desired, not_null = type_of(column), not column.nullable
        if column.name not in relation.columns:
            yield f"{table.name}: the column {column.name} ({desired}) is missing"
            continue
        present, is_not_null = relation.columns[column.name]
        if present != desired:
            yield f"{table.name}: the column {column.name} is {present}, not {desired}"
        if is_not_null != not_null:
            has, desired_null = ("NOT NULL", "NULL allowed") if is_not_null else ("NULL allowed", "NOT NULL")
            yield f"{table.name}: the column {column.name} is {has}, not {desired_null}"


def _key_differences(table: Table, keys: Iterable[Key]) -> Iterator[str]:
    present = {(key.kind, key.columns, key.target) for key in keys}
    unique = [key for kind, key, _ in present if kind in {"p", "u"}]
    indexes = [key for kind, key, _ in present if kind == "i"]
    constraints = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    desired = [("unique key", tuple(str(column.name) for column in constraint.columns)) for constraint in constraints]
    for what, columns in [("primary key", tuple(str(column.name) for column in table.primary_key)), *sorted(desired)]:
        if columns not in unique:
            yield f"{table.name}: the {what} ({', '.join(columns)}) is missing"
    for foreign in sorted(table.foreign_key_constraints, key=lambda constraint: list(constraint.column_keys)):
        columns = tuple(str(column.name) for column in foreign.columns)
        target = (str(foreign.referred_table.name), tuple(str(element.column.name) for element in foreign.elements))
        if ("f", columns, target) not in present:
            yield f"{table.name}: the foreign key ({', '.join(columns)}) to {target[0]} is missing"
    for columns in sorted(tuple(str(column.name) for column in index.columns) for index in table.indexes):
        if not any(known[: len(columns)] == columns for known in indexes):
            yield f"{table.name}: the index on ({', '.join(columns)}) is missing"
