"""A kept-alive HTTP connection to an Odoo server, and the translation of urllib3's errors.

    OdooHTTP(address)  .request(...) sends a request; every response of a server passes through its `_answer`
    Answer             a complete HTTP response: status, headers, body; .json() parses it or raises the fitting error

Each call has a deadline (`deadline.py`). Redirects are not followed: Odoo's endpoints send none, and those of a proxy
lead to a login page.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
import urllib3
import urllib3.exceptions as u3
from urllib3 import HTTPHeaderDict

from fbs_worker.connectors.deadline import Connection, PlainConnection, TLSConnection
from fbs_worker.connectors.surroundings import Proxy, proxy_for, tls_context
from fbs_worker.core.errors import (
    FBSError,
    JobCancelled,
    OdooAnswerCutShort,
    OdooBadAnswer,
    OdooLoginRefused,
    OdooServerError,
    OdooTimeout,
    OdooUnreachable,
    SettingsError,
)
from fbs_worker.core.odoo_address import URL_HINT, Address
from fbs_worker.core.progress import NullProgress, Progress

_log = logging.getLogger(__name__)

DEFAULT_MAX_ANSWER: Final = 100
"""Maximum size of a response in MB; the largest of an Odoo 19, 20,000 fields, has 6."""

MAX_WAIT: Final = 300.0
"""Maximum seconds that one request waits where the server asks for it."""

_POLL_SECONDS: Final = 0.25
_TUNNEL_STATUS: Final = re.compile(r"(?<=Tunnel connection failed: )\d{3}")
_ENCODINGS: Final = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_PIECE_BYTES: Final = 1 << 16
_BARE_NUMBERS: Final = (b"NaN", b"Infinity")
"""Odoo sends floats as Python's json writes them: these two are no JSON, and orjson refuses the whole answer."""
_BYTES_PER_VALUE: Final = 32
"""A response may have one JSON value per so many bytes of its maximum size: parsed, a value takes up to 80 bytes."""
_UNCOUNTED_BYTES: Final = 8_000_000
"""Smaller responses may have any number of values."""
_BYTES_PER_OBJECT: Final = 128
"""What an object takes more."""
_HELD: Final = 1.5
"""How many responses of the maximum size, or of the default if that is larger, may be held at once."""


class _Fault(NamedTuple):
    """Translation of a failure below HTTP: error class, and templates of message and hint."""

    error: type[FBSError]
    message: str
    hint: str


_HINT_REACH: Final = "Check that Odoo is running, and host and port of ODOO_URL. Odoo itself listens on port 8069."
_HINT_SLOW: Final = "Try again, or raise ODOO_TIMEOUT if the server is slow."
_HINT_NOT_HTTP: Final = "Check ODOO_URL: another service answers at that port, or the scheme (http, https) is wrong."
_HINT_TLS: Final = "Check the server's certificate; for a private authority set SSL_CERT_FILE to its file."

_UNREACHABLE: Final = _Fault(OdooUnreachable, "No connection to {url}: {reason}.", _HINT_REACH)
_UNKNOWN_HOST: Final = _Fault(
    OdooUnreachable, "The host {host} is not known.", "Check ODOO_URL and the name service (DNS)."
)
_LOST: Final = _Fault(
    OdooUnreachable,
    "{url} closed the connection without an answer.",
    "Try again: Odoo may be restarting. Otherwise check that Odoo listens there, with {scheme}://.",
)
_SLOW: Final = _Fault(OdooTimeout, "{url} did not answer within {timeout:g} seconds.", _HINT_SLOW)
_NO_CONNECTION_IN_TIME: Final = _Fault(OdooTimeout, "{url} did not accept a connection in time.", _HINT_REACH)
_CUT: Final = _Fault(
    OdooAnswerCutShort, "The answer of {url} ended before it was complete.", "Try again; check the limits of proxies."
)
_GARBLED: Final = _Fault(OdooBadAnswer, "The answer of {url} is not valid HTTP.", _HINT_NOT_HTTP)
_TLS: Final = _Fault(
    OdooUnreachable, "No TLS connection to {url}: {reason}.", f"{_HINT_TLS} Or use http:// if the server has no TLS."
)
_CERTIFICATE: Final = _Fault(OdooUnreachable, "The certificate of {host} is not trusted: {reason}.", _HINT_TLS)
_PROXY: Final = _Fault(
    OdooUnreachable,
    "No connection to {url} through the proxy {proxy}: {reason}.",
    "Check {variable}, or add {host} to NO_PROXY to connect directly.",
)
_BAD_ADDRESS: Final = _Fault(SettingsError, "The Odoo URL cannot be used: {reason}.", URL_HINT)

