"""Schedules in the home database: set, listed, removed, claimed; no beat is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import QueueUnreachable, SettingsError, SolutionNotFound, UsageError
from fbs_worker.core.postgres import connect
from fbs_worker.core.redis import connect as connect_redis
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.status import solution_status
from fbs_worker.scheduling.model import Kind, Schedule
from fbs_worker.scheduling.service import BEAT, list_schedules, pause_schedule, set_schedule, set_schedules
from fbs_worker.scheduling.store import ScheduledSolution, ScheduleStore
from tests.conftest import MakeSettings
from tests.support.made_solutions import MadeSolutions, check_no_secret, run
from tests.support.solutions import Steps, config_of, die, few_models, inline, killed, rows
from tests.support.together import Meet, together

SIX_HOURS = Schedule.parse(every="6h")
AT_THREE = Schedule.parse(cron="0 3 * * *", timezone="Europe/Berlin")


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        yield solutions


@pytest.fixture
def recorded(settings: MakeSettings) -> Settings:
    """Settings with a recorded Odoo."""
    return settings(odoo_url=f"recording:{few_models()}", fbs_business_prefix="hr_")


@pytest.fixture
def store(made: MadeSolutions) -> Iterator[ScheduleStore]:
    with closing(connect(made.home)) as connection:
        yield ScheduleStore(connection, table_prefix="fbs_")


def stored(database: DatabaseConfig, name: str = "fayvad", key: str = "schedule") -> Any:
    """A key of a solution's row in that database."""
    ((value,),) = rows(
        database, "SELECT schema_definition->%s FROM fbs_solution_schemas WHERE solution_name = %s", key, name
    )
    return value


def move_back(database: DatabaseConfig, name: str, state: str = "schedule_state", **by: int) -> None:
    """As if the schedule of a solution had been set, or had last run, a while ago."""
    since = datetime.now(tz=UTC) - timedelta(**by)
    run(
        database,
        """UPDATE fbs_solution_schemas SET updated_at = updated_at - %s,
            schema_definition = jsonb_set(schema_definition, ARRAY[%s], jsonb_build_object('since', %s::text))
        WHERE solution_name = %s""",
        *(timedelta(**by), state, since.isoformat(), name),
    )


def solution(store: ScheduleStore, name: str = "fayvad") -> ScheduledSolution:
    return next(each for each in store.all() if each.name == name)


@pytest.mark.parametrize("at_home", [True, False])
def test_a_schedule_is_set_changed_and_removed(made: MadeSolutions, at_home: bool) -> None:
    made.solution(place=made.home if at_home else made.database())
    report = set_schedule(made.settings, "fayvad", SIX_HOURS)
    check_no_secret(report)
    assert (report["schedule"], report["before"]) == ({"every": "6h"}, None)
    assert "No beat runs" in report["notes"][0]
    assert stored(made.home) == {"every": "6h"}
    next_run = datetime.fromisoformat(report["next_run"])
    assert timedelta() < next_run - datetime.now(tz=UTC) <= timedelta(hours=6)
    again = set_schedule(made.settings, "fayvad", AT_THREE)
    assert again["before"] == {"every": "6h"}
    assert stored(made.home) == {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}
    removed = set_schedule(made.settings, "fayvad", None)
    assert (removed["schedule"], removed["next_run"], stored(made.home)) == (None, None, None)
    assert set_schedule(made.settings, "fayvad", None)["before"] is None


def test_a_schedule_is_paused_and_resumed(made: MadeSolutions, settings: MakeSettings, store: ScheduleStore) -> None:
    made.solution()
    with pytest.raises(UsageError, match="has no schedule"):
        pause_schedule(made.settings, "fayvad", paused=True)
    set_schedule(made.settings, "fayvad", SIX_HOURS)
    report = pause_schedule(made.settings, "fayvad", paused=True)
    assert (report["schedule"], report["next_run"], report["notes"]) == ({"every": "6h", "paused": True}, None, [])
    move_back(made.home, "fayvad", days=1)
    assert solution(store).next_slot(SIX_HOURS) is None
    (listed,) = list_schedules(made.settings)["schedules"]
    assert (listed["source"], listed["next_run"]) == ("solution", None)
    resumed = pause_schedule(made.settings, "fayvad", paused=False)
    assert (resumed["schedule"], bool(resumed["next_run"])) == ({"every": "6h"}, True)
    assert solution(store).since > datetime.now(tz=UTC) - timedelta(hours=1), "what was missed is not made up for"
    set_schedule(made.settings, "fayvad", None)
    of_all = made.settings.model_copy(update={"fbs_refresh_every": "2h"})
    assert pause_schedule(of_all, "fayvad", paused=True)["schedule"] == {"every": "2h", "paused": True}


