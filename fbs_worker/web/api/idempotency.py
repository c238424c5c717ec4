"""Idempotent requests: the same `Idempotency-Key` returns the same job instead of enqueuing a second one.

Redis stores for a day what a key was used for, as a string:

    fbs:api:idem:<hash of principal and key>    {"request": <digest of the request>, "job": <its id; empty in progress>}

The digest is keyed with FBS_SECRET_KEYS: a request may contain a password, and a plain hash would allow guessing it.
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
from fbs_worker.web.api.tokens import Principal

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"

TTL_SECONDS: Final = 24 * 3_600
_IN_PROGRESS_SECONDS: Final = 60
"""How long enqueuing may take; after that, a retry of an interrupted request may enqueue again."""

_NAME: Final = "fbs:api:idem:{}"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

_CLAIM: Final = """
local before = redis.call('GET', KEYS[1])
if before then return before end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ''
"""
"""Of concurrent requests, one enqueues the job. (`SET … NX GET` does the same, from Redis 7 on.)"""

_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentJob:
    """The job of a request.

    Attributes:
        job_id: the job's id.
        replayed: an earlier request enqueued it.
    """

    job_id: str
    replayed: bool = False


class Idempotency(queue.RedisOwner):
    """Map idempotency keys to the jobs that their requests enqueued, in Redis.

    Args:
        settings: FBS_REDIS_URL, and FBS_SECRET_KEYS for the digests.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.fbs_redis_url)
        self._claim = self._redis.register_script(_CLAIM)
        self._release = self._redis.register_script(_RELEASE)
        keys = settings.fbs_secret_keys.get_secret_value().split(",")
        self._keys = [key.strip().encode() for key in keys if key.strip()] or [b""]

    async def enqueue_once(
        self, principal: Principal, key: str | None, request: bytes, enqueue: Callable[[], str]
    ) -> IdempotentJob:
        """Enqueue a job, unless the same request has enqueued it already.

        Args:
            principal: the sender; keys are separate per principal.
            key: the `Idempotency-Key`; None enqueues unconditionally.
            request: method, path, query and body; equal bytes are the same request.
            enqueue: enqueues the job and returns its id; it runs in a thread.

        Raises:
            UsageError: the key is not valid.
            IdempotencyMismatch: the key was used for another request.
            IdempotencyInProgress: the first request with the key is still in progress.
            QueueUnreachable: Redis does not respond.
            FBSError: whatever `enqueue` raises; the key is released.
        """
        if key is None:
            return IdempotentJob(job_id=await to_thread.run_sync(enqueue))
        if not _KEY.fullmatch(key):
            raise UsageError(f"The {HEADER} is not valid.", hint="Use 1 to 255 visible ASCII characters, e.g. a UUID.")
        return await to_thread.run_sync(self._enqueue_once, principal, key, request, enqueue)

    def _enqueue_once(
        self, principal: Principal, key: str, request: bytes, enqueue: Callable[[], str]
    ) -> IdempotentJob:
        name = _NAME.format(hashlib.sha256(f"{principal.name}\n{key}".encode()).hexdigest())
        digests = [hmac.new(secret, request, hashlib.sha256).hexdigest() for secret in self._keys]
        in_progress = _entry(digests[0])
        before = cast("str", self._claim(keys=[name], args=[in_progress, _IN_PROGRESS_SECONDS]))
        if before:
            return _replay(json.loads(before), digests)
        try:
            job_id = enqueue()
        except BaseException:
            self._release(keys=[name], args=[in_progress])
            raise
        self._redis.set(name, _entry(digests[0], job_id), ex=TTL_SECONDS)
        return IdempotentJob(job_id=job_id)


def _entry(digest: str, job_id: str = "") -> str:
    return json.dumps({"request": digest, "job": job_id})


def _replay(entry: dict[str, str], digests: list[str]) -> IdempotentJob:
    if entry["request"] not in digests:
        raise IdempotencyMismatch(
            f"This {HEADER} was used for another request.", hint="Use a new key for each request, e.g. a UUID."
        )
    if not entry["job"]:
        raise IdempotencyInProgress(
            "The first request with this key is still in progress.", hint="Send it again in a second."
        )
    return IdempotentJob(job_id=entry["job"], replayed=True)
