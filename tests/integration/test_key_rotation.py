"""New keys for old, over several real databases."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SecretError, SettingsError
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault, new_key
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.schema.system_tables import ensure_tables, solution_schemas_table
from fbs_worker.solutions.key_rotation import rotate_keys
from fbs_worker.solutions.registry import Manifest, Registry, SolutionRecord
from tests.conftest import MakeSettings
from tests.support.waiting import until

PASSWORD = "s3cr3t pässwörd"
OLD, NEW = new_key(), new_key()
NOTHING: dict[str, Any] = {"resealed": 0, "current": 0, "references": 0, "unopened": [], "unreachable": []}


@dataclass
class Place:
    """A test's databases: the home one, and two others."""

    settings: MakeSettings
    home: DatabaseConfig
    others: list[DatabaseConfig]

    def put(self, name: str, database: DatabaseConfig, *, password: str = PASSWORD, prefix: str = "fbs_") -> None:
        """A solution as a set-up leaves it, sealed with the old key."""
        vault = Vault([OLD])
        where = database.model_copy(update={"password": SecretStr(password)})
        record = SolutionRecord(solution_name=name, domain="rental", database=where, table_prefix=prefix)
        with closing(connect(self.home)) as connection:
            Registry(connection, vault=vault).put(record)
        with closing(connect(database)) as connection, connection:
            ensure_tables(connection, prefix, (solution_schemas_table,))
            Manifest.write(connection, record, vault)

    def rotate(self, *keys: str) -> dict[str, Any]:
        """Rotate with these keys."""
        result = rotate_keys(self.settings(fbs_secret_keys=",".join(keys)))
        text = json.dumps(result)
        assert "s3cr3t" not in text
        assert "sealed:" not in text
        return result

    def passwords(self, database: DatabaseConfig, prefix: str = "fbs_") -> dict[str, str]:
        """What the rows of a table hold."""
        with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT solution_name, database_password FROM {prefix}solution_schemas ORDER BY 1")
            return dict(cursor.fetchall())

    def opened(self, database: DatabaseConfig, key: str, prefix: str = "fbs_") -> dict[str, str]:
        """The same, opened with this key alone."""
        return {name: Vault([key]).resolve(kept) for name, kept in self.passwords(database, prefix).items()}

    def run(self, database: DatabaseConfig, statement: str, *values: Any) -> None:
        """Run a statement."""
        with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, values)


@pytest.fixture
def place(settings: MakeSettings, database: DatabaseConfig, postgres: EmbeddedPostgres) -> Iterator[Place]:
    names = [f"test_{secrets.token_hex(6)}" for _ in range(2)]
    for name in names:
        postgres.create_database(name)
    yield Place(settings, database, [postgres.config(name) for name in names])
    for name in names:
        postgres.drop_database(name)


def test_every_row_is_sealed_anew(place: Place) -> None:
    one, two = place.others
    place.put("at_home", place.home)
    place.put("a", one)
    place.put("b", one, prefix="b_")
    place.put("c", two)
    assert place.rotate(NEW, OLD) == {**NOTHING, "resealed": 7, "complete": True}
    assert place.opened(place.home, NEW) == dict.fromkeys(("a", "at_home", "b", "c"), PASSWORD)
    assert place.opened(one, NEW) == {"a": PASSWORD}
    assert place.opened(one, NEW, "b_") == {"b": PASSWORD}
    assert place.opened(two, NEW) == {"c": PASSWORD}


def test_once_more_writes_nothing(place: Place) -> None:
    place.put("a", place.others[0])
    place.put("at_home", place.home)
    place.rotate(NEW, OLD)
    before = [place.passwords(database) for database in (place.home, place.others[0])]
    for keys in ((NEW, OLD), (NEW,)):
        assert place.rotate(*keys) == {**NOTHING, "current": 3, "complete": True}
    assert [place.passwords(database) for database in (place.home, place.others[0])] == before


