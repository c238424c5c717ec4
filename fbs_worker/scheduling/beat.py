"""Celery beat, on RedBeat: what is due is enqueued once, however many beats there are.

One beat leads: it holds a lock in Redis that it renews with every look and that ends by itself when it dies. Another
one stands by and takes over. Should two of them believe that they lead (one was stopped for a while), each entry is
still claimed by one of them alone. Before an entry is run it is put off for a while, so that a beat which dies in
between loses nothing: the entry is due again then, and a job that waits or runs already is not enqueued twice.

RedBeat (`redbeat.schedulers`) keeps the entries and finds those that are due. It gives up when its lock or its Redis is
gone and begins with whatever Redis holds: here beat goes on once Redis is back, and what Redis should hold is made anew
from the solutions' rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any, ClassVar

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
from fbs_worker.scheduling.entries import REFRESH_DUE, PlanStore
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.reconcile import due_solutions, rebuild, refresh_every
from fbs_worker.scheduling.service import LOCK_SECONDS, LOOK_SECONDS, beat_configuration
from fbs_worker.solutions.registry import home_database
from fbs_worker.solutions.requests import RefreshRequest

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatTimes:
    """How long beat waits for what, in seconds.

    Attributes:
        lock: a beat without a sign of life for so long has lost its place.
        look: it looks at least so often whether something is due.
        book: the entries in Redis are compared with the address book so often.
        own_rows: the address book is compared with the solutions' own rows so often.
        claim: what was claimed and not told to have run is due again after so long.
    """

    lock: float = LOCK_SECONDS
    look: float = LOOK_SECONDS
    book: float = 60.0
    own_rows: float = 300.0
    claim: float = 30.0


class Slots(schedules.BaseSchedule):  # type: ignore[misc]  # Celery has no types
    """A `Schedule` of one solution as Celery and RedBeat ask for it.

    Args:
        schedule: when.
        name: the solution's.
    """

    def __init__(self, schedule: Schedule, *, name: str) -> None:
        super().__init__()
        self._schedule = schedule
        self._name = name

    def after(self, moment: datetime) -> datetime:
        """The first time later than a moment."""
        return self._schedule.after(moment, name=self._name)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long it is until the time after the last one."""
        return self.after(last_run_at) - datetime.now(tz=UTC)

    def is_due(self, last_run_at: datetime) -> schedules.schedstate:
        """Whether that time has come, and in how many seconds to ask again."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedules.schedstate(is_due=False, next=left)
        now = datetime.now(tz=UTC)
        return schedules.schedstate(is_due=True, next=(self.after(now) - now).total_seconds())


class SolutionEntry(RedBeatSchedulerEntry):  # type: ignore[misc]  # RedBeat has no types
    """An entry of `schedule_plans`, as RedBeat loads it."""

    @staticmethod
    def decode_definition(definition: str) -> dict[str, Any]:
        """An entry's definition; its schedule is in our words."""
        try:
            told: dict[str, Any] = orjson.loads(definition)
            name = told["kwargs"].get("solution_name", told["name"])
            return {**told, "schedule": Slots(Schedule.from_dict(told["schedule"]), name=name)}
        except (ValueError, TypeError, AttributeError, UsageError) as exc:
            raise KeyError("somebody has changed it") from exc  # RedBeat lays it aside; it is made anew from the rows


