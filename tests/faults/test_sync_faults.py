"""Syncs whose workers are killed, cancelled, cut off, at any point: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fbs_worker.client.client import JobHandle
from fbs_worker.jobs.model import JobState
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.copied_things import LINKS, TABLE, TAG, THING, Things, set_up
from tests.support.fault_worker import FaultWorker
from tests.support.held_odoo import HeldOdoo, Matches
from tests.support.mirrored import odoo_changes
from tests.support.obstacles import PostgresLock
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_records import RecordsOdoo
from tests.support.processes import environment
from tests.support.records_worker import PAGE, PART_ROWS
from tests.support.restarts import start_redis, stop_redis
from tests.support.servers import create_database
from tests.support.solutions import config_of, inline, rows, run, tables_of
from tests.support.stage import HOME, TARGET, Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

FEW = 2 * PART_ROWS - 50
"""Things whose first copy is not split."""
MANY = 5 * PART_ROWS
SCRIPT = Path(sys.executable).with_name("fbs")


@pytest.fixture(scope="module")
def chance() -> random.Random:
    return random.Random(16)


@pytest.fixture(scope="module")
def memory() -> RecordsOdoo:
    return RecordsOdoo()


@pytest.fixture(scope="module")
def things(memory: RecordsOdoo, chance: random.Random) -> Things:
    return Things(memory, chance)


@pytest.fixture(scope="module")
def odoo(memory: RecordsOdoo) -> Iterator[HeldOdoo]:
    with HeldOdoo(memory) as server:
        yield server


@pytest.fixture(scope="module")
def redis_folder(run_folder: Path) -> Iterator[Path]:
    """The folder of a Redis with persistence."""
    folder = run_folder / "sync-redis"
    EmbeddedRedis.start(folder)
    yield folder
    running(folder).stop()


def running(folder: Path) -> EmbeddedRedis:
    found = EmbeddedRedis.find(folder)
    assert found is not None
    return found


@pytest.fixture
def stage(
    postgres: EmbeddedPostgres, redis_folder: Path, odoo: HeldOdoo, things: Things, run_folder: Path
) -> Iterator[Stage]:
    """Empty tables, and a few things to copy."""
    more = {"odoo_timeout": 3.0, "fbs_odoo_pause": 1.0, "fbs_sync_sweep_every": 1}
    stage = Stage(
        postgres=postgres,
        redis_url=running(redis_folder).url,
        odoo=odoo,
        folder=run_folder,
        more=more,
        module="records_worker",
    )
    for name in (HOME, TARGET):
        create_database(postgres, name)
    try:
        things.fill(FEW)
        set_up(stage.settings, stage.target)
        yield stage
        stage.assert_idle()
    finally:
        odoo.behave()
        stage.close()


def asks(*methods: str, after: int = 0, field: str = "") -> Matches:
    """Calls of things by these methods: of pages after an id, or of domains with a field."""

    def matches(_path: str, parameters: Mapping[str, Any]) -> bool:
        if parameters.get("model") != THING or parameters.get("method") not in methods:
            return False
        domain = parameters["kwargs"].get("domain") or [["id", ">", 0]]
        begins = next((term[2] for term in domain if term[:2] == ["id", ">"]), 0)
        return begins >= after and (not field or any(term[0] == field for term in domain))

    return matches


def check(stage: Stage, things: Things, job: JobHandle, *, attempts: int | None = None) -> None:
    """The job comes to its end, and all records are there, once, as they are."""
    record = stage.finished(job)
    assert record.state is JobState.SUCCEEDED, (record, stage._words())
    assert attempts in (None, record.attempts), (record, stage._words())
    assert record.result is not None
    assert record.result["tables"][-1]["status"] == "ok", record.result
    check_equal(stage, things)


def check_equal(stage: Stage, things: Things) -> None:
    assert things.differences(stage.target) == []
    twice = "SELECT odoo_id FROM fbs_deleted_records GROUP BY table_name, odoo_id HAVING count(*) > 1"
    assert rows(stage.target, twice) == []
    stage.assert_idle()


def copied(stage: Stage, things: Things, count: int = FEW) -> None:
    """Let everything be copied, undisturbed."""
    things.fill(count)
    stage.some_worker()
    check(stage, things, stage.client.sync("shop"), attempts=1)


Scene = tuple[bool, Matches | str]

SCENES: dict[str, Scene] = {
    # after a first copy or during it; the request or the statement that holds it there
    "first page": (False, asks("search")),
    "later page": (False, asks("search", after=2 * PAGE)),
    "copy into the table": (False, f"LOCK TABLE {TABLE} IN SHARE MODE"),
    "links": (False, f"LOCK TABLE {LINKS} IN SHARE MODE"),
    "state": (False, "LOCK TABLE fbs_replication IN SHARE MODE"),
    "catching up": (False, asks("search", field="write_date")),
    "first sweep": (False, asks("formatted_read_group", after=1)),
    "changes": (True, asks("search", field="write_date", after=PAGE)),
    "update": (True, f"LOCK TABLE {TABLE} IN SHARE MODE"),
    "sweep": (True, asks("formatted_read_group", after=1)),
    "second look": (True, asks("search", field="id")),
    "deletion": (True, "LOCK TABLE fbs_deleted_records IN SHARE MODE"),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_worker_that_is_killed_twice(stage: Stage, things: Things, scene: str) -> None:
    is_steady, obstacle = SCENES[scene]
    if is_steady:
        copied(stage, things)
        things.change(300)
        time.sleep(1.1)  # then a sweep is due
    job: JobHandle | None = None
    for _ in range(2):
        worker = stage.some_worker()
        if isinstance(obstacle, str):
            with PostgresLock(stage.target, obstacle) as lock:
                job = job or stage.client.sync("shop")
                lock.wait_until_reached()
                worker.kill_main()
        else:
            with stage.odoo.hold(obstacle) as hold:
                job = job or stage.client.sync("shop")
                hold.wait_until_reached()
                worker.kill_main()
    assert job is not None
    stage.some_worker()
    check(stage, things, job, attempts=3 if is_steady else None)  # a first copy has jobs of its own for its tables


def worker_ready(stage: Stage) -> FaultWorker:
    """One whose processes end with it: they are told to when they begin."""
    log = stage.folder / "workers.log"
    before = log.read_text().count(" ready.") if log.exists() else 0
    worker = stage.worker(concurrency=2)
    until(lambda: log.read_text().count(" ready.") > before, stage._words)
    return worker


def test_workers_that_are_killed_at_random(stage: Stage, things: Things, chance: random.Random) -> None:
    """Two of them copy a table in ranges; then they follow changes."""
    things.fill(MANY)
    for _ in range(6):
        workers = [worker_ready(stage), worker_ready(stage)]
        job = stage.client.sync("shop")
        for worker in workers:
            time.sleep(chance.uniform(0.0, 1.0))
            chance.choice([worker.kill_main, worker.kill_child])()
        stage.some_worker()
        record = stage.finished(job)
        assert record.state is JobState.SUCCEEDED, (record, stage._words())
        check_equal(stage, things)
        stage.stop_workers()
        things.change(200)
        time.sleep(1.1)


def test_two_workers_copy_the_ranges_of_a_table(stage: Stage, things: Things, memory: RecordsOdoo) -> None:
    things.fill(MANY)
    memory.log.clear()
    with stage.odoo.hold(asks("search", after=2 * PAGE)) as hold:
        job = stage.client.sync("shop")
        for _ in range(2):
            stage.worker()
        hold.wait_until_reached()
        until(lambda: stage.odoo.in_flight >= 2, lambda: stage.odoo.in_flight)
    check(stage, things, job, attempts=1)
    begun = [
        {(each[0], each[1]): each[2] for each in named["domain"]}
        for name, how, named in memory.log
        if name == THING and how == "search" and named.get("limit")
    ]
    ranges = {domain.get(("id", "<=")) for domain in begun if ("write_date", ">=") not in domain}
    assert len(ranges) == MANY // PART_ROWS
    read = [number for name, how, named in memory.log if (name, how) == (THING, "read") for number in named["ids"]]
    assert len(read) <= 2.2 * MANY  # once, and again what was written since: no range is read by both


def test_two_syncs_of_a_solution_follow_each_other(stage: Stage, things: Things) -> None:
    with stage.odoo.hold(asks("search", after=PAGE)) as hold:
        first = stage.client.sync("shop")
        stage.worker(concurrency=2)
        hold.wait_until_reached()
        second = stage.client.sync("shop", full=True)
        assert second.id != first.id
        until(lambda: second.status().step == "wait", second.status)
        things.change(50)
    for job in (first, second):
        assert stage.finished(job).state is JobState.SUCCEEDED, stage._words()
    check(stage, things, second)


TROUBLES: dict[str, Callable[[HeldOdoo], None]] = {
    str(how): lambda odoo, how=how: odoo.misbehave(how, times=2)  # type: ignore[misc]
    for how in (
        Misbehaviour.BAD_GATEWAY,
        Misbehaviour.CUT_SHORT,
        Misbehaviour.HANG_HALFWAY,
        Misbehaviour.CLOSE_WITHOUT_ANSWER,
        Misbehaviour.POSTGRES_DOWN,
        Misbehaviour.TOO_MANY_REQUESTS,
    )
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_odoo_in_trouble_in_the_middle(stage: Stage, things: Things, trouble: str) -> None:
    stage.some_worker()
    with stage.odoo.hold(asks("search", after=3 * PAGE)) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        until(lambda: rows(stage.target, f"SELECT count(*) >= {PAGE} FROM {TABLE}") == [(True,)], stage._words)
        TROUBLES[trouble](stage.odoo)
    check(stage, things, job)


def test_a_session_that_expires_is_begun_again_at_the_same_page(stage: Stage, things: Things) -> None:
    stage.some_worker()
    with stage.odoo.hold(asks("search", after=3 * PAGE)) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        stage.odoo.misbehave(Misbehaviour.FORGET_SESSIONS, times=1)
    check(stage, things, job, attempts=1)


@pytest.mark.parametrize("how", [Misbehaviour.LOGIN_PAGE, Misbehaviour.NOT_HTTP, Misbehaviour.REDIRECT])
def test_a_page_in_odoo_s_place_deletes_nothing(stage: Stage, things: Things, how: Misbehaviour) -> None:
    copied(stage, things)
    time.sleep(1.1)  # then a sweep follows
    before = rows(stage.target, f"SELECT count(*) FROM {TABLE}")
    with stage.odoo.hold(asks("search", field="write_date")) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        stage.odoo.misbehave(how)
    record = stage.finished(job)
    stage.odoo.behave()
    state = next(each for each in stage.client.records("shop") if each["model"] == THING)
    if record.state is JobState.SUCCEEDED:
        assert (state["status"], bool(state["reason"])) == ("failed", True)
    else:
        assert record.state is JobState.FAILED
    assert rows(stage.target, f"SELECT count(*) FROM {TABLE}") == before
    things.change(50)
    check(stage, things, stage.client.sync("shop"), attempts=1)


def test_one_that_is_cancelled_keeps_what_it_has(stage: Stage, things: Things) -> None:
    things.fill(MANY)
    stage.worker(concurrency=2)
    with stage.odoo.hold(asks("search", after=2 * PAGE)) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        job.cancel()
        until(lambda: job.status().state is JobState.CANCELLED, job.status, seconds=10)
    stage.assert_idle()
    [(kept,)] = rows(stage.target, f"SELECT count(*) FROM {TABLE}")
    assert 0 < kept < MANY
    check(stage, things, stage.client.sync("shop"), attempts=1)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_redis_restarts_in_the_middle(stage: Stage, things: Things, redis_folder: Path, kill: bool) -> None:
    things.fill(MANY)
    stage.worker(concurrency=2)
    with stage.odoo.hold(asks("search", after=2 * PAGE)) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        stop_redis(running(redis_folder), kill=kill)
        start_redis(redis_folder)
    check(stage, things, job)
    things.change(50)
    check(stage, things, stage.client.sync("shop"), attempts=1)


def test_a_table_that_is_locked_for_long(stage: Stage, things: Things) -> None:
    stage.some_worker()
    with PostgresLock(stage.target, f"LOCK TABLE {TABLE} IN EXCLUSIVE MODE") as lock:
        job = stage.client.sync("shop")
        lock.wait_until_reached()
        time.sleep(4)
    check(stage, things, job)


def fbs(stage: Stage, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *words],
        env=environment(stage.settings) | {"FBS_ENV_FILE": "", "COLUMNS": "150"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_in_a_shell(stage: Stage, things: Things, memory: RecordsOdoo) -> None:
    stage.worker(concurrency=2)
    first = fbs(stage, "sync", "shop")
    assert (first.returncode, first.stderr.count("Traceback")) == (0, 0), first.stderr
    assert f"{FEW:,}" in first.stdout
    check_equal(stage, things)
    again = fbs(stage, "sync", "shop", "--full", "--verify")
    assert again.returncode == 0, again.stdout + again.stderr
    run(stage.target, f"UPDATE {TABLE} SET name = 'changed by hand' WHERE odoo_id = 9")
    differs = fbs(stage, "sync", "shop", "--verify")
    assert differs.returncode == 1
    assert "record 9" in differs.stdout + differs.stderr
    records = memory.models[THING].records
    gone = [*records][: FEW // 2]
    for number in gone:
        del records[number]
    time.sleep(1.1)
    review = fbs(stage, "sync", "shop")
    assert review.returncode == 4
    assert f"--allow-delete {len(gone)}" in review.stdout + review.stderr
    allowed = fbs(stage, "sync", "shop", "--full", "--allow-delete", str(len(gone)))
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    check_equal(stage, things)
    unknown = fbs(stage, "sync", "shop", "--model", "no.such")
    assert unknown.returncode == 2
    assert "does not mirror no.such" in unknown.stderr


@pytest.mark.parametrize("alone", [True, False], ids=["with the system tables", "not the last one"])
def test_the_solution_is_dropped_in_the_middle(stage: Stage, things: Things, alone: bool) -> None:
    if not alone:
        more: dict[str, Any] = {"business_prefix": "other_", "refresh_discoveries": False, "sync": False}
        inline("setup", config_of(stage.target, "other", **more), stage.settings)
    things.fill(MANY)
    stage.settings = stage.settings.model_copy(update={"odoo_timeout": 15.0})  # a drop takes its time
    stage.worker(concurrency=2)
    with stage.odoo.hold(asks("search", after=2 * PAGE)) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        stage.worker()
        assert stage.finished(stage.client.drop("shop", with_data=True)).state is JobState.SUCCEEDED, stage._words()
    record = stage.finished(job)
    assert record.state is JobState.FAILED
    assert record.message == "There is no solution 'shop'."
    stage.assert_idle()
    left = tables_of(stage.target)
    assert not [name for name in left if name.startswith("x_")]
    assert ("fbs_replication" in left) is not alone
    assert alone or rows(stage.target, "SELECT solution_name FROM fbs_replication") == []


@pytest.mark.parametrize("count", [FEW, MANY], ids=["whole", "in ranges"])
def test_a_model_is_mirrored_no_more_in_the_middle(stage: Stage, things: Things, count: int) -> None:
    things.fill(count)
    stage.worker(concurrency=2)
    with stage.odoo.hold(asks("search", after=2 * PAGE)) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        migration = {"solution_name": "shop", "unmirror": [THING]}
        plan = inline("migrate", {**migration, "plan_only": True}, stage.settings)
        inline("migrate", {**migration, "fingerprint": plan["fingerprint"], "allow": plan["needs"]}, stage.settings)
    record = stage.finished(job)
    assert record.state is JobState.SUCCEEDED, (record, stage._words())
    assert record.result is not None
    assert [(each["model"], each["status"]) for each in record.result["tables"]] == [(TAG, "ok")]
    assert rows(stage.target, f"SELECT to_regclass('{TABLE}')") == [(None,)]


def test_a_column_goes_in_the_middle(stage: Stage, things: Things) -> None:
    things.fill(FEW)
    stage.worker(concurrency=2)
    with stage.odoo.hold(asks("search", after=2 * PAGE)) as hold:
        job = stage.client.sync("shop")
        hold.wait_until_reached()
        odoo_changes(stage.target, model=THING, note=None, extra={"type": "char"})
        plan = inline("migrate", {"solution_name": "shop", "plan_only": True}, stage.settings)
        given = {"fingerprint": plan["fingerprint"], "allow": plan["needs"]}
        inline("migrate", {"solution_name": "shop", **given}, stage.settings)
    record = stage.finished(job)
    assert record.state is JobState.SUCCEEDED, (record, stage._words())
    assert rows(stage.target, f"SELECT count(*) FROM {TABLE}") == [(FEW,)]
    again = stage.finished(stage.client.sync("shop"))
    assert again.state is JobState.SUCCEEDED
    assert again.result is not None
    assert {each["status"] for each in again.result["tables"]} == {"ok"}
