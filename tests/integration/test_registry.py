"""The registry in the home database, on a real PostgreSQL."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from psycopg2 import sql
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseError,
    SecretError,
    SettingsError,
    SolutionConflict,
    SolutionNotFound,
    UsageError,
)
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.vault import Vault, new_key
from fbs_worker.solutions.config import SolutionConfig
from fbs_worker.solutions.registry import DamagedRow, Manifest, Registry, SolutionRecord, home_database
from tests.conftest import MakeSettings
from tests.support.made_solutions import PASSWORD, TABLES, record
from tests.support.together import Meet, together


@pytest.fixture
def vault() -> Vault:
    return Vault([new_key()])


@pytest.fixture
def registry(connection: Connection, vault: Vault) -> Registry:
    return Registry(connection, vault=vault)


def rows(connection: Connection, table: str = "fbs_solution_schemas") -> list[tuple[Any, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("SELECT t.*, t.xmin::text FROM {} t ORDER BY solution_name").format(sql.Identifier(table))
        )
        return cursor.fetchall()


def change(connection: Connection, assignment: str, *values: Any) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE fbs_solution_schemas SET {assignment}", values)


def test_a_registry_without_a_table_is_empty_and_creates_none(registry: Registry, connection: Connection) -> None:
    assert registry.list() == []
    assert registry.entries() == []
    assert not registry.remove("fayvad")
    with pytest.raises(SolutionNotFound, match="'fayvad'") as caught:
        registry.get("fayvad")
    assert "fbs setup" in caught.value.hint
    assert Manifest.read(connection, "fbs_", "fayvad") is None
    assert Manifest.others(connection, "fbs_") == []
    assert not Manifest.delete(connection, "fbs_", "fayvad")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'fbs%'")
        assert cursor.fetchone() == (0,)


def test_put_stores_the_record_with_its_password_encrypted(
    registry: Registry, connection: Connection, vault: Vault
) -> None:
    assert registry.ensure_table()
    assert not registry.ensure_table()
    given = record()
    assert registry.put(given)
    found = registry.get("fayvad")
    assert found == replace(given, database=found.database, created_at=found.created_at, updated_at=found.updated_at)
    assert found.database == given.database.model_copy(update={"password": found.database.password})
    assert found.database.resolved(vault).password.get_secret_value() == PASSWORD
    assert found.owned == {"rental_property"}
    assert found.mirrored == {"sale.order": "rental_sale_order"}
    assert found.odoo == "erp"
    assert found.created_at is not None
    assert found.created_at.tzinfo is not None
    for shown in (repr(found), str(found.redacted()), str(rows(connection))):
        assert "s3cr3t" not in shown
    config = found.to_config()
    assert config == SolutionConfig(
        solution_name="fayvad",
        domain="rental",
        database_config=found.database,
        business_prefix="rental_",
        mirror=("sale.order",),
        odoo="erp",
    )
    again = SolutionRecord.from_config(config, is_active=True, schema_definition=TABLES)
    assert again == replace(found, created_at=None, updated_at=None)
    columns = rows(connection)[0]
    assert columns[3:5] == ("elsewhere", "me")
    assert columns[5].startswith("sealed:")


def test_putting_the_same_again_writes_nothing(registry: Registry, connection: Connection, vault: Vault) -> None:
    registry.put(record())
    before = rows(connection)
    assert not registry.put(record())
    resealed = record().database.model_copy(update={"password": SecretStr(vault.encrypt(PASSWORD))})
    assert not registry.put(record(database=resealed))
    assert not registry.put(registry.get("fayvad"))
    assert rows(connection) == before


def test_a_changed_record_is_written(registry: Registry, connection: Connection, vault: Vault) -> None:
    registry.put(record(is_active=False))
    first = registry.get("fayvad")
    assert not first.is_active
    assert registry.put(record(is_active=True))
    moved = DatabaseConfig(name="elsewhere", user="me", password=SecretStr("another"), host="::1", port=5434)
    assert registry.put(record(database=moved, schema_definition={**TABLES, "odoo": "default"}))
    found = registry.get("fayvad")
    assert (found.database.host, found.database.port, found.odoo) == ("::1", 5434, "default")
    assert found.database.resolved(vault).password.get_secret_value() == "another"
    assert found.created_at == first.created_at
    assert first.updated_at is not None
    assert found.updated_at is not None
    assert found.updated_at > first.updated_at
    assert len(rows(connection)) == 1


@pytest.mark.parametrize("reference", ["env:RENTAL_PASSWORD", "file:/run/secrets/rental", ""])
def test_a_reference_stays_one(connection: Connection, reference: str) -> None:
    registry = Registry(connection, vault=Vault())
    given = DatabaseConfig(name="d", password=SecretStr(reference))
    registry.put(record(database=given))
    assert not registry.put(record(database=given))
    assert registry.get("fayvad").database == given


def test_a_reference_takes_the_place_of_a_sealed_password_and_back(registry: Registry, vault: Vault) -> None:
    def given(password: str) -> SolutionRecord:
        return record(database=DatabaseConfig(name="d", password=SecretStr(password)))

    registry.put(given(PASSWORD))
    for password in ("env:OTHER", vault.encrypt("third"), "file:/x", ""):
        assert registry.put(given(password))
        assert registry.get("fayvad").database.password.get_secret_value() == password


def test_a_password_whose_key_is_gone_is_replaced(registry: Registry, connection: Connection) -> None:
    registry.put(record())
    fresh = Vault([new_key()])
    assert Registry(connection, vault=fresh).put(record())
    assert registry.get("fayvad").database.resolved(fresh).password.get_secret_value() == PASSWORD


@pytest.mark.parametrize(("length", "fits"), [(127, True), (128, False)])
def test_a_password_must_fit_once_it_is_sealed(registry: Registry, length: int, fits: bool) -> None:
    given = record(database=DatabaseConfig(name="d", password=SecretStr("s3cr3t".ljust(length, "x"))))
    if fits:
        assert registry.put(given)
        return
    with pytest.raises(SecretError, match="255") as caught:
        registry.put(given)
    assert "env:NAME" in caught.value.hint
    assert "s3cr3t" not in str(caught.value.to_dict())
    assert registry.list() == []


def test_a_plain_password_needs_a_key(connection: Connection) -> None:
    with pytest.raises(SecretError, match="FBS_SECRET_KEYS is not set"):
        Registry(connection, vault=Vault()).put(record())


def test_an_unknown_name_lists_the_known_ones(registry: Registry) -> None:
    for number in range(23):
        registry.put(record(f"s{number:02}"))
    assert [found.solution_name for found in registry.list()] == [f"s{number:02}" for number in range(23)]
    with pytest.raises(SolutionNotFound) as caught:
        registry.get("missing'; --")
    assert "s00, s01" in caught.value.hint
    assert caught.value.hint.endswith("s19, ….")


def test_removing(registry: Registry) -> None:
    registry.put(record("a"))
    registry.put(record("b"))
    assert registry.remove("a")
    assert not registry.remove("a")
    assert [found.solution_name for found in registry.list()] == ["b"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("domain", "hr"),
        ("database", DatabaseConfig(name="other")),
        ("table_prefix", "x_"),
        ("business_prefix", "y_"),
    ],
)
def test_a_name_that_is_set_up_stays_where_it_is(registry: Registry, field: str, value: Any) -> None:
    registry.put(record(is_active=True))
    with pytest.raises(SolutionConflict, match="'fayvad'") as caught:
        registry.put(record(**{field: value}))
    assert "fbs drop fayvad" in caught.value.hint
    assert "s3cr3t" not in str(caught.value.to_dict())
    registry.put(record(is_active=False))  # one that never came to be may be corrected
    assert registry.put(record(**{field: value}))


def test_puts_of_one_name_at_once_end_as_one_after_the_other(database: DatabaseConfig, vault: Vault) -> None:
    def put(number: int, meet: Meet) -> bool:
        with closing(connect(database)) as connection:
            registry = Registry(connection, vault=vault)
            given = record(schema_definition={"tables": [f"t{number % 4}"]})
            meet()
            return registry.put(given)

    outcomes = together(put, range(8))
    assert all(isinstance(outcome, bool) for outcome in outcomes), outcomes
    assert any(outcomes)
    with closing(connect(database)) as connection:
        (found,) = Registry(connection, vault=vault).list()
        assert found.owned <= {"t0", "t1", "t2", "t3"}
        assert found.database.resolved(vault).password.get_secret_value() == PASSWORD


def test_puts_of_one_name_into_two_databases_let_one_win(database: DatabaseConfig, vault: Vault) -> None:
    def put(name: str, meet: Meet) -> bool:
        with closing(connect(database)) as connection:
            meet()
            return Registry(connection, vault=vault).put(record(database=DatabaseConfig(name=name)))

    names = ("one", "two")
    outcomes = dict(zip(names, together(put, names), strict=True))
    assert {type(outcome) for outcome in outcomes.values()} == {bool, SolutionConflict}
    with closing(connect(database)) as connection:
        (found,) = Registry(connection, vault=vault).list()
        assert outcomes[found.database.name] is True


@pytest.mark.parametrize(
    ("assignment", "values"),
    [
        ("table_prefix = %s", ('x"; DROP',)),
        ("database_name = ''", ()),
        ("schema_definition = '[1]'", ()),
        ("schema_definition = %s", ('{"server": {"port": 0}}',)),
        ("schema_definition = %s", ('{"server": {"nonsense": 1}}',)),
        ("schema_definition = %s", ('{"mirrored": [1]}',)),
        ("domain = 'Not A Domain'", ()),
    ],
)
def test_a_damaged_row_is_reported(
    registry: Registry, connection: Connection, assignment: str, values: tuple[str, ...]
) -> None:
    registry.put(record())
    registry.put(record("whole"))
    with connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE fbs_solution_schemas SET {assignment} WHERE solution_name = 'fayvad'", values)
    for ask in (lambda: registry.get("fayvad"), registry.list):
        with pytest.raises(DatabaseError, match=r"'fayvad' in fbs_solution_schemas is damaged") as caught:
            ask()
        assert caught.value.hint
    damaged, whole = registry.entries()
    assert isinstance(damaged, DamagedRow)
    assert damaged.solution_name == "fayvad"
    assert isinstance(whole, SolutionRecord)
    assert registry.get("whole") == whole


def test_columns_that_are_null_read_as_their_defaults(registry: Registry, connection: Connection) -> None:
    registry.put(record(business_prefix=""))
    change(
        connection,
        "schema_definition = NULL, business_prefix = NULL, is_active = NULL, created_at = NULL, updated_at = NULL",
    )
    found = registry.get("fayvad")
    assert not found.is_active
    assert found.owned == frozenset()
    assert found.odoo == "default"
    assert found.redacted()["created_at"] is None


def test_a_prefix_that_is_none_is_refused(connection: Connection, vault: Vault) -> None:
    with pytest.raises(UsageError, match="table_prefix"):
        Registry(connection, table_prefix='x"; --', vault=vault)


def test_the_home_database_comes_from_the_settings(settings: MakeSettings, database: DatabaseConfig) -> None:
    assert home_database(settings()) == database
    with pytest.raises(SettingsError, match="No home database") as caught:
        home_database(settings(fbs_database_url=""))
    assert "fbs up" in caught.value.hint
    assert "FBS_DATABASE_URL" in caught.value.hint
    with pytest.raises(SettingsError, match="FBS_DATABASE_URL") as caught:
        home_database(settings(fbs_database_url="mysql://u:s3cr3t@h/d"))
    assert "s3cr3t" not in str(caught.value.to_dict())
