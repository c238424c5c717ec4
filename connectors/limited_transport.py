"""Politeness towards the server: a gate that each request goes through, whichever transport makes it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from fbs_worker.connectors.base import ServerInfo, Transport


class Gate(Protocol):
    """Lets calls to one server through. The product's own is `fbs_worker.connectors.limiter.OdooGate`."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait until a call may be made; it is made within the `with` block.

        Raises:
            OdooCircuitOpen: none may be made now, for the server keeps failing.
            JobCancelled: the job was cancelled while this waited.
        """

    def close(self) -> None:
        """Let nobody in any more; whoever waits in another thread is told so. A second call does nothing."""


class PoliteTransport:
    """Another transport whose every call waits for its turn. See `fbs_worker.connectors.base.Transport`.

    Args:
        transport: what makes the calls; closed with this one.
        gate: what they wait at; closed with this one.
    """

    def __init__(self, transport: Transport, gate: Gate) -> None:
        self._transport = transport
        self._gate = gate

    @property
    def server(self) -> ServerInfo:
        """Which server this is."""
        return self._transport.server

    @property
    def clock(self) -> str:
        """The server's time at its last answer."""
        return self._transport.clock

    @property
    def calls(self) -> int:
        """How many model calls were made."""
        return self._transport.calls

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Call a method when it is this call's turn; see `fbs_worker.connectors.base.Transport.call`.

        Raises:
            OdooCircuitOpen, JobCancelled: see `Gate.turn`; no call was made.
            FBSError: whatever the call itself raises.
        """
        with self._gate.turn():
            return self._transport.call(model, method, ids=ids, **arguments)

    def close(self) -> None:
        """Give the connection back."""
        self._gate.close()
        self._transport.close()
