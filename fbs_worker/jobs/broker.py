"""The message broker: the Redis of the job store, or a separate one.

    redis://[:password@]host:port/db, rediss://…                                    Redis
    sentinel://[:password@]host:26379;sentinel://host:26379/0?master_name=mymaster  Redis, found by its sentinels
    amqp://user:password@host:5672/vhost, amqps://…                                 RabbitMQ

kombu's errors are translated to FBSErrors; neither these nor `address` hold a user or a password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qs, urlsplit

from kombu.exceptions import OperationalError

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import FBSError, QueueUnreachable, SettingsError
from fbs_worker.core.settings import Settings

_AMQP: Final = frozenset({"amqp", "amqps"})
_SENTINEL: Final = "sentinel"
_MASTER: Final = "master_name"
_HINT: Final = (
    "Write FBS_BROKER_URL as redis://host:port/db, as amqp://user:password@host:port/vhost, or as "
    "sentinel://host:26379;sentinel://host:26379/0?master_name=mymaster."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The message broker of the Celery application.

    Attributes:
        url: Celery's broker_url, with the password.
        kind: the transport.
        is_job_store: whether it is the Redis of the job store.
        address: `host:port`, for display.
        options: kombu's transport options from the URL.
        tls: Celery's broker_use_ssl from a `rediss://` URL.
    """

    url: str = field(repr=False)
    kind: Literal["redis", "sentinel", "amqp"]
    is_job_store: bool
    address: str
    options: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the broker of FBS_BROKER_URL, or else of FBS_REDIS_URL.

        Raises:
            SettingsError: the URL is missing or not valid; the message does not repeat it, because it may hold a
                password.
        """
        job_store = queue.check_url(settings.fbs_redis_url)
        url = settings.fbs_broker_url.strip() or job_store
        if url == job_store:
            return cls._redis(url, is_job_store=True)
        try:
            return cls._parse(url)
        except ValueError:
            raise SettingsError("FBS_BROKER_URL is not a valid broker URL.", hint=_HINT) from None

    @contextmanager
    def errors_translated(self) -> Iterator[None]:
        """Translate kombu's errors to FBSErrors.

        Raises:
            QueueUnreachable: the broker does not answer, or refuses for now.
            SettingsError: it rejects the user, his password or his rights.
        """
        try:
            yield
        except OperationalError as exc:
            raise self.translated(exc) from exc

    def translated(self, exc: BaseException) -> FBSError:
        """The FBSError of an error of kombu or of a client's library."""
        error = queue.translated(exc, self.address)
        if self.is_job_store:
            return error
        if self.kind == "redis" and error.hint != queue.HOW_TO_START:
            return type(error)(error.message, hint=error.hint.replace("FBS_REDIS_URL", "FBS_BROKER_URL"))
        return QueueUnreachable(
            f"The broker at {self.address} does not answer.", hint="Start it, or correct FBS_BROKER_URL."
        )

    @classmethod
    def _redis(cls, url: str, *, is_job_store: bool) -> Self:
        options, tls = queue.url_options(url), queue.tls_options(url)
        return cls(
            url=queue.without_options(url),
            kind="redis",
            is_job_store=is_job_store,
            address=queue.address(url),
            options={name: value for name, value in options.items() if name not in tls},
            tls=tls,
        )

    @classmethod
    def _parse(cls, url: str) -> Self:
        scheme = url.partition("://")[0]
        if scheme in {"redis", "rediss"}:
            return cls._redis(queue.check_url(url, setting="FBS_BROKER_URL"), is_job_store=False)
        if scheme in _AMQP:
            parts = urlsplit(url)
            return cls(
                url=url, kind="amqp", is_job_store=False, address=_host_and_port(parts.hostname, parts.port or 5672)
            )
        if scheme != _SENTINEL:
            raise ValueError(scheme)
        url, _, query = url.partition("?")
        names = parse_qs(query, strict_parsing=True)
        if set(names) != {_MASTER}:
            raise ValueError(_MASTER)
        hosts = [urlsplit(each) for each in url.split(";")]
        if any(host.scheme != _SENTINEL for host in hosts):
            raise ValueError(_SENTINEL)
        address = ", ".join(_host_and_port(host.hostname, host.port or 26379) for host in hosts)
        database = "".join({host.path.strip("/") for host in hosts}) or "0"
        if not database.isdecimal():
            raise ValueError(database)
        # kombu reads user, password and database from the first URL
        first, *others = (f"{_SENTINEL}://{host.netloc}" for host in hosts)
        url = ";".join([f"{first}/{database}", *others])
        return cls(url=url, kind="sentinel", is_job_store=False, address=address, options={_MASTER: names[_MASTER][-1]})


def _host_and_port(host: str | None, port: int) -> str:
    if not host:
        raise ValueError(host)
    return f"{host}:{port}"
