"""Beat, in processes of its own: what is due is enqueued once, whatever dies, is emptied or stands still."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, QueueUnreachable, SettingsError
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import JobRecord, JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import Program
from fbs_worker.scheduling.beat import run_beat
from fbs_worker.scheduling.model import Kind, Schedule
from fbs_worker.scheduling.service import BEAT, list_schedules, set_schedule, set_schedules
from fbs_worker.scheduling.store import ScheduledSolution, ScheduleStore
from tests.conftest import MakeSettings
from tests.integration.test_schedules import move_back
from tests.support.beat_process import beat_process
from tests.support.made_solutions import MadeSolutions, run
from tests.support.preloaded import Forked
from tests.support.restarts import start_redis, stop_redis
from tests.support.servers import short_folder
from tests.support.waiting import until

DAILY = Schedule.parse(every="1d")

StartBeat = Callable[[Settings], Forked]


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        yield solutions


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "beat.log"


@pytest.fixture
def start_beat(log: Path) -> Iterator[StartBeat]:
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(beat_process(settings, log=log))


def runs(settings: Settings) -> bool:
    with redis.Redis.from_url(settings.fbs_redis_url) as client:
        return bool(client.exists(BEAT))


def solutions(settings: Settings) -> dict[str, ScheduledSolution]:
    with closing(connect(DatabaseConfig.from_url(settings.fbs_database_url))) as connection:
        return {each.name: each for each in ScheduleStore(connection, table_prefix="fbs_").all()}


def last_run(settings: Settings, name: str) -> datetime | None:
    return solutions(settings)[name].last_run


def jobs(settings: Settings) -> list[JobRecord]:
    with JobStore(settings.fbs_redis_url, ttl=60) as store:
        return list(store.list(1_000))


def several(made: MadeSolutions, count: int) -> list[str]:
    """Solutions that are due in two minutes' time, or were: `move_back` makes them due."""
    made.solution("s0")
    run(
        made.home,
        """INSERT INTO fbs_solution_schemas (solution_name, domain, database_name, database_user, database_password,
            table_prefix, business_prefix, schema_definition, is_active)
        SELECT 's' || number, domain, database_name, database_user, database_password, table_prefix,
            business_prefix, schema_definition, TRUE
        FROM fbs_solution_schemas, generate_series(1, %s) AS number WHERE solution_name = 's0'""",
        count - 1,
    )
    names = [f"s{number}" for number in range(count)]
    for name in names:
        set_schedule(made.settings, name, DAILY)
    return names


def test_what_is_due_is_enqueued_and_nothing_piles_up_while_no_worker_runs(
    made: MadeSolutions, start_beat: StartBeat, log: Path
) -> None:
    made.solution("shop")
    set_schedule(made.settings, "shop", DAILY)
    start_beat(made.settings)
    seen: set[datetime | None] = {None}
    for _ in range(3):
        move_back(made.home, "shop", days=2)
        until(lambda: last_run(made.settings, "shop") not in seen, log.read_text)
        seen.add(last_run(made.settings, "shop"))
    (job,) = jobs(made.settings)
    assert (job.action, job.solution) == ("refresh", "shop")
    shop = solutions(made.settings)["shop"]
    assert shop.since == shop.last_run
    assert shop.next_slot(None) == DAILY.after(shop.since, name="shop")


def test_a_sync_is_made_up_for_once_when_its_window_opens(
    made: MadeSolutions, start_beat: StartBeat, log: Path
) -> None:
    made.solution("shop")
    set_schedules(made.settings, "shop", dict.fromkeys(Kind, DAILY))
    now = datetime.now(tz=UTC)
    closed = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"
    beat = start_beat(made.settings.model_copy(update={"fbs_sync_window": closed}))
    for state in ("schedule_state", "sync_state"):
        move_back(made.home, "shop", state, days=4)
    until(lambda: last_run(made.settings, "shop"), log.read_text)
    assert [job.action for job in jobs(made.settings)] == ["refresh"]
    beat.kill()
    beat.wait()
    start_beat(made.settings)
    until(lambda: len(jobs(made.settings)) == 2, log.read_text)
    with JobStore(made.settings.fbs_redis_url, ttl=60) as store:
        (sync,) = store.list(10, action="sync")
        assert store.request(sync.id)["scheduled"] is True


@pytest.mark.faults
def test_two_beats_fire_once_and_one_goes_on_when_the_other_is_killed(
    made: MadeSolutions, start_beat: StartBeat, log: Path
) -> None:
    names = several(made, 6)
    first = start_beat(made.settings)
    start_beat(made.settings)
    until(lambda: log.exists() and log.read_text().count("Starting") == 2, log.read_text)
    for name in names:
        move_back(made.home, name, days=2)
    until(lambda: all(last_run(made.settings, name) for name in names), log.read_text)
    assert sorted(job.solution for job in jobs(made.settings)) == sorted(names)
    assert log.read_text().count(": job ") == len(names)
    first.kill()
    first.wait()
    before = last_run(made.settings, "s0")
    move_back(made.home, "s0", days=2)
    until(lambda: last_run(made.settings, "s0") not in (None, before), log.read_text)


