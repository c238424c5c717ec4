"""Serves the figures to Prometheus, which asks for them by HTTP every few seconds."""

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
    """An HTTP server that answers `GET /metrics`, and nothing else.

    Args:
        settings: see `metrics_text`.
        address: the address that it listens on.
        port: the port; 0 for any that is free.
        tell: is told why it could not answer, where it could not.

    Raises:
        UsageError: it cannot listen there.
    """

    daemon_threads = True  # who asks slowly does not keep it from ending

    def __init__(self, settings: Settings, *, address: str, port: int, tell: Callable[[FBSError], None]) -> None:
        self.settings = settings
        self.tell = tell
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), _Handler)
        except (OSError, OverflowError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "no such port"
            raise UsageError(
                f"Nothing can listen on {address}, port {port}: {reason}.", hint="Choose others: --address, --port."
            ) from exc

    def server_bind(self) -> None:
        """Take the address, without asking a name service for its name, as the parent does: that may hang."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def url(self) -> str:
        """Where the figures are."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"http://{name}:{port}{PATH}"


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "fbs-metrics"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer with the figures; 503 and the reason where Redis does not answer."""
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, f"The figures are at {PATH}\n".encode(), _TEXT)
            return
        try:
            figures = metrics_text(self.server.settings)
        except FBSError as exc:
            self.server.tell(exc)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{exc.message}\n".encode(), _TEXT)
        else:
            self._answer(HTTPStatus.OK, figures, CONTENT_TYPE)

    def do_HEAD(self) -> None:
        """Answer as to `GET`, without the figures."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the parent's name for it
        """Nothing: a line for each scrape would be noise."""

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
