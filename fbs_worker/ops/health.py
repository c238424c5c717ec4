"""Health check of what jobs need: Redis, the broker, the home database, and workers that consume the queues.

Workers are checked end to end: a probe message passes through each queue as a job would (`fbs_worker.jobs.probes`). If
no worker answers in time, the workers' heartbeats (`fbs_worker.jobs.workers`) distinguish a busy queue, whose workers
use all slots or consume the messages ahead of the probe, from a broken one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from fbs_worker.core import redis as queue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, JobNotFound, SettingsError, UnreachableError
from fbs_worker.core.fanout import fan_out
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery, make_app
from fbs_worker.jobs.config import QUEUES
from fbs_worker.jobs.probes import ProbeReply, probe, worker_queue
from fbs_worker.jobs.queues import Backlog, Queues
from fbs_worker.jobs.workers import WorkerHeartbeat, WorkerRegistry, worker_name
from fbs_worker.ops.databases import examine

_CONNECT_SECONDS: Final = 2
_MARGIN_SECONDS: Final = 5.0
"""Time limit for a hanging server, in addition to the time for the probes."""

_START: Final = "Start one: fbs worker (or everything: fbs up)"
_OVERLOADED: Final = "Check whether that server or this machine is overloaded."
_RESTART: Final = "Restart it; its log may show what blocks it."


class Unhealthy(UnreachableError):
    """Something that jobs need does not work."""

    code = "unhealthy"


class Health(StrEnum):
    """Result of a check. UNKNOWN: it was not possible, because a check before it failed."""

    FINE = "fine"
    BUSY = "busy"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One checked component.

    Attributes:
        name: the component, e.g. `redis` or `fbs.discovery`.
        health: its health.
        detail: one line for a person; the error if it failed.
        hint: what to do if it failed.
        facts: the measurements behind it, JSON-ready.
    """

    name: str
    health: Health
    detail: str
    hint: str = ""
    facts: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {"name": self.name, "health": str(self.health), "detail": self.detail, "hint": self.hint}
        return {**values, **(self.facts or {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The result of all checks.

    Attributes:
        checks: the checked components.
        workers: the workers with a heartbeat within the last minute.
    """

    checks: tuple[Check, ...]
    workers: tuple[WorkerHeartbeat, ...] = ()

    @property
    def health(self) -> Health:
        """Overall health: the worst of the checks."""
        results = {check.health for check in self.checks}
        by_severity = (Health.FAILED, Health.UNKNOWN, Health.BUSY)
        return next((health for health in by_severity if health in results), Health.FINE)

    @property
    def error(self) -> Unhealthy | None:
        """The first failed check as an error; None if none failed."""
        failed = [check for check in self.checks if check.health is Health.FAILED]
        return Unhealthy(failed[0].detail, hint=failed[0].hint, check=failed[0].name) if failed else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "health": str(self.health),
            "checks": [check.to_dict() for check in self.checks],
            "workers": [worker.to_dict() for worker in self.workers],
            "error": self.error.to_dict() if self.error else None,
        }


def check_health(settings: Settings, *, worker: str | None = None, seconds: float = 10.0) -> HealthReport:
    """Check everything that jobs need, or one worker.

    Args:
        settings: the settings of Redis, the broker and the home database.
        worker: check only this worker and Redis; `NAME@host`, or `NAME` on this host.
        seconds: how long to wait for the answers to the probes; the whole check takes at most a few seconds more.

    Returns:
        The report; a failed component is part of it.

    Raises:
        SettingsError: a setting is missing or invalid.
    """
    queue.check_url(settings.fbs_redis_url)
    app = make_app(settings, results=False)
    names = [worker_name(worker)] if worker else list(QUEUES)
    calls = [("redis", lambda: _check_queues(app, names, single=worker is not None, seconds=seconds))]
    if settings.fbs_database_url and worker is None:
        calls.append(("home database", lambda: ([check_database(settings, seconds=min(seconds, 5.0))], [])))
    limit = seconds + _MARGIN_SECONDS
    checks: list[Check] = []
    workers: list[WorkerHeartbeat] = []
    for (name, _), result in zip(calls, fan_out(calls, seconds=limit), strict=True):
        late = UnreachableError(f"The check of {name} timed out after {limit:g} seconds.", hint=_OVERLOADED)
        done, heartbeats = result or (_failed(name, late, names if name == "redis" else []), [])
        checks += done
        workers += heartbeats
    return HealthReport(checks=tuple(checks), workers=tuple(workers))


def assess_consumers(
    name: str,
    answer: ProbeReply | None,
    *,
    before: Sequence[WorkerHeartbeat],
    after: Sequence[WorkerHeartbeat],
    backlog: Backlog,
    oldest: float | None = None,
    single: bool = False,
) -> Check:
    """Assess the consumers of a queue, or one worker, after a probe.

    Args:
        name: the queue's name, or the worker's.
        answer: the answer to the probe; None if there was none.
        before: the workers' heartbeats before the probe.
        after: the workers' heartbeats at the end of the wait.
        backlog: the messages in the queue.
        oldest: age of the next message in seconds, if known.
        single: `name` is a worker's.

    Returns:
        FINE if the probe was answered, BUSY if a worker is full or consumes other messages, else FAILED.
    """
    wait = f"; {backlog.waiting} waiting" if backlog.waiting else ""
    wait += f", the next for {oldest:.0f} s" if oldest is not None else ""
    facts: dict[str, Any] = {
        "waiting": backlog.waiting,
        "oldest_seconds": None if oldest is None else round(oldest, 1),
        "answered_by": answer.worker if answer else None,
        "answer_seconds": round(answer.seconds, 4) if answer else None,
    }
    if answer is not None:
        detail = f"{answer.worker} answers within {answer.seconds * 1000:.0f} ms{wait}"
        return Check(name=name, health=Health.FINE, detail=detail, facts=facts)
    taken = {worker.name: worker.taken for worker in before}
    consumers = sorted(
        (worker for worker in after if (worker.name == name if single else name in worker.queues)),
        key=lambda worker: worker.age,
    )
    alive = [worker for worker in consumers if worker.alive]
    busy = [worker for worker in alive if worker.saturated or worker.taken > taken.get(worker.name, worker.taken)]
    if busy:
        detail = ", ".join(f"{worker.name} runs {worker.running} of {worker.slots}" for worker in busy)
        return Check(name=name, health=Health.BUSY, detail=f"{detail}{wait}", facts=facts)
    problem = f"Worker {name} consumes no jobs" if single else f"No worker consumes the queue {name}"
    reason, hint = _diagnose(name, consumers, [worker for worker in after if worker.alive], single=single)
    return Check(name=name, health=Health.FAILED, detail=f"{problem}: {reason}{wait}.", hint=hint, facts=facts)


def _diagnose(
    name: str, consumers: Sequence[WorkerHeartbeat], others: Sequence[WorkerHeartbeat], *, single: bool
) -> tuple[str, str]:
    """Reason and hint for a probe without an answer."""
    if consumers:
        worker = consumers[0]
        subject = "it" if single else worker.name
        if worker.alive:
            free = f"{worker.slots - worker.running} of {worker.slots} slots"
            return f"{subject} is running with {free} free, but consumes no messages", _RESTART
        return f"{subject} has sent no heartbeat for {worker.age:.0f} s", _RESTART
    if single:
        return "it is not running", f"Start it: fbs worker --name {name.partition('@')[0]}"
    if others:
        consumed = ", ".join(f"{worker.name} consumes {' and '.join(worker.queues)}" for worker in others)
        return f"only other queues are consumed ({consumed})", f"Start a worker for it: fbs worker --queues {name}"
    return "no worker is running", _START


def _check_queues(
    app: FBSCelery, names: Sequence[str], *, single: bool, seconds: float
) -> tuple[list[Check], list[WorkerHeartbeat]]:
    """Check Redis, a separate broker, and the queues (or the single worker) of these names."""
    done: list[Check] = []
    settings = app.settings
    try:
        with WorkerRegistry(settings.fbs_redis_url) as registry, app, closing(app.jobs), Queues(app) as queues:
            began = time.monotonic()
            app.jobs.ping()
            done.append(_check_redis(settings.fbs_redis_url, began))
            app.jobs.check_rights()
            if not app.broker.is_job_store:
                began = time.monotonic()
                queues.connect()
                done.append(_fine("broker", app.broker.address, began))
            before = registry.workers()
            probed = {name: worker_queue(name) if single else app.amqp.queues[name] for name in names}
            answers = probe(app, probed.values(), seconds=seconds)
            after = registry.workers()
            assessed = []
            for name, target in probed.items():
                backlog = queues.backlog(target.name)
                oldest = _age_of_job(app, backlog.next_id, now=registry.now())
                heartbeats = {"before": before, "after": after}
                answer = answers.get(target.name)
                assessed.append(
                    assess_consumers(name, answer, **heartbeats, backlog=backlog, oldest=oldest, single=single)
                )
            return done + assessed, [worker for worker in after if not single or worker.name in names]
    except FBSError as exc:
        if done and app.broker.is_job_store:  # it answers, and rejects
            done = []
        return done + _failed("broker" if done else "redis", exc, names), []


def _check_redis(url: str, began: float) -> Check:
    """Address, role, memory and eviction policy of a Redis that answers; a policy that evicts jobs is a warning."""
    fine = _fine("redis", queue.address(url), began)
    try:
        with queue.connect(url) as client:
            status = client.info()
            seconds, micros = client.time()
            ahead = seconds + micros / 1e6 - time.time()
    except SettingsError:  # its user may not run INFO
        return fine
    role = "primary" if status["role"] == "master" else "replica"
    policy, used, limit = status["maxmemory_policy"], status["used_memory"], status["maxmemory"]
    memory = f"{used / 1e6:.1f} MB of {limit / 1e6:.1f} MB used" if limit else f"{used / 1e6:.1f} MB used, no maxmemory"
    evicts = policy.startswith("allkeys")
    warning = ", WARNING: it evicts jobs when its memory is full" if evicts else ""
    return replace(
        fine,
        detail=f"{fine.detail}; {role}, {memory}, maxmemory-policy {policy}{warning}",
        hint="Set maxmemory-policy to noeviction." if evicts else "",
        facts={
            **(fine.facts or {}),
            "role": role,
            "used_memory": used,
            "maxmemory": limit,
            "maxmemory_policy": policy,
            "version": status["redis_version"],
            "append_only": bool(status["aof_enabled"]),
            "clock_offset": round(ahead, 3),
        },
    )


def _failed(name: str, error: FBSError, dependent: Sequence[str]) -> list[Check]:
    """The failed check, and UNKNOWN for those that depend on it."""
    unknown = f"not checked: {name} has failed"
    rest = [Check(name=other, health=Health.UNKNOWN, detail=unknown) for other in dependent]
    return [Check(name=name, health=Health.FAILED, detail=error.message, hint=error.hint), *rest]


def _age_of_job(app: FBSCelery, job_id: str | None, *, now: datetime) -> float | None:
    """Seconds that a job has waited; None if the message is not a job's."""
    if job_id is None:
        return None
    try:
        record = app.jobs.get(job_id)
    except JobNotFound:
        return None
    return (now - (record.heartbeat_at or record.created_at)).total_seconds()


def check_database(settings: Settings, *, seconds: float) -> Check:
    """Check the home database.

    Args:
        settings: FBS_DATABASE_URL.
        seconds: time for everything after the connection.

    Raises:
        UsageError: the URL is not valid.
    """
    name = "home database"
    database = DatabaseConfig.from_url(settings.fbs_database_url)
    began = time.monotonic()
    try:
        found = examine(database, connect_seconds=_CONNECT_SECONDS, seconds=seconds)
    except FBSError as exc:
        return _failed(name, exc, [])[0]
    fine = _fine(name, database.address(), began)
    return replace(fine, facts={**(fine.facts or {}), **found.to_dict()})


def _fine(name: str, address: str, began: float) -> Check:
    seconds = time.monotonic() - began
    facts = {"answer_seconds": round(seconds, 4)}
    return Check(name=name, health=Health.FINE, detail=f"{address} answers within {seconds * 1000:.0f} ms", facts=facts)