class SolutionScheduler(RedBeatScheduler):  # type: ignore[misc]  # RedBeat has no types
    """Beat's work.

    Args:
        app: an application with `beat_configuration`.
        times: how long it waits for what.
        **given: what Celery's beat says besides.
    """

    Entry = SolutionEntry
    _maybe_due_kwargs: ClassVar[Mapping[str, Any]] = {}  # RedBeat's would open a connection of its own to the broker

    def __init__(self, app: FBSCelery, *, times: BeatTimes, **given: Any) -> None:
        super().__init__(app, **given)
        self._times = times
        self._place = queue.address(app.settings.fbs_redis_url)
        self._leader: Lock | None = None
        self._leader_key = app.redbeat_conf.lock_key
        self.lock_key = None  # RedBeat would wait for it, and die when it is gone
        self._unscheduled: Mapping[str, datetime] = {}
        self._book_at = self._own_rows_at = -1.0
        self._troubles: dict[str, str] = {}
        self._stands_by = False

    def setup_schedule(self) -> None:
        """Nothing: the entries are made from the address book, once this beat leads."""

    def tick(self, **_: Any) -> float:
        """Run what is due, if this beat leads.

        Returns:
            In how many seconds to do so again.
        """
        try:
            with queue.errors_translated(self._place):
                if not self._leads():
                    return min(self._times.look, self._times.lock / 3)
                self._keep_up()
                wait = float(super().tick())
        except FBSError as exc:
            self._trouble("tick", exc)
            return self._times.look
        self._trouble("tick", None)
        return min(wait, self._times.look, self._times.lock / 3, self._times.book)

    def maybe_due(self, entry: SolutionEntry, **_: Any) -> float | None:
        """Run an entry if it is due and nobody else has claimed it.

        Returns:
            In how many seconds it is due, if that is known.
        """
        turn = self._plans.claim(entry.name, seconds=self._times.claim)
        if turn is None:
            return None
        if turn.wait > 0:
            return turn.wait
        try:
            self._run(entry)
        except QueueUnreachable:
            raise
        except FBSError as exc:
            _log.warning("%s was not enqueued, it is tried again: %s", entry.name, exc.message)
            return None
        now = datetime.now(tz=UTC)
        self._plans.ran(entry.name, at=now, due=entry.schedule.after(max(now, turn.due)))
        return None

    def close(self) -> None:
        """Give the lock back; Celery calls it at the end, and twice on a signal."""
        leader, self._leader = self._leader, None
        try:
            if leader is not None:
                with queue.errors_translated(self._place), suppress(LockError):  # it was lost meanwhile
                    leader.release()
        except FBSError as exc:
            _log.warning("the place of this beat is free in %.0f s: %s", self._times.lock, exc.message)
        self._plans.close()
        self.app.jobs.close()

    # --------------------------------------------------------------------------------------------------- innards

    @property
    def _settings(self) -> Settings:
        settings: Settings = self.app.settings
        return settings

    @cached_property
    def _plans(self) -> PlanStore:
        return PlanStore(self._settings.fbs_redis_url)

    def _leads(self) -> bool:
        """Whether this beat is the one that works; it takes the place where that is free."""
        if self._leader is not None:
            try:
                self._leader.reacquire()
            except LockError:
                _log.warning("beat: lost its place: it was too slow, or Redis has lost its data")
                self._leader = None
            else:
                return True
        lock = get_redis(self.app).lock(self._leader_key, timeout=self._times.lock, blocking=False, thread_local=False)
        if lock.acquire():
            self._leader = lock
            self._stands_by = False
            self._book_at = self._own_rows_at = -1.0
            _log.info("beat: leads")
            return True
        if not self._stands_by:
            self._stands_by = True
            _log.info("beat: another one leads, this one stands by")
        return False

    def _keep_up(self) -> None:
        """Make the entries what the address book says, every now and then."""
        now = time.monotonic()
        if now < self._book_at:
            return
        own_rows = now >= self._own_rows_at
        self._book_at = now + self._times.book
        try:
            self._unscheduled = rebuild(self._settings, self._plans, own_rows=own_rows)
        except QueueUnreachable:  # there is nothing to do at all then
            raise
        except FBSError as exc:
            self._trouble("book", exc)
            return
        self._trouble("book", None)
        if own_rows:
            self._own_rows_at = now + self._times.own_rows

    def _run(self, entry: SolutionEntry) -> None:
        if entry.task == REFRESH_DUE:
            self._refresh_due(entry.kwargs["every"])
            return
        request = RefreshRequest.parse(solution_name=entry.kwargs["solution_name"])
        job_id = self.app.enqueue("fbs.refresh", request.to_message(), solution=request.solution_name)
        _log.info("beat: %s is due: job %s", entry.name, job_id)

    def _refresh_due(self, every: str) -> None:
        """A job that looks for solutions which are due, unless there are none: most minutes there are not."""
        now = datetime.now(tz=UTC)
        if due_solutions(Schedule.parse(every=every), self._unscheduled, self._plans, now=now):
            job_id = self.app.enqueue(REFRESH_DUE, {"every": every})
            _log.info("beat: solutions without a schedule of their own are due: job %s", job_id)

    def _trouble(self, what: str, exc: FBSError | None) -> None:
        """Say what is wrong once, not with every look; and that it is over."""
        words = exc.message if exc else ""
        if words == self._troubles.get(what, ""):
            return
        self._troubles[what] = words
        if words:
            _log.warning("beat: %s It goes on once that is mended.", words)
        else:
            _log.info("beat: goes on")


class _Beat(Beat):  # type: ignore[misc]  # Celery has no types
    def init_loader(self) -> None:
        """It knows tasks by their names alone."""
        self.app.finalize()


def run_beat(settings: Settings, *, loglevel: str = "INFO", times: BeatTimes | None = None) -> int:
    """Run beat in this process until it is told to stop (SIGTERM or Ctrl-C).

    Args:
        settings: what it works with.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        times: how long it waits for what.

    Returns:
        The exit code.

    Raises:
        SettingsError: a setting is missing or not valid.
        UsageError: no such log level.
        QueueUnreachable: Redis does not answer; nothing is started then.
    """
    if loglevel not in LOG_LEVELS:
        raise UsageError(f"There is no log level {loglevel!r}.", hint=f"Use one of: {', '.join(LOG_LEVELS)}.")
    times = times or BeatTimes()
    home_database(settings)
    refresh_every(settings)
    app = make_app(settings, results=False)
    check(app)
    app.conf.update(beat_configuration(settings, lock_seconds=times.lock, look_seconds=times.look))
    beat = _Beat(
        app=app,
        loglevel=loglevel,
        quiet=True,
        scheduler=partial(SolutionScheduler, times=times),
        remote_control=False,
    )
    beat.run()
    return EXIT_DONE
