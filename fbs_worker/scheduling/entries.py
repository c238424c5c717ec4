"""Beat's schedule entries in Redis, in RedBeat's layout.

    fbs:redbeat:refresh:<solution>   hash: `definition` (task, arguments, schedule) and `meta` (time of the last run)
    fbs:redbeat:fbs.refresh_due      the same for the solutions without a schedule of their own
    fbs:redbeat::schedule            sorted set: the keys above, scored by the time at which each is due
    fbs:redbeat::lock                held by the active beat
    fbs:refresh-due                  hash: last refresh by `fbs.refresh_due` of solutions without a schedule of their
    own

These keys are a cache: the registry and the manifests are authoritative, and `reconcile` rebuilds the entries from
    them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

import orjson

from fbs_worker.core import redis as queue
from fbs_worker.scheduling.model import Schedule

PREFIX: Final = "fbs:redbeat:"
INDEX: Final = f"{PREFIX}:schedule"
LOCK: Final = f"{PREFIX}:lock"
_LEDGER: Final = "fbs:refresh-due"

REFRESH: Final = "fbs.refresh"
REFRESH_DUE: Final = "fbs.refresh_due"
"""Name of the task and of its entry; entries of solutions start with `refresh:`."""

_SOLUTION_PREFIX: Final = "refresh:"
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second", "microsecond")

_CLAIM: Final = """
-- KEYS: index, entry    ARGV: seconds of the claim
-- Atomic claim: postpone a due entry, so that no other beat finds it due. It is due again if the claimant dies.
local due = redis.call('ZSCORE', KEYS[1], KEYS[2])
if not due then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
if tonumber(due) > now then return {tostring(tonumber(due) - now), due} end
redis.call('ZADD', KEYS[1], string.format('%.3f', now + tonumber(ARGV[1])), KEYS[2])
return {'0', due}
"""

_MARK_RUN: Final = """
-- KEYS: index, entry    ARGV: meta, next due time
-- An entry that was removed in the meantime is not created again.
if redis.call('ZSCORE', KEYS[1], KEYS[2]) then
    redis.call('HSET', KEYS[2], 'meta', ARGV[1])
    redis.call('ZADD', KEYS[1], ARGV[2], KEYS[2])
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry:
    """A stored schedule entry.

    Attributes:
        due: when the entry is due next.
        last_run: when it last ran; None before the first run.
        definition: task, arguments and schedule, as stored (JSON).
    """

    due: datetime
    last_run: datetime | None
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Result of a claim.

    Attributes:
        wait: seconds until the entry is due; 0 if the caller has claimed it and must run it.
        due: when the entry is or was due.
    """

    wait: float
    due: datetime


class EntryStore:
    """Repository of beat's entries in Redis. Every method raises QueueUnreachable when Redis does not answer.

    Args:
        redis_url: `redis://[:password@]host:port/db`.

    Raises:
        SettingsError: the URL is not valid.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = queue.connect(redis_url)
        self._address = queue.address(redis_url)
        self._claim = self._redis.register_script(_CLAIM)
        self._mark_run = self._redis.register_script(_MARK_RUN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def all(self) -> dict[str, ScheduleEntry]:
        """Return all entries by name."""
        with queue.errors_translated(self._address):
            scores = cast("list[tuple[str, float]]", self._redis.zrange(INDEX, 0, -1, withscores=True))
            with self._redis.pipeline(transaction=False) as pipe:
                for key, _ in scores:
                    pipe.hmget(key, "definition", "meta")
                rows = pipe.execute()
        return {
            key.removeprefix(PREFIX): _entry(score, definition, meta)
            for (key, score), (definition, meta) in zip(scores, rows, strict=True)
        }

    def get(self, name: str) -> ScheduleEntry | None:
        """Return an entry; None without one."""
        with queue.errors_translated(self._address), self._redis.pipeline(transaction=False) as pipe:
            pipe.zscore(INDEX, PREFIX + name)
            pipe.hmget(PREFIX + name, "definition", "meta")
            score, (definition, meta) = pipe.execute()
        return None if score is None else _entry(score, definition, meta)

    def put(self, name: str, definition: str, *, due: datetime) -> None:
        """Insert or update an entry; the time of its last run is preserved.

        Args:
            name: the entry's name.
            definition: the result of `definition`.
            due: when the entry is due next.
        """
        with queue.errors_translated(self._address), self._redis.pipeline() as pipe:
            pipe.hset(PREFIX + name, "definition", definition)
            pipe.hsetnx(PREFIX + name, "meta", _meta(None))
            pipe.zadd(INDEX, {PREFIX + name: due.timestamp()})
            pipe.execute()

    def remove(self, name: str) -> None:
        """Delete an entry."""
        with queue.errors_translated(self._address), self._redis.pipeline() as pipe:
            pipe.zrem(INDEX, PREFIX + name)
            pipe.delete(PREFIX + name)
            pipe.execute()

    def claim(self, name: str, *, seconds: float) -> Claim | None:
        """Claim an entry if it is due, exclusively.

        Args:
            name: the entry's name.
            seconds: duration of the claim; without a `mark_run` the entry is due again afterwards.

        Returns:
            The claim, or the time until the entry is due; None if there is no such entry.
        """
        with queue.errors_translated(self._address):
            reply = self._claim(keys=[INDEX, PREFIX + name], args=[seconds])
        return None if reply is None else Claim(wait=float(reply[0]), due=_timestamp(float(reply[1])))

    def mark_run(self, name: str, *, at: datetime, due: datetime) -> None:
        """Record the run of a claimed entry.

        Args:
            name: the entry's name.
            at: when it ran.
            due: when it is due next.
        """
        with queue.errors_translated(self._address):
            self._mark_run(keys=[INDEX, PREFIX + name], args=[_meta(at), due.timestamp()])

    def beat_is_running(self) -> bool:
        """Return whether an active beat holds the lock."""
        with queue.errors_translated(self._address):
            return bool(self._redis.exists(LOCK))

    def refreshed(self) -> dict[str, datetime]:
        """Return the times at which `fbs.refresh_due` last refreshed each solution without a schedule of its own."""
        with queue.errors_translated(self._address):
            stored = cast("dict[str, str]", self._redis.hgetall(_LEDGER))
        return {name: _timestamp(float(at)) for name, at in stored.items()}

    def record_refreshed(self, name: str, at: datetime) -> None:
        """Record the time at which `fbs.refresh_due` refreshed a solution."""
        with queue.errors_translated(self._address):
            self._redis.hset(_LEDGER, name, str(at.timestamp()))

    def forget_refreshed(self, *names: str) -> None:
        """Delete the times of dropped solutions."""
        if names:
            with queue.errors_translated(self._address):
                self._redis.hdel(_LEDGER, *names)


def entry_name(solution: str) -> str:
    """Return the name of a solution's entry."""
    return _SOLUTION_PREFIX + solution


def definition(schedule: Schedule, *, solution: str | None = None, every: str = "") -> str:
    """Return an entry's definition in RedBeat's format; equal arguments give equal text.

    Args:
        schedule: when the task runs.
        solution: the solution to refresh; None for all solutions without a schedule of their own.
        every: the refresh interval of those solutions.
    """
    payload: dict[str, Any] = {
        "name": REFRESH_DUE if solution is None else entry_name(solution),
        "task": REFRESH_DUE if solution is None else REFRESH,
        "args": [],
        "kwargs": {"every": every} if solution is None else {"solution_name": solution},
        "options": {},
        "schedule": schedule.to_dict(),
        "enabled": True,
    }
    return orjson.dumps(payload, option=orjson.OPT_SORT_KEYS).decode()


def _entry(score: float, definition: str | None, meta: str | None) -> ScheduleEntry:
    stored: Mapping[str, Any] = orjson.loads(meta or "{}")
    last = stored.get("last_run_at")
    last_run = datetime(**{part: last[part] for part in _PARTS}, tzinfo=UTC) if last else None
    return ScheduleEntry(due=_timestamp(score), last_run=last_run, definition=definition or "")


def _meta(last_run: datetime | None) -> str:
    """Encode the time of the last run as RedBeat does (`redbeat.decoder`)."""
    encoded: dict[str, Any] | None = None
    if last_run is not None:
        utc = last_run.astimezone(UTC)
        encoded = {"__type__": "datetime", "timezone": "UTC", **{part: getattr(utc, part) for part in _PARTS}}
    return orjson.dumps({"last_run_at": encoded}).decode()


def _timestamp(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
