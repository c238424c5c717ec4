"""Prometheus metrics: counters of all workers and gauges of the present state.

Workers count in Redis, in the hash `fbs:metrics`: counters survive the end of a worker, and one scrape covers all
workers. Its fields, parts separated by `|`:

    jobs|<action>|<state>                  transitions of jobs into that state
    wait|<action>|<bucket, sum or count>   seconds from a job's creation to its first start; buckets by their number
    duration|<action>|<…>                  seconds from a job's first start to its end, in the same form
    losses|<action>                        times that a job lost its worker
    rows|<action>                          discovery rows added, changed or removed
    rejected                               messages that a worker could not read
    checked|<solution>                     when a job last refreshed the solution, as seconds since 1970
    changed|<solution>                     when such a job last found something
    record_rows|<solution>                 rows of its mirrored tables after its last sync
    record_rejected|<solution>             records that these tables cannot hold
    record_calls|<solution>                calls to Odoo of that sync
    record_synced|<solution>               when the one that was synced longest ago was, as seconds since 1970
    record_tables|<solution>|<status>      the number of these tables in that status
    calls|<server>, call_failures|<server> calls to an Odoo, and those of them that the server failed to answer

Names follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final, cast

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import QueueUnreachable
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.config import QUEUES
from fbs_worker.jobs.model import BUCKETS, JobRecord, JobState
from fbs_worker.jobs.queues import Queues
from fbs_worker.jobs.store import METRICS_KEY, JobReader
from fbs_worker.jobs.workers import WorkerHeartbeat, WorkerRegistry
from fbs_worker.scheduling.service import BEAT

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""The Content-Type of `metrics_text`."""

_COUNTERS: Final = {
    "jobs": ("fbs_jobs", "Transitions of jobs into a state.", ("action", "state")),
    "losses": ("fbs_job_losses", "Times that a job lost its worker.", ("action",)),
    "rows": ("fbs_rows_written", "Discovery rows added, changed or removed.", ("action",)),
    "rejected": ("fbs_messages_rejected", "Messages that no worker could read.", ()),
    "calls": ("fbs_odoo_calls", "Calls to an Odoo.", ("server",)),
    "call_failures": ("fbs_odoo_call_failures", "Calls that an Odoo failed to answer.", ("server",)),
}
_TIMES: Final = {
    "checked": ("fbs_solution_last_checked_timestamp_seconds", "When a job last refreshed the solution."),
    "changed": ("fbs_solution_last_change_timestamp_seconds", "When such a job last found a change in Odoo."),
}
_RECORDS: Final = {
    "record_rows": ("fbs_records_rows", "Rows of the mirrored tables.", ("solution",)),
    "record_rejected": ("fbs_records_rejected", "Records that a mirrored table cannot hold.", ("solution",)),
    "record_calls": ("fbs_records_sync_calls", "Calls to Odoo of the last sync.", ("solution",)),
    "record_tables": (
        "fbs_records_tables",
        "Mirrored tables by the status of their copy, e.g. needs review.",
        ("solution", "status"),
    ),
}
"""Gauges as the last sync of the whole solution left them."""

