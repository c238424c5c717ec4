"""Limit calls to an Odoo server over all workers: a semaphore of leases in Redis, and a circuit breaker.

    fbs:odoo:<server>:leases    sorted set: the leases of running calls, scored by expiry time
    fbs:odoo:<server>:free      list: wakes one waiting caller when a lease is released
    fbs:odoo:<server>:breaker   hash: consecutive failures, and when the open circuit admits a probe
    fbs:metrics                 hash: `calls|<host:port>` and `call_failures|<host:port>`

Leases are short and renewed during the call, so the lease of a killed worker is free again within seconds. While Redis
is unreachable, calls are made without a lease: a missing limit must not fail a job.
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
"""Lifetime of a lease that is not renewed; a running call renews it three times as often."""

MAX_PAUSE: Final = 600.0
"""Upper bound in seconds of the doubling pause of an open circuit, unless the first pause is longer."""

_WAKE_SECONDS: Final = 1
_WITHOUT_REDIS_SECONDS: Final = 5.0

_T = TypeVar("_T")

# The scripts use the clock of Redis, in milliseconds. Each takes the same keys (leases, free, breaker, metrics) and
# begins its arguments with the lease's id and the lifetime of a lease in milliseconds. All keys but the metrics expire.
#
# Fields of the breaker: `failures` in a row while the circuit is closed; `until` and `pause` while it is open; `probe`,
# the lease of the one call admitted after `until`. A probe whose lease has expired is replaced by the next call.

_PRELUDE: Final = """
local leases, free, breaker, metrics = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lease, lasts = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

_ACQUIRE: Final = (
    _PRELUDE
    + """
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
local state = redis.call('HMGET', breaker, 'until', 'probe')
local open = tonumber(state[1])
if open then
  if now < open then return {'open', open - now} end
  if state[2] and state[2] ~= lease and redis.call('ZSCORE', leases, state[2]) then
    return {'open', math.floor(lasts / 3)}
  end
end
if not redis.call('ZSCORE', leases, lease) and redis.call('ZCARD', leases) >= tonumber(ARGV[3]) then
  return {'full', 0}
end
redis.call('ZADD', leases, now + lasts, lease)
redis.call('PEXPIRE', leases, lasts)
if open then redis.call('HSET', breaker, 'probe', lease) end
return {'acquired', 0}
"""
)
"""Arguments: maximum of leases. Returns `acquired`, `full`, or `open` with the milliseconds until the next probe.
Idempotent for one lease id, so a repeated command after a lost reply is safe."""

_RENEW: Final = (
    _PRELUDE
    + """
if not redis.call('ZSCORE', leases, lease) then return 0 end
redis.call('ZADD', leases, now + lasts, lease)
redis.call('PEXPIRE', leases, lasts)
return 1
"""
)
"""Returns 1, or 0 where the lease has expired."""

_RELEASE: Final = (
    _PRELUDE
    + """
local outcome, server = ARGV[3], ARGV[4]
local max_calls, max_failures = tonumber(ARGV[5]), tonumber(ARGV[6])
local first_pause, max_pause = tonumber(ARGV[7]), tonumber(ARGV[8])
if redis.call('ZREM', leases, lease) == 0 then return {'', 0} end
redis.call('LPUSH', free, 1)
redis.call('LTRIM', free, 0, max_calls - 1)
redis.call('PEXPIRE', free, lasts)
redis.call('HINCRBY', metrics, 'calls|' .. server, 1)
if outcome == 'failed' then redis.call('HINCRBY', metrics, 'call_failures|' .. server, 1) end

local function open_circuit(pause)
  redis.call('HSET', breaker, 'until', now + pause, 'pause', pause)
  redis.call('HDEL', breaker, 'failures', 'probe')
  redis.call('PEXPIRE', breaker, 2 * max_pause)
  return {'opened', pause}
end

local state = redis.call('HMGET', breaker, 'until', 'pause', 'probe')
if state[1] then
  if state[3] ~= lease then return {'', 0} end
  if outcome == 'failed' then return open_circuit(math.min(2 * tonumber(state[2]), max_pause)) end
  if outcome == 'answered' then
    redis.call('DEL', breaker)
    return {'closed', 0}
  end
elseif outcome == 'answered' then
  redis.call('DEL', breaker)
elseif outcome == 'failed' then
  if redis.call('HINCRBY', breaker, 'failures', 1) >= max_failures then return open_circuit(first_pause) end
  redis.call('PEXPIRE', breaker, 2 * max_pause)
end
return {'', 0}
"""
)
"""Arguments: outcome, server, maximum of calls, maximum of failures, first and longest pause. Returns `opened` with the
pause in milliseconds, `closed`, or an empty string. While the circuit is open, only the outcome of the probe counts."""


class Outcome(StrEnum):
    """The result of a call, as the circuit breaker counts it."""

    ANSWERED = auto()
    """Odoo answered, be it with an error of its own."""
    FAILED = auto()
    """The server is unreachable, timed out, or a proxy answered in its place."""
    NONE = auto()
    """The call was aborted on this side and counts neither way."""


def outcome_of(exc: BaseException) -> Outcome:
    """Classify the exception of a call."""
    if isinstance(exc, (OdooUnreachable, OdooServerError, OdooBadAnswer)):
        return Outcome.FAILED
    return Outcome.ANSWERED if isinstance(exc, OdooError) else Outcome.NONE


