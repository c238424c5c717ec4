"""Adapter for uvicorn, which documents its configuration, but no way to learn that a server is ready.

`UPSTREAM` declares every symbol that the server relies on, and why; the contract tests resolve each in the installed
version (`tests/unit/test_upstream_contract.py`). No other module imports uvicorn.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from fbs_worker.web.prefix import PrefixMiddleware

TRIED: Final = ("uvicorn>=0.34,<1",)

UPSTREAM: Final[Mapping[str, str]] = {
    "uvicorn.server:Server.startup": "extended: returns once the server accepts connections",
    "uvicorn.server:Server.capture_signals": "overridden: installs handlers of SIGINT and SIGTERM",
    "uvicorn.server:Server.should_exit": "set: ends `serve`",
    "uvicorn.server:Server.serve": "serves on sockets that are listening already",
    "uvicorn.protocols.http.h11_impl:H11Protocol.connection_made": "extended: a request has to arrive in time",
    "uvicorn.protocols.http.h11_impl:H11Protocol.data_received": "extended: reads a part of a request",
    "uvicorn.protocols.http.h11_impl:H11Protocol.cycle": "the newest request",
    "uvicorn.protocols.http.h11_impl:H11Protocol.loop": "the event loop",
    "uvicorn.protocols.http.h11_impl:H11Protocol.transport": "aborted when a request does not arrive in time",
    "uvicorn.protocols.http.h11_impl:RequestResponseCycle.more_body": "whether its body is still to come",
    "uvicorn.protocols.http.h11_impl:RequestResponseCycle.response_complete": "whether it is answered",
    "uvicorn.protocols.http.h11_impl:H11Protocol.connection_lost": "extended: ends the timer",
    "uvicorn.server:logger": "its name: each start and stop is logged there",
}

LOGGER: Final = "uvicorn.error"
"""The logger of a server's start and stop."""


REQUEST_SECONDS: Final = 20.0
"""How long a request may take to arrive, headers and body."""


class TimedProtocol(H11Protocol):
    """HTTP/1.1 whose requests have to arrive in time: a half-sent one does not hold its connection.

    uvicorn limits only how long a connection is idle between two requests.
    """

    request_seconds: ClassVar[float] = REQUEST_SECONDS
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; the time begins with its first byte, and ends with its last one."""
        before: Any = self.cycle  # None before the first request
        is_body = before is not None and before.more_body
        if not is_body and (before is None or before.response_complete):
            self._await_request()
        super().data_received(data)
        after: Any = self.cycle
        if after is not None and not after.more_body and (is_body or after is not before):
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class AppServer(uvicorn.Server):
    """An HTTP server that reports when it accepts connections, and installs no signal handlers.

    Args:
        app: the ASGI application.
        on_ready: called when the server accepts connections.
        proxies: addresses and networks whose X-Forwarded-For, -Proto and -Prefix are trusted.
        root_path: the path prefix; see `PrefixMiddleware`.
        idle_seconds: how long a connection may stay open without a request.
        shutdown_seconds: how long requests may go on after `stop`.
    """

    def __init__(
        self,
        app: Any,
        *,
        on_ready: Callable[[], None],
        proxies: Sequence[str],
        root_path: str = "",
        idle_seconds: int,
        shutdown_seconds: int,
    ) -> None:
        forwarded: Any = ProxyHeadersMiddleware(app, trusted_hosts=list(proxies)) if proxies else app
        super().__init__(
            uvicorn.Config(
                PrefixMiddleware(forwarded, root_path=root_path, proxies=proxies),
                http=TimedProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="on",
                proxy_headers=False,
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
