"""Which workers there are: each gives a sign of life every few seconds, with what it does just now.

    fbs:workers          a sorted set: the workers' names by the time of their last sign
    fbs:worker:<name>    that sign, as JSON

Times are Redis's own clock, so the clocks of workers and of who looks need not agree. A worker that ends takes its sign
away; that of one that was killed goes by itself within a minute.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

import orjson

from fbs_worker.core import redis as queue

HEARTBEAT_SECONDS: Final = 2.0
"""How often a worker gives a sign of life."""

ALIVE_SECONDS: Final = 6.0
"""A worker whose last sign is older than this is stuck, cut off from Redis, or dead."""

"""What makes a worker give them, for `app.steps["consumer"]`; a name, for nothing but a worker imports it."""

_KEPT_SECONDS: Final = 60
_INDEX: Final = "fbs:workers"

_TELL: Final = """
local clock = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[1], clock[1] * 1000 + math.floor(clock[2] / 1000), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', (clock[1] - ARGV[3]) * 1000)
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


def worker_name(name: str) -> str:
    """The name of a worker on this host, `NAME@host`.

    Args:
        name: `NAME`, or `NAME@host`, which stays as it is.
    """
    return name if "@" in name else f"{name}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHeartbeat:
    """A worker's last sign of life.

    Attributes:
        name: the worker's name, `NAME@host`.
        queues: the queues that it takes jobs from.
        slots: how many jobs it can run at a time.
        running: how many it runs.
        taken: how many it has begun since it started, probes not counted; grows while it takes jobs.
        age: seconds since the sign was given.
    """

    name: str
    queues: tuple[str, ...]
    slots: int
    running: int
    taken: int
    age: float = 0.0

    @property
    def alive(self) -> bool:
        """The worker's main loop goes round."""
        return self.age <= ALIVE_SECONDS

    @property
    def saturated(self) -> bool:
        """It cannot take a further job now."""
        return self.running >= self.slots

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "queues": list(self.queues),
            "slots": self.slots,
            "running": self.running,
            "taken": self.taken,
            "age": round(self.age, 1),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any], *, age: float) -> Self:
        """Back from `to_dict`, as old as it is now."""
        return cls(**{**kept, "queues": tuple(kept["queues"]), "age": age})


class WorkerRegistry:
    """Where workers give their signs of life, and where to look for them.

    Args:
        redis_url: `redis://[:password@]host:port/db`.

    Raises:
        SettingsError: the URL is not one. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = queue.connect(redis_url)
        self._address = queue.address(redis_url)
        self._tell = self._redis.register_script(_TELL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._redis.close()

    def beat(self, sign: WorkerHeartbeat) -> None:
        """Give a worker's sign of life."""
        told = orjson.dumps(sign.to_dict()).decode()
        with queue.errors_translated(self._address):
            self._tell(keys=[_INDEX, _key(sign.name)], args=[sign.name, told, _KEPT_SECONDS])

    def remove(self, name: str) -> None:
        """A worker ends: take its sign away."""
        with queue.errors_translated(self._address), self._redis.pipeline() as pipe:
            pipe.zrem(_INDEX, name)
            pipe.delete(_key(name))
            pipe.execute()

    def now(self) -> datetime:
        """Redis's clock, which all times of jobs and workers are of."""
        with queue.errors_translated(self._address):
            seconds, micros = self._redis.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, tz=UTC)

    def workers(self) -> Sequence[WorkerHeartbeat]:
        """The last signs of all workers, by name; of those that were killed, too, for a minute."""
        with queue.errors_translated(self._address):
            told = cast("list[tuple[str, float]]", self._redis.zrange(_INDEX, 0, -1, withscores=True))
            if not told:
                return []
            kept = cast("list[str | None]", self._redis.mget([_key(name) for name, _ in told]))
        now = self.now().timestamp()
        found = [
            WorkerHeartbeat.from_dict(orjson.loads(sign), age=max(0.0, now - at / 1000))
            for (_, at), sign in zip(told, kept, strict=True)
            if sign is not None
        ]
        return sorted(found, key=lambda sign: sign.name)


def _key(name: str) -> str:
    return f"fbs:worker:{name}"
