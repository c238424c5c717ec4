"""Interfaces of this package: `Transport` calls methods of Odoo models, `Limiter` admits calls to a server."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

_SERIES: Final = re.compile(r"^\D*(?P<major>\d+)\.(?P<minor>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """Identity and version of a server.

    Attributes:
        series: e.g. `19.0` (`saas~18.2` becomes `18.2`).
        major: the series as a comparable pair, e.g. `(19, 0)`.
        url: the server's URL without credentials; `recording:<file name>` for a recording.
        database: name of the Odoo database.
    """

    series: str
    major: tuple[int, int]
    url: str
    database: str


def parse_series(version: str) -> tuple[str, tuple[int, int]]:
    """Parse the series from a version string of Odoo.

    Args:
        version: e.g. `19.0`, `saas~18.2+e`, `19.0+e-20260101`.

    Returns:
        The series, e.g. `18.2`, and the same as a comparable pair.

    Raises:
        ValueError: the string contains no series.
    """
    match = _SERIES.match(version)
    if match is None:
        raise ValueError(version)
    major = (int(match["major"]), int(match["minor"]))
    return f"{major[0]}.{major[1]}", major


@runtime_checkable
class Transport(Protocol):
    """Call methods of Odoo models on one database as one user.

    A transport keeps its connection alive between calls, gives each call a timeout, and is used by one thread at a
    time. Implementations: `jsonrpc.OdooRPCTransport`, `json2.JSON2Transport`, `recording.transport.RecordingTransport`.

    Attributes:
        held: size of the answers that the caller still has, in bytes. Each answer adds to it, up to a limit; the caller
            takes off what it has dropped.
    """

    held: int

    @property
    def server(self) -> ServerInfo:
        """The connected server."""

    @property
    def uid(self) -> int:
        """The user's id; 0 where the login does not say it (JSON-2, recordings)."""

    @property
    def clock(self) -> str:
        """The server's time at its last response, UTC in Odoo's format; empty where unknown."""

    @property
    def waits(self) -> str:
        """One line while a call waits because the server asked for it; else empty."""

    @property
    def calls(self) -> int:
        """Number of model calls made, without the version request and the login."""

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Call a method by named arguments.

        Args:
            model: technical name of an Odoo model, e.g. `ir.model`.
            method: one of its public methods, e.g. `search_read`.
            ids: the records to call it on; None for a method of the model itself.
            **arguments: the method's own arguments by name; `context` is a dictionary as everywhere in Odoo.

        Returns:
            The method's JSON result as Python values.

        Raises:
            OdooUnreachable: the server cannot be reached or closed the connection.
            OdooTimeout: no complete response within the timeout.
            OdooLoginRefused: the session or the API key is not, or no longer, valid.
            OdooAccessDenied: the user lacks a right; `context["groups"]` lists groups that grant it.
            OdooModelMissing: the server has no such model or method.
            OdooServerError: HTTP status 5xx or 429, or Odoo cannot use its own database at present.
            OdooBadAnswer: the response is not Odoo's, e.g. a proxy's login page.
            OdooAnswerCutShort: the response ended early.
            OdooCallFailed: Odoo reports any other error.
        """

    def close(self) -> None:
        """Close the connection. Idempotent."""


class Limiter(Protocol):
    """Admit calls to one server. Implementations: `limiter.OdooLimiter`, `Unlimited`."""

    def slot(self) -> AbstractContextManager[None]:
        """Wait for a free slot and hold it for one call, made within the `with` block.

        Raises:
            OdooCircuitOpen: the server failed repeatedly; no call may be made now.
            JobCancelled: the job was cancelled during the wait.
        """

    def close(self) -> None:
        """Admit no further call and end the waits of other threads. Idempotent."""


class Unlimited:
    """A `Limiter` that admits every call at once."""

    def slot(self) -> AbstractContextManager[None]:
        """Return at once."""
        return nullcontext()

    def close(self) -> None:
        """Do nothing."""
