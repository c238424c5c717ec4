"""A Redis of its own that is configured, demoted, filled or encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from redis.exceptions import RedisError

from fbs_worker.core.sockets import free_port
from fbs_worker.ops.local.embedded.wheels import redis_executable
from fbs_worker.ops.local.processes import ProcessRef, spawn
from tests.support.waiting import until

PASSWORD: Final = "swordfish"


@dataclass(frozen=True, kw_only=True)
class OwnRedis:
    """A Redis without persistence.

    Attributes:
        port: where it listens.
        pid: its process.
        url: of its database 0.
        folder: for its files.
    """

    port: int
    pid: int
    url: str
    folder: Path

    def admin(self, *command: Any) -> Any:
        """Run a command as its administrator."""
        with redis.Redis(port=self.port, password=PASSWORD, decode_responses=True) as client:
            return client.execute_command(*command)

    def url_of(self, user: str) -> str:
        """The URL of database 0 for a user whose password is his name."""
        return f"redis://{user}:{user}@127.0.0.1:{self.port}/0"

    def fill(self) -> None:
        """Leave it no memory."""
        self.admin("CONFIG", "SET", "maxmemory", "1mb")
        assert int(self.admin("INFO", "memory")["used_memory"]) > 1_048_576 or self._stuff()

    def _stuff(self) -> bool:
        with redis.Redis(port=self.port, password=PASSWORD) as client:
            try:
                for number in range(10_000):
                    client.set(f"other:{number}", "x" * 10_000)
            except RedisError:
                return True
        return False


@contextmanager
def own_redis(folder: Path, *lines: str, executable: Path | None = None, tls: bool = False) -> Iterator[OwnRedis]:
    """A running Redis; where it may write no more to a file, it gets an error, as with a full disk, and no signal.

    Args:
        folder: for its files.
        *lines: of its configuration, besides port and password.
        executable: another server than the embedded one.
        tls: its port speaks TLS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    given = [
        "bind 127.0.0.1",
        f"tls-port {port}\nport 0" if tls else f"port {port}",
        f"requirepass {PASSWORD}",
        'save ""',
        f"dir {folder}",
        *lines,
    ]
    (folder / "redis.conf").write_text("\n".join(given) + "\n")
    with (folder / "log").open("ab") as output:
        child = spawn(
            [str(executable or redis_executable()), str(folder / "redis.conf")],
            output=output,
            env={},
            restore_signals=False,
        )
    process = ProcessRef.of(child.pid)
    assert process is not None
    try:
        until(lambda: "eady to accept connections" in (folder / "log").read_text(), (folder / "log").read_text)
        yield OwnRedis(port=port, pid=process.pid, url=f"redis://:{PASSWORD}@127.0.0.1:{port}/0", folder=folder)
    finally:
        process.stop([])