def test_references_stay_as_they_are(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PASSWORD", "any")
    place.put("a", place.others[0], password="env:TEST_PASSWORD")
    place.put("b", place.others[0], password="")
    assert place.rotate(NEW, OLD) == {**NOTHING, "references": 4, "complete": True}
    assert place.passwords(place.others[0]) == {"a": "env:TEST_PASSWORD", "b": ""}


def test_rows_that_no_key_decrypts_are_reported_and_kept(place: Place) -> None:
    one = place.others[0]
    for name in ("a", "lost", "plain"):
        place.put(name, one)
    lost = Vault([new_key()]).encrypt(PASSWORD)
    for database in (place.home, one):
        for name, kept in (("lost", lost), ("plain", PASSWORD)):
            place.run(
                database, "UPDATE fbs_solution_schemas SET database_password = %s WHERE solution_name = %s", kept, name
            )
    result = place.rotate(NEW, OLD)
    assert (result["resealed"], result["complete"]) == (2, False)
    assert [(one["solution"], one["database"]) for one in result["unopened"]] == [
        ("lost", place.home.address()),
        ("plain", place.home.address()),
    ]
    assert all(one["reason"] and one["hint"] for one in result["unopened"] + result["unreachable"])
    # without their passwords their databases are unreachable
    assert [one["solution"] for one in result["unreachable"]] == ["lost", "plain"]
    for database in (place.home, one):
        assert place.passwords(database)["lost"] == lost
        assert place.passwords(database)["plain"] == PASSWORD


def test_a_manifest_that_no_key_decrypts_is_reported(place: Place) -> None:
    one = place.others[0]
    place.put("a", one)
    lost = Vault([new_key()]).encrypt(PASSWORD)
    place.run(one, "UPDATE fbs_solution_schemas SET database_password = %s", lost)
    result = place.rotate(NEW, OLD)
    assert (result["resealed"], result["unreachable"], result["complete"]) == (1, [], False)
    assert [(row["solution"], row["database"]) for row in result["unopened"]] == [("a", one.address())]
    assert place.passwords(one) == {"a": lost}


def test_a_database_that_is_gone_holds_up_nothing(place: Place, postgres: EmbeddedPostgres) -> None:
    one, two = place.others
    place.put("a", one)
    place.put("b", two)
    place.put("broken", two)
    postgres.drop_database(one.name)
    place.run(place.home, "UPDATE fbs_solution_schemas SET database_name = '' WHERE solution_name = 'broken'")
    result = place.rotate(NEW, OLD)
    assert (result["resealed"], result["complete"]) == (4, False)
    assert [(row["solution"], row["database"]) for row in result["unreachable"]] == [
        ("a", one.address()),
        ("broken", ""),
    ]
    assert one.name in result["unreachable"][0]["reason"]
    postgres.create_database(one.name)  # as from a backup
    place.run(place.home, "UPDATE fbs_solution_schemas SET database_name = %s WHERE database_name = ''", two.name)
    assert place.rotate(NEW, OLD) == {**NOTHING, "resealed": 1, "current": 4, "complete": True}


def test_a_missing_manifest_is_skipped(place: Place) -> None:
    place.put("a", place.others[0])
    place.run(place.others[0], "DROP TABLE fbs_solution_schemas")
    assert place.rotate(NEW, OLD) == {**NOTHING, "resealed": 1, "complete": True}


def test_rows_of_others_in_the_same_table_are_left_alone(place: Place) -> None:
    """Another home database's solutions, with keys of their own."""
    one = place.others[0]
    place.put("a", one)
    foreign = Vault([new_key()])
    record = SolutionRecord(
        solution_name="theirs",
        domain="rental",
        database=one.model_copy(update={"password": SecretStr(PASSWORD)}),
    )
    with closing(connect(one)) as connection, connection:
        Manifest.write(connection, record, foreign)
    assert place.rotate(NEW, OLD) == {**NOTHING, "resealed": 2, "complete": True}
    assert foreign.resolve(place.passwords(one)["theirs"]) == PASSWORD


def test_what_it_needs(place: Place) -> None:
    assert place.rotate(NEW) == {**NOTHING, "complete": True}
    with pytest.raises(SecretError, match="FBS_SECRET_KEYS is not set"):
        place.rotate("")
    with pytest.raises(SecretError, match="Key 2"):
        place.rotate(NEW, "s3cr3t")
    with pytest.raises(SettingsError):
        rotate_keys(place.settings(fbs_database_url=""))


@pytest.mark.faults
def test_killed_in_the_middle_it_can_be_run_again(place: Place) -> None:
    one, two = place.others
    place.put("a", one)
    place.put("b", two)
    settings = place.settings(fbs_secret_keys=f"{NEW},{OLD}")
    with closing(connect(two)) as holder:
        with holder.cursor() as cursor:
            cursor.execute("SELECT * FROM fbs_solution_schemas FOR UPDATE")
            child = _rotating(settings)
            try:
                until(lambda: _sealed_with(place, NEW, place.home) and _sealed_with(place, NEW, one))
            finally:
                child.kill()
                child.wait()
        holder.rollback()
    assert _sealed_with(place, OLD, two)
    assert place.rotate(NEW, OLD) == {**NOTHING, "resealed": 1, "current": 3, "complete": True}
    assert place.opened(two, NEW) == {"b": PASSWORD}


def _rotating(settings: Settings) -> subprocess.Popen[bytes]:
    code = "from fbs_worker.solutions.key_rotation import rotate_keys; from fbs_worker.core.settings import load_settings; rotate_keys(load_settings())"
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **settings_environment(settings)})


def _sealed_with(place: Place, key: str, database: DatabaseConfig) -> bool:
    try:
        return bool(place.opened(database, key))
    except SecretError:
        return False
