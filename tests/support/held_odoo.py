"""An Odoo stub that holds chosen requests until they are released, to keep a job in a step.

with HeldOdoo(RecordingTransport(path)) as odoo, odoo.hold(reads("ir.ui.view")) as held:
    held.wait_until_reached()
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from tests.support.odoo_handler import Handler
from tests.support.odoo_server import OdooServer, _HTTPServer

Matches = Callable[[str, Mapping[str, Any]], bool]
"""Whether a request is meant, by its path and its parameters."""

BEGINNING: Final = "/web/webclient/version_info"
"""The first request of a read."""

_PATIENCE: Final = 60.0


def begins(path: str, _parameters: Mapping[str, Any]) -> bool:
    """The first request of a read."""
    return path == BEGINNING


def reads(model: str) -> Matches:
    """Calls of a model."""
    return lambda _, parameters: parameters.get("model") == model


class Hold:
    """Requests that are held."""

    def __init__(self, matches: Matches) -> None:
        self._matches = matches
        self._reached = threading.Event()
        self._open = threading.Event()

    def pass_by(self, path: str, parameters: Mapping[str, Any]) -> None:
        """Let a request pass, at once or after `release`."""
        if not self._open.is_set() and self._matches(path, parameters):
            self._reached.set()
            self._open.wait()

    @property
    def reached(self) -> bool:
        """A request has been held."""
        return self._reached.is_set()

    def wait_until_reached(self) -> None:
        """Wait until a request is held."""
        assert self._reached.wait(_PATIENCE), "no request was held"

    def release(self) -> None:
        """Let the requests go, and those that are still to come."""
        self._open.set()


class HeldOdoo(OdooServer):
    """The small Odoo, able to hold requests; the arguments are those of `OdooServer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._http.RequestHandlerClass = _HoldingHandler
        self._holds: tuple[Hold, ...] = ()
        self._paths: Counter[str] = Counter()

    @property
    def beginnings(self) -> int:
        """Number of reads that have begun."""
        return self._paths[BEGINNING]

    @contextmanager
    def hold(self, matches: Matches) -> Iterator[Hold]:
        """Hold requests while the `with` block lasts, or until they are released."""
        hold = Hold(matches)
        with self.lock:
            self._holds += (hold,)
        try:
            yield hold
        finally:
            with self.lock:
                self._holds = tuple(other for other in self._holds if other is not hold)
            hold.release()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections while the `with` block lasts; the address stays."""
        port = self._http.server_port
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()
        self._thread.join()
        try:
            yield
        finally:
            self._http = _HTTPServer(("127.0.0.1", port), _HoldingHandler)
            self._http.odoo = self
            self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
            self._thread.start()

    def pass_by(self, path: str, body: bytes) -> None:
        """A request has come."""
        with self.lock:
            self._paths[path] += 1
            holds = self._holds
        if holds:
            parameters = json.loads(body or b"{}").get("params", {})
            for hold in holds:
                hold.pass_by(path, parameters)


class _HoldingHandler(Handler):
    def _answer(self) -> tuple[int, str, bytes, Mapping[str, str]]:
        odoo = self.odoo
        assert isinstance(odoo, HeldOdoo)
        if len(self.body) < int(self.headers.get("Content-Length", 0)):
            raise ConnectionAbortedError("the client was killed while it sent the request")
        odoo.pass_by(self.path.partition("?")[0], self.body)
        return super()._answer()
