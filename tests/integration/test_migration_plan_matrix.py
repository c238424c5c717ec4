"""From any schema to any other, with rows in it: the tables become what they are to be, and what can stay does.

Where rows do not fit, the plan says so before; where it does not say so, it runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from fbs_worker.core.postgres import Connection
from fbs_worker.schema.definition import Definition
from tests.support.planned import Tables, defined, fresh_picture, hazards, picture, swept, table

pytestmark = pytest.mark.postgres

# each type with values as SQL, and with defaults
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

TYPES: list[tuple[TypeEngine[Any], tuple[str, ...], tuple[str, ...]]] = [
    (Integer(), ("1", "-7", "40000", "2000000000"), ("5",)),
    (SmallInteger(), ("1", "0", "32767"), ("5",)),
    (BigInteger(), ("1", "3", "9000000000"), ("5",)),
    (Numeric(), ("1", "2.345", "99999999", "'NaN'"), ("1.5",)),
    (Numeric(6, 2), ("1.00", "9999.99", "0.05"), ("1.5",)),
    (Numeric(8, 4), ("1.0001", "9999.9999"), ("0",)),
    (String(4), ("'a'", "'1234'", "' 12 '", "''"), ("'x'", "'7'")),
    (String(8), ("'a'", "'1234'", "'12345678'", "'ab      '"), ("'x'", "'7'")),
    (String(), ("'a'", "'true'", "'2024-02-29'"), ("'x'", "'it''s'")),
    (Text(), ("'a'", "'12.5'", "'{\"k\": [1]}'"), ("'x'", "md5(random()::text)")),
    (Boolean(), ("TRUE", "FALSE"), ("TRUE", "false")),
    (Date(), ("'2024-02-29'", "'0001-01-01'"), ("CURRENT_DATE", "'2024-01-01'")),
    (DateTime(), ("'2024-02-29 12:30:00.123456'", "'1999-12-31'"), ("NOW()", "clock_timestamp()")),
    (DateTime(timezone=True), ("'2024-02-29 12:30:00+05'",), ("NOW()",)),
    (JSONB(), ("'{}'", "'[1, 2]'", "'\"text\"'", "'7'"), ("'{}'",)),
    (LargeBinary(), ("'\\x00ff'", "'abc'"), ("'\\x01'",)),
]
NAMES = ("a", "b", "name", "amount", "order")
TABLES = ("t", "customer", "group")


@dataclass(frozen=True)
class Col:
    """A column: which type, what it is besides, and the table that it refers to."""

    kind: int
    required: bool
    default: int | None
    key: str
    refers: str | None
    more: str = ""

    def column(self, name: str) -> Column[Any]:
        kind, _, defaults = TYPES[self.kind]
        default = None if self.default is None else text(defaults[self.default % len(defaults)])
        refers = [] if self.refers is None else [ForeignKey(f"{self.refers}.id", ondelete="CASCADE")]
        kind = Integer() if refers else kind
        if self.more == "collated" and isinstance(kind, String):
            kind = type(kind)(kind.length, collation="C")
        return Column(
            name,
            kind,
            *refers,
            nullable=not self.required,
            server_default=None if refers else default,
            unique=self.key == "unique" and not isinstance(kind, Boolean),
            index=self.key == "index",
            comment=f"It's {name}" if self.more == "commented" else None,
        )

    def with_options(self, of: str, name: str) -> Any:
        """A key or an index with options."""
        match self.key:
            case "equal nulls":
                return UniqueConstraint(name, postgresql_nulls_not_distinct=True)
            case "deferrable":
                return UniqueConstraint(name, deferrable=True)
            case "with more":
                return UniqueConstraint(name, postgresql_include=["created_at"])
            case "partial":
                return Index(f"part_{of}_{name}", name, unique=True, postgresql_where=text("id > 1"))
            case "descending":
                return Index(f"down_{of}_{name}", text(f'"{name}" DESC NULLS LAST'))
        return Index(f"some_{of}_{name}", text(f'coalesce("{name}", "{name}")'))


OPTIONS = ("equal nulls", "deferrable", "with more", "partial", "descending", "expression")

Schema = dict[str, dict[str, Col]]

COLS = st.builds(
    Col,
    kind=st.integers(0, len(TYPES) - 1),
    required=st.booleans(),
    default=st.none() | st.integers(0, 1),
    key=st.sampled_from([*[""] * 8, *["unique", "index"] * 2, *OPTIONS]),
    more=st.sampled_from(["", "", "", "collated", "commented"]),
    refers=st.sampled_from([None, None, None, *TABLES]),
)
SCHEMAS: st.SearchStrategy[Schema] = st.dictionaries(
    st.sampled_from(TABLES), st.dictionaries(st.sampled_from(NAMES), COLS, max_size=4), min_size=1
)


def definition_of(schema: Schema) -> Definition:
    def parts(of: str, columns: dict[str, Col]) -> list[Any]:
        known = {
            name: col if col.refers in {None, *schema} else replace(col, refers=None) for name, col in columns.items()
        }
        created: list[Any] = [lambda name=name, col=col: col.column(name) for name, col in known.items()]
        created += [
            lambda name=name, col=col: col.with_options(of, name) for name, col in known.items() if col.key in OPTIONS
        ]
        if "amount" in known and known["amount"].refers is None and known["amount"].kind < 6:
            created.append(lambda: CheckConstraint("amount > -100"))
        return created

    return defined(*(table(name, *parts(name, columns)) for name, columns in schema.items()))


def fill(tables: Tables, schema: Schema, choose: st.DataObject) -> None:
    """Rows that fit; those that do not are left out."""
    for _ in range(2):
        for name, columns in schema.items():
            values = []
            for col in columns.values():
                kind = 0 if col.refers in schema else col.kind
                known = ("1", "2", "NULL") if col.refers in schema else (*TYPES[kind][1], "NULL", "DEFAULT")
                values.append(choose.draw(st.sampled_from(known)))
            quoted = ", ".join(f'"{column}"' for column in columns)
            what = f"({quoted}) VALUES ({', '.join(values)})" if columns else "DEFAULT VALUES"
            with tables.connection, tables.connection.cursor() as cursor:
                cursor.execute("SAVEPOINT row")
                try:
                    cursor.execute(f'INSERT INTO "r_{name}" {what}')
                except Exception:  # noqa: BLE001 -- a row that does not fit, whatever the reason
                    cursor.execute("ROLLBACK TO SAVEPOINT row")


def emptied(tables: Tables, definition: Definition) -> None:
    """Take all rows away."""
    tables.run(f"TRUNCATE {', '.join(chr(34) + name + chr(34) for name in definition.table_names)}")


def rows_of(tables: Tables, name: str, columns: list[str]) -> list[tuple[Any, ...]]:
    selected = ", ".join(["id", *(f'"{column}"::text' for column in columns)])
    return tables.run(f'SELECT {selected} FROM "r_{name}" ORDER BY id')


def kept(first: Definition, second: Definition) -> dict[str, list[str]]:
    """Tables that stay, each with the columns of one type on both sides."""
    found = {}
    for name in set(first.table_names) & set(second.table_names):
        sides = [
            {column.name: column.type.compile(DIALECT) for column in one.business.tables[name].c}
            for one in (first, second)
        ]
        found[name.removeprefix("r_")] = sorted(
            column for column, kind in sides[0].items() if sides[1].get(column) == kind and column != "id"
        )
    return found


def from_one_to_another(connection: Connection, before: Schema, after: Schema, data: st.DataObject) -> None:
    first, second = definition_of(before), definition_of(after)
    tables = Tables(swept(connection), first)
    assert tables.plan(first).empty
    assert tables.plan(first).drift == ()
    fill(tables, before, data)
    plan = tables.plan(second)
    refused = bool(tables.offending(plan))
    event("rows do not fit" if refused else "goes with rows" if any(step.has_rows for step in plan.steps) else "empty")
    if refused:
        assert "MIGHT_FAIL_ON_DATA" in hazards(plan)
        emptied(tables, first)
        plan = tables.plan(second)
    staying = kept(first, second)
    were = {name: rows_of(tables, name, columns) for name, columns in staying.items()}
    tables.apply(plan)
    if plan.notes:  # what is required waits for values
        emptied(tables, second)
        tables.migrate(second)
    else:
        assert tables.plan(second).steps == ()
        assert {name: rows_of(tables, name, columns) for name, columns in staying.items()} == were
    assert tables.plan(second).drift == ()
    assert picture(connection) == fresh_picture(connection, second)


@given(before=SCHEMAS, after=SCHEMAS, data=st.data())
@settings(max_examples=15, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_from_one_schema_to_another(shared: Connection, before: Schema, after: Schema, data: st.DataObject) -> None:
    from_one_to_another(shared, before, after, data)


@pytest.mark.faults
@given(before=SCHEMAS, after=SCHEMAS, data=st.data())
@settings(max_examples=1000, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_from_any_schema_to_any_other(shared: Connection, before: Schema, after: Schema, data: st.DataObject) -> None:
    from_one_to_another(shared, before, after, data)
