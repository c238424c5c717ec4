"""What beat has to do when, in Redis, laid out as RedBeat does it.

    fbs:redbeat:refresh:<solution>   a hash: `definition` (task, arguments, schedule) and `meta` (when it last ran)
    fbs:redbeat:fbs.refresh_due      the same for the solutions without a schedule of their own
    fbs:redbeat::schedule            a sorted set: those keys by the time at which each is due
    fbs:redbeat::lock                held by the beat that works
    fbs:refresh-due                  a hash: when solutions without a schedule of their own were last refreshed so

None of it is the truth: that is in the solutions' rows, and all of this is made anew from them.
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
"""The task, and the name of its entry: no solution's entry can be called so."""

_OF_A_SOLUTION: Final = "refresh:"
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second", "microsecond")

_CLAIM: Final = """
-- KEYS: index, entry    ARGV: seconds of the claim
-- Whoever comes first puts the entry off, so nobody else finds it due; if nothing comes of it, it is due again then.
local due = redis.call('ZSCORE', KEYS[1], KEYS[2])
if not due then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
if tonumber(due) > now then return {tostring(tonumber(due) - now), due} end
redis.call('ZADD', KEYS[1], string.format('%.3f', now + tonumber(ARGV[1])), KEYS[2])
return {'0', due}
"""

_RAN: Final = """
-- KEYS: index, entry    ARGV: meta, when it is due next
-- One that was taken away meanwhile stays away.
if redis.call('ZSCORE', KEYS[1], KEYS[2]) then
    redis.call('HSET', KEYS[2], 'meta', ARGV[1])
    redis.call('ZADD', KEYS[1], ARGV[2], KEYS[2])
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One entry.

    Attributes:
        due: when it is next.
        last_run: when it last was; None before.
        definition: the task, its arguments and the schedule, as they are kept.
    """

    due: datetime
    last_run: datetime | None
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What came of a claim.

    Attributes:
        wait: seconds until the entry is due; 0: it is the caller's to run.
        due: when it is, or was.
    """

    wait: float
    due: datetime


class PlanStore:
    """Beat's entries in Redis.

    Args:
        redis_url: `redis://[:password@]host:port/db`.

    Raises:
        SettingsError: the URL is not one. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = queue.connect(redis_url)
        self._address = queue.address(redis_url)
        self._claim = self._redis.register_script(_CLAIM)
        self._ran = self._redis.register_script(_RAN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def all(self) -> dict[str, Plan]:
        """All entries by their names."""
        with queue.errors_translated(self._address):
            scores = cast("list[tuple[str, float]]", self._redis.zrange(INDEX, 0, -1, withscores=True))
            with self._redis.pipeline(transaction=False) as pipe:
                for key, _ in scores:
                    pipe.hmget(key, "definition", "meta")
                kept = pipe.execute()
        return {
            key.removeprefix(PREFIX): _plan(score, definition, meta)
            for (key, score), (definition, meta) in zip(scores, kept, strict=True)
        }

    def get(self, name: str) -> Plan | None:
        """The entry of that name, if there is one."""
        with queue.errors_translated(self._address), self._redis.pipeline(transaction=False) as pipe:
            pipe.zscore(INDEX, PREFIX + name)
            pipe.hmget(PREFIX + name, "definition", "meta")
            score, (definition, meta) = pipe.execute()
        return None if score is None else _plan(score, definition, meta)

    def put(self, name: str, definition: str, *, due: datetime) -> None:
        """Write an entry; when it last ran stays.

        Args:
            name: the entry's.
            definition: see `definition`.
            due: when it is next.
        """
        with queue.errors_translated(self._address), self._redis.pipeline() as pipe:
            pipe.hset(PREFIX + name, "definition", definition)
            pipe.hsetnx(PREFIX + name, "meta", _meta(None))
            pipe.zadd(INDEX, {PREFIX + name: due.timestamp()})
            pipe.execute()

    def remove(self, name: str) -> None:
        """Take an entry away."""
        with queue.errors_translated(self._address), self._redis.pipeline() as pipe:
            pipe.zrem(INDEX, PREFIX + name)
            pipe.delete(PREFIX + name)
            pipe.execute()

    def claim(self, name: str, *, seconds: float) -> Turn | None:
        """Take an entry that is due, so that nobody else does.

        Args:
            name: the entry's.
            seconds: after so long it is due again, if the caller has not told that it `ran`.

        Returns:
            Whether it is the caller's; None where there is no such entry.
        """
        with queue.errors_translated(self._address):
            told = self._claim(keys=[INDEX, PREFIX + name], args=[seconds])
        return None if told is None else Turn(wait=float(told[0]), due=_moment(float(told[1])))

    def ran(self, name: str, *, at: datetime, due: datetime) -> None:
        """A claimed entry was run.

        Args:
            name: the entry's.
            at: when.
            due: when it is next.
        """
        with queue.errors_translated(self._address):
            self._ran(keys=[INDEX, PREFIX + name], args=[_meta(at), due.timestamp()])

    def beat_works(self) -> bool:
        """Whether a beat is there to run entries."""
        with queue.errors_translated(self._address):
            return bool(self._redis.exists(LOCK))

    def refreshed(self) -> dict[str, datetime]:
        """When solutions without a schedule of their own were last refreshed by `fbs.refresh_due`."""
        with queue.errors_translated(self._address):
            kept = cast("dict[str, str]", self._redis.hgetall(_LEDGER))
        return {name: _moment(float(at)) for name, at in kept.items()}

    def note_refreshed(self, name: str, at: datetime) -> None:
        """Remember when a solution without a schedule of its own was refreshed."""
        with queue.errors_translated(self._address):
            self._redis.hset(_LEDGER, name, str(at.timestamp()))

    def forget_refreshed(self, *names: str) -> None:
        """Forget solutions that are gone."""
        if names:
            with queue.errors_translated(self._address):
                self._redis.hdel(_LEDGER, *names)


def entry_name(solution: str) -> str:
    """The name of a solution's entry."""
    return _OF_A_SOLUTION + solution


def definition(schedule: Schedule, *, solution: str | None = None, every: str = "") -> str:
    """What an entry does and when, as RedBeat reads it; the same schedule gives the same text.

    Args:
        schedule: when.
        solution: which is refreshed; None for those without a schedule of their own.
        every: every how long those are refreshed.
    """
    told: dict[str, Any] = {
        "name": REFRESH_DUE if solution is None else entry_name(solution),
        "task": REFRESH_DUE if solution is None else REFRESH,
        "args": [],
        "kwargs": {"every": every} if solution is None else {"solution_name": solution},
        "options": {},
        "schedule": schedule.to_dict(),
        "enabled": True,
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()


def _plan(score: float, kept: str | None, meta: str | None) -> Plan:
    told: Mapping[str, Any] = orjson.loads(meta or "{}")
    last = told.get("last_run_at")
    last_run = datetime(**{part: last[part] for part in _PARTS}, tzinfo=UTC) if last else None
    return Plan(due=_moment(score), last_run=last_run, definition=kept or "")


def _meta(last_run: datetime | None) -> str:
    """In RedBeat's words (`redbeat.decoder`)."""
    told: dict[str, Any] | None = None
    if last_run is not None:
        utc = last_run.astimezone(UTC)
        told = {"__type__": "datetime", "timezone": "UTC", **{part: getattr(utc, part) for part in _PARTS}}
    return orjson.dumps({"last_run_at": told}).decode()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
