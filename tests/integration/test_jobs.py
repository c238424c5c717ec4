"""The job store, on a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis

from fbs_worker.core.errors import JobCancelled, JobNotFound, OdooTimeout, UsageError
from fbs_worker.jobs.model import variant_of
from fbs_worker.jobs.store import MAX_LOSSES, JobState, JobStore, LeaseStatus
from fbs_worker.jobs.worker.heartbeat import Heartbeat
from fbs_worker.jobs.worker.progress import JobProgress, StaleAttempt
from tests.support.waiting import until

ERROR = OdooTimeout("Odoo took too long.", hint="Wait.").to_dict()


def started(store: JobStore, job_id: str = "one") -> int:
    store.create(job_id, action="discover", domain="rental")
    claim = store.start(job_id, action="discover")
    assert claim.state is JobState.RUNNING
    return claim.attempt


def test_a_job_from_beginning_to_end(store: JobStore) -> None:
    before = datetime.now(tz=UTC) - timedelta(seconds=1)
    store.create("one", action="discover", solution="shop", domain="rental")
    queued = store.get("one")
    assert (queued.state, queued.action, queued.solution, queued.domain) == ("queued", "discover", "shop", "rental")
    assert before < queued.created_at
    assert queued.started_at is None

    claim = store.start("one", action="ignored", domain="ignored")
    running = store.get("one")
    assert (claim.state, claim.attempt) == ("running", 1)
    assert (running.state, running.action, running.attempts) == ("running", "discover", 1)
    assert running.started_at is not None

    assert store.progress("one", 1, kind="step", step="fields", total=8) is LeaseStatus.OURS
    assert store.progress("one", 1, kind="progress", step="fields", current=2, total=8, message="x") is LeaseStatus.OURS
    seen = store.get("one")
    assert (seen.step, seen.current, seen.total, seen.percent, seen.message) == ("fields", 2, 8, 25, "x")

    assert store.mark_succeeded("one", 1, {"rows": 3}) is JobState.SUCCEEDED
    done = store.get("one")
    assert (done.state, done.result, done.error, done.percent) == ("succeeded", {"rows": 3}, None, 100)
    assert done.finished_at is not None
    assert done.to_dict()["finished_at"].endswith("+00:00")


def test_events_cover_the_whole_job_and_end(store: JobStore) -> None:
    attempt = started(store)
    store.progress("one", attempt, kind="step", step="fields", total=8)
    store.progress("one", attempt, kind="progress", step="fields", current=4, total=8)
    store.mark_failed("one", attempt, ERROR)
    reported = [(event.kind, event.state, event.step, event.current) for event in store.follow("one")]
    assert reported == [
        ("state", "queued", "", 0),
        ("state", "running", "", 0),
        ("step", "running", "fields", 0),
        ("progress", "running", "fields", 4),
        ("state", "failed", "fields", 4),
    ]
    assert [event.state for event in store.follow("one", from_start=False)] == ["failed"]


def test_events_come_live(store: JobStore, redis_url: str) -> None:
    attempt = started(store)
    seen: list[str] = []

    def follow() -> None:
        with JobStore(redis_url, ttl=600) as other:
            seen.extend(event.step or str(event.state) for event in other.follow("one"))

    follower = threading.Thread(target=follow)
    follower.start()
    until(lambda: store._redis.info("clients")["blocked_clients"] > 0)  # type: ignore[index,operator,unused-ignore]
    store.progress("one", attempt, kind="step", step="fields")
    store.mark_succeeded("one", attempt, {})
    follower.join(10)
    assert seen == ["queued", "running", "fields", "fields"]


def test_following_ends_at_its_timeout(store: JobStore) -> None:
    store.create("one", action="discover")
    assert [event.state for event in store.follow("one", timeout=0.1)] == ["queued"]


def test_an_unknown_job_is_an_error(store: JobStore) -> None:
    for ask in (store.get, store.request_cancel, lambda job_id: list(store.follow(job_id))):
        with pytest.raises(JobNotFound, match="'nothing'"):
            ask("nothing")
    assert store.heartbeat("nothing", 1) is LeaseStatus.STALE


@pytest.mark.parametrize("end", ["succeed", "fail", "cancelled"])
def test_a_finished_job_never_changes_again(store: JobStore, end: str) -> None:
    attempt = started(store)
    ends: dict[str, Callable[[], JobState]] = {
        "succeed": lambda: store.mark_succeeded("one", attempt, {}),
        "fail": lambda: store.mark_failed("one", attempt, ERROR),
        "cancelled": lambda: store.mark_cancelled("one", attempt),
    }
    final = ends[end]()
    assert final.finished
    assert {again() for again in ends.values()} == {final}
    assert store.start("one", action="discover").state is final
    assert store.request_cancel("one") is final
    assert store.mark_retrying("one", attempt, error=ERROR, message="") is final
    assert store.progress("one", attempt, kind="step", step="late") is LeaseStatus.STALE
    assert store.get("one").step == ""
    assert store.get("one").state is final


def test_a_cancelled_queued_job_never_starts(store: JobStore) -> None:
    store.create("one", action="discover")
    assert store.request_cancel("one") is JobState.CANCELLED
    assert store.start("one", action="discover").state is JobState.CANCELLED
    assert store.get("one").attempts == 0


def test_a_running_job_is_asked_to_stop(store: JobStore) -> None:
    attempt = started(store)
    assert not store.cancel_requested("one")
    assert store.request_cancel("one") is JobState.RUNNING
    assert store.cancel_requested("one")
    with pytest.raises(JobCancelled):
        JobProgress(store, "one", attempt).step("fields")
    with pytest.raises(JobCancelled):
        JobProgress(store, "one", attempt).advance(0)
    assert store.mark_cancelled("one", attempt) is JobState.CANCELLED
    assert [event.kind for event in store.follow("one")][-3:] == ["message", "step", "state"]


def test_a_job_asked_to_stop_is_not_retried(store: JobStore) -> None:
    attempt = started(store)
    store.request_cancel("one")
    assert store.mark_retrying("one", attempt, error=ERROR, message="again") is JobState.CANCELLED


def test_a_retry_keeps_the_error_until_it_runs_again(store: JobStore) -> None:
    attempt = started(store)
    assert store.mark_retrying("one", attempt, error=ERROR, message="again in 1 s") is JobState.RETRYING
    waiting = store.get("one")
    assert (waiting.state, waiting.error, waiting.message) == ("retrying", ERROR, "again in 1 s")
    assert store.start("one", action="discover").attempt == 2
    assert store.get("one").error is None


def test_a_retrying_job_can_be_cancelled_at_once(store: JobStore) -> None:
    attempt = started(store)
    store.mark_retrying("one", attempt, error=ERROR, message="")
    assert store.request_cancel("one") is JobState.CANCELLED


@pytest.mark.usefixtures("often")
def test_a_job_without_heartbeats_reads_as_lost_until_the_next_one(redis_url: str) -> None:
    with JobStore(redis_url, ttl=600, lost_after=0.2) as store:
        attempt = started(store)
        until(lambda: store.get("one").state is JobState.LOST)
        assert [record.id for record in store.list(state=JobState.LOST)] == ["one"]
        assert [event.state for event in store.follow("one")] == ["queued", "running", "lost"]
        assert store.heartbeat("one", attempt) is LeaseStatus.OURS
        assert store.get("one").state is JobState.RUNNING
        until(lambda: store.get("one").state is JobState.LOST)
        assert store.request_cancel("one") is JobState.CANCELLED


def test_a_heartbeat_keeps_a_job_alive_and_ends_with_it(redis_url: str) -> None:
    with JobStore(redis_url, ttl=600, lost_after=0.5) as store:
        attempt = started(store)
        first = store.get("one").heartbeat_at
        assert first is not None
        with Heartbeat(store, "one", attempt, seconds=0.05):
            until(lambda: (store.get("one").heartbeat_at or first) > first + timedelta(seconds=0.6))
            assert store.get("one").state is JobState.RUNNING
        until(lambda: store.get("one").state is JobState.LOST)


def test_a_second_delivery_does_not_get_the_claim_of_a_live_attempt(store: JobStore) -> None:
    first = started(store)
    events = len(list(store.follow("one", timeout=0.05)))
    claim = store.start("one", action="discover", token="another")
    assert (claim.granted, claim.held_elsewhere, claim.state, claim.attempt) == (False, True, "running", first)
    assert store.heartbeat("one", first) is LeaseStatus.OURS
    assert (store.get("one").attempts, len(list(store.follow("one", timeout=0.05)))) == (1, events)


def test_a_claim_is_repeated_with_its_token(store: JobStore) -> None:
    first = store.start("one", action="discover", worker="a@here", process=7, token="mine")
    again = store.start("one", action="discover", worker="a@here", process=7, token="mine")
    assert first == again
    assert again.granted
    record = store.get("one")
    assert (record.attempts, record.worker) == (1, "a@here")


def test_a_dead_process_loses_only_its_own_job(store: JobStore) -> None:
    store.start("one", action="discover", worker="a@here", process=7)
    assert not store.mark_lost("one", worker="b@here", process=7)
    assert not store.mark_lost("one", worker="a@here", process=8)
    assert store.get("one").state is JobState.RUNNING
    assert store.mark_lost("one", worker="a@here", process=7)
    assert store.get("one").state is JobState.LOST
    assert store.states(["one", "nothing"]) == {"one": JobState.LOST}
    claim = store.start("one", action="discover", worker="b@here", process=9)
    assert (claim.granted, claim.attempt) == (True, 2)


def lost(store: JobStore, job_id: str = "one") -> None:
    """The process of the job is dead."""
    assert store.mark_lost(job_id, worker="", process=0)


def test_a_second_worker_claims_a_lost_job_and_the_first_attempt_is_stale(store: JobStore) -> None:
    first = started(store)
    lost(store)
    second = store.start("one", action="discover")
    assert (second.state, second.attempt) == ("running", 2)
    with pytest.raises(StaleAttempt):
        JobProgress(store, "one", first).step("fields")
    assert store.heartbeat("one", first) is LeaseStatus.STALE
    assert store.mark_succeeded("one", first, {"from": "first"}) is JobState.RUNNING
    assert store.mark_succeeded("one", second.attempt, {"from": "second"}) is JobState.SUCCEEDED
    assert store.get("one").result == {"from": "second"}


def test_a_job_that_loses_its_worker_too_often_has_failed(store: JobStore) -> None:
    started(store)
    for _ in range(MAX_LOSSES - 1):
        lost(store)
        assert store.start("one", action="discover").granted
    lost(store)
    assert store.start("one", action="discover").state is JobState.FAILED
    record = store.get("one")
    assert record.error is not None
    assert "lost its worker" in record.error["message"]
    assert record.attempts == MAX_LOSSES


def test_a_job_without_a_record_gets_one_when_it_starts(store: JobStore) -> None:
    assert store.start("raw", action="discover", domain="hr").attempt == 1
    assert (store.get("raw").domain, store.get("raw").action) == ("hr", "discover")
    assert [event.state for event in store.follow("raw", timeout=0.1)] == ["queued", "running"]


def test_the_list_shows_the_newest_first(store: JobStore) -> None:
    for number in range(5):
        store.create(f"job{number}", action="discover")
    store.start("job3", action="discover")
    listed = [record.id for record in store.list()]
    assert sorted(listed) == [f"job{number}" for number in range(5)]
    assert [record.created_at for record in store.list()] == sorted(
        (record.created_at for record in store.list()), reverse=True
    )
    assert [record.id for record in store.list(limit=2)] == listed[:2]
    assert [record.id for record in store.list(state=JobState.RUNNING)] == ["job3"]


def test_finished_jobs_expire_and_others_stay(store: JobStore, raw: redis.Redis) -> None:
    attempt = started(store, "done")
    started(store, "running")
    store.create("queued", action="discover")
    store.mark_succeeded("done", attempt, {})
    assert 590 < int(raw.ttl("fbs:job:done")) <= 600  # type: ignore[arg-type,unused-ignore]
    assert 590 < int(raw.ttl("fbs:job:done:events")) <= 600  # type: ignore[arg-type,unused-ignore]
    for key in ("fbs:job:running", "fbs:job:running:events", "fbs:job:queued", "fbs:job:queued:events"):
        assert raw.ttl(key) == -1


def test_the_index_forgets_what_has_expired(redis_url: str, raw: redis.Redis) -> None:
    with JobStore(redis_url, ttl=1) as store:
        store.mark_succeeded("one", started(store), {})
        until(lambda: not raw.exists("fbs:job:one"))
        assert list(store.list()) == []

        def trimmed() -> bool:
            store.create(f"other{time.monotonic()}", action="discover")
            return raw.zscore("fbs:jobs", "one") is None

        until(trimmed)
        assert raw.zcard("fbs:jobs:ending") == 0


def test_a_job_that_was_not_sent_leaves_nothing(store: JobStore, raw: redis.Redis) -> None:
    store.create("one", action="discover")
    store.remove("one")
    assert raw.keys("*") == ["fbs:metrics"]  # that it was asked for stays counted


def test_many_events_are_not_kept_for_ever(store: JobStore, raw: redis.Redis) -> None:
    attempt = started(store)
    for number in range(2500):
        store.progress("one", attempt, kind="progress", step="fields", current=number)
    assert 1000 <= int(raw.xlen("fbs:job:one:events")) < 1300  # type: ignore[arg-type,unused-ignore]


def test_progress_is_reported_at_most_five_times_a_second(store: JobStore) -> None:
    attempt = started(store)
    published: list[int] = []
    progress = JobProgress(store, "one", attempt, publish=lambda reported: published.append(reported["current"]))
    began = time.monotonic()
    progress.step("fields", total=100_000)
    for _ in range(100_000):
        progress.advance()
    spent = time.monotonic() - began
    assert len(published) <= 2 + spent / 0.2
    progress.step("save")
    assert published[-2:] == [100_000, 0]  # pending progress is reported before the next step
    record = store.get("one")
    assert (record.step, record.current, record.total) == ("save", 0, None)


# ------------------------------------------------------------------------------------------------------ damaged records


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "zzz"},
        {"attempts": "x"},
        {"result": "{notjson"},
        {"result": "[]"},
        {"created_at": "99999999999999999999"},
        {"heartbeat_at": "soon"},
        None,
    ],
    ids=str,
)
def test_a_damaged_record_is_shown_as_unreadable_and_hides_no_other(
    store: JobStore, raw: redis.Redis, damage: dict[str, str] | None
) -> None:
    for name in ("one", "two"):
        store.create(name, action="refresh")
        store.start(name, action="refresh")
    if damage is None:
        raw.delete("fbs:job:one")
        raw.rpush("fbs:job:one", "a list")
    else:
        for field, value in damage.items():
            raw.hset("fbs:job:one", field, value)
    raw.xadd("fbs:job:two:events", {"nothing": "of ours"})
    by_id = {record.id: record for record in store.list()}
    assert by_id["two"].state is JobState.RUNNING
    assert (by_id["one"].state, by_id["one"].error and by_id["one"].error["code"]) == (
        JobState.FAILED,
        "job_unreadable",
    )
    assert {record.id for record in store.open() if not record.state.finished} == {"two"}
    assert store.states(["one", "two"])["two"] is JobState.RUNNING
    assert store.get("one").to_dict()["message"].startswith("The record of the job 'one' cannot be read")
    store.mark_succeeded("two", 1, {})
    assert [event.state for event in store.follow("two")][-1] is JobState.SUCCEEDED


def test_the_beginning_of_an_id_names_a_job(store: JobStore) -> None:
    for job_id in ("0b9f3c5e-8a53", "0b9f3c5e-9b64", "1c9f3c5e[*-8a53"):
        store.create(job_id, action="discover")
    assert store.full_id("0b9f3c5e-8") == store.full_id("0b9f3c5e-8a53") == "0b9f3c5e-8a53"
    assert store.full_id("1c9f3c5e[*") == "1c9f3c5e[*-8a53"
    with pytest.raises(UsageError, match="2 jobs begin with '0b9f3c5e'"):
        store.full_id("0b9f3c5e")
    for missing in ("0b9f3c", "0b9f3c5e*", "", "2c9f3c5e"):
        with pytest.raises(JobNotFound):
            store.full_id(missing)


def test_the_log_holds_steps_and_lines_in_order(store: JobStore) -> None:
    attempt = started(store)
    store.progress("one", attempt, kind="step", step="fields", total=8)
    store.progress("one", attempt, kind="progress", step="fields", current=4, total=8)
    store.add_log_line("one", "WARNING", "Odoo is slow")
    store.mark_failed("one", attempt, ERROR)
    log = store.log("one")
    assert log == sorted(log, key=lambda line: line.at)
    lines = [(line.level, line.text) for line in log]
    logged = ("WARNING", "Odoo is slow")
    assert logged in lines
    assert [line for line in lines if line != logged] == [
        ("state", "queued"),
        ("state", "running"),
        ("step", "fields (8)"),
        ("state", "failed: Odoo took too long."),
    ]


@pytest.mark.parametrize(
    ("action", "arguments", "variant"),
    [
        ("migrate", {}, "apply"),
        ("migrate", {"plan_only": True}, "plan"),
        ("migrate", {"undo": True, "plan_only": True}, "undo plan"),
        ("migrate", {"undo": True, "fingerprint": "x"}, "undo"),
        ("drop", {"dry_run": True}, "dry run"),
        ("refresh", {"full": True}, "full"),
        ("refresh", {"full": False}, ""),
        ("setup", {"full": True}, ""),
    ],
)
def test_which_kind_of_an_action(store: JobStore, action: str, arguments: dict[str, bool], variant: str) -> None:
    assert variant_of(action, arguments) == variant
    store.create("one", action=action, variant=variant, request=arguments)
    assert store.get("one").variant == variant
    assert store.get("one").to_dict()["variant"] == variant
    assert store.request("one") == arguments
    assert "request" not in store.get("one").to_dict()