FAULTS: Final[Mapping[type[BaseException], _Fault]] = {
    # urllib3
    u3.HTTPError: _UNREACHABLE,
    u3.NewConnectionError: _UNREACHABLE,
    u3.NameResolutionError: _UNKNOWN_HOST,
    u3.TimeoutError: _SLOW,
    u3.TimeoutStateError: _SLOW,
    u3.ConnectTimeoutError: _NO_CONNECTION_IN_TIME,
    u3.SSLError: _TLS,
    u3.ProxyError: _UNREACHABLE,
    u3.PoolError: _UNREACHABLE,
    u3.MaxRetryError: _UNREACHABLE,
    u3.ProtocolError: _LOST,
    u3.IncompleteRead: _CUT,
    u3.InvalidChunkLength: _CUT,
    u3.DecodeError: _GARBLED,
    u3.ResponseError: _GARBLED,
    u3.ResponseNotChunked: _GARBLED,
    u3.BodyNotHttplibCompatible: _GARBLED,
    u3.InvalidHeader: _GARBLED,
    u3.HeaderParsingError: _GARBLED,
    u3.UnrewindableBodyError: _LOST,
    u3.LocationValueError: _BAD_ADDRESS,
    # exceptions of the standard library that urllib3 does not wrap
    TimeoutError: _SLOW,
    socket.gaierror: _UNKNOWN_HOST,
    ssl.SSLCertVerificationError: _CERTIFICATE,
    ssl.SSLError: _TLS,
    ssl.SSLEOFError: _LOST,
    ConnectionError: _LOST,
    http.client.IncompleteRead: _CUT,
    http.client.HTTPException: _GARBLED,
    OSError: _UNREACHABLE,
}
"""Translation of each exception of the libraries below; an unlisted class counts as its nearest listed ancestor."""


