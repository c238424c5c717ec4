"""The interfaces of this package: `Transport` calls a method of an Odoo model, `OdooConnection` says which server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        series: e.g. `19.0` (`saas~18.2` becomes `18.2`).
        major: the series as a pair that compares, e.g. `(19, 0)`.
        url: the server's URL without credentials; `recording:<file name>` for a recording.
        database: the Odoo database's name.
    """

    series: str
    major: tuple[int, int]
    url: str
    database: str


@runtime_checkable
class Transport(Protocol):
    """Calls methods of Odoo models on one database as one user.

    A transport keeps its connection alive between calls, gives each call a time-out, and is used by one thread at
    a time. Implementations: `jsonrpc.OdooRPCTransport`, `json2.JSON2Transport`, `recording.RecordingTransport`.
    """

    @property
    def server(self) -> ServerInfo:
        """Which server this is, known once the transport is open."""

    @property
    def clock(self) -> str:
        """The server's time at its last answer, in UTC as Odoo writes dates; empty where it is not known."""

    @property
    def calls(self) -> int:
        """How many model calls were made, version and log-in aside."""

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Call a method by named arguments.

        Args:
            model: an Odoo model's technical name, e.g. `ir.model`.
            method: one of its public methods, e.g. `search_read`.
            ids: the records to call it on; None for a method of the model itself.
            **arguments: the method's own arguments by name; `context` is a dictionary as everywhere in Odoo.

        Returns:
            The method's JSON answer as Python values.

        Raises:
            OdooUnreachable, OdooTimeout: no answer.
            OdooLoginRefused: the session or the key is not (or no longer) valid.
            OdooAccessDenied: the user lacks a right; `context["groups"]` names the groups that would do.
            OdooModelMissing: no such model or method on this server.
            OdooServerError, OdooBadAnswer, OdooAnswerCutShort, OdooCallFailed: as their names say.
        """

    def close(self) -> None:
        """Give the connection back. A second call does nothing."""
