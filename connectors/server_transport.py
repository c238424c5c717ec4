"""The common half of the transports to a server: counts the calls, and makes each within a slot of the limiter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from fbs_worker.connectors.base import Limiter, ServerInfo
from fbs_worker.connectors.http import OdooHTTP
from fbs_worker.connectors.odoo_errors import CallContext


class ServerTransport(ABC):
    """A `fbs_worker.connectors.base.Transport` over HTTP.

    Args:
        http: connection to the server; closed with the transport.
        server: the connected server.
        login: server, user and secrets, as errors name or redact them.
        limiter: admits the calls; closed with the transport.

    Attributes:
        server: the connected server.
        uid: the user's id; 0 where the login does not say it.
        calls: number of model calls made.
    """

    def __init__(self, http: OdooHTTP, server: ServerInfo, login: CallContext, limiter: Limiter) -> None:
        self.server = server
        self.uid = 0
        self.calls = 0
        self._http = http
        self._login = login
        self._limiter = limiter

    @property
    def clock(self) -> str:
        """The server's time at its last response."""
        return self._http.clock

    @property
    def waits(self) -> str:
        """Why a call waits at present."""
        return self._http.waits

    @property
    def held(self) -> int:
        """Size of the answers that the caller still has."""
        return self._http.held

    @held.setter
    def held(self, size: int) -> None:
        self._http.held = size

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Call a method by named arguments; see `fbs_worker.connectors.base.Transport.call`.

        Raises:
            OdooCircuitOpen: the server failed repeatedly; no call was made.
            JobCancelled: the job was cancelled while the call waited for a slot; no call was made.
            FBSError: the call itself failed.
        """
        self.calls += 1
        with self._limiter.slot():
            return self._call(model, method, ids, arguments)

    def close(self) -> None:
        """Close the limiter and the connection."""
        self._limiter.close()
        self._http.close()

    @abstractmethod
    def _call(self, model: str, method: str, ids: list[int] | None, arguments: dict[str, Any]) -> Any:
        """Make a call within a slot."""

    def _context(self, model: str, method: str) -> CallContext:
        return replace(self._login, model=model, method=method)
