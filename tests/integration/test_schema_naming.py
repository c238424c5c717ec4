"""Whatever is given as a prefix or a name is refused before any connection, or is a table of exactly that name."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import ForeignTableError, UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.domains import Domain, load_domain
from fbs_worker.schema import create, table_stats
from fbs_worker.schema.definition import Definition, define
from fbs_worker.solutions.config import SolutionConfig

RESERVED = [
    "order",
    "select",
    "table",
    "user",
    "all",
    "default",
    "primary",
    "grant",
    "transaction",
    "null",
    "xmin",
    "id",
]
NASTY = [
    'x"; DROP TABLE y; --',
    "'",
    '"',
    '""',
    "%s",
    "%(a)s",
    "{}",
    "\\",
    ":a",
    "$1",
    "a.b",
    " ",
    "a b",
    "--",
    "/*",
    ";",
]

names = st.one_of(
    st.sampled_from([*RESERVED, *NASTY, "pg_class", "x" * 63, "ß" * 31, "ß" * 32]),
    st.text(max_size=70),
    st.text("abc\"%:.\\ 'äß漢🙂", min_size=1, max_size=30),
)
prefixes = st.one_of(
    st.sampled_from(["", "fbs_", "user", "Fbs_", "1a", "x" * 21, *RESERVED, *NASTY]),
    st.text("abcxyz_019", max_size=22),
    st.text(max_size=21),
)

against_postgres = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


def accepts(table_prefix: str, business_prefix: str) -> bool:
    """Whether a solution's configuration takes these prefixes."""
    try:
        SolutionConfig(
            solution_name="s",
            domain="rental",
            database_config=DatabaseConfig(name="d"),
            table_prefix=table_prefix,
            business_prefix=business_prefix,
        )
    except UsageError:
        return False
    return True


def defined(entity: str, model: str, field: str, prefix: str = "b_") -> Definition | None:
    """A parent and a child table, a mirrored model with a link table; None where a name is refused."""

    def tables() -> MetaData:
        metadata = MetaData()
        parent = Table(entity, metadata, Column("id", Integer, primary_key=True))
        Table("child of it", metadata, Column("parent_id", Integer, ForeignKey(parent.c.id)))
        return metadata

    fields = {
        field: {"type": "char", "stored": True, "required": True},
        "itself_ids": {"type": "many2many", "stored": True, "relation": model},
    }
    try:
        return define(
            Domain(name="made", title="Made", tables=tables),
            table_prefix="fbs_",
            business_prefix=prefix,
            mirrored={model: {"fields": fields}},
        )
    except UsageError:
        return None


@given(prefixes, prefixes)
@example("fbs_", 'x"; DROP TABLE property; --')
@example("x" * 20, "x" * 20)
@example("x" * 20, "")
@against_postgres
def test_prefixes(connection: Connection, table_prefix: str, business_prefix: str) -> None:
    accepted = accepts(table_prefix, business_prefix)
    event(f"accepted: {accepted}")
    try:
        definition = define(load_domain("ecommerce"), table_prefix=table_prefix, business_prefix=business_prefix)
    except UsageError:
        assert not accepted
        return
    assert accepted
    try:
        report = create.create(connection, definition, owned=())
        assert len(report.created) == 13
        assert {f"{table_prefix}discoveries", f"{business_prefix}order"} < set(report.created)
        assert present(connection) == set(report.created)
    finally:
        connection.rollback()


@pytest.fixture
def with_system(connection: Connection) -> Connection:
    """To a database with the system tables, whose names are always the same."""
    definition = define(load_domain("generic"), table_prefix="fbs_", business_prefix="")
    create.create(connection, definition, owned=())
    connection.commit()
    return connection


@given(names, names, names)
@example("order", "sale.order", "select")
@example('x"; DROP TABLE y; --', 'a"b', 'c"d')
@example("a.b", "a%sb", "%(c)s")
@against_postgres
def test_names(with_system: Connection, entity: str, model: str, field: str) -> None:
    connection = with_system
    definition = defined(entity, model, field)
    event(f"accepted: {definition is not None}")
    if definition is None:
        return
    system = present(connection)
    try:
        created = set(create.create(connection, definition, owned=()).created)
        assert {f"b_{entity}", "b_child of it", f"b_{model.replace('.', '_')}"} < created
        assert present(connection) == created | system
        assert create.plan(connection, definition, owned=definition.table_names).pending == ()
        assert set(table_stats.rows_in(connection, definition.table_names)) == set(definition.table_names)
        columns = definition.business.tables[definition.mirrored[model]].c
        assert field in columns or f"odoo_{field}" in columns
        assert table_stats.drop(connection, definition.table_names) == definition.table_names
    finally:
        connection.rollback()


@pytest.mark.parametrize("name", ["pg_class", "pg_type"])
def test_a_name_that_postgresql_uses_itself(connection: Connection, name: str) -> None:
    definition = defined(name, "m", "f", prefix="")
    assert definition is not None
    with pytest.raises(ForeignTableError, match=name):
        create.create(connection, definition, owned=())


def present(connection: Connection) -> set[str]:
    """The tables in the first schema of the search path, by their exact names."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        )
        return {name for (name,) in cursor.fetchall()}
