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
from fbs_worker.core.errors import QueueUnreachable, SettingsError
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
    """

    url: str = field(repr=False)
    kind: Literal["redis", "sentinel", "amqp"]
    is_job_store: bool
    address: str
    options: dict[str, Any] = field(default_factory=dict)

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
            return cls(url=url, kind="redis", is_job_store=True, address=queue.address(url))
        try:
            return cls._parse(url)
        except ValueError:
            raise SettingsError("FBS_BROKER_URL is not a valid broker URL.", hint=_HINT) from None

    @contextmanager
    def errors_translated(self) -> Iterator[None]:
        """Translate kombu's errors to FBSErrors.

        Raises:
            QueueUnreachable: the broker does not answer.
        """
        try:
            yield
        except OperationalError as exc:
            if self.is_job_store:
                raise QueueUnreachable(f"Redis at {self.address} does not answer.", hint=queue.HOW_TO_START) from exc
            raise QueueUnreachable(
                f"The broker at {self.address} does not answer.", hint="Start it, or correct FBS_BROKER_URL."
            ) from exc

    @classmethod
    def _parse(cls, url: str) -> Self:
        scheme = url.partition("://")[0]
        if scheme in {"redis", "rediss"}:
            return cls(url=queue.check_url(url), kind="redis", is_job_store=False, address=queue.address(url))
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