def test_syncs_have_a_schedule_of_their_own(made: MadeSolutions, settings: MakeSettings, store: ScheduleStore) -> None:
    made.solution(mirror=("res.partner",))
    set_schedule(made.settings, "fayvad", SIX_HOURS)
    often = Schedule.parse(every="5m")
    report = set_schedules(made.settings, "fayvad", {Kind.SYNC: often})
    assert (report["schedule"], report["sync"]["schedule"]) == ({"every": "6h"}, {"every": "5m"})
    assert report["sync"]["before"] is None
    assert (stored(made.home), stored(made.home, key="sync_schedule")) == ({"every": "6h"}, {"every": "5m"})
    now = store.now()
    (refresh, sync) = store.all(*Kind)
    assert store.claim(sync, now=now, enqueue=lambda: "job") == "job"
    assert store.claim(sync, now=now, enqueue=lambda: "again") is None
    assert solution(store) == refresh, "a slot of one is none of the other"
    (listed,) = list_schedules(made.settings)["schedules"]
    assert listed["sync"]["last_run"] == now.isoformat(timespec="seconds")
    paused = pause_schedule(made.settings, "fayvad", paused=True, kinds=[Kind.SYNC])
    assert (paused["schedule"], paused["sync"]["next_run"]) == ({"every": "6h"}, None)
    both = pause_schedule(made.settings, "fayvad", paused=True)
    assert (both["next_run"], both["sync"]["schedule"]) == (None, {"every": "5m", "paused": True})
    removed = set_schedules(made.settings, "fayvad", dict.fromkeys(Kind))
    assert (removed["schedule"], removed["sync"]["schedule"], stored(made.home, key="sync_schedule")) == (None,) * 3


