"""How a queue is judged after a probe, and what a report says of the whole."""

from __future__ import annotations

import pytest

from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.probes import ProbeReply
from fbs_worker.jobs.queues import Backlog
from fbs_worker.jobs.worker.run import run_worker
from fbs_worker.jobs.workers import ALIVE_SECONDS, WorkerHeartbeat
from fbs_worker.ops.health import Check, Health, HealthReport, judge

QUEUE = "fbs.schema"
EMPTY = Backlog(waiting=0)


def sign(name: str = "one@host", **given: object) -> WorkerHeartbeat:
    values: dict[str, object] = {"queues": (QUEUE,), "slots": 2, "running": 0, "taken": 5, "age": 1.0}
    return WorkerHeartbeat(name=name, **{**values, **given})  # type: ignore[arg-type]


IDLE = sign()
FULL = sign(running=2)
AT_WORK = sign(running=1, taken=6)
STUCK = sign(running=2, age=ALIVE_SECONDS + 1)
ELSEWHERE = sign("two@host", queues=("fbs.discovery",), running=2, taken=9)


@pytest.mark.parametrize(
    ("after", "health", "words", "hint"),
    [
        ([], Health.FAILED, "Nobody takes jobs from fbs.schema: no worker is there.", "fbs worker"),
        ([IDLE], Health.FAILED, "one@host is there with 2 of 2 slots free, but takes nothing.", "Restart it"),
        ([sign(running=1)], Health.FAILED, "one@host is there with 1 of 2 slots free", "Restart it"),
        ([STUCK], Health.FAILED, "one@host has given no sign of life for 7 s.", "Restart it"),
        ([ELSEWHERE], Health.FAILED, "only others (two@host takes fbs.discovery).", "--queues fbs.schema"),
        ([FULL], Health.BUSY, "one@host runs 2 of 2", ""),
        ([AT_WORK], Health.BUSY, "one@host runs 1 of 2", ""),
        ([STUCK, sign("three@host", running=2)], Health.BUSY, "three@host runs 2 of 2", ""),
        ([sign("new@host", taken=7)], Health.FAILED, "new@host is there", "Restart it"),
    ],
)
def test_a_queue_from_which_nobody_answers(after: list[WorkerHeartbeat], health: Health, words: str, hint: str) -> None:
    check = judge(QUEUE, None, before=[IDLE, ELSEWHERE], after=after, backlog=EMPTY)
    assert check.health is health
    assert check.detail.endswith(words) if words.endswith(".") else words in check.detail
    assert hint in check.hint
    assert bool(check.hint) == (health is Health.FAILED)


@pytest.mark.parametrize(
    ("after", "health", "words"),
    [
        ([], Health.FAILED, "Worker one@host takes no jobs: it is not there."),
        ([ELSEWHERE], Health.FAILED, "it is not there."),
        ([IDLE, FULL], Health.FAILED, "it is there with 2 of 2 slots free, but takes nothing."),
        ([STUCK], Health.FAILED, "it has given no sign of life for 7 s."),
        ([sign(queues=("fbs.discovery",), running=2)], Health.BUSY, "one@host runs 2 of 2"),
    ],
)
def test_a_worker_that_does_not_answer(after: list[WorkerHeartbeat], health: Health, words: str) -> None:
    check = judge("one@host", None, before=[], after=after[:1], backlog=EMPTY, one=True)
    assert check.health is health
    assert check.detail.endswith(words)


def test_an_answer_is_all_that_is_needed() -> None:
    answer = ProbeReply(worker="one@host", seconds=0.0123)
    check = judge(QUEUE, answer, before=[], after=[STUCK], backlog=Backlog(waiting=3), oldest=12.2)
    assert check.health is Health.FINE
    assert check.detail == "one@host answers within 12 ms; 3 waiting, the next for 12 s"
    facts = {"waiting": 3, "oldest_seconds": 12.2, "answered_by": "one@host", "answer_seconds": 0.0123}
    assert check.to_dict().items() >= facts.items()


def test_a_report_is_as_good_as_its_worst_part() -> None:
    fine = Check(name="redis", health=Health.FINE, detail="x")
    busy = Check(name=QUEUE, health=Health.BUSY, detail="x")
    away = Check(name="broker", health=Health.FAILED, detail="The broker does not answer.", hint="Start it.")
    unknown = Check(name=QUEUE, health=Health.UNKNOWN, detail="x")
    assert HealthReport(checks=(fine,)).health is Health.FINE
    assert HealthReport(checks=(fine, busy)).health is Health.BUSY
    assert HealthReport(checks=(fine, busy)).error is None
    report = HealthReport(checks=(fine, away, unknown), workers=(IDLE,))
    assert report.health is Health.FAILED
    assert report.error is not None
    assert (report.error.message, report.error.hint) == ("The broker does not answer.", "Start it.")
    assert report.error.exit_code == 3
    told = report.to_dict()
    assert told["error"]["code"] == "unhealthy"
    assert [check["health"] for check in told["checks"]] == ["fine", "failed", "unknown"]
    assert told["workers"][0]["queues"] == [QUEUE]


@pytest.mark.parametrize("name", ["", "two words", "a@b", "-x", "x" * 65, "a/b", "%h"])
def test_what_cannot_be_a_workers_name(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a worker's name"):
        run_worker(Settings(), name=name)


@pytest.mark.parametrize("queues", [(), ("nope",), ("fbs.discovery", "celery", "nope")])
def test_what_a_worker_cannot_take_jobs_from(queues: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        run_worker(Settings(), queues=queues)
    assert "fbs.discovery, fbs.schema" in caught.value.hint
