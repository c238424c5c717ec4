"""Prometheus metrics from the workers' counters and the present state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fbs_worker.jobs.model import BUCKETS, JobRecord
from fbs_worker.jobs.workers import WorkerHeartbeat
from fbs_worker.ops.metrics import MetricsSnapshot, families

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Snapshot:
    """Collector of fixed values for prometheus_client."""

    def __init__(self, now: MetricsSnapshot) -> None:
        self.now = now

    def collect(self) -> Sequence[Metric]:
        return list(families(self.now))


def exported(
    counters: Mapping[str, str] | None = None,
    *,
    open_jobs: Sequence[JobRecord] = (),
    workers: Sequence[WorkerHeartbeat] = (),
    waiting: Mapping[str, int] | None = None,
) -> dict[str, Metric]:
    """The metrics in text format, parsed as Prometheus parses them."""
    now = MetricsSnapshot(counters=counters or {}, at=NOW, open_jobs=open_jobs, workers=workers, waiting=waiting)
    text = generate_latest(Snapshot(now)).decode()
    read = list(text_string_to_metric_families(text))
    assert len({family.name for family in read}) == len(read)
    return {family.name: family for family in read}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in family.samples}


def job(state: str, *, seconds: float, action: str = "refresh") -> JobRecord:
    created = round((NOW - timedelta(seconds=seconds)).timestamp() * 1000)
    now = round(NOW.timestamp() * 1000)
    kept = {"state": state, "action": action, "created_at": str(created), "heartbeat_at": str(created)}
    return JobRecord.from_hash("a1", kept, now=now, lost_after=30)


def worker(*, age: float = 0.0) -> WorkerHeartbeat:
    return WorkerHeartbeat(name="a@b", queues=("fbs.discovery",), slots=4, running=3, taken=9, age=age)


def test_every_metric_has_a_type_and_a_help_text() -> None:
    found = exported()
    assert all(family.documentation for family in found.values())
    assert {name: family.type for name, family in found.items()} == {
        "fbs_jobs": "counter",
        "fbs_job_losses": "counter",
        "fbs_rows_written": "counter",
        "fbs_messages_rejected": "counter",
        "fbs_odoo_calls": "counter",
        "fbs_odoo_call_failures": "counter",
        "fbs_job_queue_seconds": "histogram",
        "fbs_job_duration_seconds": "histogram",
        "fbs_solution_last_checked_timestamp_seconds": "gauge",
        "fbs_solution_last_change_timestamp_seconds": "gauge",
        "fbs_records_rows": "gauge",
        "fbs_records_rejected": "gauge",
        "fbs_records_sync_calls": "gauge",
        "fbs_records_tables": "gauge",
        "fbs_records_lag_seconds": "gauge",
        "fbs_jobs_unfinished": "gauge",
        "fbs_job_oldest_wait_seconds": "gauge",
        "fbs_workers": "gauge",
        "fbs_worker_slots": "gauge",
        "fbs_worker_slots_used": "gauge",
        "fbs_beat_up": "gauge",
        "fbs_broker_up": "gauge",
        "fbs_queue_length": "gauge",
    }


def test_counters_have_the_workers_counts() -> None:
    found = exported(
        {
            "jobs|refresh|succeeded": "12",
            "jobs|refresh|failed": "1",
            "losses|setup": "2",
            "rows|refresh": "2412",
            "calls|odoo.example.com:443": "99",
            'call_failures|a"b\\c:80': "3",
            "jobs|odd": "1",
            "what|ever": "1",
        }
    )
    assert values(found["fbs_jobs"], "action", "state") == {("refresh", "succeeded"): 12, ("refresh", "failed"): 1}
    assert {sample.name for sample in found["fbs_jobs"].samples} == {"fbs_jobs_total"}
    assert values(found["fbs_job_losses"], "action") == {("setup",): 2}
    assert values(found["fbs_rows_written"], "action") == {("refresh",): 2412}
    assert values(found["fbs_odoo_calls"], "server") == {("odoo.example.com:443",): 99}
    assert values(found["fbs_odoo_call_failures"], "server") == {('a"b\\c:80',): 3}


def test_histograms_are_cumulative() -> None:
    last = len(BUCKETS)
    found = exported(
        {
            "wait|refresh|0": "3",
            "wait|refresh|2": "1",
            f"wait|refresh|{last}": "1",
            "wait|refresh|sum": "4001.25",
            "wait|refresh|count": "5",
        }
    )
    samples = found["fbs_job_queue_seconds"].samples
    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}
    assert list(buckets) == ["0.1", "0.5", "1", "5", "10", "30", "60", "300", "900", "3600", "+Inf"]
    assert list(buckets.values()) == [3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5]
    assert {sample.name: sample.value for sample in samples if not sample.name.endswith("_bucket")} == {
        "fbs_job_queue_seconds_count": 5,
        "fbs_job_queue_seconds_sum": 4001.25,
    }
    assert found["fbs_job_duration_seconds"].samples == []


def test_unfinished_jobs_are_counted_by_state() -> None:
    found = exported(
        open_jobs=[
            job("queued", seconds=5),
            job("queued", seconds=90),
            job("running", seconds=1),
            job("running", seconds=60),
            job("queued", seconds=7, action="setup"),
        ]
    )
    assert values(found["fbs_jobs_unfinished"], "action", "state") == {
        ("refresh", "lost"): 1,
        ("refresh", "queued"): 2,
        ("refresh", "running"): 1,
        ("setup", "queued"): 1,
    }
    assert values(found["fbs_job_oldest_wait_seconds"], "action") == {("refresh",): 90, ("setup",): 7}


def test_workers_and_queues_are_exported() -> None:
    found = exported(workers=[worker(), worker(age=50)], waiting={"fbs.discovery": 3, "fbs.schema": 0})
    counts = {name: values(found[f"fbs_{name}"])[()] for name in ("workers", "worker_slots", "worker_slots_used")}
    assert counts == {"workers": 1, "worker_slots": 4, "worker_slots_used": 3}
    assert values(found["fbs_broker_up"])[()] == 1
    assert values(found["fbs_queue_length"], "queue") == {("fbs.discovery",): 3, ("fbs.schema",): 0}


def test_an_unreachable_broker_is_a_metric() -> None:
    found = exported(waiting=None)
    assert values(found["fbs_broker_up"])[()] == 0
    assert found["fbs_queue_length"].samples == []