class OdooLimiter:
    """A `fbs_worker.connectors.base.Limiter` whose state all workers share through Redis.

    One thread at a time may hold the slot. A wait in the thread that created the limiter calls `waiting`; a wait in
    any other thread ends when the limiter is closed.

    Args:
        redis_url: `redis://[:password@]host:port/db`.
        server: `scheme://host:port`, without credentials.
        max_calls: maximum of concurrent calls, over all workers.
        max_failures: consecutive failures after which the circuit opens.
        pause: seconds until an open circuit admits one probe; doubled each time that the probe fails.
        waiting: called about once a second while no lease is free; an exception of it ends the wait.
        lease_seconds: lifetime of a lease that is not renewed.

    Raises:
        SettingsError: the URL of Redis is not valid.
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
        self._acquire_script = self._redis.register_script(_ACQUIRE)
        self._renew_script = self._redis.register_script(_RENEW)
        self._release_script = self._redis.register_script(_RELEASE)
        self._server = server
        self._keys = [*(f"fbs:odoo:{server}:{part}" for part in ("leases", "free", "breaker")), METRICS_KEY]
        self._max_calls = max_calls
        self._max_failures = max_failures
        self._pause = pause
        self._waiting = waiting
        self._lease_seconds = lease_seconds
        self._owner = threading.get_ident()
        self._changed = threading.Condition()
        self._renewer: threading.Thread | None = None
        self._lease = ""
        self._entered = False
        self._closed = False
        self._without_redis_until = 0.0
        self._warned_without_redis = False

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Acquire a lease for one call, made in the `with` block; how the block ends is the outcome of the call.

        Raises:
            OdooCircuitOpen: the server failed repeatedly; no call may be made now.
            JobCancelled: raised by `waiting`, or the limiter was closed during the wait.
        """
        self._enter()
        try:
            lease = self._acquire()
            try:
                yield
            except BaseException as exc:
                self._release(lease, outcome_of(exc))
                raise
            self._release(lease, Outcome.ANSWERED)
        finally:
            self._leave()

    def close(self) -> None:
        """Admit no further call. A call running in another thread keeps its lease until it ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            renewer, idle = self._renewer, not self._entered
        if renewer is None:
            self._redis.close()
        elif idle:
            renewer.join()

    def _enter(self) -> None:
        with self._changed:
            self._entered = True
            if self._renewer is None and not self._closed:
                self._renewer = threading.Thread(target=self._renew, name="fbs-odoo-lease", daemon=True)
                self._renewer.start()

    def _leave(self) -> None:
        with self._changed:
            self._entered = False
            if self._closed:
                self._changed.notify_all()

    def _acquire(self) -> str:
        """Wait for a lease; an empty id while Redis is unreachable."""
        lease = secrets.token_hex(8)
        while True:
            if self._closed:
                raise JobCancelled("The connection to Odoo was closed while a call waited for a free slot.")
            if time.monotonic() < self._without_redis_until:
                return ""
            answer = self._redis_result(lambda: self._acquire_script(**self._script_call(lease, self._max_calls)))
            if answer is None:
                return ""
            state, milliseconds = answer
            if state == "acquired":
                self._lease = lease
                return lease
            if state == "open":
                raise self._circuit_open(milliseconds / 1000)
            if threading.get_ident() == self._owner:
                self._waiting()
            self._redis_result(lambda: self._redis.blpop([self._keys[1]], timeout=_WAKE_SECONDS))

    def _release(self, lease: str, outcome: Outcome) -> None:
        self._lease = ""
        if not lease:
            return
        max_pause = max(MAX_PAUSE, self._pause)
        limits = (self._max_calls, self._max_failures, _milliseconds(self._pause), _milliseconds(max_pause))
        address = self._server.partition("://")[2]
        call = self._script_call(lease, outcome.value, address, *limits)
        change, milliseconds = self._redis_result(lambda: self._release_script(**call)) or ("", 0)
        if change == "opened":
            _log.warning("%s keeps failing: circuit open for %g seconds", self._server, milliseconds / 1000)
        elif change == "closed":
            _log.warning("%s answers again: circuit closed", self._server)

    def _renew(self) -> None:
        """Renew the lease until the limiter is closed and idle; then close the client as its last user."""
        while self._is_open():
            if self._lease:
                self._redis_result(lambda: self._renew_script(**self._script_call(self._lease)))
        self._redis.close()

    def _is_open(self) -> bool:
        """Sleep for a third of a lease's lifetime; false as soon as the limiter is closed and idle."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._closed and not self._entered, self._lease_seconds / 3)

    def _script_call(self, lease: str, *arguments: str | int) -> dict[str, Any]:
        return {"keys": self._keys, "args": [lease, _milliseconds(self._lease_seconds), *arguments]}

    def _redis_result(self, command: Callable[[], _T]) -> _T | None:
        """The result of a Redis command; None while Redis is unreachable."""
        try:
            return command()
        except FBSError as exc:
            self._without_redis_until = time.monotonic() + _WITHOUT_REDIS_SECONDS
            if not self._warned_without_redis:
                self._warned_without_redis = True
                _log.warning("calls to %s are not limited while Redis is unreachable: %s", self._server, exc.message)
            return None

    def _circuit_open(self, seconds: float) -> OdooCircuitOpen:
        # jitter, so that waiting jobs do not all retry at once
        seconds = round(seconds * random.uniform(1.0, 1.1), 3)  # noqa: S311 -- not a secret
        return OdooCircuitOpen(
            f"{self._server} failed repeatedly: circuit open, no call for another {seconds:.0f} seconds.",
            hint="Check that Odoo. FBS_ODOO_MAX_FAILURES and FBS_ODOO_PAUSE set when the circuit opens and how long.",
            retry_after=seconds,
        )


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