@pytest.mark.faults
def test_a_beat_that_stood_still_does_not_fire_what_another_has_fired(
    made: MadeSolutions, start_beat: StartBeat, log: Path
) -> None:
    names = several(made, 6)
    first = start_beat(made.settings)
    until(lambda: runs(made.settings), log.read_text)
    first.send_signal(signal.SIGSTOP)
    try:
        second = start_beat(made.settings)
        for name in names:
            move_back(made.home, name, days=2)
        until(lambda: all(last_run(made.settings, name) for name in names), log.read_text)
    finally:
        first.send_signal(signal.SIGCONT)
    second.terminate()
    second.wait()
    before = last_run(made.settings, "s0")
    move_back(made.home, "s0", days=2)  # the first one works: it has looked at all of them
    until(lambda: last_run(made.settings, "s0") not in (None, before), log.read_text)
    assert sorted(job.solution for job in jobs(made.settings)) == sorted(names)
    assert first.poll() is None


def test_the_command_says_when_it_is_ready_and_deletes_its_key_at_the_end(
    made: MadeSolutions, log: Path, redis_url: str
) -> None:
    with Program.start("beat", settings=made.settings, log=log):
        until(lambda: runs(made.settings), log.read_text)
    assert not runs(made.settings)
    words = log.read_text()
    assert not [word for word in ("Traceback", "WARNING", "Deprecat", "redis://") if word in words], words


@pytest.mark.faults
def test_an_emptied_redis_loses_no_schedule(
    made: MadeSolutions, start_beat: StartBeat, log: Path, redis_url: str
) -> None:
    made.solution("shop")
    due = set_schedule(made.settings, "shop", DAILY)["next_run"]
    beat = start_beat(made.settings)
    until(lambda: runs(made.settings), log.read_text)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    until(lambda: runs(made.settings), log.read_text)
    assert list_schedules(made.settings)["schedules"][0]["next_run"] == due
    move_back(made.home, "shop", days=2)
    until(lambda: len(jobs(made.settings)) == 1, log.read_text)
    assert beat.poll() is None


@pytest.mark.faults
def test_a_redis_that_is_restarted_is_waited_for(
    made: MadeSolutions, settings: MakeSettings, start_beat: StartBeat, log: Path
) -> None:
    made.solution("shop")
    with short_folder() as folder:
        server = EmbeddedRedis.start(folder / "redis", durable=False)
        try:
            given = settings(fbs_redis_url=server.url, fbs_secret_keys=made.settings.fbs_secret_keys)
            set_schedule(given, "shop", DAILY)
            beat = start_beat(given)
            until(lambda: runs(given), log.read_text)
            stop_redis(server, kill=True)
            until(lambda: "does not answer" in log.read_text(), log.read_text)
            move_back(made.home, "shop", days=2)
            server = start_redis(folder / "redis")  # it has forgotten everything
            until(lambda: len(jobs(given)) == 1, log.read_text)
            assert beat.poll() is None
            assert log.read_text().count("does not answer") == 1
        finally:
            server.stop()


def test_a_home_database_that_is_away_is_waited_for(
    made: MadeSolutions, settings: MakeSettings, start_beat: StartBeat, log: Path
) -> None:
    beat = start_beat(settings(fbs_database_url="postgresql://me@127.0.0.1:1/gone"))
    until(lambda: log.exists() and "127.0.0.1:1" in log.read_text(), log.read_text)
    assert beat.poll() is None


def test_solutions_without_a_schedule_of_their_own(
    made: MadeSolutions, settings: MakeSettings, start_beat: StartBeat, log: Path
) -> None:
    several(made, 3)
    for name in ("s0", "s1"):
        set_schedule(made.settings, name, None)
    move_back(made.home, "s0", days=3)
    start_beat(settings(fbs_refresh_every="1d", fbs_secret_keys=made.settings.fbs_secret_keys))
    until(lambda: last_run(made.settings, "s0") is not None, log.read_text)
    (job,) = jobs(made.settings)
    assert (job.action, job.solution) == ("refresh", "s0")
    assert last_run(made.settings, "s1") is None


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"fbs_redis_url": "redis://127.0.0.1:1/0"}, QueueUnreachable, "does not answer"),
        ({"fbs_redis_url": ""}, SettingsError, "FBS_REDIS_URL is not set"),
        ({"fbs_database_url": ""}, SettingsError, "No home database is set"),
        ({"fbs_refresh_every": "5 apples"}, SettingsError, "FBS_REFRESH_EVERY is not valid: '5 apples'"),
    ],
)
def test_a_beat_that_cannot_work_says_why(
    settings: MakeSettings, overrides: dict[str, str], error: type[FBSError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_beat(settings(**overrides))
