"""Celery beat on RedBeat: each due entry is enqueued once, with any number of beats.

One beat is the leader: it holds a lock in Redis, renews it with every tick, and loses it when it dies; a standby beat
    takes
over. If two beats are leaders for a while, e.g. after one was suspended, an entry is still claimed by only one of them.
A claim postpones the entry before it is run: if beat dies in between, the entry becomes due again, and a job that is
    waiting
or running already is not enqueued twice.

RedBeat (`redbeat.schedulers`) stores the entries and finds due ones. It terminates when its lock or Redis is lost, and
starts with whatever Redis holds; this scheduler continues once Redis answers again, and rebuilds the entries from the
registry.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any, ClassVar, Final

import orjson
from celery import schedules
from celery.apps.beat import Beat
from redbeat.schedulers import RedBeatScheduler, RedBeatSchedulerEntry, get_redis
from redis.exceptions import LockError
from redis.lock import Lock

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import EXIT_DONE, FBSError, QueueUnreachable, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery, check, make_app
from fbs_worker.jobs.worker.run import LOG_LEVELS
from fbs_worker.scheduling.entries import REFRESH_DUE, EntryStore
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.reconcile import due_solutions, rebuild, refresh_every
from fbs_worker.scheduling.service import LOCK_SECONDS, POLL_SECONDS, beat_configuration
from fbs_worker.solutions.registry import home_database
from fbs_worker.solutions.requests import RefreshRequest

TRIED: Final = ("celery>=5.5,<5.8", "celery-redbeat>=2.3.2,<2.5")

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.apps.beat:Beat.init_loader": "overridden: imports the tasks",
    "redbeat.schedulers:RedBeatScheduler.tick": "extended: passes the entries that are due to `maybe_due`",
    "redbeat.schedulers:RedBeatScheduler.maybe_due": "overridden: runs an entry",
    "redbeat.schedulers:RedBeatScheduler._maybe_due_kwargs": "overridden: opens a connection to the broker",
    "redbeat.schedulers:RedBeatScheduler.setup_schedule": "overridden: writes the entries of Celery's configuration",
    "redbeat.schedulers:RedBeatScheduler.lock_key": "set: without a key it takes no lock of its own",
    "redbeat.schedulers:RedBeatSchedulerEntry.decode_definition": "overridden: reads an entry's definition",
    "redbeat.schedulers:RedBeatConfig.lock_key": "the key of the lock",
    "redbeat.schedulers:get_redis": "a client of the Redis of the entries",
    "redbeat.decoder:RedBeatJSONDecoder": "reads `meta` of an entry, which `scheduling.entries` writes",
}
"""The private symbols of Celery's beat and RedBeat, and why; `tests/unit/test_upstream_contract.py` resolves them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatIntervals:
    """Intervals of beat, in seconds.

    Attributes:
        lock: lifetime of the leader's lock without a heartbeat.
        poll: longest time between two checks for due entries.
        registry: time between two rebuilds of the entries in Redis from the registry.
        manifests: time between two updates of the registry from the manifests.
        claim: duration of a claim; an entry without a recorded run is due again afterwards.
    """

    lock: float = LOCK_SECONDS
    poll: float = POLL_SECONDS
    registry: float = 60.0
    manifests: float = 300.0
    claim: float = 30.0


class TickSchedule(schedules.BaseSchedule):  # type: ignore[misc]  # Celery has no types
    """Adapter: a solution's `Schedule` as a schedule of Celery.

    Args:
        schedule: the schedule.
        name: the solution's name, which determines the offset of its ticks.
    """

    def __init__(self, schedule: Schedule, *, name: str) -> None:
        super().__init__()
        self._schedule = schedule
        self._name = name

    def after(self, timestamp: datetime) -> datetime:
        """Return the first tick after a timestamp."""
        return self._schedule.after(timestamp, name=self._name)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return the time left until the tick after the last run."""
        return self.after(last_run_at) - datetime.now(tz=UTC)

    def is_due(self, last_run_at: datetime) -> schedules.schedstate:
        """Return whether that tick is due, and the seconds until the next check."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedules.schedstate(is_due=False, next=left)
        now = datetime.now(tz=UTC)
        return schedules.schedstate(is_due=True, next=(self.after(now) - now).total_seconds())


