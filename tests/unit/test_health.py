"""Assessment of a queue after a probe, and the overall report."""

from __future__ import annotations

import pytest

from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.probes import ProbeReply
from fbs_worker.jobs.queues import Backlog
from fbs_worker.jobs.worker.run import run_worker
from fbs_worker.jobs.workers import ALIVE_SECONDS, WorkerHeartbeat
from fbs_worker.ops.health import Check, Health, HealthReport, assess_consumers

QUEUE = "fbs.schema"
EMPTY = Backlog(waiting=0)


def heartbeat(name: str = "one@host", **given: object) -> WorkerHeartbeat:
    values: dict[str, object] = {"queues": (QUEUE,), "slots": 2, "running": 0, "taken": 5, "age": 1.0}
    return WorkerHeartbeat(name=name, **{**values, **given})  # type: ignore[arg-type]


IDLE = heartbeat()
FULL = heartbeat(running=2)
AT_WORK = heartbeat(running=1, taken=6)
STUCK = heartbeat(running=2, age=ALIVE_SECONDS + 1)
ELSEWHERE = heartbeat("two@host", queues=("fbs.discovery",), running=2, taken=9)


@pytest.mark.parametrize(
    ("after", "health", "words", "hint"),
    [
        ([], Health.FAILED, "No worker consumes the queue fbs.schema: no worker is running.", "fbs worker"),
        ([IDLE], Health.FAILED, "one@host is running with 2 of 2 slots free, but consumes no messages.", "Restart it"),
        ([heartbeat(running=1)], Health.FAILED, "one@host is running with 1 of 2 slots free", "Restart it"),
        ([STUCK], Health.FAILED, "one@host has sent no heartbeat for 7 s.", "Restart it"),
        (
            [ELSEWHERE],
            Health.FAILED,
            "only other queues are consumed (two@host consumes fbs.discovery).",
            "--queues fbs.schema",
        ),
        ([FULL], Health.BUSY, "one@host runs 2 of 2", ""),
        ([AT_WORK], Health.BUSY, "one@host runs 1 of 2", ""),
        ([STUCK, heartbeat("three@host", running=2)], Health.BUSY, "three@host runs 2 of 2", ""),
        ([heartbeat("new@host", taken=7)], Health.FAILED, "new@host is running", "Restart it"),
    ],
)
def test_a_queue_without_an_answer(after: list[WorkerHeartbeat], health: Health, words: str, hint: str) -> None:
    check = assess_consumers(QUEUE, None, before=[IDLE, ELSEWHERE], after=after, backlog=EMPTY)
    assert check.health is health
    assert check.detail.endswith(words) if words.endswith(".") else words in check.detail
    assert hint in check.hint
    assert bool(check.hint) == (health is Health.FAILED)


@pytest.mark.parametrize(
    ("after", "health", "words"),
    [
        ([], Health.FAILED, "Worker one@host consumes no jobs: it is not running."),
        ([ELSEWHERE], Health.FAILED, "it is not running."),
        ([IDLE, FULL], Health.FAILED, "it is running with 2 of 2 slots free, but consumes no messages."),
        ([STUCK], Health.FAILED, "it has sent no heartbeat for 7 s."),
        ([heartbeat(queues=("fbs.discovery",), running=2)], Health.BUSY, "one@host runs 2 of 2"),
    ],
)
def test_a_worker_that_does_not_answer(after: list[WorkerHeartbeat], health: Health, words: str) -> None:
    check = assess_consumers("one@host", None, before=[], after=after[:1], backlog=EMPTY, single=True)
    assert check.health is health
    assert check.detail.endswith(words)


def test_an_answer_suffices() -> None:
    answer = ProbeReply(worker="one@host", seconds=0.0123)
    check = assess_consumers(QUEUE, answer, before=[], after=[STUCK], backlog=Backlog(waiting=3), oldest=12.2)
    assert check.health is Health.FINE
    assert check.detail == "one@host answers within 12 ms; 3 waiting, the next for 12 s"
    facts = {"waiting": 3, "oldest_seconds": 12.2, "answered_by": "one@host", "answer_seconds": 0.0123}
    assert check.to_dict().items() >= facts.items()


def test_a_report_has_the_health_of_its_worst_check() -> None:
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
    values = report.to_dict()
    assert values["error"]["code"] == "unhealthy"
    assert [check["health"] for check in values["checks"]] == ["fine", "failed", "unknown"]
    assert values["workers"][0]["queues"] == [QUEUE]


@pytest.mark.parametrize("name", ["", "two words", "a@b", "-x", "x" * 65, "a/b", "%h"])
def test_invalid_worker_names(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid worker name"):
        run_worker(Settings(), name=name)


@pytest.mark.parametrize("queues", [(), ("nope",), ("fbs.discovery", "celery", "nope")])
def test_invalid_queues(queues: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        run_worker(Settings(), queues=queues)
    assert "fbs.discovery, fbs.schema" in caught.value.hint
