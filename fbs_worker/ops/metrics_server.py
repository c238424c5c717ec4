"""HTTP server of the metrics, for Prometheus to scrape (`fbs metrics --serve`)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Final

from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.ops.metrics import CONTENT_TYPE, metrics_text

PATH: Final = "/metrics"
_TEXT: Final = "text/plain; charset=utf-8"


class MetricsServer(ThreadingHTTPServer):
    """HTTP server with the single resource `GET /metrics`.

    Args:
        settings: the settings of Redis and the broker.
        address: the address to listen on.
        port: the port; 0 for any free one.
        on_error: called with the error when a scrape fails.

    Raises:
        UsageError: the address or port cannot be bound.
    """

    daemon_threads = True  # a slow client does not delay the shutdown

    def __init__(self, settings: Settings, *, address: str, port: int, on_error: Callable[[FBSError], None]) -> None:
        self.settings = settings
        self.on_error = on_error
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), _Handler)
        except (OSError, OverflowError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "no such port"
            raise UsageError(
                f"The metrics server cannot listen on {address}, port {port}: {reason}.",
                hint="Choose another --address or --port.",
            ) from exc

    def server_bind(self) -> None:
        """Bind the socket without the parent's reverse DNS lookup, which may hang."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def url(self) -> str:
        """The URL of the metrics."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"http://{name}:{port}{PATH}"


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "fbs-metrics"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Respond with the metrics, or with 503 and the reason if Redis does not answer."""
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, f"The metrics are at {PATH}\n".encode(), _TEXT)
            return
        try:
            text = metrics_text(self.server.settings)
        except FBSError as exc:
            self.server.on_error(exc)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{exc.message}\n".encode(), _TEXT)
        else:
            self._answer(HTTPStatus.OK, text, CONTENT_TYPE)

    def do_HEAD(self) -> None:
        """Respond as to `GET`, without the body."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the parent's signature
        """Log nothing: a line per scrape would be noise."""

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
