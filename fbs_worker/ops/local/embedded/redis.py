"""Embedded Redis.

Facts relied on are in Redis's documentation of its configuration and of INFO.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from redis.exceptions import BusyLoadingError

from fbs_worker.core.errors import FBSError, QueueUnreachable
from fbs_worker.core.redis import connect
from fbs_worker.core.sockets import free_port
from fbs_worker.ops.local.embedded.server import START_SECONDS, Server
from fbs_worker.ops.local.embedded.wheels import redis_executable
from fbs_worker.ops.local.processes import POLL_SECONDS, ProcessRef, file_lock, signals_deferred, spawn


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedRedis(Server):
    """A running Redis on a loopback port, with a password generated at its first start.

    Attributes:
        folder: its files: data, `redis.conf` (with the password, readable to its owner alone), `log`.
        process: the server's process.
        url: the URL of its database 0, with the password.
        was_running: it was already running.
    """

    folder: Path
    process: ProcessRef
    url: str = field(repr=False)
    was_running: bool = False

    name = "redis"
    label = "Redis"
    start_failure = QueueUnreachable

    @classmethod
    def _programs(cls) -> Path:
        return redis_executable()

    @classmethod
    def _start(cls, folder: Path, programs: Path, *, port: int | None, durable: bool) -> Self:
        for _ in range(1 if port else 10):
            started = cls._launch(folder, programs, port=port or free_port(), durable=durable)
            if started is not None:
                return started
        raise cls._failed(folder, "cannot listen on its port")

    @classmethod
    def _find(cls, folder: Path) -> Self | None:
        """Identify the server by the password, which only this folder's configuration contains."""
        url = cls.last_url(folder)
        if url is None:
            return None
        pid = _redis_pid(url, until=time.monotonic() + START_SECONDS)
        process = ProcessRef.of(pid) if pid else None
        return None if process is None else cls(folder=folder, process=process, url=url, was_running=True)

    @staticmethod
    def last_url(folder: Path) -> str | None:
        """The URL of the running or last server of a folder; None if it had none."""
        return _redis_url(folder / "redis.conf")

    @classmethod
    def _launch(cls, folder: Path, executable: Path, *, port: int, durable: bool) -> Self | None:
        """Start on a port; None if another process has it."""
        _write_redis_conf(folder, port=port, durable=durable)
        url = _redis_url(folder / "redis.conf") or ""
        log = folder / "log"
        with log.open("wb") as output:
            child = spawn(
                [str(executable), str(folder / "redis.conf")],
                output=output,
                env={"PATH": "/usr/bin:/bin"},  # not inherited: it may contain secrets
                cwd=folder,
            )
        deadline = time.monotonic() + START_SECONDS
        process = cls._await(child, folder, deadline, lambda process: _redis_pid(url, until=deadline) == process.pid)
        if process is not None:
            return cls(folder=folder, process=process, url=url)
        if "ailed listening on port" not in log.read_text(errors="replace"):
            raise cls._failed(folder, "ended at its start")
        return None

    @property
    def port(self) -> int:  # type: ignore[override]
        """Its port."""
        return urlsplit(self.url).port or 0

    def stop(self) -> None:
        """Stop the server; a durable one writes its data first. Idempotent."""
        with signals_deferred(), file_lock(self.folder / "lock"):
            self.process.stop([(signal.SIGTERM, 30.0)])


def _write_redis_conf(folder: Path, *, port: int, durable: bool) -> None:
    path = folder / "redis.conf"
    password = urlsplit(_redis_url(path) or "").password or secrets.token_urlsafe(32)
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        "databases 64",
        "daemonize no",
        'save ""',
        f"appendonly {'yes' if durable else 'no'}",
        "maxmemory-policy noeviction",  # a broker must not evict messages
    ]
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as conf:
        conf.write("\n".join(lines) + "\n")


def _redis_url(conf: Path) -> str | None:
    """Read the URL from the configuration of `_write_redis_conf`."""
    if not conf.exists():
        return None
    options = dict(line.split(" ", 1) for line in conf.read_text().splitlines() if " " in line)
    if "port" not in options or "requirepass" not in options:
        return None
    return f"redis://:{options['requirepass']}@127.0.0.1:{options['port']}/0"


def _redis_pid(url: str, *, until: float) -> int | None:
    """The process id of the server that accepts this URL's password, once it has loaded its data; None without one."""
    with connect(url) as client:
        while True:
            try:
                client.ping()
                return int(client.info("server")["process_id"])
            except FBSError as exc:
                if not isinstance(exc.__cause__, BusyLoadingError):  # no server, or one with another password
                    return None
                if time.monotonic() > until:
                    raise QueueUnreachable(
                        "The embedded Redis is still loading its data.", hint="Try again later."
                    ) from None
                time.sleep(POLL_SECONDS)
