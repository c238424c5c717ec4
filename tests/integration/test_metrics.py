"""Metrics of a real Redis, printed and served."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from threading import Thread
from uuid import uuid4

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from fbs_worker.core.errors import FBSError, OdooTimeout, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.store import JobStore
from fbs_worker.jobs.worker.task import freshness, record_gauges
from fbs_worker.ops.metrics import metrics_text
from fbs_worker.ops.metrics_server import MetricsServer
from tests.conftest import MakeSettings
from tests.support import preloaded
from tests.support.processes import ROOT, environment


def parse(text: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


@pytest.fixture
def mine(settings: MakeSettings) -> Settings:
    return settings()


@pytest.fixture
def jobs(mine: Settings) -> Iterator[JobStore]:
    with JobStore(mine.fbs_redis_url, ttl=60) as store:
        yield store


def started(jobs: JobStore, job_id: str, action: str) -> int:
    jobs.create(job_id, action=action)
    return jobs.start(job_id, action=action).attempt


def test_jobs_are_counted(mine: Settings, jobs: JobStore) -> None:
    jobs.create("a1", action="discover")
    jobs.mark_succeeded("a2", started(jobs, "a2", "refresh"), {})
    jobs.mark_failed("a3", started(jobs, "a3", "refresh"), OdooTimeout("too long").to_dict())
    started(jobs, "a4", "setup")
    found = parse(metrics_text(mine))
    assert values(found["fbs_jobs"]) == {
        ("discover", "queued"): 1,
        ("refresh", "failed"): 1,
        ("refresh", "queued"): 2,
        ("refresh", "running"): 2,
        ("refresh", "succeeded"): 1,
        ("setup", "queued"): 1,
        ("setup", "running"): 1,
    }
    assert values(found["fbs_jobs_unfinished"]) == {("discover", "queued"): 1, ("setup", "running"): 1}
    waits, durations = found["fbs_job_queue_seconds"], found["fbs_job_duration_seconds"]
    for family, counts in ((waits, {"refresh": 2, "setup": 1}), (durations, {"refresh": 2})):
        counted = {sample.labels["action"]: sample.value for sample in family.samples if sample.name.endswith("_count")}
        assert counted == counts
        assert all(sample.value < 10 for sample in family.samples if sample.name.endswith("_sum"))
    assert 0 <= values(found["fbs_job_oldest_wait_seconds"])[("discover",)] < 10


NOTHING = {"added": 0, "changed": 0, "removed": 0}
UNCHANGED = {"report": {"added": [], "changed": [], "removed": []}, "workflows": NOTHING, "dashboards": NOTHING}


def test_the_freshness_of_solutions(mine: Settings, jobs: JobStore) -> None:
    def ended(solution: str, result: dict[str, object]) -> tuple[dict[tuple[str, ...], float], ...]:
        jobs.create(job_id := uuid4().hex, action="refresh", solution=solution)
        attempt = jobs.start(job_id, action="refresh").attempt
        jobs.mark_succeeded(job_id, attempt, result, fresh=freshness(result))
        found = parse(metrics_text(mine))
        return tuple(values(found[f"fbs_solution_last_{what}_timestamp_seconds"]) for what in ("checked", "change"))

    checked, changed = ended("a", UNCHANGED)
    assert (set(checked), changed) == ({("a",)}, {})
    assert checked[("a",)] == pytest.approx(time.time(), abs=60)
    _, changed = ended("b", {"refresh": UNCHANGED | {"dashboards": NOTHING | {"added": 1}}})
    assert set(changed) == {("b",)}
    _, changed = ended("a", UNCHANGED | {"report": {"added": [1]}})
    assert set(changed) == {("a",), ("b",)}
    assert ended("a", {"dropped": [], "dry_run": True})[1] == changed
    assert [set(each) for each in ended("a", {"dropped": []})] == [{("b",)}] * 2
    assert [set(each) for each in ended("c", {"refresh": None, "created": []})] == [{("b",)}] * 2


def test_the_records_of_solutions(mine: Settings, jobs: JobStore) -> None:
    def table(status: str, minutes: int | None) -> dict[str, object]:
        synced = datetime.now(tz=UTC) - timedelta(minutes=minutes or 0)
        return {"status": status, "rows": 7, "rejected": 1, "synced_at": minutes and synced.isoformat()}

    def ended(solution: str, result: dict[str, object]) -> dict[str, dict[tuple[str, ...], float]]:
        jobs.create(job_id := uuid4().hex, action="sync", solution=solution)
        attempt = jobs.start(job_id, action="sync").attempt
        result = {"solution": solution, **result}
        jobs.mark_succeeded(job_id, attempt, result, fresh=freshness(result), gauges=record_gauges(result))
        found = parse(metrics_text(mine))
        names = ("rows", "rejected", "sync_calls", "tables", "lag_seconds")
        return {name: values(found[f"fbs_records_{name}"]) for name in names}

    tables = [table("ok", 1), table("needs review", 10), table("pending", None)]
    whole = {"tables": tables, "calls": 5, "needs_review": ["a"]}
    found = ended("a", whole)
    assert (found["rows"], found["rejected"], found["sync_calls"]) == ({("a",): 21}, {("a",): 3}, {("a",): 5})
    assert found["lag_seconds"][("a",)] == pytest.approx(600, abs=60)
    assert {key: count for key, count in found["tables"].items() if count} == {
        ("a", "ok"): 1,
        ("a", "needs review"): 1,
        ("a", "pending"): 1,
    }
    part = {"tables": tables[:1], "calls": 1, "needs_review": [], "models": ["b"]}
    assert ended("a", part)["rows"] == found["rows"], "a part says nothing of the whole"
    assert set(ended("ab", whole)["rows"]) == {("a",), ("ab",)}
    gone = ended("a", {"dropped": []})
    assert {key[0] for each in gone.values() for key in each} == {"ab"}


def test_queued_messages_are_counted(mine: Settings) -> None:
    with make_app(mine, results=False) as app:
        app.send_task("fbs.refresh", kwargs={"solution_name": "x"})
        app.send_task("fbs.refresh", kwargs={"solution_name": "y"})
    found = parse(metrics_text(mine))
    assert values(found["fbs_queue_length"]) == {("fbs.discovery",): 2, ("fbs.schema",): 0, ("fbs.records",): 0}
    assert values(found["fbs_broker_up"]) == {(): 1}


def test_an_unreachable_broker_hides_no_other_metric(mine: Settings, no_redis: str) -> None:
    found = parse(metrics_text(mine.model_copy(update={"fbs_broker_url": no_redis})))
    assert values(found["fbs_broker_up"]) == {(): 0}
    assert values(found["fbs_workers"]) == {(): 0}


@contextmanager
def serving(settings: Settings, errors: list[FBSError]) -> Iterator[HTTPConnection]:
    with MetricsServer(settings, address="127.0.0.1", port=0, on_error=errors.append) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join(20)


def test_metrics_are_served(mine: Settings) -> None:
    with serving(mine, []) as connection:
        connection.request("GET", "/metrics?x=1")
        answer = connection.getresponse()
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/plain")
        assert "fbs_jobs" in parse(answer.read())
        connection.request("HEAD", "/metrics")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"The metrics are at /metrics\n")
        connection.request("POST", "/metrics")
        assert connection.getresponse().status == 405


def test_an_unreachable_redis_is_a_503(mine: Settings, no_redis: str) -> None:
    errors: list[FBSError] = []
    gone = mine.model_copy(update={"fbs_redis_url": no_redis.replace("//", "//:vErY-secret@")})
    with serving(gone, errors) as connection:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (503, b"Redis at 127.0.0.1:1 does not answer.\n")
    assert [exc.code for exc in errors] == ["queue_unreachable"]


def test_a_port_in_use_is_an_error(mine: Settings) -> None:
    with MetricsServer(mine, address="127.0.0.1", port=0, on_error=lambda _: None) as server:
        assert server.url == f"http://127.0.0.1:{server.server_port}/metrics"
        with pytest.raises(UsageError, match=f"Port {server.server_port} of 127.0.0.1 is in use"):
            MetricsServer(mine, address="127.0.0.1", port=server.server_port, on_error=lambda _: None)


def test_the_command_prints(mine: Settings) -> None:
    printed = preloaded.run(("metrics",), env=environment(mine), cwd=ROOT)
    assert "fbs_jobs" in parse(printed.stdout.encode())
    assert (printed.stderr, printed.returncode) == ("", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_serves_until_a_signal(mine: Settings, number: signal.Signals) -> None:
    server, errors = preloaded.start("metrics", "--serve", "--port=0", env=environment(mine), cwd=ROOT, output=2)
    with errors:
        line = errors.readline()
        assert line.startswith("Metrics are at http://127.0.0.1:")
        connection = HTTPConnection(line.split("/")[2], timeout=20)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
        server.send_signal(number)
        assert server.wait(20) == 0
        assert errors.read() == ""
