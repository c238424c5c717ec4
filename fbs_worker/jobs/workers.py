"""Worker registry: each worker sends a heartbeat to Redis every few seconds, with its load.

    fbs:workers          sorted set: worker names by the time of their last heartbeat
    fbs:worker:<name>    string: that heartbeat as JSON
    fbs:about:<name>     string: the version of the worker, and its clock at that heartbeat, as JSON

Times are Redis's clock, so the clocks of workers and readers need not agree. A worker that ends deletes its entry; the
entry of a killed worker expires within a minute.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

import orjson

from fbs_worker._version import __version__
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
redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[3])
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
        version: the version of fbs-worker that it runs; empty if it does not say so.
        clock_offset: seconds that its clock is ahead of Redis's.
    """

    name: str
    queues: tuple[str, ...]
    slots: int
    running: int
    taken: int
    age: float = 0.0
    version: str = ""
    clock_offset: float | None = None

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
        about = orjson.dumps({"version": __version__, "clock": time.time()}).decode()
        keys = [_INDEX_KEY, _key(heartbeat.name), _about(heartbeat.name)]
        self._beat(keys=keys, args=[heartbeat.name, payload, _TTL_SECONDS, about])

    def remove(self, name: str) -> None:
        """Delete the entry of a worker that ends."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(_INDEX_KEY, name)
            pipe.delete(_key(name), _about(name))
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
        keys = [key(name) for key in (_key, _about) for name, _ in entries]
        read = cast("list[str | None]", self._redis.mget(keys))
        now = self.now().timestamp()
        heartbeats = []
        for (_, at), payload, about in zip(entries, read[: len(entries)], read[len(entries) :], strict=True):
            if payload is None:
                continue
            heartbeat = WorkerHeartbeat.from_dict(orjson.loads(payload), age=max(0.0, now - at / 1000))
            if about is not None:
                facts = orjson.loads(about)
                heartbeat = replace(heartbeat, version=facts["version"], clock_offset=facts["clock"] - at / 1000)
            heartbeats.append(heartbeat)
        return sorted(heartbeats, key=lambda heartbeat: heartbeat.name)


def _key(name: str) -> str:
    return f"fbs:worker:{name}"


def _about(name: str) -> str:
    return f"fbs:about:{name}"
