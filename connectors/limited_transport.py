"""Decorator of a transport: every call takes a slot of a limiter first."""

from __future__ import annotations

from typing import Any

from fbs_worker.connectors.base import Limiter, ServerInfo, Transport


class LimitedTransport:
    """A `fbs_worker.connectors.base.Transport` that makes each call of another one within a slot.

    Args:
        transport: makes the calls; closed with this one.
        limiter: admits the calls; closed with this one.
    """

    def __init__(self, transport: Transport, limiter: Limiter) -> None:
        self._transport = transport
        self._limiter = limiter

    @property
    def server(self) -> ServerInfo:
        """The connected server."""
        return self._transport.server

    @property
    def clock(self) -> str:
        """The server's time at its last response."""
        return self._transport.clock

    @property
    def calls(self) -> int:
        """Number of model calls made."""
        return self._transport.calls

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Call a method within a slot; see `fbs_worker.connectors.base.Transport.call`.

        Raises:
            OdooCircuitOpen: the server failed repeatedly; no call was made.
            JobCancelled: the job was cancelled during the wait; no call was made.
            FBSError: the call itself failed.
        """
        with self._limiter.slot():
            return self._transport.call(model, method, ids=ids, **arguments)

    def close(self) -> None:
        """Close the limiter and the transport."""
        self._limiter.close()
        self._transport.close()