class SolutionEntry(RedBeatSchedulerEntry):  # type: ignore[misc]  # RedBeat has no types
    """An entry of `scheduling.entries`, as RedBeat loads it."""

    @staticmethod
    def decode_definition(definition: str) -> dict[str, Any]:
        """Decode an entry's definition.

        Raises:
            KeyError: the definition is not valid. RedBeat skips the entry, and the next rebuild replaces it.
        """
        try:
            stored: dict[str, Any] = orjson.loads(definition)
            name = stored["kwargs"].get("solution_name", stored["name"])
            return {**stored, "schedule": TickSchedule(Schedule.from_dict(stored["schedule"]), name=name)}
        except (ValueError, TypeError, AttributeError, UsageError) as exc:
            raise KeyError("the definition is not valid") from exc


class SolutionScheduler(RedBeatScheduler):  # type: ignore[misc]  # RedBeat has no types
    """Scheduler of beat: leader election, reconciliation of entries, and exclusive claims.

    Args:
        app: an application with `beat_configuration`.
        times: the intervals.
        **options: further arguments of Celery's beat.
    """

    Entry = SolutionEntry
    _maybe_due_kwargs: ClassVar[Mapping[str, Any]] = {}  # RedBeat's default opens another connection to the broker

    def __init__(self, app: FBSCelery, *, times: BeatIntervals, **options: Any) -> None:
        super().__init__(app, **options)
        self._times = times
        self._address = queue.address(app.settings.fbs_redis_url)
        self._leader: Lock | None = None
        self._leader_key = app.redbeat_conf.lock_key
        self.lock_key = None  # disables RedBeat's own lock, which blocks, and ends the process when it is lost
        self._unscheduled: Mapping[str, datetime] = {}
        self._registry_at = self._manifests_at = -1.0
        self._problems: dict[str, str] = {}
        self._is_standby = False

    def setup_schedule(self) -> None:
        """Do nothing: the entries are rebuilt from the registry once this beat is the leader."""

    def tick(self, **_: Any) -> float:
        """Run due entries if this beat is the leader.

        Returns:
            Seconds until the next tick.
        """
        try:
            with queue.errors_translated(self._address):
                if not self._is_leader():
                    return min(self._times.poll, self._times.lock / 3)
                self._reconcile()
                wait = float(super().tick())
        except FBSError as exc:
            self._report("tick", exc)
            return self._times.poll
        self._report("tick", None)
        return min(wait, self._times.poll, self._times.lock / 3, self._times.registry)

    def maybe_due(self, entry: SolutionEntry, **_: Any) -> float | None:
        """Claim an entry and run it if it is due.

        Returns:
            Seconds until the entry is due; None if unknown.
        """
        claim = self._entries.claim(entry.name, seconds=self._times.claim)
        if claim is None:
            return None
        if claim.wait > 0:
            return claim.wait
        try:
            self._run(entry)
        except QueueUnreachable:
            raise
        except FBSError as exc:
            _log.warning("%s was not enqueued and is retried: %s", entry.name, exc.message)
            return None
        now = datetime.now(tz=UTC)
        self._entries.mark_run(entry.name, at=now, due=entry.schedule.after(max(now, claim.due)))
        return None

    def close(self) -> None:
        """Release the lock. Celery calls this at the end, and twice on a signal."""
        leader, self._leader = self._leader, None
        try:
            if leader is not None:
                with queue.errors_translated(self._address), suppress(LockError):  # the lock has expired
                    leader.release()
        except FBSError as exc:
            _log.warning("beat: the lock was not released and expires in %.0f s: %s", self._times.lock, exc.message)
        self._entries.close()
        self.app.jobs.close()

    @property
    def _settings(self) -> Settings:
        settings: Settings = self.app.settings
        return settings

    @cached_property
    def _entries(self) -> EntryStore:
        return EntryStore(self._settings.fbs_redis_url)

    def _is_leader(self) -> bool:
        """Renew the leader's lock, or try to acquire it; return whether this beat holds it."""
        if self._leader is not None:
            try:
                self._leader.reacquire()
            except LockError:
                _log.warning("beat: lost the lock: a tick took too long, or Redis lost its data")
                self._leader = None
            else:
                return True
        lock = get_redis(self.app).lock(self._leader_key, timeout=self._times.lock, blocking=False, thread_local=False)
        if lock.acquire():
            self._leader = lock
            self._is_standby = False
            self._registry_at = self._manifests_at = -1.0
            _log.info("beat: is the leader")
            return True
        if not self._is_standby:
            self._is_standby = True
            _log.info("beat: standby, another beat is the leader")
        return False

    def _reconcile(self) -> None:
        """Rebuild the entries from the registry when the interval has passed."""
        now = time.monotonic()
        if now < self._registry_at:
            return
        manifests = now >= self._manifests_at
        self._registry_at = now + self._times.registry
        try:
            self._unscheduled = rebuild(self._settings, self._entries, manifests=manifests)
        except QueueUnreachable:  # no entry can be run either
            raise
        except FBSError as exc:
            self._report("registry", exc)
            return
        self._report("registry", None)
        if manifests:
            self._manifests_at = now + self._times.manifests

    def _run(self, entry: SolutionEntry) -> None:
        if entry.task == REFRESH_DUE:
            self._refresh_due(entry.kwargs["every"])
            return
        request = RefreshRequest.parse(solution_name=entry.kwargs["solution_name"])
        job_id = self.app.enqueue("fbs.refresh", request.to_message(), solution=request.solution_name)
        _log.info("beat: %s is due: job %s", entry.name, job_id)

    def _refresh_due(self, every: str) -> None:
        """Enqueue `fbs.refresh_due` if a solution is due; usually none is."""
        now = datetime.now(tz=UTC)
        if due_solutions(Schedule.parse(every=every), self._unscheduled, self._entries, now=now):
            job_id = self.app.enqueue(REFRESH_DUE, {"every": every})
            _log.info("beat: solutions without a schedule of their own are due: job %s", job_id)

    def _report(self, step: str, exc: FBSError | None) -> None:
        """Log a problem once, not with every tick, and log its end."""
        problem = exc.message if exc else ""
        if problem == self._problems.get(step, ""):
            return
        self._problems[step] = problem
        if problem:
            _log.warning("beat: %s Beat continues once this is resolved.", problem)
        else:
            _log.info("beat: continues")


