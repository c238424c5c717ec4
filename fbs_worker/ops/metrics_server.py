"""HTTP server of the metrics, for Prometheus to scrape (`fbs metrics --serve`)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import TCPServer
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.registry import CollectorRegistry

from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import listen_error, url_of
from fbs_worker.ops.metrics import MetricsCollector

PATH: Final = "/metrics"


class MetricsServer(ThreadingWSGIServer):
    """HTTP server with the single resource `GET /metrics`; a slow client does not delay its shutdown.

    Args:
        settings: the settings of Redis and the broker.
        address: the address to listen on.
        port: the port; 0 for any free one.
        on_error: called with the error when a scrape fails.

    Raises:
        SettingsError: the address or port cannot be bound.
    """

    def __init__(self, settings: Settings, *, address: str, port: int, on_error: Callable[[FBSError], None]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), _Handler)
        except (OSError, OverflowError) as exc:
            raise listen_error("The metrics server", address, port, exc, setting="FBS_METRICS") from exc
        self.set_app(_application(settings, on_error))
        self.url = url_of(address, self.server_port) + PATH

    def server_bind(self) -> None:
        """Bind the socket without the parent's reverse DNS lookup, which may hang."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = 30

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the parent's signature
        """Log nothing: a line per scrape would be noise."""


def _application(settings: Settings, on_error: Callable[[FBSError], None]) -> Callable[..., Iterable[bytes]]:
    """prometheus_client's application at `PATH` alone, with 503 and the reason if Redis does not answer."""
    registry = CollectorRegistry()
    registry.register(MetricsCollector(settings))
    export = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        def text(status: HTTPStatus, message: str) -> list[bytes]:
            start_response(f"{status} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{message}\n".encode()]

        is_head = environ["REQUEST_METHOD"] == "HEAD"
        if environ["PATH_INFO"] != PATH:
            body = text(HTTPStatus.NOT_FOUND, f"The metrics are at {PATH}")
        else:
            try:
                body = export({**environ, "REQUEST_METHOD": "GET"} if is_head else environ, start_response)
            except FBSError as exc:
                on_error(exc)
                body = text(HTTPStatus.SERVICE_UNAVAILABLE, exc.message)
        return [] if is_head else body

    return application
