"""Deduplication of jobs, job metrics, and orphaned jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import redis

from fbs_worker.client.client import Client
from fbs_worker.core.errors import OdooTimeout
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import BUCKETS
from fbs_worker.jobs.store import JobState, JobStore
from tests.support.waiting import until

ERROR = OdooTimeout("Odoo took too long.", hint="Wait.").to_dict()


@pytest.fixture
def quick(redis_url: str) -> Iterator[JobStore]:
    """A store with short time-outs."""
    with JobStore(redis_url, ttl=600, lost_after=0.1) as store:
        yield store


def ask(store: JobStore, job_id: str, *, same: str = "x") -> str:
    made = store.create(job_id, action="refresh", deduplication_key=same)
    if made == job_id:
        store.mark_sent(job_id)
    return made


# ------------------------------------------------------------------------------------------------------- the same job


def test_the_same_request_gets_the_unfinished_job(store: JobStore) -> None:
    assert ask(store, "one") == "one"
    assert ask(store, "two") == "one"
    assert ask(store, "other", same="y") == "other"
    attempt = store.start("one", action="refresh").attempt
    assert ask(store, "three") == "one"
    store.mark_retrying("one", attempt, error=ERROR, message="")
    assert ask(store, "four") == "one"
    assert {record.id for record in store.list()} == {"one", "other"}


@pytest.mark.parametrize("end", ["succeed", "fail", "cancelled", "request_cancel", "remove"])
def test_a_finished_job_does_not_deduplicate(store: JobStore, raw: redis.Redis, end: str) -> None:
    ask(store, "one")
    ends: dict[str, Callable[[], object]] = {
        "succeed": lambda: store.mark_succeeded("one", store.start("one", action="").attempt, {}),
        "fail": lambda: store.mark_failed("one", store.start("one", action="").attempt, ERROR),
        "cancelled": lambda: store.mark_cancelled("one", store.start("one", action="").attempt),
        "request_cancel": lambda: store.request_cancel("one"),
        "remove": lambda: store.remove("one"),
    }
    ends[end]()
    assert not raw.exists("fbs:same:x")
    assert ask(store, "two") == "two"


def test_a_lost_job_s_key_moves_to_the_new_job(store: JobStore, raw: redis.Redis) -> None:
    ask(store, "one")
    store.start("one", action="refresh", worker="a", process=1)
    store.mark_lost("one", worker="a", process=1)
    assert ask(store, "two") == "two"
    store.mark_succeeded("one", store.start("one", action="refresh").attempt, {})
    assert raw.get("fbs:same:x") == "two"
    assert ask(store, "three") == "two"


def test_an_expired_record_does_not_deduplicate(store: JobStore, raw: redis.Redis) -> None:
    ask(store, "one")
    raw.delete("fbs:job:one")
    assert ask(store, "two") == "two"


def test_a_job_that_was_never_sent_deduplicates_for_a_limited_time(quick: JobStore) -> None:
    quick.create("one", action="refresh", deduplication_key="x")
    assert ask(quick, "two") == "one"  # its sender may be about to
    until(lambda: ask(quick, "three") == "three")
    assert ask(quick, "four") == "three"


def test_enqueuing_again_what_was_enqueued_changes_nothing(store: JobStore, raw: redis.Redis) -> None:
    sending = [("LPUSH", "queue", "message")]
    assert store.create("one", action="refresh", deduplication_key="x", commands=sending) == "one"
    assert (
        store.create("one", action="refresh", deduplication_key="x", commands=sending) == "one"
    )  # the first answer was lost
    assert store.create("two", action="refresh", deduplication_key="x", commands=sending) == "one"
    assert raw.lrange("queue", 0, -1) == ["message"]
    assert store.get("one").sent_at is not None


ENQUEUE = """
import multiprocessing, sys
from fbs_worker.client.client import Client
from fbs_worker.core.settings import Settings

def enqueue(url):
    config = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "x", "password": "hunter2"}}
    with Client(settings=Settings(fbs_redis_url=url, fbs_secret_keys=sys.argv[2])) as client:
        return [client.setup(config).id for _ in range(125)]

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(8) as pool:
        reported = pool.map(enqueue, [sys.argv[1]] * 8, chunksize=1)
    print(sum(map(len, reported)), *sorted({job for ids in reported for job in ids}))