class _Beat(Beat):  # type: ignore[misc]  # Celery has no types
    def init_loader(self) -> None:
        """Load no task modules: beat needs only the names of tasks."""
        self.app.finalize()


def run_beat(settings: Settings, *, loglevel: str = "INFO", times: BeatIntervals | None = None) -> int:
    """Run beat in this process until SIGTERM or Ctrl-C.

    Args:
        settings: the settings of beat.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        times: the intervals; the defaults if None.

    Returns:
        The exit code.

    Raises:
        SettingsError: a setting is missing or not valid.
        UsageError: the log level is not known.
        QueueUnreachable: Redis does not answer; beat is not started.
    """
    if loglevel not in LOG_LEVELS:
        raise UsageError(f"Unknown log level {loglevel!r}.", hint=f"Use one of: {', '.join(LOG_LEVELS)}.")
    times = times or BeatIntervals()
    home_database(settings)
    refresh_every(settings)
    app = make_app(settings, results=False)
    check(app)
    app.conf.update(beat_configuration(settings, lock_seconds=times.lock, poll_seconds=times.poll))
    beat = _Beat(
        app=app,
        loglevel=loglevel,
        quiet=True,
        scheduler=partial(SolutionScheduler, times=times),
        remote_control=False,
    )
    beat.run()
    return EXIT_DONE
