"""Politeness to an Odoo server: so many calls at once over all workers, and none for a while when it keeps failing.

    fbs:odoo:<server>:leases    a sorted set: who makes a call now, by when the lease expires
    fbs:odoo:<server>:free      a list that wakes one of those who wait for a lease
    fbs:odoo:<server>:breaker   a hash: failures in a row, and until when no call is made
    fbs:metrics                 a hash: `calls|<host:port>` and `call_failures|<host:port>`

A lease is short and renewed for as long as its call lasts: that of a worker which was killed is soon free again. While
Redis is away calls are made without a lease, for politeness is not worth failing a job.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum, auto
from typing import Any, Final, TypeVar

from fbs_worker.connectors import limiter_scripts
from fbs_worker.core import redis as queue
from fbs_worker.core.errors import (
    FBSError,
    JobCancelled,
    OdooBadAnswer,
    OdooCircuitOpen,
    OdooError,
    OdooServerError,
    OdooUnreachable,
)
from fbs_worker.jobs.store import METRICS_KEY

_log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15.0
"""How long the lease of a worker that died stays taken; a living one renews it three times as often."""

LONGEST_PAUSE: Final = 600.0
"""Seconds that a pause between two attempts at a failing server grows to, unless the first is longer still."""

_WAKE_SECONDS: Final = 1
_WITHOUT_REDIS_SECONDS: Final = 5.0

_T = TypeVar("_T")


class Verdict(StrEnum):
    """What a call says of the server."""

    ANSWERED = auto()
    """It works, even if the answer was a refusal."""
    FAILED = auto()
    """It cannot be reached, does not answer in time, or a proxy answers in its place."""
    NONE = auto()
    """Nothing: the call was broken off here."""


def verdict_on(exc: BaseException) -> Verdict:
    """What a call that ended with an exception says of the server."""
    if isinstance(exc, (OdooUnreachable, OdooServerError, OdooBadAnswer)):
        return Verdict.FAILED
    return Verdict.ANSWERED if isinstance(exc, OdooError) else Verdict.NONE


class OdooGate:
    """The gate before one Odoo server; every worker that calls it has one, they share what is in Redis.

    One thread at a time may be within. Whoever waits in the thread that made the gate calls `waiting`; a wait in any
    other thread ends when the gate is closed.

    Args:
        redis_url: `redis://[:password@]host:port/db`.
        server: `scheme://host:port`, without credentials.
        max_calls: calls at once, over all workers.
        max_failures: failures in a row after which no call is made for a while.
        pause: seconds of that while; doubled each time that the one call which is made then fails, too.
        waiting: called about once a second while there is no lease; what it raises ends the wait.
        lease_seconds: how long a lease lasts that is not renewed.

    Raises:
        SettingsError: the URL of Redis is not one.
    """

    def __init__(
        self,
        redis_url: str,
        server: str,
        *,
        max_calls: int,
        max_failures: int,
        pause: float,
        waiting: Callable[[], None] = lambda: None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._redis = queue.connect(redis_url)
        self._redis_address = queue.address(redis_url)
        self._take_script = self._redis.register_script(limiter_scripts.TAKE)
        self._renew_script = self._redis.register_script(limiter_scripts.RENEW)
        self._give_back_script = self._redis.register_script(limiter_scripts.GIVE_BACK)
        self._server = server
        self._keys = [*(f"fbs:odoo:{server}:{part}" for part in ("leases", "free", "breaker")), METRICS_KEY]
        self._max_calls = max_calls
        self._max_failures = max_failures
        self._pause = pause
        self._waiting = waiting
        self._lease_seconds = lease_seconds
        self._owner = threading.get_ident()
        self._changed = threading.Condition()
        self._keeper: threading.Thread | None = None
        self._lease = ""
        self._within = False
        self._closed = False
        self._without_redis_until = 0.0
        self._told_away = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a lease, and hold it while one call is made in the `with` block; how that ends is the verdict.

        Raises:
            OdooCircuitOpen: the server keeps failing; no call may be made now.
            JobCancelled: the gate was closed while this waited, or `waiting` said so.
        """
        self._enter()
        try:
            lease = self._take()
            try:
                yield
            except BaseException as exc:
                self._give_back(lease, verdict_on(exc))
                raise
            self._give_back(lease, Verdict.ANSWERED)
        finally:
            self._leave()

    def close(self) -> None:
        """Let nobody in any more. A call that is being made in another thread keeps its lease until it ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            keeper, over = self._keeper, not self._within
        if keeper is None:
            self._redis.close()
        elif over:
            keeper.join()

    # --------------------------------------------------------------------------------------------------- innards

    def _enter(self) -> None:
        with self._changed:
            self._within = True
            if self._keeper is None and not self._closed:
                self._keeper = threading.Thread(target=self._keep, name="fbs-odoo-lease", daemon=True)
                self._keeper.start()

    def _leave(self) -> None:
        with self._changed:
            self._within = False
            if self._closed:
                self._changed.notify_all()

    def _take(self) -> str:
        """A lease; empty while Redis is away."""
        lease = secrets.token_hex(8)
        while True:
            if self._closed:
                raise JobCancelled("The connection to Odoo was closed while a call waited for its turn.")
            if time.monotonic() < self._without_redis_until:
                return ""
            answer = self._asked(lambda: self._take_script(**self._about(lease, self._max_calls)))
            if answer is None:
                return ""
            state, milliseconds = answer
            if state == "taken":
                self._lease = lease
                return lease
            if state == "resting":
                raise self._resting(milliseconds / 1000)
            if threading.get_ident() == self._owner:
                self._waiting()
            self._asked(lambda: self._redis.blpop([self._keys[1]], timeout=_WAKE_SECONDS))

    def _give_back(self, lease: str, verdict: Verdict) -> None:
        self._lease = ""
        if not lease:
            return
        longest = max(LONGEST_PAUSE, self._pause)
        limits = (self._max_calls, self._max_failures, _milliseconds(self._pause), _milliseconds(longest))
        place = self._server.partition("://")[2]
        answer = self._asked(lambda: self._give_back_script(**self._about(lease, verdict.value, place, *limits)))
        change, milliseconds = answer or ("", 0)
        if change == "opened":
            _log.warning("%s keeps failing: no call is made to it for %g seconds", self._server, milliseconds / 1000)
        elif change == "closed":
            _log.warning("%s answers again", self._server)

    def _keep(self) -> None:
        """Renew the lease for as long as there is one; the last to use Redis, so it also says good-bye to it."""
        while self._goes_on():
            if self._lease:
                self._asked(lambda: self._renew_script(**self._about(self._lease)))
        self._redis.close()

    def _goes_on(self) -> bool:
        with self._changed:
            return not self._changed.wait_for(lambda: self._closed and not self._within, self._lease_seconds / 3)

    def _about(self, lease: str, *arguments: str | int) -> dict[str, Any]:
        return {"keys": self._keys, "args": [lease, _milliseconds(self._lease_seconds), *arguments]}

    def _asked(self, ask: Callable[[], _T]) -> _T | None:
        """Redis's answer; None when it has none."""
        try:
            with queue.errors_translated(self._redis_address):
                return ask()
        except FBSError as exc:
            self._without_redis_until = time.monotonic() + _WITHOUT_REDIS_SECONDS
            if not self._told_away:
                self._told_away = True
                _log.warning("calls to %s are not counted and go on: %s", self._server, exc.message)
            return None

    def _resting(self, seconds: float) -> OdooCircuitOpen:
        # spread a little: those who wait would come back all at once
        seconds = round(seconds * random.uniform(1.0, 1.1), 3)  # noqa: S311 -- guards nothing
        return OdooCircuitOpen(
            f"{self._server} keeps failing: no call is made to it for another {seconds:.0f} seconds.",
            hint="Look into that Odoo. FBS_ODOO_MAX_FAILURES and FBS_ODOO_PAUSE say when calls rest, and how long.",
            retry_after=seconds,
        )


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
