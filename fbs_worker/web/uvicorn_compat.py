"""Adapter for uvicorn, which documents its configuration, but no way to learn that a server is ready.

`UPSTREAM` declares every symbol that the server relies on, and why; the contract tests resolve each in the installed
version (`tests/unit/test_upstream_contract.py`). No other module imports uvicorn.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

TRIED: Final = ("uvicorn>=0.34,<1",)

UPSTREAM: Final[Mapping[str, str]] = {
    "uvicorn.server:Server.startup": "extended: returns once the server accepts connections",
    "uvicorn.server:Server.capture_signals": "overridden: installs handlers of SIGINT and SIGTERM",
    "uvicorn.server:Server.should_exit": "set: ends `serve`",
    "uvicorn.server:Server.serve": "serves on sockets that are listening already",
    "uvicorn.server:logger": "its name: each start and stop is logged there",
}

LOGGER: Final = "uvicorn.error"
"""The logger of a server's start and stop."""


class AppServer(uvicorn.Server):
    """An HTTP server that reports when it accepts connections, and installs no signal handlers.

    Args:
        app: the ASGI application.
        on_ready: called when the server accepts connections.
        proxies: addresses and networks whose X-Forwarded-For and -Proto are trusted.
        idle_seconds: how long a connection may stay open without a request.
        shutdown_seconds: how long requests may go on after `stop`.
    """

    def __init__(
        self,
        app: Any,
        *,
        on_ready: Callable[[], None],
        proxies: Sequence[str],
        idle_seconds: int,
        shutdown_seconds: int,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="on",
                proxy_headers=bool(proxies),
                forwarded_allow_ips=list(proxies),
                timeout_keep_alive=idle_seconds,
                timeout_graceful_shutdown=shutdown_seconds,
            )
        )
        self._on_ready = on_ready

    async def serve_on(self, listening: socket.socket) -> None:
        """Serve until `stop`.

        Args:
            listening: a socket that listens.
        """
        await self.serve(sockets=[listening])

    def stop(self) -> None:
        """End `serve_on` once the running requests have ended, or their time is over."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and report that the server is ready."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the caller."""
        yield
