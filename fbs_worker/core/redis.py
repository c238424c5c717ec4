"""redis-py adapter: open clients with bounded time-outs and translate the library's errors to FBSErrors.

A command to a Redis that is down or hangs raises QueueUnreachable within seconds; no command waits for the server to
come back. So does a command that a Redis refuses for now: a replica, a full memory, a full disk. `translated` says in
plain words what is wrong, for our own clients and for Celery's connections.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from fbs_worker.core.errors import FBSError, JobError, QueueUnreachable, SettingsError

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

ROOM: Final = "fbs:room"
"""A key that is never set: appending nothing to it shows whether Redis accepts changes."""

HOW_TO_START: Final = "Start one with `fbs up`, or set FBS_REDIS_URL to a Redis that runs."
_URL_HINT: Final = "Write FBS_REDIS_URL as redis://[:password@]host:port/db (rediss:// for TLS)."
_GOES_ON: Final = "Nothing needs to be restarted."
_RIGHTS_HINT: Final = "Give its user the rights in docs/howto/redis.md; `ACL LOG` of Redis shows what was refused."

_NUMBERS: Final[Mapping[str, type]] = {
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "health_check_interval": int,
    "max_connections": int,
}
_TLS_TEXTS: Final = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs", "ssl_ca_path", "ssl_password")
_TLS: Final = (*_TLS_TEXTS, "ssl_cert_reqs", "ssl_check_hostname")
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_VERIFY: Final = {mode.name.removeprefix("CERT_").lower(): mode for mode in ssl.VerifyMode}

_Replies = Mapping[str, tuple[str, str]]
"""What a Redis refuses, by a pattern of its reply: what is wrong, and what to do about it."""

_LASTING: Final[_Replies] = {
    r"\bMOVED\b|\bASK\b|CROSSSLOT|CLUSTERDOWN|MovedError|AskError|ClusterDown|ClusterCross|in cluster mode": (
        "is a Redis Cluster, which Celery cannot use",
        "Set FBS_REDIS_URL to a Redis without cluster mode.",
    ),
    r"DENIED|protected mode": (
        "accepts connections from its own machine only (protected mode)",
        "Give that Redis a password, and set it in FBS_REDIS_URL.",
    ),
    r"channels? .*(?:used as arg|mentioned in)|access a channel": ("forbids its user a channel (ACL)", _RIGHTS_HINT),
    r"keys? .*(?:used as arg|mentioned in)|access a key": ("forbids its user a key (ACL)", _RIGHTS_HINT),
    r"NOPERM|NoPermission|no permissions|user executing the script": ("forbids its user a command (ACL)", _RIGHTS_HINT),
    r"WRONGPASS|NOAUTH|AuthenticationError|AuthorizationError": ("rejects the user or the password", _URL_HINT),
}
"""What lasts until a setting is changed."""

_FOR_NOW: Final[_Replies] = {
    r"MASTERDOWN|MasterDown": (
        "is a replica that has lost its primary",
        f"Set FBS_REDIS_URL to the primary, or mend the replication. {_GOES_ON}",
    ),
    r"READONLY|ReadOnly": (
        "is a read-only replica",
        f"Set FBS_REDIS_URL to the primary; in a failover wait until it is promoted. {_GOES_ON}",
    ),
    r"UNBLOCKED": (
        "has become a replica: a failover is going on",
        f"Wait until a primary answers at that address. {_GOES_ON}",
    ),
    r"\bOOM\b|OutOfMemory": (
        "has no memory left (maxmemory)",
        f"Raise its maxmemory, or delete what other applications keep there. {_GOES_ON}",
    ),
    r"MISCONF": (
        "cannot write to its disk, and refuses changes",
        f"Make room on the disk of Redis; its log has the reason. {_GOES_ON}",
    ),
    r"NOREPLICAS": (
        "has too few replicas, and refuses changes",
        f"Start its replicas, or lower min-replicas-to-write. {_GOES_ON}",
    ),
    r"LOADING|BusyLoading": ("is loading its data", "Wait until it has loaded them."),
    r"max number of clients": (
        "accepts no more connections (maxclients)",
        f"Raise its maxclients, or close connections of other applications. {_GOES_ON}",
    ),
}
"""What passes."""

_ERROR_REPLIES: Final = ((SettingsError, _LASTING), (QueueUnreachable, _FOR_NOW))


def check_url(url: str, *, setting: str = "FBS_REDIS_URL") -> str:
    """Validate the URL of a Redis and return it.

    Args:
        url: `redis://[:password@]host:port/db`, or `rediss://…` for TLS, with options of redis-py or of Celery.
        setting: the setting that it comes from.

    Raises:
        SettingsError: the URL is missing or not valid; the message does not repeat it, because it may hold a password.
    """
    if not url:
        raise SettingsError(f"{setting} is not set.", hint=HOW_TO_START)
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not (parts.path.strip("/") or "0").isdecimal():
        raise SettingsError(f"{setting} is not a valid Redis URL.", hint=_URL_HINT)
    url_options(url, setting=setting)
    return url


def without_options(url: str) -> str:
    """A Redis URL without its options, which differ between libraries; see `url_options`."""
    return url.partition("?")[0]


def url_options(url: str, *, setting: str = "FBS_REDIS_URL") -> dict[str, Any]:
    """The options of a Redis URL, by redis-py's names.

    Args:
        url: the URL. `ssl_cert_reqs` is `required`, `optional` or `none`, as in redis-py's documentation, or
            `CERT_REQUIRED`, `CERT_OPTIONAL` or `CERT_NONE`, as in Celery's.
        setting: the setting that it comes from.

    Raises:
        SettingsError: an option is not known, not valid, or is one of TLS in a URL without TLS.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED} if parts.scheme == "rediss" else {}
    for name, values in parse_qs(parts.query, keep_blank_values=True).items():
        value = values[-1]
        if name not in _TLS and name not in _NUMBERS:
            shown = name if re.fullmatch("[a-z_]{1,40}", name) else "…"
            names = ", ".join(sorted((*_NUMBERS, *_TLS)))
            raise SettingsError(f"{setting} has an option {shown}, which is not known.", hint=f"Known are {names}.")
        if name in _TLS and parts.scheme != "rediss":
            raise SettingsError(
                f"{setting} has the option {name}, which is one of TLS, but begins with redis://.",
                hint="Write rediss:// for TLS, or remove the option.",
            )
        try:
            options[name] = _option(name, value)
        except (KeyError, ValueError):
            raise SettingsError(
                f"The option {name} of {setting} is not valid.",
                hint="ssl_cert_reqs is required, optional or none; a file must exist and be readable.",
            ) from None
    return options