def test_a_sync_waits_for_its_window(made: MadeSolutions) -> None:
    made.solution()
    opens = (datetime.now(tz=UTC) + timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    nightly = made.settings.model_copy(update={"fbs_sync_window": f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"})
    report = set_schedules(nightly, "fayvad", {Kind.SYNC: Schedule.parse(every="5m")})
    assert report["sync"]["next_run"] == opens.isoformat()
    assert "FBS_SYNC_WINDOW" in report["notes"][1]
    assert "mirrors no model" in report["notes"][2]
    assert solution_status(nightly, "fayvad")["schedule"]["sync"]["next_run"] == opens.isoformat()
    with pytest.raises(SettingsError, match="FBS_SYNC_WINDOW is not valid"):
        list_schedules(made.settings.model_copy(update={"fbs_sync_window": "at night"}))


def test_what_is_so_already_is_not_written_again(made: MadeSolutions) -> None:
    made.solution()
    first = set_schedule(made.settings, "fayvad", SIX_HOURS)
    written = rows(made.home, "SELECT xmin::text FROM fbs_solution_schemas")
    assert set_schedule(made.settings, "fayvad", SIX_HOURS)["next_run"] == first["next_run"]
    assert rows(made.home, "SELECT xmin::text FROM fbs_solution_schemas") == written


def test_nothing_is_changed_where_it_cannot_be(made: MadeSolutions, settings: MakeSettings) -> None:
    made.solution("whole")
    with pytest.raises(SolutionNotFound) as caught:
        set_schedule(made.settings, "unknown", SIX_HOURS)
    assert "whole" in caught.value.hint
    with pytest.raises(SettingsError):
        set_schedule(settings(fbs_database_url=""), "whole", SIX_HOURS)
    assert stored(made.home, "whole") is None


def test_redis_is_not_needed(made: MadeSolutions, settings: MakeSettings, no_redis: str) -> None:
    made.solution()
    away = settings(fbs_redis_url=no_redis, fbs_secret_keys=made.settings.fbs_secret_keys)
    report = set_schedule(away, "fayvad", SIX_HOURS)
    assert "Whether beat runs is not known" in report["notes"][0]
    listed = list_schedules(away)
    assert listed["schedules"][0]["next_run"] == report["next_run"]
    assert "not known" in listed["notes"][0]
    assert solution_status(away, "fayvad")["schedule"]["next_run"] == report["next_run"]


def test_list_and_status(made: MadeSolutions, store: ScheduleStore, settings: MakeSettings, redis_url: str) -> None:
    for name in ("a", "b", "c", "d"):
        made.solution(name, business=f"{name}_")
    set_schedule(made.settings, "a", SIX_HOURS)
    set_schedule(made.settings, "b", AT_THREE)
    run(made.home, "UPDATE fbs_solution_schemas SET is_active = FALSE WHERE solution_name = 'd'")
    now = store.now()
    assert store.claim(solution(store, "a"), now=now, enqueue=lambda: "job") == "job"
    with closing(connect_redis(redis_url)) as client:
        client.set(BEAT, "a beat")
    report = list_schedules(made.settings)
    check_no_secret(report)
    assert report["notes"] == []
    found = {each["solution"]: each for each in report["schedules"]}
    assert found["a"] == {
        "solution": "a",
        "schedule": {"every": "6h"},
        "source": "solution",
        "next_run": SIX_HOURS.after(now, name="a").isoformat(),
        "last_run": now.isoformat(timespec="seconds"),
        "sync": None,
    }
    assert found["b"]["schedule"] == AT_THREE.to_dict()
    assert found["c"] == dict.fromkeys(found["c"]) | {"solution": "c"}
    status = solution_status(made.settings, "a")["schedule"]
    assert status == {key: value for key, value in found["a"].items() if key != "solution"}
    others = settings(fbs_refresh_every="1d", fbs_secret_keys=made.settings.fbs_secret_keys)
    found = {each["solution"]: each for each in list_schedules(others)["schedules"]}
    assert (found["c"]["source"], found["c"]["schedule"]) == ("FBS_REFRESH_EVERY", {"every": "1d"})
    assert (found["a"]["source"], found["d"]["source"]) == ("solution", None)
    assert "every 1d" in set_schedule(others, "a", None)["notes"][-1]


def test_a_damaged_schedule_stops_only_itself(made: MadeSolutions, store: ScheduleStore) -> None:
    for name in ("broken", "whole"):
        made.solution(name, business=f"{name}_")
        set_schedule(made.settings, name, SIX_HOURS)
    run(
        made.home,
        """UPDATE fbs_solution_schemas SET schema_definition = schema_definition
            || '{"schedule": {"every": "5 apples"}, "schedule_state": {"since": "yesterday"}}'
        WHERE solution_name = 'broken'""",
    )
    schedules = {each["solution"]: each["schedule"] for each in list_schedules(made.settings)["schedules"]}
    assert schedules == {"broken": None, "whole": {"every": "6h"}}
    assert solution(store, "broken").next_slot(None) is None


def test_a_slot_is_claimed_once(made: MadeSolutions, store: ScheduleStore) -> None:
    made.solution()
    set_schedule(made.settings, "fayvad", SIX_HOURS)
    move_back(made.home, "fayvad", days=1)
    found, now = solution(store), store.now()
    enqueued: list[int] = []

    def enqueue(number: int) -> str:
        enqueued.append(number)
        return "job"

    def claim(number: int, meet: Meet) -> None:
        with closing(connect(made.home)) as connection:
            meet()
            ScheduleStore(connection, table_prefix="fbs_").claim(found, now=now, enqueue=lambda: enqueue(number))

    together(claim, range(4))
    assert len(enqueued) == 1
    after = solution(store)
    assert (after.since, after.last_run) == (now, now)
    assert store.claim(found, now=now, enqueue=lambda: "again") is None


def test_a_slot_stays_due_when_its_job_could_not_be_enqueued(made: MadeSolutions, store: ScheduleStore) -> None:
    made.solution()
    set_schedule(made.settings, "fayvad", SIX_HOURS)
    move_back(made.home, "fayvad", days=1)
    found = solution(store)

    def fail() -> str:
        raise QueueUnreachable("Redis does not answer.", hint="Start it.")

    with pytest.raises(QueueUnreachable):
        store.claim(found, now=store.now(), enqueue=fail)
    assert solution(store) == found

    def end() -> str:
        die()
        return ""

    assert killed(lambda: str(store_of(made).claim(found, now=found.since, enqueue=end)))
    assert solution(store) == found
    assert store.claim(found, now=store.now(), enqueue=lambda: "job") == "job"


def store_of(made: MadeSolutions) -> ScheduleStore:
    """One on a connection of its own: a forked process cannot share one."""
    return ScheduleStore(connect(made.home), table_prefix="fbs_")


def test_a_schedule_that_was_changed_meanwhile_is_not_run(made: MadeSolutions, store: ScheduleStore) -> None:
    made.solution()
    set_schedule(made.settings, "fayvad", SIX_HOURS)
    move_back(made.home, "fayvad", days=1)
    found = solution(store)
    set_schedule(made.settings, "fayvad", AT_THREE)
    assert store.claim(found, now=store.now(), enqueue=lambda: "job") is None
    run(made.home, "DELETE FROM fbs_solution_schemas")
    assert store.claim(found, now=store.now(), enqueue=lambda: "job") is None


def test_a_row_that_a_job_holds_is_passed_over(made: MadeSolutions, store: ScheduleStore) -> None:
    made.solution()
    set_schedule(made.settings, "fayvad", SIX_HOURS)
    move_back(made.home, "fayvad", days=1)
    found = solution(store)
    with closing(connect(made.home)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM fbs_solution_schemas FOR UPDATE")
        assert store.claim(found, now=store.now(), enqueue=lambda: "job") is None
    assert store.claim(found, now=store.now(), enqueue=lambda: "job") == "job"


def test_jobs_leave_the_schedule_alone(recorded: Settings, target: DatabaseConfig) -> None:
    """It is set while a refresh or a set-up runs: neither removes it, nor brings a removed one back."""
    inline("setup", config_of(target), recorded)
    home = DatabaseConfig.from_url(recorded.fbs_database_url)

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
            inline(task, kwargs, recorded, change(schedule))
            assert stored(home, "shop") == (None if schedule is None else schedule.to_dict())
            assert stored(home, "shop", "schedule_state") is not None


def test_a_solution_that_is_dropped_has_no_schedule(recorded: Settings, target: DatabaseConfig) -> None:
    inline("setup", config_of(target), recorded)
    set_schedule(recorded, "shop", SIX_HOURS)
    inline("drop", {"solution_name": "shop"}, recorded)
    assert list_schedules(recorded)["schedules"] == []
    inline("setup", config_of(target), recorded)
    assert list_schedules(recorded)["schedules"][0]["schedule"] is None