def fault_of(exc: BaseException) -> _Fault:
    """Look up the entry of `FAULTS` for an exception, along its method resolution order."""
    return next(FAULTS[kind] for kind in type(exc).__mro__ if kind in FAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete HTTP response.

    Attributes:
        address: address of the server.
        status: HTTP status code.
        headers: headers, case-insensitive.
        body: the whole body, decompressed.
    """

    address: Address
    status: int
    headers: HTTPHeaderDict
    body: bytes | bytearray

    def json(self) -> Any:
        """Parse the body, whatever the status.

        Returns:
            The JSON value.

        Raises:
            OdooServerError: not JSON, with status 5xx or 429.
            OdooLoginRefused: not JSON, with status 401 or 407: a proxy requires a login.
            OdooAnswerCutShort: JSON that ends early.
            OdooBadAnswer: a redirect, HTML, or anything else that is not JSON.
        """
        if 300 <= self.status < 400:
            raise self._redirected()
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            if any(name in self.body for name in _BARE_NUMBERS):
                with suppress(ValueError):
                    return json.loads(self.body)
            raise self._not_json(exc) from None

    @property
    def is_json(self) -> bool:
        """Whether the content type is JSON."""
        return self._content_type == "application/json"

    @property
    def _content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def foreign(self) -> FBSError:
        """The error for JSON that does not have the form of Odoo's responses."""
        if self.status >= 500:
            return self.server_error()
        return OdooBadAnswer(
            f"{self.address.url} answers with JSON, but not as Odoo does (status {self.status}).",
            hint="Check that ODOO_URL is the address of an Odoo server.",
            status=self.status,
        )

    def server_error(self) -> OdooServerError:
        """The error for a status of 500 and above, or 429."""
        reason = http.client.responses.get(self.status, "")
        return OdooServerError(
            f"{self.address.url} answered {self.status} {reason}".rstrip() + ".",
            hint="Try again; if it persists, check the log of the server and of its proxy.",
            status=self.status,
        )

    def _redirected(self) -> OdooBadAnswer:
        moved = self._moved_to()
        hint = (
            f"Set ODOO_URL to {moved}."
            if moved not in ("", self.address.url)
            else "Set ODOO_URL to the address of Odoo itself, without a login page or another site in front of it."
        )
        return OdooBadAnswer(
            f"{self.address.url} redirects to another page instead of answering.", hint=hint, status=self.status
        )

    def _moved_to(self) -> str:
        """The address on the same host that a redirect leads to; empty for another host."""
        try:
            target = urlsplit(self.headers.get("location", ""))
            port = target.port or (443 if target.scheme == "https" else 80)
        except ValueError:
            return ""
        if target.scheme not in ("http", "https") or target.hostname != self.address.host:
            return ""
        return Address(scheme=target.scheme, host=self.address.host, port=port).url

    @property
    def retry_after(self) -> float | None:
        """The seconds to wait, at least one, where the server asks to wait (RFC 9110); else None."""
        text = self.headers.get("retry-after", "").strip()
        if self.status not in (429, 503) or not text:
            return None
        if text.isdecimal() and text.isascii():
            return max(1.0, float(text[:9]))
        try:
            return max(1.0, parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            return None

    def _not_json(self, exc: orjson.JSONDecodeError) -> FBSError:
        url = self.address.url
        html = self._content_type in ("text/html", "application/xhtml+xml") or self.body[:1024].lstrip()[:1] == b"<"
        if self.status == 429 or (self.status >= 500 and self.status not in (501, 505)):
            return self.server_error()
        if self.status in (401, 407):
            return OdooLoginRefused(
                f"A proxy in front of {url} requires a login of its own.",
                hint="Set ODOO_HEADERS to the header that it wants, or ODOO_URL to an address without that proxy."
                if self.status == 401
                else f"Write user and password into {self.address.scheme.upper()}_PROXY.",
                status=self.status,
            )
        if html or self.status >= 400:
            what = "an HTML page" if html else "no JSON"
            return OdooBadAnswer(
                f"{url} answered with {what} (status {self.status}) where Odoo answers with JSON.",
                hint="Check ODOO_URL: a proxy, its login page or another site answers there, not Odoo.",
                status=self.status,
            )
        ended_early = "content-length" not in self.headers and "transfer-encoding" not in self.headers
        if ended_early and exc.pos >= len(exc.doc) and (exc.doc or not self.body):
            return OdooAnswerCutShort(_CUT.message.format(url=url), hint=_CUT.hint)
        return OdooBadAnswer(
            f"The answer of {url} is not valid JSON.",
            hint="Check proxies between this host and Odoo, and the server's log.",
            status=self.status,
        )

    def info(self) -> HTTPHeaderDict:
        """The headers, in the interface of `http.cookiejar`."""
        return self.headers


class OdooHTTP:
    """An HTTP connection to a server, opened on demand and kept alive; for one thread at a time.

    Args:
        address: address of the server.
        timeout: maximum seconds of one call, from connecting to the last byte of the response.
        max_answer: maximum size of a response, decompressed, in MB.
        headers: further headers of each request.
        progress: receives, in the thread that creates the connection, a message while a request waits.

    Attributes:
        secrets: values to redact: further headers, the log-in at a proxy.
        waits: one line while a request waits, because the server asked for it; else empty.
        clock: the server's time at its last response, UTC in Odoo's format; empty where unknown.
        held: size of the responses that the caller still has, in bytes; see `fbs_worker.connectors.base.Transport`.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        max_answer: int = DEFAULT_MAX_ANSWER,
        headers: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.address = address
        self.clock = ""
        self.waits = ""
        self.held = 0
        self._timeout = timeout
        self._max_answer = max_answer
        self._headers = dict(headers or {})
        self._proxy = proxy_for(address)
        self.secrets = (*self._headers.values(), *(self._proxy.secrets if self._proxy else ()))
        self._progress = progress or NullProgress()
        self._owner = threading.get_ident()
        self._closed = threading.Event()
        self._connection: Connection | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and read the whole response.

        The server may have closed a kept-alive connection. In this case, if no byte of a response was received, the
        request is sent once more on a new connection. A server that asks to wait (429 or 503 with `Retry-After`) is
        sent the request again then, for `MAX_WAIT` seconds in all.

        Args:
            method: `GET` or `POST`.
            path: path with leading slash.
            body: the request body.
            headers: further headers.

        Returns:
            The response, whatever its status.

        Raises:
            OdooUnreachable: the server cannot be reached or closed the connection.
            OdooTimeout: no complete response within the timeout.
            OdooAnswerCutShort: the response ended early.
            OdooBadAnswer: the response is not valid HTTP, or too large.
            SettingsError: the URL cannot be used.
        """
        patience = MAX_WAIT
        while True:
            answer = self._send(method, path, body, headers or {})
            seconds = answer.retry_after
            if seconds is None or seconds > patience:
                return answer
            patience -= seconds
            self._wait(seconds, answer.status)

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        deadline = time.monotonic() + self._timeout
        given = HTTPHeaderDict({"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "fbs-worker"})
        given.update(headers)
        cookie = given.get("Cookie")
        given.update(self._headers)
        if cookie and given["Cookie"] != cookie:
            given["Cookie"] = f"{cookie}; {given['Cookie']}"
        if self._proxy is not None and not self.address.secure:
            path = f"{self.address.url}{path}"
            given.update(self._proxy.headers)
        while True:
            connection, reused = self._open_connection()
            try:
                connection.begin(deadline)
                connection.request(method, path, body=body, headers=given, preload_content=False)
                return self._answer(connection)
            except (u3.HTTPError, http.client.HTTPException, OSError) as exc:
                self._disconnect()
                fault = fault_of(exc)
                if reused and not connection.received and fault.error is OdooUnreachable:
                    continue
                raise self._failure(exc, fault, connection) from exc
            except BaseException:
                self._disconnect()  # an unread response would be taken for that of the next call
                raise

    def _wait(self, seconds: float, status: int) -> None:
        _log.info("%s answered %d: waiting %g seconds", self.address.url, status, seconds)
        until = time.monotonic() + seconds
        self.waits = f"Odoo asks to wait {seconds:.0f} s (status {status})"
        try:
            while (left := until - time.monotonic()) > 0:
                if threading.get_ident() == self._owner:
                    self._progress.advance(0, message=self.waits)
                if self._closed.wait(min(left, _POLL_SECONDS)):
                    raise JobCancelled("The connection to Odoo was closed while a call waited.")
        finally:
            self.waits = ""

    def close(self) -> None:
        """Close the connection, and end a wait. Idempotent."""
        self._closed.set()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_connection(self) -> tuple[Connection, bool]:
        """The connection to use, and whether it is a reused one."""
        existing = self._connection
        if existing is not None and existing.is_connected:
            return existing, True
        self._disconnect()
        address, proxy = self.address, self._proxy
        at: Address | Proxy = proxy or address
        connection: Connection = (
            TLSConnection(at.host, at.port, ssl_context=self._tls)
            if address.secure
            else PlainConnection(at.host, at.port)
        )
        if proxy is not None and address.secure:
            connection.set_tunnel(address.host, address.port, headers=proxy.headers)
        self._connection = connection
        return connection, False

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Verifies certificates; created once: loading the authorities takes longer than most calls."""
        return tls_context()

    def _answer(self, connection: Connection) -> Answer:
        response = connection.getresponse()
        try:
            content = self._content(response)
        finally:
            response.close()
        self.clock = _clock(response.headers.get("date", ""))
        return Answer(address=self.address, status=response.status, headers=response.headers, body=content)

    def _content(self, response: urllib3.BaseHTTPResponse) -> bytearray:
        """Read the body, up to the maximum of bytes, and of JSON values: both take memory."""
        if response.headers.get("content-encoding", "").strip().lower() not in _ENCODINGS:
            raise u3.DecodeError("compressed more than once, or in a way that was not asked for")
        content, most = bytearray(), self._max_answer * 1_000_000
        while piece := response.read(_PIECE_BYTES):
            content += piece
            self._check_size(len(content), most)
        parsed = sum(map(content.count, b",:[{")) * _BYTES_PER_VALUE + content.count(b"{") * _BYTES_PER_OBJECT
        size = max(len(content), parsed)
        self._check_size(size, most if len(content) > _UNCOUNTED_BYTES else size)
        self.held += size
        return content

    def _check_size(self, size: int, most: int) -> None:
        url, held = self.address.url, round(_HELD * max(self._max_answer, DEFAULT_MAX_ANSWER))
        if size > most:
            raise OdooBadAnswer(
                f"An answer of {url} is larger than {self._max_answer} MB.",
                hint="Check ODOO_URL; for a very large Odoo lower FBS_PAGE_SIZE or raise FBS_ODOO_MAX_ANSWER.",
            )
        if self.held + size > held * 1_000_000:
            raise OdooBadAnswer(
                f"The answers of {url} that are needed at once are larger than {held} MB.",
                hint="Check ODOO_URL; for a very large Odoo raise FBS_ODOO_MAX_ANSWER.",
            )

    def _failure(self, exc: BaseException, fault: _Fault, connection: Connection) -> FBSError:
        if connection.received and fault.error is OdooUnreachable:
            fault = _CUT
        address, proxy = self.address, self._proxy
        if proxy is not None and fault in (_UNREACHABLE, _UNKNOWN_HOST, _NO_CONNECTION_IN_TIME, _LOST):
            fault = _PROXY
        facts = {"url": address.url, "scheme": address.scheme, "host": address.host, "timeout": self._timeout}
        facts |= {"proxy": proxy.name if proxy else "", "variable": f"{address.scheme.upper()}_PROXY"}
        return fault.error(fault.message.format(**facts, reason=_reason(exc)), hint=fault.hint.format(**facts))


def _reason(exc: BaseException) -> str:
    """The reason of a failure in the words of the operating system or OpenSSL."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "the handshake failed").replace("_", " ").lower()
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    if refused := _TUNNEL_STATUS.search(str(exc)):
        return f"it answered {refused[0]}"
    cause = exc.__cause__ or exc.__context__
    return _reason(cause) if isinstance(cause, OSError) else type(exc).__name__


def _clock(date: str) -> str:
    """Convert a `Date` header (RFC 9110) to Odoo's date format; empty where it is not valid."""
    try:
        return parsedate_to_datetime(date).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return ""