_HISTOGRAMS: Final = {
    "wait": ("fbs_job_queue_seconds", "From a job's creation to its first start."),
    "duration": ("fbs_job_duration_seconds", "From a job's first start to its end, retries included."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSnapshot:
    """The values behind the metrics.

    Attributes:
        counters: the workers' counters: the fields of `fbs:metrics`.
        at: when it was read, UTC.
        open_jobs: the unfinished jobs.
        workers: the workers with a heartbeat within the last minute.
        waiting: the number of messages in each queue; None if the broker does not answer.
        beat: whether a beat runs.
    """

    counters: Mapping[str, str]
    at: datetime
    open_jobs: Sequence[JobRecord] = field(default=())
    workers: Sequence[WorkerHeartbeat] = field(default=())
    waiting: Mapping[str, int] | None = None
    beat: bool = False


class MetricsCollector(Collector):
    """Collects the metrics of all workers of a Redis; it raises what `metrics_text` raises.

    Args:
        settings: the settings of Redis and the broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterable[Metric]:
        """Read the values and return their families."""
        return families(_read(self._settings))


def metrics_text(settings: Settings) -> bytes:
    """Render the metrics of all workers of a Redis in Prometheus's text format.

    Args:
        settings: the settings of Redis and the broker.

    Returns:
        The text; see `CONTENT_TYPE`.

    Raises:
        SettingsError: a setting is missing or invalid.
        QueueUnreachable: Redis does not answer. A separate broker that does not answer is a metric: `fbs_broker_up`.
    """
    return generate_latest(MetricsCollector(settings))


def families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """The metric families, with help and labels.

    Args:
        snapshot: the values.
    """
    by_kind: dict[str, dict[tuple[str, ...], float]] = {}
    for name, value in snapshot.counters.items():
        kind, *key = name.split("|")
        by_kind.setdefault(kind, {})[tuple(key)] = float(value)
    for kind, (name, text, labels) in _COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=labels)
        for values, count in sorted(by_kind.get(kind, {}).items()):
            if len(values) == len(labels):
                counter.add_metric(values, count)
        yield counter
    for kind, (name, text) in _HISTOGRAMS.items():
        yield _histogram(name, text, by_kind.get(kind, {}))
    for kind, (name, text) in _TIMES.items():
        yield _gauge(name, text, ("solution",), by_kind.get(kind, {}).items())
    for kind, (name, text, labels) in _RECORDS.items():
        yield _gauge(name, text, labels, by_kind.get(kind, {}).items())
    lags = [(key, snapshot.at.timestamp() - synced) for key, synced in by_kind.get("record_synced", {}).items()]
    yield _gauge("fbs_records_lag_seconds", "Age of the oldest copy among the mirrored tables.", ("solution",), lags)
    yield from _gauges(snapshot)


def _gauges(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    unfinished = Counter((job.action, str(job.state)) for job in snapshot.open_jobs)
    waits = _longest(
        (job.action, (snapshot.at - job.created_at).total_seconds())
        for job in snapshot.open_jobs
        if job.state is JobState.QUEUED
    )
    alive = [worker for worker in snapshot.workers if worker.alive]
    yield _gauge(
        "fbs_jobs_unfinished",
        "Unfinished jobs, by their present state.",
        ("action", "state"),
        unfinished.items(),
    )
    yield _gauge(
        "fbs_job_oldest_wait_seconds",
        "Age of the oldest queued job.",
        ("action",),
        [((action,), wait) for action, wait in waits.items()],
    )
    yield GaugeMetricFamily("fbs_workers", "Workers with a recent heartbeat.", len(alive))
    yield GaugeMetricFamily(
        "fbs_worker_slots", "Jobs that these workers can run at a time.", sum(one.slots for one in alive)
    )
    yield GaugeMetricFamily("fbs_worker_slots_used", "Job slots in use.", sum(one.running for one in alive))
    yield GaugeMetricFamily("fbs_beat_up", "Whether a beat runs.", snapshot.beat)
    yield GaugeMetricFamily("fbs_broker_up", "Whether the broker answers.", snapshot.waiting is not None)
    waiting = [((name,), count) for name, count in (snapshot.waiting or {}).items()]
    yield _gauge("fbs_queue_length", "Messages in a queue.", ("queue",), waiting)


def _gauge(name: str, text: str, labels: Sequence[str], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values):
        gauge.add_metric(key, value)
    return gauge


def _histogram(name: str, text: str, counts_by_key: Mapping[tuple[str, ...], float]) -> Metric:
    """A histogram from counts per bucket; Prometheus expects cumulative counts."""
    histogram = HistogramMetricFamily(name, text, labels=("action",))
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    for action in sorted({key[0] for key in counts_by_key if len(key) == 2}):
        counts = [counts_by_key.get((action, str(number)), 0.0) for number in range(len(bounds))]
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        histogram.add_metric((action,), buckets, sum_value=counts_by_key.get((action, "sum"), 0.0))
    return histogram


def _longest(waits: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    longest: dict[str, float] = {}
    for action, seconds in waits:
        longest[action] = max(longest.get(action, 0.0), seconds)
    return longest


def _read(settings: Settings) -> MetricsSnapshot:
    url = settings.fbs_redis_url
    with queue.connect(url) as client:
        counters = cast("dict[str, str]", client.hgetall(METRICS_KEY))
        seconds, micros = cast("tuple[int, int]", client.time())
        beat = bool(client.exists(BEAT))
    with JobReader(url) as jobs, WorkerRegistry(url) as registry:
        return MetricsSnapshot(
            counters=counters,
            at=datetime.fromtimestamp(seconds + micros / 1e6, tz=UTC),
            open_jobs=jobs.open(),
            workers=registry.workers(),
            waiting=_waiting(settings),
            beat=beat,
        )


def _waiting(settings: Settings) -> Mapping[str, int] | None:
    with make_app(settings, results=False) as app, Queues(app) as queues:
        try:
            queues.connect()
            return {name: queues.backlog(name).waiting for name in QUEUES}
        except QueueUnreachable:
            return None
