"""Status and list while databases are missing, reject the login, hang, or are many."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import Any

import pytest

from fbs_worker.core import fanout
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseUnreachable
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.vault import new_key
from fbs_worker.ops import status
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.status import LIST_SECONDS, list_solutions, solution_status
from fbs_worker.solutions import databases
from fbs_worker.solutions.registry import Manifest
from tests.conftest import MakeSettings
from tests.support.made_solutions import REFRESH, MadeSolutions, check_no_secret

pytestmark = pytest.mark.faults


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        yield solutions


def test_a_database_that_was_dropped(made: MadeSolutions, postgres: EmbeddedPostgres) -> None:
    place = made.database()
    made.solution(place=place)
    postgres.drop_database(place.name)
    result = solution_status(made.settings, "fayvad")
    check_no_secret(result)
    assert result["overall_status"] == "unreachable"
    assert place.name in result["reason"]
    assert "CREATE DATABASE" in result["hint"]
    assert result["config"]["database_config"]["name"] == place.name
    assert (result["tables"], result["pending"], result["last_refresh"]) == ([], [], None)
    assert made.at_once()["fayvad"]["reason"] == result["reason"]


def test_a_password_that_cannot_be_opened(made: MadeSolutions, settings: MakeSettings) -> None:
    made.solution("sealed")
    result = solution_status(settings(fbs_secret_keys=new_key()), "sealed")
    assert result["overall_status"] == "unreachable"
    assert "no key matches" in result["reason"]
    assert list_solutions(settings(fbs_secret_keys=""))["counts"]["unreachable"] == 1


def test_a_home_database_that_is_down_is_an_error(settings: MakeSettings) -> None:
    gone = settings(fbs_database_url="postgresql://u:s3cr3t@127.0.0.1:1/d")
    for ask in (list_solutions, lambda given: solution_status(given, "fayvad")):
        with pytest.raises(DatabaseUnreachable) as caught:
            ask(gone)
        assert "s3cr3t" not in str(caught.value.to_dict())


def test_list_without_solutions(made: MadeSolutions) -> None:
    assert list_solutions(made.settings) == {
        "home": made.home.address(),
        "solutions": [],
        "counts": {"active": 0, "inactive": 0, "drifted": 0, "unreachable": 0},
        "notes": [],
    }


def test_list_returns_in_time_while_servers_are_down(
    made: MadeSolutions,
    postgres: EmbeddedPostgres,
) -> None:
    """Together: active, dropped, login rejected, a closed port, a silent server, a locked table."""
    place, dropped, locked = made.database(), made.database(), made.database()
    made.solution("home")
    well = made.solution("well", place=place)
    made.solution("hr", place=place, prefix="hr_", business="hr_", domain="hr")
    made.solution("dropped", place=dropped)
    postgres.drop_database(dropped.name)
    made.solution("locked", place=locked)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as mute,
        closing(connect(locked)) as holder,
        holder.cursor() as cursor,
    ):
        cursor.execute("LOCK TABLE fbs_solution_schemas")
        strange: dict[str, dict[str, Any]] = {
            "closed": {"host": "127.0.0.1", "port": 1},
            "stranger": {"user": "no_such_role"},
            **{
                f"mute{number}": {"name": f"d{number}", "host": "127.0.0.1", "port": mute.getsockname()[1]}
                for number in range(12)
            },
        }
        for name, where in strange.items():
            made.put(replace(well, solution_name=name, database=well.database.model_copy(update=where)))
        began = time.monotonic()
        result = list_solutions(made.settings)
        assert time.monotonic() - began < LIST_SECONDS + 3
    check_no_secret(result)
    found = {one["solution"]: one for one in result["solutions"]}
    assert {name: one["overall_status"] for name, one in found.items() if one["overall_status"] != "unreachable"} == {
        "home": "active",
        "well": "active",
        "hr": "active",
    }
    assert list(found) == sorted(found)
    assert result["counts"] == {"active": 3, "inactive": 0, "drifted": 0, "unreachable": 2 + len(strange)}
    for name, words in {
        "dropped": "has no database",
        "closed": "No connection",
        "stranger": "rejected the login",
        "mute0": "No connection",
        "locked": "Blocked by another session",
    }.items():
        assert words in found[name]["reason"]
        assert found[name]["hint"]
    assert "did not answer within" in found["mute9"]["reason"]
    assert found["well"]["discoveries"] == {"model": 1, "module": 1}
    assert found["well"]["last_refresh"] == REFRESH["at"]
    assert found["hr"]["domain"] == "hr"
    assert found["locked"]["discoveries"] == {}


def test_a_server_that_stops_mid_answer_is_cut_off(
    made: MadeSolutions, database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.solution()
    # disable the server's own limit, so that only the shutdown of the socket is left
    monkeypatch.setattr(fanout, "limit_transactions", lambda *_, **__: None)
    monkeypatch.setattr(status, "_DETAIL_SECONDS", 0.5)
    monkeypatch.setattr(status, "_SUMMARY_SECONDS", 0.5)
    with closing(connect(database)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE fbs_snapshots, fbs_discoveries")
        for result in (solution_status(made.settings, "fayvad"), list_solutions(made.settings)["solutions"][0]):
            assert result["overall_status"] == "unreachable"
            assert "did not answer within 0.5 seconds" in result["reason"]


def test_slow_counting_leaves_the_rest_of_the_status(made: MadeSolutions, monkeypatch: pytest.MonkeyPatch) -> None:
    place = made.database()
    made.solution(place=place)
    monkeypatch.setattr(status, "_DETAIL_SECONDS", 3.0)
    with closing(connect(place)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE rental_property")
        result = solution_status(made.settings, "fayvad")
    assert result["overall_status"] == "active"
    assert result["tables"] == []
    differences, rows = result["notes"]
    assert differences.startswith("Differences from the definition are not known:")
    assert "counting took too long" in rows
    assert result["discoveries"]


def test_many_solutions_of_one_database_share_connections(
    made: MadeSolutions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = made.database()
    first = made.solution("s000", place=place)
    with closing(connect(place)) as target:
        for number in range(1, 120):
            one = replace(first, solution_name=f"s{number:03}")  # each with a token of its own
            made.put(one)
            Manifest.write(target, one, made.vault)
        target.commit()
    opened: list[DatabaseConfig] = []

    def counted(database: DatabaseConfig, **given: Any) -> AbstractContextManager[Connection]:
        opened.append(database)
        return bounded_connection(database, **given)

    monkeypatch.setattr(databases, "bounded_connection", counted)
    result = list_solutions(made.settings)
    assert result["counts"]["active"] == 120
    assert [config.name for config in opened] == [made.home.name, place.name]
    assert [one["solution"] for one in result["solutions"]] == [f"s{number:03}" for number in range(120)]


def test_nothing_is_written(made: MadeSolutions, database: DatabaseConfig) -> None:
    made.solution()

    def state() -> list[Any]:
        with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SELECT xmin::text, t.* FROM fbs_solution_schemas t")
            return cursor.fetchall()

    before = state()
    solution_status(made.settings, "fayvad")
    list_solutions(made.settings)
    assert state() == before
