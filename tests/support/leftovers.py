"""State that jobs have while they run, and must not leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import redis

from fbs_worker.core.postgres import connect
from fbs_worker.jobs.config import QUEUES
from fbs_worker.jobs.store import OPEN_KEY
from fbs_worker.ops.local.embedded import EmbeddedPostgres

_SESSIONS: Final = """
SELECT datname, application_name, state,
    (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted)
FROM pg_stat_activity a WHERE datname = ANY(%s)
"""


def left_in_redis(url: str) -> dict[str, int]:
    """Messages that wait, messages that workers hold, jobs that have not ended and claims of them: how many of each.

    Args:
        url: the Redis database of the jobs.

    Returns:
        What there is any of.
    """
    with redis.Redis.from_url(url) as raw, raw.pipeline(transaction=False) as pipe:
        for name in QUEUES:
            pipe.llen(name)
        pipe.hlen("unacked")
        pipe.zcard("unacked_index")
        pipe.scard(OPEN_KEY)
        counts = pipe.execute()
        claims = sum(1 for _ in raw.scan_iter("fbs:same:*"))
    names = (*QUEUES, "unacked", "unacked_index", "open", "claims")
    return {name: count for name, count in zip(names, (*counts, claims), strict=True) if count}


def sessions(postgres: EmbeddedPostgres, databases: Sequence[str]) -> list[tuple[Any, ...]]:
    """Who is connected to some databases: which one, as what, in which state, with how many advisory locks."""
    with closing(connect(postgres.config())) as connection, connection.cursor() as cursor:
        cursor.execute(_SESSIONS, (list(databases),))
        return cursor.fetchall()