def _option(name: str, value: str) -> Any:
    if name in _NUMBERS:
        return _NUMBERS[name](value)
    if name == "ssl_cert_reqs":
        return _VERIFY[value.lower().removeprefix("cert_")]
    if name == "ssl_check_hostname":
        return _BOOLEANS[value.lower()]
    if name != "ssl_password" and not Path(value).exists():
        raise ValueError(name)
    return value


def tls_options(url: str) -> dict[str, Any]:
    """The options of a Redis URL that are about TLS; none for `redis://`."""
    return {name: value for name, value in url_options(url).items() if name in _TLS}


def address(url: str) -> str:
    """Return `host:port` of a Redis URL for display, without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


class Client(redis.Redis):
    """redis-py's client; its commands, scripts and pipelines raise FBSErrors, see `errors_translated`.

    Attributes:
        address: the server's `host:port`, for display.
        database: the number of its database.
    """

    address = ""
    database = 0

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
        without_options(check_url(url)),
        decode_responses=True,
        protocol=2,  # RESP2: the same replies with every version of redis-py
        retry=Retry(ExponentialBackoff(cap=0.4, base=0.1), 2, supported_errors=(RedisConnectionError,)),
        **{**SOCKET_OPTIONS, **url_options(url)},
    )
    client.address, client.database = address(url), int(urlsplit(url).path.strip("/") or 0)
    return client


def check_rights(client: Client) -> None:
    """Check that a Redis accepts what jobs need: a change, and messages to its channels. Nothing is changed.

    Args:
        client: a client of it.

    Raises:
        SettingsError, QueueUnreachable: it does not; see `errors_translated`.
    """
    client.setrange(ROOM, 0, "")
    for channel in (f"/{client.database}.celery.fbs", "celery-task-meta-fbs"):
        client.publish(channel, "")


@contextmanager
def errors_translated(address: str) -> Iterator[None]:
    """Translate redis-py's errors to FBSErrors.

    Args:
        address: the server's `host:port`, for the messages.

    Raises:
        SettingsError: the server rejects the user, his password or his rights, or is no server for jobs.
        QueueUnreachable: the server does not answer, or refuses for now: a replica, a full memory, a full disk.
        JobError: the server answers with another error.
    """
    try:
        yield
    except NoScriptError:  # `register_script` loads the script and calls it again
        raise
    except RedisError as exc:
        raise translated(exc, address) from exc


def translated(exc: BaseException, address: str) -> FBSError:
    """The FBSError of an error of redis-py, also one that kombu wrapped.

    Args:
        exc: the error.
        address: the server's `host:port`, for the message.
    """
    causes = list(_causes(exc))
    for each in causes:
        if isinstance(each, ssl.SSLError):
            return _tls_error(each, address)
    for each in causes:
        if not isinstance(each, RedisError):
            continue
        # the reply may repeat arguments of the command: it is compared, not shown
        text = f"{getattr(each, 'status_code', None) or ''} {type(each).__name__} {each}"
        for kind, replies in _ERROR_REPLIES:
            for pattern, (problem, hint) in replies.items():
                if re.search(pattern, text):
                    return kind(f"Redis at {address} {problem}.", hint=hint)
    if any("handshake operation timed out" in str(each) for each in causes):
        return _no_tls(address)
    if any(isinstance(each, ConnectionResetError) or "closed by server" in str(each) for each in causes):
        return QueueUnreachable(
            f"Redis at {address} does not answer: it closes the connection.",
            hint=f"If it wants TLS, write FBS_REDIS_URL as rediss://…; else: {HOW_TO_START}",
        )
    if isinstance(exc, RedisError) and not isinstance(exc, RedisConnectionError | RedisTimeout):
        return JobError(
            f"Redis at {address} answered with an error that is not known here ({type(exc).__name__}).",
            hint="Check the log of Redis.",
        )
    return QueueUnreachable(f"Redis at {address} does not answer.", hint=HOW_TO_START)


def _tls_error(exc: ssl.SSLError, address: str) -> QueueUnreachable:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return QueueUnreachable(
            f"The TLS certificate of Redis at {address} is not trusted: {exc.verify_message}.",
            hint="Add ?ssl_ca_certs=FILE with the certificate of its authority to FBS_REDIS_URL (rediss://…).",
        )
    if re.search("WRONG_VERSION_NUMBER|RECORD_LAYER|UNKNOWN_PROTOCOL", exc.reason or "", re.IGNORECASE):
        return _no_tls(address)
    return QueueUnreachable(
        f"Redis at {address} refuses the TLS connection ({(exc.reason or 'TLS').lower().replace('_', ' ')}).",
        hint="If it wants a certificate of its clients, add ?ssl_certfile=FILE&ssl_keyfile=FILE to FBS_REDIS_URL.",
    )


def _no_tls(address: str) -> QueueUnreachable:
    return QueueUnreachable(
        f"Redis at {address} does not speak TLS.", hint="Write FBS_REDIS_URL as redis://…, or correct its port."
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An error and those that it comes from."""
    seen: list[BaseException] = []
    following: BaseException | None = exc
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__
