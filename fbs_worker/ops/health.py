"""Whether everything that jobs need works: Redis, the broker, the home database, and somebody who takes jobs.

The last is found out by doing: a probe goes through each queue as a job would (`fbs_worker.jobs.probes`). Where nobody
answers in time, the workers' signs of life (`fbs_worker.jobs.workers`) tell the one case that is no trouble: those that
take from this queue are there and have no slot free, or get on with what waits before the probe.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from celery.utils.nodenames import gethostname, nodename

from fbs_worker.core import redis as queue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, JobNotFound, UnreachableError
from fbs_worker.core.fanout import bounded_connection, fan_out
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery, make_app
from fbs_worker.jobs.config import QUEUES
from fbs_worker.jobs.probes import ProbeReply, probe, worker_queue
from fbs_worker.jobs.queues import Backlog, Queues
from fbs_worker.jobs.workers import WorkerHeartbeat, WorkerRegistry

_CONNECT_SECONDS: Final = 2
_MARGIN_SECONDS: Final = 5.0
"""What a server that hangs may take until that is told, besides the time for the probes."""

_START: Final = "Start one: fbs worker (or everything: fbs up)"
_OVERLOADED: Final = "Look whether that server, or this machine, is overloaded."
_RESTART: Final = "Restart it; its log may tell what it waits for."


class Unhealthy(UnreachableError):
    """Something that jobs need does not work."""

    code = "unhealthy"


class Health(StrEnum):
    """How something is. UNKNOWN: it could not be asked, because of something else that has failed."""

    FINE = "fine"
    BUSY = "busy"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, e.g. `redis` or `fbs.discovery`.
        health: how it is.
        detail: one line for a person; what is wrong if it has failed.
        hint: what to do then.
        facts: the figures behind it, JSON-ready.
    """

    name: str
    health: Health
    detail: str
    hint: str = ""
    facts: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        told = {"name": self.name, "health": str(self.health), "detail": self.detail, "hint": self.hint}
        return {**told, **(self.facts or {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What was found.

    Attributes:
        checks: each thing that was looked at.
        workers: the workers that give signs of life, or did within the last minute.
    """

    checks: tuple[Check, ...]
    workers: tuple[WorkerHeartbeat, ...] = ()

    @property
    def health(self) -> Health:
        """That of the whole: the worst of the parts."""
        found = {check.health for check in self.checks}
        return next((health for health in (Health.FAILED, Health.UNKNOWN, Health.BUSY) if health in found), Health.FINE)

    @property
    def error(self) -> Unhealthy | None:
        """What is wrong first of all; None when nothing is."""
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
    """Look at everything that jobs need, or at one worker.

    Args:
        settings: what to look at.
        worker: only this one, and what it takes its jobs from; `NAME@host`, or `NAME` on this host.
        seconds: how long to wait for the answers to the probes; all in all it takes a few seconds more at most.

    Raises:
        SettingsError: a setting is missing or not valid.
    """
    queue.check_url(settings.fbs_redis_url)
    app = make_app(settings, results=False)
    names = [worker if "@" in worker else nodename(worker, gethostname())] if worker else list(QUEUES)
    looks = [("redis", lambda: _look_at_queues(app, names, one=worker is not None, seconds=seconds))]
    if settings.fbs_database_url and worker is None:
        database = DatabaseConfig.from_url(settings.fbs_database_url)
        looks.append(("home database", lambda: ([_look_at_database(database, seconds=min(seconds, 5.0))], [])))
    limit = seconds + _MARGIN_SECONDS
    checks: list[Check] = []
    workers: list[WorkerHeartbeat] = []
    for (name, _), found in zip(looks, fan_out(looks, seconds=limit), strict=True):
        late = UnreachableError(f"The check of {name} did not end within {limit:g} seconds.", hint=_OVERLOADED)
        told = found or (_failed(name, late, names if name == "redis" else []), [])
        checks += told[0]
        workers += told[1]
    return HealthReport(checks=tuple(checks), workers=tuple(workers))


def judge(
    name: str,
    answer: ProbeReply | None,
    *,
    before: Sequence[WorkerHeartbeat],
    after: Sequence[WorkerHeartbeat],
    backlog: Backlog,
    oldest: float | None = None,
    one: bool = False,
) -> Check:
    """Judge a queue, or one worker, after a probe.

    Args:
        name: the queue's name, or the worker's.
        answer: the answer to the probe; None if there was none.
        before: the workers' signs of life from before the probe.
        after: those from the end of the wait.
        backlog: what waits in the queue.
        oldest: for how many seconds the next one has waited, if known.
        one: it is about one worker.
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
        words = f"{answer.worker} answers within {answer.seconds * 1000:.0f} ms{wait}"
        return Check(name=name, health=Health.FINE, detail=words, facts=facts)
    taken = {sign.name: sign.taken for sign in before}
    there = sorted(
        (sign for sign in after if (sign.name == name if one else name in sign.queues)), key=lambda sign: sign.age
    )
    alive = [sign for sign in there if sign.alive]
    at_work = [sign for sign in alive if sign.saturated or sign.taken > taken.get(sign.name, sign.taken)]
    if at_work:
        words = ", ".join(f"{sign.name} runs {sign.running} of {sign.slots}" for sign in at_work)
        return Check(name=name, health=Health.BUSY, detail=f"{words}{wait}", facts=facts)
    nobody = f"Worker {name} takes no jobs" if one else f"Nobody takes jobs from {name}"
    why, hint = _trouble(name, there, [sign for sign in after if sign.alive], one=one)
    return Check(name=name, health=Health.FAILED, detail=f"{nobody}: {why}{wait}.", hint=hint, facts=facts)


def _trouble(
    name: str, there: Sequence[WorkerHeartbeat], others: Sequence[WorkerHeartbeat], *, one: bool
) -> tuple[str, str]:
    """Why nobody answers, and what to do."""
    if there:
        sign = there[0]
        who = "it" if one else sign.name
        if sign.alive:
            free = f"{sign.slots - sign.running} of {sign.slots} slots"
            return f"{who} is there with {free} free, but takes nothing", _RESTART
        return f"{who} has given no sign of life for {sign.age:.0f} s", _RESTART
    if one:
        return "it is not there", f"Start it: fbs worker --name {name.partition('@')[0]}"
    if others:
        taking = ", ".join(f"{sign.name} takes {' and '.join(sign.queues)}" for sign in others)
        return f"only others ({taking})", f"Start a worker for it: fbs worker --queues {name}"
    return "no worker is there", _START


def _look_at_queues(
    app: FBSCelery, names: Sequence[str], *, one: bool, seconds: float
) -> tuple[list[Check], list[WorkerHeartbeat]]:
    """Redis, the broker where it is another, and the queues (or the one worker) of these names."""
    done: list[Check] = []
    settings = app.settings
    try:
        with WorkerRegistry(settings.fbs_redis_url) as presence, app, closing(app.jobs), Queues(app) as queues:
            began = time.monotonic()
            app.jobs.ping()
            done.append(_fine("redis", queue.address(settings.fbs_redis_url), began))
            if not app.broker.is_job_store:
                began = time.monotonic()
                queues.connect()
                done.append(_fine("broker", app.broker.address, began))
            before = presence.workers()
            places = {name: worker_queue(name) if one else app.amqp.queues[name] for name in names}
            answers = probe(app, places.values(), seconds=seconds)
            after = presence.workers()
            judged = []
            for name, place in places.items():
                backlog = queues.backlog(place.name)
                oldest = _wait_of(app, backlog.next_id, now=presence.now())
                signs = {"before": before, "after": after}
                judged.append(judge(name, answers.get(place.name), **signs, backlog=backlog, oldest=oldest, one=one))
            return done + judged, [sign for sign in after if not one or sign.name in names]
    except FBSError as exc:
        return done + _failed("broker" if done else "redis", exc, names), []


def _failed(name: str, error: FBSError, others: Sequence[str]) -> list[Check]:
    """One that has failed, and those that could not be asked for that."""
    unknown = f"could not be asked, for {name} has failed"
    left = [Check(name=other, health=Health.UNKNOWN, detail=unknown) for other in others]
    return [Check(name=name, health=Health.FAILED, detail=error.message, hint=error.hint), *left]


def _wait_of(app: FBSCelery, job_id: str | None, *, now: datetime) -> float | None:
    """For how many seconds a job has waited; None for what is not a job."""
    if job_id is None:
        return None
    try:
        record = app.jobs.get(job_id)
    except JobNotFound:
        return None
    return (now - (record.heartbeat_at or record.created_at)).total_seconds()


def _look_at_database(database: DatabaseConfig, *, seconds: float) -> Check:
    name = "home database"
    began = time.monotonic()
    try:
        with (
            bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=seconds) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT 1")
    except FBSError as exc:
        return _failed(name, exc, [])[0]
    return _fine(name, database.address(), began)


def _fine(name: str, place: str, began: float) -> Check:
    seconds = time.monotonic() - began
    facts = {"answer_seconds": round(seconds, 4)}
    return Check(name=name, health=Health.FINE, detail=f"{place} answers within {seconds * 1000:.0f} ms", facts=facts)
