"""Beat in its own processes: due entries are enqueued once, whatever is killed, emptied or suspended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from fbs_worker.core.errors import FBSError, QueueUnreachable, SettingsError
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import JobRecord, JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import Program
from fbs_worker.scheduling.beat import run_beat
from fbs_worker.scheduling.entries import INDEX, LOCK, PREFIX, REFRESH_DUE, EntryStore, entry_name
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.service import set_schedule
from fbs_worker.solutions.registry import Manifest, Registry
from tests.conftest import MakeSettings
from tests.support.beat_process import beat_process
from tests.support.made_solutions import MadeSolutions
from tests.support.restarts import start_redis, stop_redis
from tests.support.servers import short_folder

PATIENCE = 40.0
DAILY = Schedule.parse(every="1d")

StartBeat = Callable[[Settings], "subprocess.Popen[bytes]"]


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


def until(what: Callable[[], bool], log: Path) -> None:
    """Wait for a condition; show the log on a timeout."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def make_due(settings: Settings, *names: str) -> None:
    """As if the time of these entries had come."""
    with redis.Redis.from_url(settings.fbs_redis_url) as client:
        now = time.time()
        client.zadd(INDEX, {PREFIX + name: now - 1 for name in names}, xx=True)


def entries(settings: Settings) -> set[str]:
    with EntryStore(settings.fbs_redis_url) as store:
        return set(store.all())


def last_run(settings: Settings, name: str) -> datetime | None:
    with EntryStore(settings.fbs_redis_url) as store:
        plan = store.get(name)
    return plan.last_run if plan else None


def jobs(settings: Settings) -> list[JobRecord]:
    with JobStore(settings.fbs_redis_url, ttl=60) as store:
        return list(store.list(1_000))


def several(made: MadeSolutions, count: int) -> list[str]:
    """Solutions that have a schedule, in Redis as well."""
    made.solution("s0")
    with closing(connect(made.home)) as connection:
        first = Registry(connection, vault=made.vault).get("s0")
        for number in range(1, count):
            Manifest.write(connection, replace(first, solution_name=f"s{number}"), made.vault)
        connection.commit()
    names = [f"s{number}" for number in range(count)]
    for name in names:
        set_schedule(made.settings, name, DAILY)
    return names


def test_due_entries_are_enqueued_once_while_no_worker_runs(
    made: MadeSolutions, start_beat: StartBeat, log: Path
) -> None:
    made.solution("shop")
    set_schedule(made.settings, "shop", DAILY)
    start_beat(made.settings)
    seen: set[datetime | None] = {None}
    for _ in range(3):
        make_due(made.settings, entry_name("shop"))
        until(lambda: last_run(made.settings, entry_name("shop")) not in seen, log)
        seen.add(last_run(made.settings, entry_name("shop")))
    (job,) = jobs(made.settings)
    assert (job.action, job.solution) == ("refresh", "shop")
    with EntryStore(made.settings.fbs_redis_url) as store:
        plan = store.get(entry_name("shop"))
    assert plan is not None
    assert plan.due == DAILY.after(datetime.now(tz=UTC), name="shop")


def test_of_two_beats_one_is_leader_and_the_standby_takes_over_when_it_is_killed(
    made: MadeSolutions, start_beat: StartBeat, log: Path
) -> None:
    names = several(made, 6)
    first = start_beat(made.settings)
    until(lambda: "beat: is the leader" in log.read_text(), log)
    start_beat(made.settings)
    until(lambda: "beat: standby" in log.read_text(), log)
    make_due(made.settings, *map(entry_name, names))
    until(lambda: all(last_run(made.settings, entry_name(name)) for name in names), log)
    assert sorted(job.solution for job in jobs(made.settings)) == sorted(names)
    first.kill()
    first.wait()
    before = last_run(made.settings, entry_name("s0"))
    make_due(made.settings, entry_name("s0"))
    until(lambda: last_run(made.settings, entry_name("s0")) != before, log)
    assert log.read_text().count("beat: is the leader") == 2


def test_a_suspended_beat_does_not_repeat_the_runs_of_another(
    made: MadeSolutions, start_beat: StartBeat, log: Path
) -> None:
    names = several(made, 6)
    first = start_beat(made.settings)
    until(lambda: "beat: is the leader" in log.read_text(), log)
    first.send_signal(signal.SIGSTOP)
    try:
        second = start_beat(made.settings)
        until(lambda: log.read_text().count("beat: is the leader") == 2, log)
        make_due(made.settings, *map(entry_name, names))
    finally:
        first.send_signal(signal.SIGCONT)
    until(lambda: all(last_run(made.settings, entry_name(name)) for name in names), log)
    until(lambda: "beat: lost the lock" in log.read_text(), log)
    assert sorted(job.solution for job in jobs(made.settings)) == sorted(names)
    assert (first.poll(), second.poll()) == (None, None)


