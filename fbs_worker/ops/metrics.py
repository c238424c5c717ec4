"""Figures for Prometheus: what all workers did so far, and how things stand now.

Workers count in Redis, in the hash `fbs:metrics` with what they do: a counter goes on when a worker goes, and one
answer tells of all of them. Its fields, parts divided by `|`:

    changes                                times that a job came into another state: who keeps an answer asks whether
                                           it still holds
    jobs|<action>|<state>                  times that a job came into that state
    wait|<action>|<bucket, sum or count>   seconds from a job's creation to its first start; buckets by their number
    duration|<action>|<…>                  seconds from a job's first start to its end, in the same way
    losses|<action>                        times that a job lost its worker
    rows|<action>                          rows of discoveries added, changed or taken away
    calls|<server>, call_failures|<server> calls to an Odoo, and those of them that it failed to answer

Names follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from fbs_worker.scheduling.entries import LOCK

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""The Content-Type of `metrics_text`."""


_COUNTED: Final = {
    "jobs": ("fbs_jobs", "Times that a job came into a state.", ("action", "state")),
    "losses": ("fbs_job_losses", "Times that a job lost its worker.", ("action",)),
    "rows": ("fbs_rows_written", "Rows of discoveries added, changed or taken away.", ("action",)),
    "calls": ("fbs_odoo_calls", "Calls to an Odoo.", ("server",)),
    "call_failures": ("fbs_odoo_call_failures", "Calls that an Odoo failed to answer.", ("server",)),
}
_MEASURED: Final = {
    "wait": ("fbs_job_queue_seconds", "From a job's creation to its first start."),
    "duration": ("fbs_job_duration_seconds", "From a job's first start to its end, retries included."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """How things stand.

    Attributes:
        figures: what workers counted: the fields of `fbs:metrics`.
        at: when it was read, UTC.
        open_jobs: the jobs that have not ended.
        workers: the workers that gave a sign of life within the last minute.
        waiting: how many messages wait in each queue; None where the broker does not answer.
        beat: a beat leads: schedules are looked at.
    """

    figures: Mapping[str, str]
    at: datetime
    open_jobs: Sequence[JobRecord] = field(default=())
    workers: Sequence[WorkerHeartbeat] = field(default=())
    waiting: Mapping[str, int] | None = None
    beat: bool = False


def metrics_text(settings: Settings) -> bytes:
    """The figures of all workers of a Redis, in Prometheus's text format.

    Args:
        settings: which Redis and which broker.

    Raises:
        SettingsError: a setting is missing or not valid.
        QueueUnreachable: Redis does not answer. A broker beside it that does not is a figure: `fbs_broker_up`.
    """
    return generate_latest(_Figures(lambda: families(_read(settings))))


def families(now: Standings) -> Iterator[Metric]:
    """The figures, each with its help and its labels.

    Args:
        now: what they are made from.
    """
    kept: dict[str, dict[tuple[str, ...], float]] = {}
    for name, value in now.figures.items():
        kind, *key = name.split("|")
        kept.setdefault(kind, {})[tuple(key)] = float(value)
    for kind, (name, words, labels) in _COUNTED.items():
        counter = CounterMetricFamily(name, words, labels=labels)
        for values, count in sorted(kept.get(kind, {}).items()):
            if len(values) == len(labels):
                counter.add_metric(values, count)
        yield counter
    for kind, (name, words) in _MEASURED.items():
        yield _histogram(name, words, kept.get(kind, {}))
    yield from _of_now(now)


def _of_now(now: Standings) -> Iterator[Metric]:
    unfinished = Counter((job.action, str(job.state)) for job in now.open_jobs)
    waits = _longest(
        (job.action, (now.at - job.created_at).total_seconds()) for job in now.open_jobs if job.state is JobState.QUEUED
    )
    fresh = [worker for worker in now.workers if worker.alive]
    yield _gauge(
        "fbs_jobs_unfinished",
        "Jobs that have not ended, by where they stand now.",
        ("action", "state"),
        unfinished.items(),
    )
    yield _gauge(
        "fbs_job_oldest_wait_seconds",
        "For how long the oldest queued job has waited.",
        ("action",),
        [((action,), wait) for action, wait in waits.items()],
    )
    yield GaugeMetricFamily("fbs_workers", "Workers that gave a sign of life just now.", len(fresh))
    yield GaugeMetricFamily("fbs_worker_slots", "Jobs that they can run at once.", sum(one.slots for one in fresh))
    yield GaugeMetricFamily("fbs_worker_slots_used", "Jobs that they run.", sum(one.running for one in fresh))
    yield GaugeMetricFamily("fbs_beat_up", "Whether a beat leads, so that schedules are looked at.", now.beat)
    yield GaugeMetricFamily("fbs_broker_up", "Whether the broker answers.", now.waiting is not None)
    waiting = [((name,), count) for name, count in (now.waiting or {}).items()]
    yield _gauge("fbs_queue_length", "Messages that wait in a queue.", ("queue",), waiting)


class _Figures(Collector):
    """What prometheus_client writes out."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


def _gauge(name: str, words: str, labels: Sequence[str], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    gauge = GaugeMetricFamily(name, words, labels=labels)
    for key, value in sorted(values):
        gauge.add_metric(key, value)
    return gauge


def _histogram(name: str, words: str, kept: Mapping[tuple[str, ...], float]) -> Metric:
    """A histogram from counts per bucket; Prometheus wants those up to each bound."""
    histogram = HistogramMetricFamily(name, words, labels=("action",))
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    for action in sorted({key[0] for key in kept if len(key) == 2}):
        counts = [kept.get((action, str(number)), 0.0) for number in range(len(bounds))]
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        histogram.add_metric((action,), buckets, sum_value=kept.get((action, "sum"), 0.0))
    return histogram


def _longest(waits: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    longest: dict[str, float] = {}
    for action, seconds in waits:
        longest[action] = max(longest.get(action, 0.0), seconds)
    return longest


def _read(settings: Settings) -> Standings:
    url = settings.fbs_redis_url
    with queue.connect(url) as client, queue.errors_translated(queue.address(url)):
        figures = cast("dict[str, str]", client.hgetall(METRICS_KEY))
        seconds, micros = cast("tuple[int, int]", client.time())
        beat = bool(client.exists(LOCK))
    with JobReader(url) as jobs, WorkerRegistry(url) as presence:
        return Standings(
            figures=figures,
            at=datetime.fromtimestamp(seconds + micros / 1e6, tz=UTC),
            open_jobs=jobs.open(),
            workers=presence.workers(),
            waiting=_waiting(settings),
            beat=beat,
        )


def _waiting(settings: Settings) -> Mapping[str, int] | None:
    with make_app(settings, results=False) as app, Queues(app) as queues:
        try:
            return {name: queues.backlog(name).waiting for name in QUEUES}
        except QueueUnreachable:
            return None
