"""A small Odoo for tests: real HTTP before any transport (say, a recording), which can misbehave on request.

    with OdooServer(RecordingTransport(path)) as server:
        server.misbehave(Misbehaviour.BAD_GATEWAY, times=2)
        open_transport(OdooConnection(url=server.url, db=server.database, …))

It speaks `/web/version`, `/web/webclient/version_info`, `/web/session/authenticate`, `/web/dataset/call_kw`, `/jsonrpc`
and `/json/2`; its answers and errors are shaped as a real Odoo 19's, or as older ones' when set to an older
series. As a process: `python -m tests.support.odoo_server --recording FILE --port 0` prints its URL.
"""

from __future__ import annotations

import argparse
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from fbs_worker.connectors.base import Transport, parse_series
from fbs_worker.connectors.recording.transport import RecordingTransport
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_handler import Handler, HandlerServer


@dataclass(frozen=True, slots=True, kw_only=True)
class OdooUser:
    """A user of the small Odoo.

    Attributes:
        login: the user's name.
        password: the password.
        api_keys: keys that are valid.
        second_factor: the password alone is not enough.
        denied: models that the user may not read, with the groups that may.
    """

    login: str
    password: str
    api_keys: tuple[str, ...] = ()
    second_factor: bool = False
    denied: Mapping[str, Sequence[str]] = field(default_factory=dict)


class OdooServer:
    """The small Odoo, listening while it is entered as a context.

    Args:
        backend: what answers the model calls.
        database: the one database's name.
        users: who may log in.
        series: the series to be of; the backend's when None.
        latency: seconds that each request takes longer.
        port: the port; 0 for a free one.
        tls: speak TLS with this context.

    Attributes:
        in_flight: requests that are being worked on now.
        most_in_flight: the most that there were at once.
        gate: a proxy before it: takes path and headers; gives status and headers of a refusal, or None.
    """

    def __init__(
        self,
        backend: Transport,
        *,
        database: str = "live",
        users: Sequence[OdooUser] = (OdooUser(login="admin", password="admin-password", api_keys=("a" * 40,)),),
        series: str | None = None,
        latency: float = 0.0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.backend = backend
        self.database = database
        self.users = tuple(users)
        self.series, self.major = parse_series(series or backend.server.series)
        self.latency = latency
        self.version_info_gone = False
        self.requests = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.connections = 0
        self.calls: list[tuple[str, str]] = []
        self.sessions: dict[str, int] = {}
        self.failures: list[BaseException] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.gate: Callable[[str, Any], tuple[int, dict[str, str]] | None] | None = None
        self._misbehaviours: list[Misbehaviour] = []
        self._always: Misbehaviour | None = None
        self._tls = tls
        self._http = _HTTPServer(("127.0.0.1", port), Handler)
        self._http.odoo = self
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._http.server_port}"

    def misbehave(self, how: Misbehaviour, *, times: int | None = None) -> None:
        """Misbehave from the next request on.

        Args:
            how: in which way.
            times: for how many requests; for good when None.
        """
        with self.lock:
            if times is None:
                self._always = how
            else:
                self._misbehaviours += [how] * times

    def behave(self) -> None:
        """Stop misbehaving."""
        with self.lock:
            self._always = None
            self._misbehaviours.clear()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request until its answer is about to be sent: after that, the client's next one may be quicker."""
        with self.lock:
            self.requests += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self.lock:
                self.in_flight -= 1

    def next_misbehaviour(self) -> Misbehaviour | None:
        """How to misbehave for the request at hand."""
        with self.lock:
            return self._misbehaviours.pop(0) if self._misbehaviours else self._always

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()
        self._thread.join()
        if self.failures:
            raise self.failures[0]


class _HTTPServer(ThreadingHTTPServer, HandlerServer):
    daemon_threads = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.odoo.lock:
            self.odoo.connections += 1
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.odoo.lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that are kept alive, so that the threads that serve them end."""
        with self.odoo.lock:
            waiting = list(self._open)
        for connection in waiting:
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue  # the client was quicker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no error of this server's; anything else is."""
        exc = sys.exception()
        if exc is not None and not isinstance(exc, OSError):
            self.odoo.failures.append(exc)


def main() -> None:
    """Serve a recording until a signal comes."""
    parser = argparse.ArgumentParser(description="A small Odoo for tests.")
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--database", default="live")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin-password")
    parser.add_argument("--api-key", default="a" * 40)
    parser.add_argument("--series")
    parser.add_argument("--latency", type=float, default=0.0)
    given = parser.parse_args()
    # blocked in every thread, and taken from the queue below: no handler can come in between
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    user = OdooUser(login=given.user, password=given.password, api_keys=(given.api_key,))
    with OdooServer(
        RecordingTransport(given.recording),
        database=given.database,
        users=[user],
        series=given.series,
        latency=given.latency,
        port=given.port,
    ) as server:
        print(server.url, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