def test_the_command_says_when_it_is_ready_and_gives_its_place_back_at_once(
    made: MadeSolutions, log: Path, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        with Program.start("beat", settings=made.settings, log=log):
            until(lambda: bool(client.exists(LOCK)), log)
        assert not client.exists(LOCK)
    words = log.read_text()
    assert "beat: is the leader" in words
    assert not [word for word in ("Traceback", "WARNING", "Deprecat", "redis://") if word in words], words


def test_a_redis_that_was_emptied_is_filled_again(
    made: MadeSolutions, start_beat: StartBeat, log: Path, redis_url: str
) -> None:
    made.solution("shop")
    due = set_schedule(made.settings, "shop", DAILY)["next_run"]
    beat = start_beat(made.settings)
    until(lambda: "beat: is the leader" in log.read_text(), log)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    until(lambda: entries(made.settings) == {entry_name("shop")}, log)
    with EntryStore(redis_url) as store:
        plan = store.get(entry_name("shop"))
    assert plan is not None
    assert plan.due.isoformat(timespec="seconds") == due
    make_due(made.settings, entry_name("shop"))
    until(lambda: len(jobs(made.settings)) == 1, log)
    assert beat.poll() is None


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
            until(lambda: "beat: is the leader" in log.read_text(), log)
            stop_redis(server, kill=True)
            until(lambda: "does not answer" in log.read_text(), log)
            server = start_redis(folder / "redis")  # it has forgotten everything
            until(lambda: entries(given) == {entry_name("shop")}, log)
            make_due(given, entry_name("shop"))
            until(lambda: len(jobs(given)) == 1, log)
            assert beat.poll() is None
            assert log.read_text().count("does not answer") == 1
        finally:
            server.stop()


def test_a_damaged_entry_is_rebuilt_and_one_of_a_dropped_solution_is_removed(
    made: MadeSolutions, start_beat: StartBeat, log: Path, redis_url: str
) -> None:
    names = [entry_name(name) for name in several(made, 3)]
    with redis.Redis.from_url(redis_url) as client:
        client.hset(PREFIX + names[0], "definition", "{not json")
        client.zadd(INDEX, {PREFIX + "missing": 1})
    start_beat(made.settings)
    make_due(made.settings, *names[:2])
    until(lambda: last_run(made.settings, names[1]) is not None, log)
    until(lambda: entries(made.settings) == set(names), log)
    with closing(connect(made.home)) as connection:
        Registry(connection, vault=made.vault).remove("s2")
    until(lambda: entries(made.settings) == set(names[:2]), log)


def test_a_claim_of_a_killed_beat_expires(
    made: MadeSolutions, start_beat: StartBeat, log: Path, redis_url: str
) -> None:
    """It had claimed the entry, and ended before it could enqueue the job."""
    made.solution("shop")
    set_schedule(made.settings, "shop", DAILY)
    make_due(made.settings, entry_name("shop"))
    with EntryStore(redis_url) as store:
        turn = store.claim(entry_name("shop"), seconds=1.5)
        assert turn is not None
        assert turn.wait == 0
        again = store.claim(entry_name("shop"), seconds=1.5)
        assert again is not None
        assert again.wait > 0.9
    start_beat(made.settings)
    until(lambda: len(jobs(made.settings)) == 1, log)


def test_a_home_database_that_is_away_stops_nothing(
    made: MadeSolutions, settings: MakeSettings, start_beat: StartBeat, log: Path
) -> None:
    made.solution("shop")
    set_schedule(made.settings, "shop", DAILY)
    start_beat(settings(fbs_database_url="postgresql://me@127.0.0.1:1/gone"))
    until(lambda: "127.0.0.1:1" in log.read_text(), log)
    make_due(made.settings, entry_name("shop"))
    until(lambda: len(jobs(made.settings)) == 1, log)
    assert entries(made.settings) == {entry_name("shop")}


def test_solutions_without_a_schedule_of_their_own(
    made: MadeSolutions, settings: MakeSettings, start_beat: StartBeat, log: Path
) -> None:
    """One is due, one is not: a single job looks for them, and there is none while there is nothing to do."""
    several(made, 3)
    set_schedule(made.settings, "s0", None)
    set_schedule(made.settings, "s1", None)
    with closing(connect(made.home)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fbs_solution_schemas SET updated_at = updated_at - interval '3 days' WHERE solution_name = 's0'"
        )
    start_beat(settings(fbs_refresh_every="1d", fbs_secret_keys=made.settings.fbs_secret_keys))
    until(lambda: last_run(made.settings, REFRESH_DUE) is not None, log)
    (job,) = jobs(made.settings)
    assert (job.action, job.solution) == ("refresh_due", "")
    with EntryStore(made.settings.fbs_redis_url) as store:
        store.record_refreshed("s0", datetime.now(tz=UTC))
    before = last_run(made.settings, REFRESH_DUE)
    make_due(made.settings, REFRESH_DUE)
    until(lambda: last_run(made.settings, REFRESH_DUE) != before, log)
    assert len(jobs(made.settings)) == 1


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
