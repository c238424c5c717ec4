"""Redis: how this project connects to it, and its errors in our words.

Every connection gives up within seconds: a command to a Redis that is away or hangs ends in QueueUnreachable, it never
waits for the server to come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from fbs_worker.core.errors import JobError, QueueUnreachable, SettingsError

CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 4.0
"""Together with two quick retries of a lost connection, a dead Redis is told within about five seconds."""

HOW_TO_START: Final = "Start one with `fbs up`, or set FBS_REDIS_URL to a Redis that runs."
_URL_HINT: Final = "Write FBS_REDIS_URL as redis://[:password@]host:port/db (rediss:// for TLS)."


def check_url(url: str) -> str:
    """The URL of a Redis, if it is one.

    Args:
        url: `redis://[:password@]host:port/db`, or `rediss://…` for TLS.

    Raises:
        SettingsError: it is missing or cannot be read; the message does not repeat it, for the password's sake.
    """
    if not url:
        raise SettingsError("No Redis is set.", hint=HOW_TO_START)
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not (parts.path.strip("/") or "0").isdecimal():
        raise SettingsError("FBS_REDIS_URL is not the URL of a Redis.", hint=_URL_HINT)
    return url


def address(url: str) -> str:
    """`host:port` of a Redis URL, for a person: neither user nor password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def connect(url: str) -> redis.Redis:
    """A client of that Redis; the connection itself is made with the first command.

    Args:
        url: see `check_url`.

    Raises:
        SettingsError: the URL is not one.
    """
    return redis.Redis.from_url(
        check_url(url),
        decode_responses=True,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_keepalive=True,
        health_check_interval=30,
        protocol=2,  # one shape of answers, whatever the version of the library prefers
        retry=Retry(ExponentialBackoff(cap=0.4, base=0.1), 2, supported_errors=(RedisConnectionError,)),
    )


@contextmanager
def errors_translated(address: str) -> Iterator[None]:
    """Tells the Redis library's errors in our words.

    Args:
        address: the server's `address`.

    Raises:
        SettingsError: the server refuses the user or the password.
        QueueUnreachable: it does not answer.
        JobError: it answers with an error, e.g. that its memory is full.
    """
    try:
        yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as exc:
        raise SettingsError(f"Redis at {address} refuses the user or the password.", hint=_URL_HINT) from exc
    except (RedisConnectionError, RedisTimeout) as exc:
        raise QueueUnreachable(f"Redis at {address} does not answer.", hint=HOW_TO_START) from exc
    except RedisError as exc:
        # The server's own words may repeat a command's arguments; the first of them names the kind of error.
        kind = str(exc).partition(" ")[0][:40] or type(exc).__name__
        raise JobError(
            f"Redis at {address} answered with an error: {type(exc).__name__} ({kind}).",
            hint="Look into the log of Redis.",
        ) from exc
