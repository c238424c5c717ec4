"""redis-py adapter: open clients with bounded time-outs and translate the library's errors to FBSErrors.

A command to a Redis that is down or hangs raises QueueUnreachable within seconds; no command waits for the server to
come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.client import Pipeline
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from fbs_worker.core.errors import JobError, QueueUnreachable, SettingsError

CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 4.0
"""With the two quick retries of a lost connection, a dead Redis is reported within about five seconds."""

SOCKET_OPTIONS: Final[Mapping[str, Any]] = {
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": ANSWER_SECONDS,
    "socket_keepalive": True,
    "health_check_interval": 30,
}
"""Options of each connection to a Redis, by redis-py's names: of our own clients and of Celery's."""

HOW_TO_START: Final = "Start one with `fbs up`, or set FBS_REDIS_URL to a Redis that runs."
_URL_HINT: Final = "Write FBS_REDIS_URL as redis://[:password@]host:port/db (rediss:// for TLS)."


def check_url(url: str) -> str:
    """Validate the URL of a Redis and return it.

    Args:
        url: `redis://[:password@]host:port/db`, or `rediss://…` for TLS.

    Raises:
        SettingsError: the URL is missing or not valid; the message does not repeat it, because it may hold a password.
    """
    if not url:
        raise SettingsError("FBS_REDIS_URL is not set.", hint=HOW_TO_START)
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not (parts.path.strip("/") or "0").isdecimal():
        raise SettingsError("FBS_REDIS_URL is not a valid Redis URL.", hint=_URL_HINT)
    return url


def address(url: str) -> str:
    """Return `host:port` of a Redis URL for display, without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


class Client(redis.Redis):
    """redis-py's client; its commands, scripts and pipelines raise FBSErrors, see `errors_translated`.

    Attributes:
        address: the server's `host:port`, for display.
    """

    address = ""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return the reply."""
        with errors_translated(self.address):
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """Return a pipeline; by default it is a transaction."""
        pipe = _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.address = self.address
        return pipe


class _Pipeline(Pipeline):
    address = ""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with errors_translated(self.address):
            return super().execute(raise_on_error)


class RedisOwner:
    """Base class of what keeps a client; a context manager that closes it.

    Args:
        redis_url: `redis://[:password@]host:port/db`, or `rediss://…` for TLS.

    Raises:
        SettingsError: the URL is not valid. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self._redis.close()


def connect(url: str) -> Client:
    """Create a client; it connects with the first command. Every client of fbs-worker is made here.

    Args:
        url: `redis://[:password@]host:port/db`, or `rediss://…` for TLS.

    Raises:
        SettingsError: the URL is missing or not valid.
    """
    client: Client = Client.from_url(  # type: ignore[assignment]  # redis-py declares its own class
        check_url(url),
        decode_responses=True,
        protocol=2,  # RESP2: the same replies with every version of redis-py
        retry=Retry(ExponentialBackoff(cap=0.4, base=0.1), 2, supported_errors=(RedisConnectionError,)),
        **SOCKET_OPTIONS,
    )
    client.address = address(url)
    return client


@contextmanager
def errors_translated(address: str) -> Iterator[None]:
    """Translate redis-py's errors to FBSErrors.

    Args:
        address: the server's `host:port`, for the messages.

    Raises:
        SettingsError: the server rejects the user or the password.
        QueueUnreachable: the server does not answer.
        JobError: the server answers with an error, e.g. OOM.
    """
    try:
        yield
    except NoScriptError:  # `register_script` loads the script and calls it again
        raise
    except (AuthenticationError, AuthorizationError, NoPermissionError) as exc:
        raise SettingsError(f"Redis at {address} rejects the user or the password.", hint=_URL_HINT) from exc
    except (RedisConnectionError, RedisTimeout) as exc:
        raise QueueUnreachable(f"Redis at {address} does not answer.", hint=HOW_TO_START) from exc
    except RedisError as exc:
        # an error reply may repeat a command's arguments; its first word is the error code
        kind = str(exc).partition(" ")[0][:40] or type(exc).__name__
        raise JobError(
            f"Redis at {address} answered with an error: {type(exc).__name__} ({kind}).",
            hint="Check the log of Redis.",
        ) from exc
