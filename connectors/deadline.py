"""urllib3 connections with a deadline per call.

A socket's own timeout restarts with each read, so a server that sends one byte a second never reaches it. Here each
read gets only the time that remains for the whole call.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import urllib3.connection

TRIED: Final = ("urllib3>=2.2,<3",)

UPSTREAM: Final[Mapping[str, str]] = {
    "urllib3.connection:HTTPConnection.connect": "extended: opens the socket",
    "urllib3.connection:HTTPConnection.sock": "replaced: the open socket; None before",
    "urllib3.connection:HTTPConnection.timeout": "set: seconds that opening the socket may take",
    "urllib3.connection:HTTPSConnection.connect": "extended: opens the socket with TLS",
    "http.client:HTTPResponse.fp": "reads through sock.makefile, which is replaced",
}
"""The private symbols relied on, and why; `tests/unit/test_upstream_contract.py` resolves them."""

CONNECT_TIMEOUT: Final = 15.0
"""Maximum seconds to open a connection, unless the timeout of the call is shorter."""

_BUFFER_BYTES: Final = 1 << 16


class _BoundedReader(io.RawIOBase):
    """Read a connection's socket; each read may take only the time that remains for the call."""

    def __init__(self, raw: io.RawIOBase, connection: _Deadline, sock: socket.socket) -> None:
        super().__init__()
        self._raw = raw
        self._connection = connection
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._connection.time_left())
        count = self._raw.readinto(buffer)
        self._connection.received += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """A socket whose `makefile` (the side that `http.client` reads) returns a `_BoundedReader`."""

    def __init__(self, sock: socket.socket, connection: _Deadline) -> None:
        self._sock = sock
        self._connection = connection

    def makefile(self, *_mode: Any) -> io.BufferedReader:
        raw = cast("io.RawIOBase", self._sock.makefile("rb", buffering=0))
        return io.BufferedReader(_BoundedReader(raw, self._connection, self._sock), _BUFFER_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Deadline:
    """Deadline and received bytes of the current call of a connection."""

    timeout: Any
    sock: Any

    received = 0
    _deadline = 0.0

    def begin(self, deadline: float) -> None:
        """Start a call that must end by `deadline`, a value of `time.monotonic`."""
        self._deadline = deadline
        self.received = 0
        left = self.time_left()
        if self.sock is None:
            self.timeout = min(left, CONNECT_TIMEOUT)
        else:
            self.timeout = left
            self.sock.settimeout(left)

    def time_left(self) -> float:
        """Seconds that remain for the call.

        Raises:
            TimeoutError: the deadline has passed.
        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def bound(self) -> None:
        """Apply the deadline to the reads of the newly opened socket."""
        self.timeout = self.time_left()
        self.sock = _BoundedSocket(self.sock, self)
        self.sock.settimeout(self.timeout)


class PlainConnection(_Deadline, urllib3.connection.HTTPConnection):
    def connect(self) -> None:
        urllib3.connection.HTTPConnection.connect(self)
        self.bound()


class TLSConnection(_Deadline, urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        urllib3.connection.HTTPSConnection.connect(self)
        self.bound()


Connection = PlainConnection | TLSConnection
