"""Transport factory: choose and open the transport that fits the server's version and the credentials."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from fbs_worker.connectors.base import Limiter, ServerInfo, Transport, Unlimited, parse_series
from fbs_worker.connectors.http import DEFAULT_MAX_ANSWER, OdooHTTP
from fbs_worker.connectors.json2 import SINCE as JSON2_SINCE
from fbs_worker.connectors.json2 import JSON2Transport
from fbs_worker.connectors.jsonrpc import OdooRPCTransport, envelope_of, result_of
from fbs_worker.connectors.limiter import OdooLimiter
from fbs_worker.connectors.odoo_errors import CallContext
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import FBSError, OdooError, SettingsError
from fbs_worker.core.odoo_address import extra_headers, parse_url
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import OdooConnection, Settings

OLDEST: Final = (14, 0)
"""The oldest supported series."""

RECORDING_SCHEME: Final = "recording:"

_LIST_REQUEST: Final = b'{"jsonrpc":"2.0","method":"call","params":{},"id":1}'
_LIST_SECONDS: Final = 5.0
_MAX_LISTED: Final = 20
_JSON: Final = {"Content-Type": "application/json"}
_VERSION_REQUESTS: Final = (
    ("POST", "/web/webclient/version_info", b'{"jsonrpc":"2.0","method":"call","params":{},"id":1}'),
    ("GET", "/web/version", None),
    (
        "POST",
        "/jsonrpc",
        b'{"jsonrpc":"2.0","method":"call","params":{"service":"common","method":"version","args":[]},"id":1}',
    ),
)


def limiter_for(connection: OdooConnection, *, settings: Settings, progress: Progress) -> OdooLimiter | None:
    """Create the limiter of a connection's server; workers with the same Redis share its state.

    Args:
        connection: the server.
        settings: the URL of Redis, the maximum of concurrent calls, and the limits of the circuit breaker.
        progress: checked for cancellation while a call waits for a slot.

    Returns:
        The limiter to pass to `open_transport`; None without a Redis, and for a recording.

    Raises:
        SettingsError: the URL of Odoo or of Redis is not valid.
    """
    if not settings.fbs_redis_url or _is_recording(connection):
        return None
    address = parse_url(connection.url)
    return OdooLimiter(
        settings.fbs_redis_url,
        f"{address.scheme}://{address.netloc_host}:{address.port}",
        max_calls=settings.fbs_odoo_max_calls,
        max_failures=settings.fbs_odoo_max_failures,
        pause=settings.fbs_odoo_pause,
        waiting=lambda: progress.advance(0),
    )


def open_transport(
    connection: OdooConnection,
    *,
    limiter: Limiter | None = None,
    max_answer: int = DEFAULT_MAX_ANSWER,
    progress: Progress | None = None,
) -> Transport:
    """Open a transport to the Odoo of a connection.

    `recording:FILE` replays a recording. For a URL, the server's version decides: an API key selects JSON-2 on Odoo 19
    and later and odoorpc before, a password selects odoorpc. With both, JSON-2 uses the key and odoorpc the password,
    the faster way for each. `protocol` forces one of the two.

    Args:
        connection: server, database and credentials.
        limiter: admits every call, including the version request and the login; closed with the transport, or when
            the transport cannot be opened. A recording has no use for one.
        max_answer: maximum size of a response, decompressed, in MB.
        progress: receives, in this thread, a message while a call waits because the server asked for it.

    Returns:
        The open transport.

    Raises:
        SettingsError: the URL is not valid, a setting is missing, the server is too old, or lacks the protocol.
        OdooDatabaseMissing: the server has no such database.
        RecordingError: the recording is missing or damaged.
        OdooCircuitOpen: the server failed repeatedly; no call was made.
        JobCancelled: the job was cancelled while a call waited for a slot.
        FBSError: the version request or the login failed; see `Transport.call`.
    """
    limiter = limiter or Unlimited()
    try:
        if _is_recording(connection):
            limiter.close()
            return RecordingTransport(_recording_path(connection.url))
        return _open(connection, limiter, max_answer, progress)
    except FBSError as exc:
        limiter.close()
        if connection.stored_as and "ODOO_" in exc.hint:  # hints name the settings of the environment
            exc.hint += f" It is stored: `fbs odoo edit {connection.stored_as}` changes it."
        raise
    except BaseException:
        limiter.close()
        raise


def _open(connection: OdooConnection, limiter: Limiter, max_answer: int, progress: Progress | None) -> Transport:
    address = parse_url(connection.url)
    password = connection.password.get_secret_value()
    api_key = connection.api_key.get_secret_value().strip()
    headers = extra_headers(connection.headers.get_secret_value())
    if not connection.db:
        quick = min(connection.timeout, _LIST_SECONDS)
        with closing(OdooHTTP(address, timeout=quick, max_answer=1, headers=headers)) as http, limiter.slot():
            raise _no_database(http)
    _check_credentials(connection, password=password, api_key=api_key)
    http = OdooHTTP(address, timeout=connection.timeout, max_answer=max_answer, headers=headers, progress=progress)
    secrets = (password, api_key, *http.secrets)
    login = CallContext(url=address.url, database=connection.db, user=connection.user, secrets=secrets)
    try:
        with limiter.slot():
            series, major, web = _find_series(http, login)
        server = ServerInfo(series=series, major=major, url=address.url, database=connection.db)
        if _use_json2(connection, major, api_key, headers, web=web):
            return JSON2Transport(http, server, login, limiter, api_key=api_key)
        if not connection.user:
            raise SettingsError("No Odoo user is set.", hint="Set ODOO_USER to the user's login.")
        if not web:  # /jsonrpc takes a password like a key
            password, api_key = "", api_key or password
        return OdooRPCTransport(http, server, login, limiter, password=password, api_key=api_key)
    except BaseException:
        http.close()
        raise


def _is_recording(connection: OdooConnection) -> bool:
    return connection.url.lower().startswith(RECORDING_SCHEME)


def _recording_path(url: str) -> Path:
    name = url[len(RECORDING_SCHEME) :].strip()
    if not name:
        raise SettingsError("ODOO_URL names no recording file.", hint="Write it as recording:FILE.")
    return Path(name).expanduser()


def _check_credentials(connection: OdooConnection, *, password: str, api_key: str) -> None:
    if connection.protocol == "json2" and not api_key:
        raise SettingsError("JSON-2 needs an API key.", hint="Set ODOO_API_KEY, or leave ODOO_PROTOCOL at auto.")
    if not (password or api_key):
        raise SettingsError("No Odoo password is set.", hint="Set ODOO_USER and ODOO_PASSWORD, or ODOO_API_KEY.")


def _no_database(http: OdooHTTP) -> SettingsError:
    """The error that no database is named; its context has the names, where the server lists them."""
    names: list[str] = []
    with suppress(FBSError):
        answer = http.request("POST", "/web/database/list", body=_LIST_REQUEST, headers=_JSON)
        listed = result_of(envelope_of(answer), CallContext(url=http.address.url, database="", user=""))
        names = [name for name in listed if isinstance(name, str)][:_MAX_LISTED] if isinstance(listed, list) else []
    where = (
        f"the server has {', '.join(names)}" if names else "the server's page /web/database/selector may list the names"
    )
    return SettingsError(
        "No Odoo database is set.", hint=f"Set ODOO_DB to the database's name; {where}.", databases=names
    )


def _use_json2(
    connection: OdooConnection, major: tuple[int, int], api_key: str, headers: Mapping[str, str], *, web: bool
) -> bool:
    forced = connection.protocol == "json2"
    if forced and major < JSON2_SINCE:
        raise SettingsError(
            f"Odoo {major[0]}.{major[1]} has no JSON-2 (it needs Odoo 19 or later).",
            hint="Leave ODOO_PROTOCOL at auto, or set it to odoorpc.",
        )
    taken = any(name.lower() == "authorization" for name in headers)
    if forced and taken:
        raise SettingsError(
            "JSON-2 sends its key in the header Authorization, which ODOO_HEADERS sets.",
            hint="Set ODOO_PROTOCOL to odoorpc, and ODOO_USER.",
        )
    usable = bool(api_key) and connection.protocol != "odoorpc" and major >= JSON2_SINCE
    return usable and (forced or not taken) and (forced or web or not connection.user)


def _find_series(http: OdooHTTP, context: CallContext) -> tuple[str, tuple[int, int], bool]:
    """Request the server's version, without a login, by the first of three ways that is let through.

    All versions up to 19 have `version_info`. `GET /web/version` came with 19 and makes an older server render a
    website page, so it is only used where `version_info` is gone. `/jsonrpc` is for proxies that block `/web`.

    Returns:
        The series, the same as a comparable pair, and whether paths under `/web` are let through.
    """
    blocked: FBSError | None = None
    for method, path, body in _VERSION_REQUESTS:
        try:
            answer = http.request(method, path, body=body, headers=_JSON if body else None)
            result = result_of(envelope_of(answer), context) if body else answer.json()
            facts = result if isinstance(result, dict) else {}
            version = facts.get("server_serie") or facts.get("server_version") or facts.get("version") or ""
            try:
                series, major = parse_series(str(version))
            except ValueError:
                raise answer.foreign() from None
        except OdooError as exc:
            if exc.retryable:
                raise
            blocked = blocked or exc
            continue
        if major < OLDEST:
            raise SettingsError(
                f"{http.address.url} is Odoo {series}; {OLDEST[0]}.{OLDEST[1]} is the oldest supported version.",
                hint="Point ODOO_URL at Odoo 14 or later.",
            )
        return series, major, path != "/jsonrpc"
    raise blocked or AssertionError
