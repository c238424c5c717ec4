"""Requests that are sent again: the same `Idempotency-Key` gives the same job, not a second one.

Redis keeps for a day what a key was used for, as a string of its own:

    fbs:api:idem:<hash of caller and key>    {"request": <mark of the request>, "job": <its id; empty while it is made>}

The mark is keyed with FBS_SECRET_KEYS: a request may hold a password, and a plain hash of one could be guessed at.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from anyio import to_thread

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.web.api.errors import IdempotencyInProgress, IdempotencyMismatch
from fbs_worker.web.api.tokens import Caller

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"

KEPT_SECONDS: Final = 24 * 3_600
_MAKING_SECONDS: Final = 60
"""How long making a job may take; after that, one that was cut off may be tried again."""

_NAME: Final = "fbs:api:idem:{}"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

_CLAIM: Final = """
local before = redis.call('GET', KEYS[1])
if before then return before end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ''
"""
"""Of two requests at once, one makes the job. (`SET … NX GET` says the same, from Redis 7 on.)"""

_FORGET: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A job that a request asked for.

    Attributes:
        job_id: its id.
        replayed: an earlier request made it.
    """

    job_id: str
    replayed: bool = False


class Idempotency:
    """Knows which requests made which jobs.

    Args:
        settings: which Redis; what marks are keyed with.
    """

    def __init__(self, settings: Settings) -> None:
        url = settings.fbs_redis_url
        self._place = queue.address(url)
        self._redis = queue.connect(url)
        self._claim = self._redis.register_script(_CLAIM)
        self._forget = self._redis.register_script(_FORGET)
        keys = settings.fbs_secret_keys.get_secret_value().split(",")
        self._keys = [key.strip().encode() for key in keys if key.strip()] or [b""]

    def close(self) -> None:
        """Give the connections to Redis back."""
        self._redis.close()

    async def once(self, caller: Caller, key: str | None, request: bytes, enqueue: Callable[[], str]) -> Made:
        """Make a job, unless the same request has made it already.

        Args:
            caller: who asks; each has keys of its own.
            key: the `Idempotency-Key`; None to make a job whatever was before.
            request: what is asked for: method, path, query and body. The same bytes are the same request.
            enqueue: makes the job and gives its id; it runs in a thread.

        Raises:
            UsageError: the key cannot be one.
            IdempotencyMismatch: the key was used for another request.
            IdempotencyInProgress: the same request is being answered just now.
            QueueUnreachable: Redis does not answer.
            FBSError: what `enqueue` raises; the key is free again then.
        """
        if key is None:
            return Made(job_id=await to_thread.run_sync(enqueue))
        if not _KEY.fullmatch(key):
            raise UsageError(
                f"The {HEADER} is not valid.", hint="It wants 1 to 255 visible ASCII characters, e.g. a UUID."
            )
        return await to_thread.run_sync(self._once, caller, key, request, enqueue)

    def _once(self, caller: Caller, key: str, request: bytes, enqueue: Callable[[], str]) -> Made:
        name = _NAME.format(hashlib.sha256(f"{caller.name}\n{key}".encode()).hexdigest())
        marks = [hmac.new(secret, request, hashlib.sha256).hexdigest() for secret in self._keys]
        making = _kept(marks[0])
        with queue.errors_translated(self._place):
            before = cast("str", self._claim(keys=[name], args=[making, _MAKING_SECONDS]))
        if before:
            return _replayed(json.loads(before), marks)
        try:
            job_id = enqueue()
        except BaseException:
            with queue.errors_translated(self._place):
                self._forget(keys=[name], args=[making])
            raise
        with queue.errors_translated(self._place):
            self._redis.set(name, _kept(marks[0], job_id), ex=KEPT_SECONDS)
        return Made(job_id=job_id)


def _kept(mark: str, job_id: str = "") -> str:
    return json.dumps({"request": mark, "job": job_id})


def _replayed(kept: dict[str, str], marks: list[str]) -> Made:
    if kept["request"] not in marks:
        raise IdempotencyMismatch(
            f"This {HEADER} was used for another request.", hint="Use a new key for each request; a UUID is a good one."
        )
    if not kept["job"]:
        raise IdempotencyInProgress(
            "The first request with this key is still being answered.", hint="Send it again in a second."
        )
    return Made(job_id=kept["job"], replayed=True)
