"""Schedules: set, listed, ended, healed; rows and Redis are real, beat is not needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, DatabaseMissing, SettingsError, SolutionNotFound
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.status import solution_status
from fbs_worker.scheduling.entries import INDEX, LOCK, PREFIX, REFRESH_DUE, EntryStore, entry_name
from fbs_worker.scheduling.model import CATCH_UP, Schedule
from fbs_worker.scheduling.reconcile import rebuild, schedule_lock
from fbs_worker.scheduling.service import list_schedules, set_schedule
from fbs_worker.solutions.registry import Registry
from tests.conftest import MakeSettings
from tests.support.made_solutions import MadeSolutions, check_no_secret, run
from tests.support.solutions import ODOO, Steps, config_of, die, inline, killed, rows

SIX_HOURS = Schedule.parse(every="6h")
AT_THREE = Schedule.parse(cron="0 3 * * *", timezone="Europe/Berlin")


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        yield solutions


@pytest.fixture
def recorded(settings: MakeSettings) -> Settings:
    """Settings with a recorded Odoo."""
    return settings(odoo_url=ODOO, fbs_business_prefix="hr_")


@pytest.fixture
def store(made: MadeSolutions) -> Iterator[EntryStore]:
    with EntryStore(made.settings.fbs_redis_url) as plans:
        yield plans


def kept(database: DatabaseConfig, name: str = "fayvad") -> Any:
    """The schedule in a row of that database."""
    ((result,),) = rows(
        database, "SELECT schema_definition->'schedule' FROM fbs_solution_schemas WHERE solution_name = %s", name
    )
    return result


def age(database: DatabaseConfig, **by: int) -> None:
    """As if nothing had been written there for a while."""
    run(database, "UPDATE fbs_solution_schemas SET updated_at = updated_at - %s", timedelta(**by))


@pytest.mark.parametrize("at_home", [True, False])
def test_a_schedule_is_set_changed_and_ended(made: MadeSolutions, store: EntryStore, at_home: bool) -> None:
    place = made.home if at_home else made.database()
    made.solution(place=place)
    result = set_schedule(made.settings, "fayvad", SIX_HOURS)
    check_no_secret(result)
    assert (result["schedule"], result["before"]) == ({"every": "6h"}, None)
    assert "No beat is running" in result["notes"][0]
    assert [kept(made.home), kept(place)] == [{"every": "6h"}] * 2
    plan = store.get(entry_name("fayvad"))
    assert plan is not None
    assert plan.due.isoformat() == result["next_run"]
    assert timedelta() < plan.due - datetime.now(tz=UTC) <= timedelta(hours=6)
    again = set_schedule(made.settings, "fayvad", AT_THREE)
    assert (again["before"], kept(place)) == ({"every": "6h"}, {"cron": "0 3 * * *", "timezone": "Europe/Berlin"})
    ended = set_schedule(made.settings, "fayvad", None)
    assert (ended["schedule"], ended["next_run"]) == (None, None)
    assert [kept(made.home), kept(place), store.all()] == [None, None, {}]
    assert set_schedule(made.settings, "fayvad", None)["before"] is None


def test_what_is_so_already_is_not_written_again(made: MadeSolutions, store: EntryStore) -> None:
    made.solution()
    first = set_schedule(made.settings, "fayvad", SIX_HOURS)
    store.claim(entry_name("fayvad"), seconds=1)
    written = rows(made.home, "SELECT xmin::text FROM fbs_solution_schemas")
    assert set_schedule(made.settings, "fayvad", SIX_HOURS)["next_run"] == first["next_run"]
    assert rows(made.home, "SELECT xmin::text FROM fbs_solution_schemas") == written


def test_nothing_is_changed_where_it_cannot_be(
    made: MadeSolutions, store: EntryStore, postgres: EmbeddedPostgres, settings: MakeSettings
) -> None:
    place = made.database()
    made.solution("whole", place=place)
    with pytest.raises(SolutionNotFound) as caught:
        set_schedule(made.settings, "missing", SIX_HOURS)
    assert "whole" in caught.value.hint
    run(place, "DELETE FROM fbs_solution_schemas")
    with pytest.raises(SolutionNotFound, match="does not hold the solution"):
        set_schedule(made.settings, "whole", SIX_HOURS)
    postgres.drop_database(place.name)
    with pytest.raises(DatabaseMissing):
        set_schedule(made.settings, "whole", SIX_HOURS)
    with pytest.raises(SettingsError):
        set_schedule(settings(fbs_database_url=""), "whole", SIX_HOURS)
    assert kept(made.home, "whole") is None
    assert store.all() == {}


def test_a_redis_that_is_away_is_caught_up_with(made: MadeSolutions, store: EntryStore, settings: MakeSettings) -> None:
    made.solution()
    away = settings(fbs_redis_url="redis://127.0.0.1:1/0", fbs_secret_keys=made.settings.fbs_secret_keys)
    result = set_schedule(away, "fayvad", SIX_HOURS)
    assert "once Redis answers" in result["notes"][0]
    listed = list_schedules(away)
    assert listed["schedules"][0]["next_run"] == result["next_run"]
    assert "are unknown" in listed["notes"][0]
    assert solution_status(away, "fayvad")["schedule"]["next_run"] == result["next_run"]
    rebuild(made.settings, store, manifests=False)
    assert store.all()[entry_name("fayvad")].due.isoformat() == result["next_run"]


def test_list_and_status(made: MadeSolutions, store: EntryStore, settings: MakeSettings, redis_url: str) -> None:
    for name in ("a", "b", "c", "d"):
        made.solution(name, business=f"{name}_")
    set_schedule(made.settings, "a", SIX_HOURS)
    set_schedule(made.settings, "b", AT_THREE)
    run(made.home, "UPDATE fbs_solution_schemas SET is_active = FALSE WHERE solution_name = 'd'")
    now = datetime.now(tz=UTC).replace(microsecond=0)
    store.claim(entry_name("a"), seconds=1)
    store.mark_run(entry_name("a"), at=now, due=now + timedelta(hours=1))
    with redis.Redis.from_url(redis_url) as client:
        client.set(LOCK, "another")
    result = list_schedules(made.settings)
    check_no_secret(result)
    assert result["notes"] == []
    found = {one["solution"]: one for one in result["schedules"]}
    assert found["a"] == {
        "solution": "a",
        "schedule": {"every": "6h"},
        "source": "solution",
        "next_run": (now + timedelta(hours=1)).isoformat(),
        "last_run": now.isoformat(),
    }
    assert found["b"]["schedule"] == AT_THREE.to_dict()
    assert found["c"] == dict.fromkeys(found["c"]) | {"solution": "c"}
    assert solution_status(made.settings, "a")["schedule"] == {
        key: found["a"][key] for key in found["a"] if key != "solution"
    }
    store.record_refreshed("c", now)
    others = settings(fbs_refresh_every="1d", fbs_secret_keys=made.settings.fbs_secret_keys)
    found = {one["solution"]: one for one in list_schedules(others)["schedules"]}
    assert (found["c"]["source"], found["c"]["schedule"]) == ("FBS_REFRESH_EVERY", {"every": "1d"})
    assert found["c"]["last_run"] == now.isoformat()
    assert (found["a"]["source"], found["d"]["source"]) == ("solution", None)
    assert "every 1d" in set_schedule(others, "a", None)["notes"][-1]


def test_a_damaged_row(made: MadeSolutions, store: EntryStore) -> None:
    for name in ("broken", "damaged", "whole"):
        made.solution(name, business=f"{name}_")
        set_schedule(made.settings, name, SIX_HOURS)
    run(
        made.home,
        """UPDATE fbs_solution_schemas SET schema_definition = schema_definition || '{"schedule": {"every": "5 apples"}}'
        WHERE solution_name = 'broken'""",
    )
    run(made.home, "UPDATE fbs_solution_schemas SET database_name = '' WHERE solution_name = 'damaged'")
    rebuild(made.settings, store, manifests=True)
    assert set(store.all()) == {entry_name("damaged"), entry_name("whole")}  # the stored entry is kept
    result = list_schedules(made.settings)
    assert [one["solution"] for one in result["schedules"]] == ["broken", "whole"]
    assert any("damaged" in note for note in result["notes"])


def test_an_emptied_redis_is_filled_as_it_was(made: MadeSolutions, store: EntryStore, redis_url: str) -> None:
    for name, schedule in (("a", SIX_HOURS), ("b", AT_THREE)):
        made.solution(name, business=f"{name}_")
        set_schedule(made.settings, name, schedule)
    before = store.all()
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    rebuild(made.settings, store, manifests=False)
    assert store.all() == before
    with redis.Redis.from_url(redis_url) as client:
        client.delete(INDEX)  # a part of it: the hashes are there
    rebuild(made.settings, store, manifests=False)
    assert store.all() == before
    with redis.Redis.from_url(redis_url) as client:
        client.hset(PREFIX + entry_name("missing"), "definition", "{}")
        client.zadd(INDEX, {PREFIX + entry_name("missing"): 1})
    rebuild(made.settings, store, manifests=False)
    assert store.all() == before


def test_what_was_missed_while_redis_was_empty_is_made_up_for(
    made: MadeSolutions, store: EntryStore, redis_url: str
) -> None:
    made.solution()
    set_schedule(made.settings, "fayvad", SIX_HOURS)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    age(made.home, days=1)
    now = datetime.now(tz=UTC)
    rebuild(made.settings, store, manifests=False, now=now)
    assert timedelta(seconds=-1) <= store.all()[entry_name("fayvad")].due - now <= CATCH_UP


@pytest.mark.parametrize("schedule", [SIX_HOURS, None])
def test_a_command_that_was_killed_half_way_is_completed(
    made: MadeSolutions, store: EntryStore, schedule: Schedule | None
) -> None:
    """Killed between manifest and registry, and between registry and Redis."""
    place = made.database()
    made.solution(place=place)
    set_schedule(made.settings, "fayvad", AT_THREE)
    result = None if schedule is None else schedule.to_dict()

    def work(owner: Any, method: str) -> None:
        setattr(owner, method, lambda *_, **__: die())
        set_schedule(made.settings, "fayvad", schedule)

    assert killed(lambda: work(Registry, "put_schedule"))
    assert (kept(place), kept(made.home)) == (result, AT_THREE.to_dict())
    rebuild(made.settings, store, manifests=False)
    assert kept(made.home) == AT_THREE.to_dict()
    rebuild(made.settings, store, manifests=True)
    assert kept(made.home) == result
    assert set(store.all()) == ({entry_name("fayvad")} if schedule else set())
    with EntryStore(made.settings.fbs_redis_url) as plans:
        set_schedule(made.settings, "fayvad", AT_THREE)
        assert killed(lambda: work(EntryStore, "put" if schedule else "remove"))
        before = plans.all()[entry_name("fayvad")].definition
        rebuild(made.settings, plans, manifests=False)
        after = plans.all().get(entry_name("fayvad"))
    assert (after is None) if schedule is None else (after is not None and after.definition != before)


def test_unreachable_manifests_change_nothing(
    made: MadeSolutions, store: EntryStore, postgres: EmbeddedPostgres
) -> None:
    place = made.database()
    made.solution("gone", place=place)
    made.solution("here", business="here_")
    set_schedule(made.settings, "gone", SIX_HOURS)
    set_schedule(made.settings, "here", SIX_HOURS)
    before = store.all()
    postgres.drop_database(place.name)
    rebuild(made.settings, store, manifests=True)
    assert store.all() == before


def test_one_schedule_is_written_by_one_at_a_time(made: MadeSolutions, monkeypatch: pytest.MonkeyPatch) -> None:
    place = made.database()
    made.solution(place=place)
    many = [Schedule.parse(every=f"{hours}h") for hours in range(1, 7)]
    threads = [threading.Thread(target=set_schedule, args=(made.settings, "fayvad", one)) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(place) == kept(made.home)
    monkeypatch.setattr("fbs_worker.scheduling.reconcile._LOCK_SECONDS", 0.3)
    with (
        closing(connect(made.home)) as connection,
        schedule_lock(connection, "fayvad"),
        pytest.raises(DatabaseBusy, match="is being changed by"),
    ):
        set_schedule(made.settings, "fayvad", SIX_HOURS)


def test_jobs_leave_the_schedule_alone(recorded: Settings, target: DatabaseConfig) -> None:
    """It is set while a refresh, a set-up runs; neither takes it away, nor brings one back that has ended."""
    inline("setup", config_of(target), recorded)

    def change(schedule: Schedule | None) -> Steps:
        def act() -> None:
            set_schedule(recorded, "shop", schedule)

        return Steps(act, at=1)

    for schedule in (SIX_HOURS, None):
        for task, kwargs in (
            ("refresh", {"solution_name": "shop", "full": True}),
            ("setup", config_of(target, mirror=["hr.employee"])),
        ):
            set_schedule(recorded, "shop", AT_THREE)
            progress = change(schedule)
            inline(task, kwargs, recorded, progress)
            result = None if schedule is None else schedule.to_dict()
            home = DatabaseConfig.from_url(recorded.fbs_database_url)
            assert [kept(target, "shop"), kept(home, "shop")] == [result, result]


def test_a_solution_that_is_dropped_has_no_schedule(recorded: Settings, target: DatabaseConfig) -> None:
    inline("setup", config_of(target), recorded)
    set_schedule(recorded, "shop", SIX_HOURS)
    with EntryStore(recorded.fbs_redis_url) as store:
        inline("drop", {"solution_name": "shop"}, recorded)
        rebuild(recorded, store, manifests=True)
        assert store.all() == {}
    inline("setup", config_of(target), recorded)
    assert kept(target, "shop") is None


def test_the_entry_of_fbs_refresh_due_exists_while_an_interval_is_set(
    made: MadeSolutions, store: EntryStore, settings: MakeSettings
) -> None:
    made.solution()
    others = settings(fbs_refresh_every="1d", fbs_secret_keys=made.settings.fbs_secret_keys)
    assert set(rebuild(others, store, manifests=False)) == {"fayvad"}
    assert set(store.all()) == {REFRESH_DUE}
    rebuild(made.settings, store, manifests=False)
    assert store.all() == {}
