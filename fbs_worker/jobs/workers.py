"""Worker registry: each worker sends a heartbeat to Redis every few seconds, with its load.

    fbs:workers          sorted set: worker names by the time of their last heartbeat
    fbs:worker:<name>    string: that heartbeat as JSON

Times are Redis's clock, so the clocks of workers and readers need not agree. A worker that ends deletes its entry; the
entry of a killed worker expires within a minute.
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
"""Interval of the heartbeats."""

ALIVE_SECONDS: Final = 6.0
"""A worker whose last heartbeat is older is stuck, cut off from Redis, or dead."""

_TTL_SECONDS: Final = 60
_INDEX_KEY: Final = "fbs:workers"

_BEAT: Final = """
local clock = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[1], clock[1] * 1000 + math.floor(clock[2] / 1000), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', (clock[1] - ARGV[3]) * 1000)
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


def worker_name(name: str) -> str:
    """Return the name of a worker on this host, `NAME@host`.

    Args:
        name: `NAME`; a `NAME@host` is returned unchanged.
    """
    return name if "@" in name else f"{name}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHeartbeat:
    """The last heartbeat of a worker.

    Attributes:
        name: the worker's name, `NAME@host`.
        queues: the queues that it consumes.
        slots: the number of its processes, i.e. of concurrent jobs.
        running: the number of jobs that it runs.
        taken: the number of jobs begun since its start, without probes.
        age: seconds since the heartbeat.
    """

    name: str
    queues: tuple[str, ...]
    slots: int
    running: int
    taken: int
    age: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether the heartbeat is recent."""
        return self.age <= ALIVE_SECONDS

    @property
    def saturated(self) -> bool:
        """Whether all processes of the worker are busy."""
        return self.running >= self.slots

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "name": self.name,
            "queues": list(self.queues),
            "slots": self.slots,
            "running": self.running,
            "taken": self.taken,
            "age": round(self.age, 1),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], *, age: float) -> Self:
        """Parse the dictionary of `to_dict`.

        Args:
            fields: the dictionary.
            age: seconds since the heartbeat, in place of the dictionary's.
        """
        return cls(**{**fields, "queues": tuple(fields["queues"]), "age": age})


class WorkerRegistry(queue.RedisOwner):
    """Writes and reads the heartbeats of workers.

    Args:
        redis_url: `redis://[:password@]host:port/db`.

    Raises:
        SettingsError: the URL is not valid. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self._beat = self._redis.register_script(_BEAT)

    def beat(self, heartbeat: WorkerHeartbeat) -> None:
        """Store a worker's heartbeat."""
        payload = orjson.dumps(heartbeat.to_dict()).decode()
        self._beat(keys=[_INDEX_KEY, _key(heartbeat.name)], args=[heartbeat.name, payload, _TTL_SECONDS])

    def remove(self, name: str) -> None:
        """Delete the entry of a worker that ends."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(_INDEX_KEY, name)
            pipe.delete(_key(name))
            pipe.execute()

    def now(self) -> datetime:
        """Return Redis's clock, the time base of jobs and workers."""
        seconds, micros = self._redis.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, tz=UTC)

    def workers(self) -> Sequence[WorkerHeartbeat]:
        """List the last heartbeats by worker name; killed workers are included for a minute."""
        entries = cast("list[tuple[str, float]]", self._redis.zrange(_INDEX_KEY, 0, -1, withscores=True))
        if not entries:
            return []
        payloads = cast("list[str | None]", self._redis.mget([_key(name) for name, _ in entries]))
        now = self.now().timestamp()
        heartbeats = [
            WorkerHeartbeat.from_dict(orjson.loads(payload), age=max(0.0, now - at / 1000))
            for (_, at), payload in zip(entries, payloads, strict=True)
            if payload is not None
        ]
        return sorted(heartbeats, key=lambda heartbeat: heartbeat.name)


def _key(name: str) -> str:
    return f"fbs:worker:{name}"
