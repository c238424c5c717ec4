"""Celery beat with a scheduler that runs the schedules in the home database.

Every beat looks for slots that are due and claims each in the database (`ScheduleStore.claim`): any number of them may
run, on any machine, and none has to take over from another.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from celery.apps.beat import Beat
from celery.beat import Scheduler

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import EXIT_DONE, FBSError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery, check, make_app
from fbs_worker.jobs.worker.run import LOG_LEVELS
from fbs_worker.scheduling.model import Kind, due
from fbs_worker.scheduling.service import BEAT, BEAT_SECONDS, open_home, refresh_every, sync_window
from fbs_worker.scheduling.store import ScheduledSolution
from fbs_worker.solutions.registry import home_database
from fbs_worker.solutions.requests import RefreshRequest, Request, SyncRequest

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.apps.beat:Beat.init_loader": "overridden: imports the tasks",
    "celery.beat:Scheduler.setup_schedule": "overridden: reads Celery's own schedule",
    "celery.beat:Scheduler.tick": "overridden: runs what is due; its result is the time until the next call",
    "celery.beat:Scheduler.close": "overridden: called at the end",
}
"""The private symbols of Celery's beat, and why; `tests/unit/test_upstream_contract.py` resolves them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatTimes:
    """Intervals of beat, in seconds.

    Attributes:
        look: how often it looks for slots that are due.
        alive: how long its key in Redis lasts without being renewed.
    """

    look: float = 5.0
    alive: float = BEAT_SECONDS


class SolutionScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
    """Enqueues the refreshes and syncs that are due.

    Args:
        app: the application that enqueues them.
        times: its intervals.
        **options: those that Celery's beat passes.
    """

    def __init__(self, app: FBSCelery, *, times: BeatTimes, **options: Any) -> None:
        super().__init__(app, **options)
        self._times = times
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._redis = queue.connect(app.settings.fbs_redis_url)
        self._every = refresh_every(app.settings)
        self._window = sync_window(app.settings)
        self._trouble = ""

    def setup_schedule(self) -> None:
        """No entries of Celery's own: the schedules are in the home database."""

    def tick(self, **_options: Any) -> float:
        """Enqueue what is due.

        Returns:
            Seconds until the next tick.
        """
        trouble = ""
        try:
            self._renew()
            self._run_due()
        except FBSError as exc:
            trouble = exc.message
        if trouble and trouble != self._trouble:
            _log.warning("beat: %s Schedules wait until that is solved.", trouble)
        elif self._trouble and not trouble:
            _log.info("beat: runs schedules again")
        self._trouble = trouble
        return self._times.look

    def close(self) -> None:
        """Delete the key in Redis, unless another beat has renewed it since. Celery calls this at the end."""
        try:
            if self._redis.get(BEAT) == self._name:
                self._redis.delete(BEAT)
        except FBSError as exc:
            _log.warning("beat: its key in Redis expires in %.0f s: %s", self._times.alive, exc.message)
        self._redis.close()
        self.app.jobs.close()

    def _renew(self) -> None:
        """Renew the key that shows that a beat runs. Without Redis nothing can be enqueued: this fails first."""
        self._redis.set(BEAT, self._name, px=round(self._times.alive * 1000))

    def _run_due(self) -> None:
        with open_home(self.app.settings, read_only=False) as (_, store):
            now = store.now()
            everything = store.all(*Kind)
            for kind, default in ((Kind.REFRESH, self._every), (Kind.SYNC, None)):
                if kind is Kind.SYNC and not self._window.is_open(now):
                    continue  # what is due stays so until it opens
                solutions = {each.name: each for each in everything if each.kind is kind}
                slots = {name: slot for name, each in solutions.items() if (slot := each.next_slot(default))}
                for name in due(slots, now=now, look=timedelta(seconds=self._times.look)):
                    job_id = store.claim(solutions[name], now=now, enqueue=partial(self._enqueue, solutions[name]))
                    if job_id is not None:
                        what = f"{kind} of {name}"
                        _log.info("beat: %s is due since %s: job %s", what, slots[name].isoformat(), job_id)

    def _enqueue(self, solution: ScheduledSolution) -> str:
        request: Request = RefreshRequest(solution_name=solution.name)
        if solution.kind is Kind.SYNC:
            request = SyncRequest(solution_name=solution.name, scheduled=True)
        message = request.to_message(self.app.settings)
        job_id: str = self.app.enqueue(request.task, message, solution=solution.name)
        return job_id


class _Beat(Beat):  # type: ignore[misc]  # Celery has no types
    def init_loader(self) -> None:
        """Finalize the application without importing the tasks: beat sends them by name."""
        self.app.finalize()


def run_beat(settings: Settings, *, loglevel: str = "INFO", times: BeatTimes | None = None) -> int:
    """Run beat in this process until SIGTERM or Ctrl-C.

    Args:
        settings: the home database, Redis and the keys; after `effective_settings`.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        times: its intervals.

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
    sync_window(settings)
    app = make_app(settings, results=False)
    check(app)
    beat = _Beat(
        app=app,
        loglevel=loglevel,
        quiet=True,
        scheduler=partial(SolutionScheduler, times=times),
        remote_control=False,
    )
    beat.run()
    return EXIT_DONE
