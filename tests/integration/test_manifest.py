"""Manifests in target databases, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, SolutionConflict
from fbs_worker.core.postgres import Connection
from fbs_worker.core.vault import Vault, new_key
from fbs_worker.schema.system_tables import ensure_tables, solution_schemas_table
from fbs_worker.solutions.registry import Manifest, Registry
from tests.support.made_solutions import PASSWORD, REFRESH, TABLES, record


@pytest.fixture
def vault() -> Vault:
    return Vault([new_key()])


@pytest.fixture
def registry(connection: Connection, vault: Vault) -> Registry:
    return Registry(connection, vault=vault)


def own_table(connection: Connection, prefix: str = "fbs_") -> None:
    with connection:
        ensure_tables(connection, prefix, (solution_schemas_table,))


def test_a_manifest_is_written_in_the_caller_s_transaction(connection: Connection, vault: Vault) -> None:
    own_table(connection, "abc_")
    given = record(table_prefix="abc_", schema_definition={**TABLES, "last_refresh": REFRESH})
    assert Manifest.write(connection, given, vault)
    connection.rollback()
    assert Manifest.read(connection, "abc_", "fayvad") is None
    assert Manifest.write(connection, given, vault)
    connection.commit()
    found = Manifest.read(connection, "abc_", "fayvad")
    assert found is not None
    assert found.last_refresh == REFRESH
    assert found.schema_definition == given.schema_definition
    assert found.database.resolved(vault).password.get_secret_value() == PASSWORD
    assert not Manifest.write(connection, found, vault)
    assert Manifest.delete(connection, "abc_", "fayvad")
    connection.rollback()
    assert Manifest.delete(connection, "abc_", "fayvad")
    connection.commit()
    assert not Manifest.delete(connection, "abc_", "fayvad")


def test_what_a_refresh_found_stays_when_a_set_up_does_not_speak_of_it(connection: Connection, vault: Vault) -> None:
    own_table(connection)
    Manifest.write(
        connection, record(schema_definition={**TABLES, "last_refresh": REFRESH, "source": {"url": "u"}}), vault
    )
    Manifest.write(connection, record(schema_definition={**TABLES, "tables": ["a", "b"]}), vault)
    found = Manifest.read(connection, "fbs_", "fayvad")
    assert found is not None
    assert found.owned == {"a", "b"}
    assert found.last_refresh == REFRESH
    assert found.schema_definition["source"] == {"url": "u"}


def test_entry_and_manifest_may_be_one_row(registry: Registry, connection: Connection, vault: Vault) -> None:
    """The home database is the target, too: the order of a set-up, then of a drop."""
    here = record(database=DatabaseConfig(name=connection.info.dbname))
    registry.put(replace(here, is_active=False))
    assert Manifest.read(connection, "fbs_", "fayvad") is None
    connection.rollback()
    with connection:
        Manifest.write(connection, replace(here, schema_definition={**TABLES, "last_refresh": REFRESH}), vault)
    assert not registry.put(here)
    in_progress = {"tables": [], "mirrored": {}, "last_refresh": {"at": "never"}}
    assert registry.put(replace(here, is_active=False, schema_definition=in_progress))
    found = Manifest.read(connection, "fbs_", "fayvad")
    assert found is not None
    assert found.schema_definition == {**TABLES, "last_refresh": REFRESH}  # not lost, should the job be killed now
    assert not found.is_active
    connection.rollback()
    assert [entry.solution_name for entry in registry.list()] == ["fayvad"]

    with pytest.raises(SolutionConflict):  # its tables here would be orphaned
        registry.put(replace(here, is_active=False, database=DatabaseConfig(name="another")))
    registry.put(replace(here, is_active=False))
    with pytest.raises(SolutionConflict):
        registry.put(replace(here, table_prefix="x_"))
    with connection:
        assert Manifest.delete(connection, "fbs_", "fayvad")
    assert not registry.remove("fayvad")


def test_others_are_those_of_this_database(registry: Registry, connection: Connection, vault: Vault) -> None:
    """A registry in the same table has entries of solutions in other databases."""
    registry.put(record("elsewhere"))
    with connection:
        for name in ("c", "b"):
            Manifest.write(connection, record(name), vault)
    assert [found.solution_name for found in Manifest.others(connection, "fbs_")] == ["b", "c"]
    assert [found.solution_name for found in Manifest.others(connection, "fbs_", "b")] == ["c"]
    with connection:
        long = {"tables": ["r_t"], "shape": {"r_t": {}}, "last_refresh": {"at": "2026-01-01"}}
        Manifest.write(connection, replace(record("c"), schema_definition=long), vault)
    (other,) = Manifest.others(connection, "fbs_", "b")
    assert (other.owned, other.recorded_schema, other.last_refresh) == (frozenset({"r_t"}), {}, {"at": "2026-01-01"})
    assert Manifest.read(connection, "fbs_", "elsewhere") is None
    assert not Manifest.delete(connection, "fbs_", "elsewhere")
    connection.rollback()
    with pytest.raises(SolutionConflict):  # the name is in use elsewhere
        Manifest.write(connection, record("elsewhere", database=DatabaseConfig(name="here")), vault)
    connection.rollback()
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE fbs_solution_schemas SET database_name = ''")
    with pytest.raises(DatabaseError, match="damaged"):
        Manifest.others(connection, "fbs_")
    with pytest.raises(DatabaseError, match="damaged"):
        Manifest.read(connection, "fbs_", "b")