"""


@pytest.mark.faults
def test_a_thousand_concurrent_requests_get_one_job_and_one_message(redis_url: str, raw: redis.Redis) -> None:
    from fbs_worker.core.vault import new_key

    ended = subprocess.run(
        [sys.executable, "-c", ENQUEUE, redis_url, new_key()], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    count, *ids = ended.stdout.split()
    assert (count, len(ids)) == ("1000", 1)
    assert raw.llen("fbs.schema") == 1
    with JobStore(redis_url, ttl=600) as store:
        assert [record.id for record in store.list()] == ids


def test_a_client_gives_the_same_job_back(redis_url: str, raw: redis.Redis) -> None:
    with Client(settings=Settings(fbs_redis_url=redis_url)) as client:
        first = client.refresh("shop")
        assert client.refresh("shop").id == first.id
        assert client.refresh("shop", full=True).id != first.id
        assert raw.llen("fbs.discovery") == 2
        first.cancel()
        assert client.refresh("shop").id != first.id


# --------------------------------------------------------------------------------------------------- what is counted


def test_states_waits_durations_losses_and_rows_are_counted(store: JobStore, raw: redis.Redis) -> None:
    store.create("one", action="refresh")
    store.start("one", action="refresh", worker="a", process=1)
    store.mark_lost("one", worker="a", process=1)
    again = store.start("one", action="refresh")
    store.mark_retrying("one", again.attempt, error=ERROR, message="")
    last = store.start("one", action="refresh")
    store.mark_succeeded("one", last.attempt, {}, rows=7)
    figures = cast("dict[str, str]", raw.hgetall("fbs:metrics"))
    assert 0 <= float(figures.pop("wait|refresh|sum")) < 5
    assert 0 <= float(figures.pop("duration|refresh|sum")) < 5
    assert sum(int(value) for name, value in figures.items() if name.startswith("wait|refresh|")) == 2
    assert {name: value for name, value in figures.items() if "|refresh" in name and not name[-1].isdigit()} == {
        "jobs|refresh|queued": "1",
        "jobs|refresh|running": "3",
        "jobs|refresh|retrying": "1",
        "jobs|refresh|succeeded": "1",
        "losses|refresh": "1",
        "wait|refresh|count": "1",
        "duration|refresh|count": "1",
        "rows|refresh": "7",
    }
    record = store.get("one")
    assert record.waited_seconds is not None
    assert 0 <= record.waited_seconds < 5


@pytest.mark.parametrize(("seconds", "place"), [(0, 0), (0.2, 1), (4, 3), (3_000, 9), (90_000, len(BUCKETS))])
def test_a_wait_falls_into_its_bucket(store: JobStore, raw: redis.Redis, seconds: float, place: int) -> None:
    store.create("one", action="refresh")
    created = int(str(raw.hget("fbs:job:one", "created_at")))
    raw.hset("fbs:job:one", "created_at", created - int(seconds * 1000))
    store.start("one", action="refresh")
    assert raw.hget("fbs:metrics", f"wait|refresh|{place}") == "1"


def test_an_attempt_is_told_how_far_the_job_has_come(store: JobStore) -> None:
    claims = []
    for step in ("connect", "drop", ""):
        claims.append(store.start("one", action="drop"))
        if step:
            store.progress("one", claims[-1].attempt, kind="step", step=step, total=None)
        store.mark_retrying("one", claims[-1].attempt, error=ERROR, message="")
    claims.append(store.start("one", action="drop"))
    assert [claim.earlier_step for claim in claims] == [None, "connect", "drop", "drop"]


def test_an_attempt_that_only_waited_is_counted_separately(store: JobStore) -> None:
    store.create("one", action="refresh")
    claims = []
    for _ in range(3):
        claims.append(store.start("one", action="refresh"))
        store.mark_retrying("one", claims[-1].attempt, error=ERROR, message="waiting", waits=True)
    assert [(claim.attempt, claim.waits) for claim in claims] == [(1, 0), (2, 1), (3, 2)]


# Orphaned jobs


def test_unfinished_jobs_are_listed(store: JobStore) -> None:
    for name in ("one", "two", "three"):
        store.create(name, action="refresh")
    store.request_cancel("two")
    assert {record.id for record in store.open()} == {"one", "three"}


def test_an_orphaned_job_is_failed_only_if_it_was_inactive_since(quick: JobStore) -> None:
    quick.create("one", action="refresh")
    seen = quick.get("one")
    assert not quick.fail_orphaned(seen, ERROR)  # too early
    until(lambda: time.time() - seen.created_at.timestamp() > quick.stuck_after + 0.05)
    quick.start("one", action="refresh")
    assert not quick.fail_orphaned(seen, ERROR)
    attempt = quick.get("one").attempts
    quick.mark_retrying("one", attempt, error=ERROR, message="")
    until(lambda: quick.fail_orphaned(quick.get("one"), ERROR))
    record = quick.get("one")
    assert (record.state, record.error) == (JobState.FAILED, ERROR)
    assert list(quick.open()) == []


def test_one_worker_at_a_time_holds_the_reaper_lease(store: JobStore, redis_url: str) -> None:
    with JobStore(redis_url, ttl=600) as other:
        assert store.acquire_reaper_lease(0.2)
        assert not other.acquire_reaper_lease(0.2)
        until(lambda: other.acquire_reaper_lease(0.2))
