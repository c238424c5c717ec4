"""urllib3 connections whose every call ends by a deadline.

A socket's own time-out starts anew with each read, so a server that sends one byte a second would never run into it.
Here each read gets only the time that is left for the whole call.
"""

from __future__ import annotations

import io
import socket
import time
from typing import Any, Final, cast

import urllib3.connection

CONNECT_TIMEOUT: Final = 15.0
"""Seconds that a connection may take to open, where the call's own time-out is not shorter."""

_BUFFER_BYTES: Final = 1 << 16


class _BoundedReader(io.RawIOBase):
    """Reads a connection's socket, each time with only the time that is left for the call."""

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
    """A socket whose reading side, as `http.client` takes it, is a `_BoundedReader`."""

    def __init__(self, sock: socket.socket, connection: _Deadline) -> None:
        self._sock = sock
        self._connection = connection

    def makefile(self, *_mode: Any) -> io.BufferedReader:
        raw = cast("io.RawIOBase", self._sock.makefile("rb", buffering=0))
        return io.BufferedReader(_BoundedReader(raw, self._connection, self._sock), _BUFFER_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Deadline:
    """What a connection knows of the call that it serves: until when it may take, and how much has come."""

    timeout: Any
    sock: Any

    received = 0
    _deadline = 0.0

    def begin(self, deadline: float) -> None:
        """A call begins that must end by `deadline` (of `time.monotonic`)."""
        self._deadline = deadline
        self.received = 0
        left = self.time_left()
        if self.sock is None:
            self.timeout = min(left, CONNECT_TIMEOUT)
        else:
            self.timeout = left
            self.sock.settimeout(left)

    def time_left(self) -> float:
        """Seconds that are left for the call.

        Raises:
            TimeoutError: none are.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def bound(self) -> None:
        """The socket is open now: from here on its reading is bounded by the deadline."""
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
