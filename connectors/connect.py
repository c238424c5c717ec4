"""Opens the right transport to an Odoo: which one follows from the server's version and the credentials."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from fbs_worker.connectors.address import parse_url
from fbs_worker.connectors.base import ServerInfo, Transport
from fbs_worker.connectors.http import OdooHTTP
from fbs_worker.connectors.json2 import SINCE as JSON2_SINCE
from fbs_worker.connectors.json2 import JSON2Transport
from fbs_worker.connectors.jsonrpc import OdooRPCTransport, envelope_of, result_of
from fbs_worker.connectors.limited_transport import Gate, PoliteTransport
from fbs_worker.connectors.limiter import OdooGate
from fbs_worker.connectors.odoo_errors import CallContext
from fbs_worker.connectors.recording import RecordingTransport
from fbs_worker.core.errors import SettingsError
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import OdooConnection, Settings

OLDEST: Final = (14, 0)
"""The oldest series that is read."""

RECORDING_SCHEME: Final = "recording:"

_SERIES: Final = re.compile(r"^\D*(?P<major>\d+)\.(?P<minor>\d+)")
_VERSION_REQUEST: Final = b'{"jsonrpc":"2.0","method":"call","params":{},"id":1}'


def gate_for(connection: OdooConnection, *, settings: Settings, progress: Progress) -> OdooGate | None:
    """The gate before the Odoo of a connection, which all workers with the same Redis share.

    Args:
        connection: which server.
        settings: which Redis, how many calls at once, and when calls rest.
        progress: asked while a call waits for its turn whether the job goes on.

    Returns:
        The gate, to be handed to `open_transport`; None without a Redis, and for a recording.

    Raises:
        SettingsError: the URL of Odoo or of Redis is not one.
    """
    if not settings.fbs_redis_url or _is_recording(connection):
        return None
    address = parse_url(connection.url)
    return OdooGate(
        settings.fbs_redis_url,
        f"{address.scheme}://{address.netloc_host}:{address.port}",
        max_calls=settings.fbs_odoo_max_calls,
        max_failures=settings.fbs_odoo_max_failures,
        pause=settings.fbs_odoo_pause,
        waiting=lambda: progress.advance(0),
    )


def open_transport(connection: OdooConnection, *, gate: Gate | None = None) -> Transport:
    """Open a transport to the Odoo of a connection.

    `recording:FILE` replays a recording. Else the server is asked for its version; an API key means JSON-2 from Odoo 19
    on and odoorpc before, a password means odoorpc. With both, the key is used on JSON-2 and the password on odoorpc,
    each the faster way. `protocol` forces one of the two.

    Args:
        connection: which server, as which user.
        gate: where every call waits for its turn, the question for the version and the log-in, too; closed with the
            transport, or when it cannot be opened.

    Raises:
        SettingsError: the URL is not one, something is missing, the server is too old, or lacks the protocol.
        OdooUnreachable, OdooTimeout, OdooServerError, OdooBadAnswer, OdooAnswerCutShort: no proper answer.
        OdooLoginRefused, OdooDatabaseMissing: the log-in failed.
        RecordingError: the recording is missing or damaged.
        OdooCircuitOpen, JobCancelled: see `Gate.turn`.
    """
    try:
        if _is_recording(connection):
            transport: Transport = RecordingTransport(_recording_path(connection.url))
        else:
            transport = _open(connection, turn=nullcontext if gate is None else gate.turn)
        return transport if gate is None else PoliteTransport(transport, gate)
    except BaseException:
        if gate is not None:
            gate.close()
        raise


def _open(connection: OdooConnection, *, turn: Callable[[], AbstractContextManager[None]]) -> Transport:
    address = parse_url(connection.url)
    password = connection.password.get_secret_value()
    api_key = connection.api_key.get_secret_value().strip()
    _check_given(connection, password=password, api_key=api_key)
    http = OdooHTTP(address, timeout=connection.timeout)
    context = CallContext(url=address.url, database=connection.db, user=connection.user, secrets=(password, api_key))
    try:
        with turn():
            series, major = _find_series(http, context)
        server = ServerInfo(series=series, major=major, url=address.url, database=connection.db)
        if _use_json2(connection, major, api_key):
            return JSON2Transport(http, server, api_key=api_key)
        if not connection.user:
            raise SettingsError("No Odoo user is set.", hint="Set ODOO_USER to the user's login.")
        with turn():
            return OdooRPCTransport(
                http,
                server,
                user=connection.user,
                password=password,
                api_key="" if password else api_key,
                timeout=connection.timeout,
            )
    except BaseException:
        http.close()
        raise


def parse_series(version: str) -> tuple[str, tuple[int, int]]:
    """The series of a version as Odoo writes it.

    Args:
        version: e.g. `19.0`, `saas~18.2+e`, `19.0+e-20260101`.

    Returns:
        The series, e.g. `18.2`, and the same as a pair that compares.

    Raises:
        ValueError: it holds no series.
    """
    found = _SERIES.match(version)
    if found is None:
        raise ValueError(version)
    major = (int(found["major"]), int(found["minor"]))
    return f"{major[0]}.{major[1]}", major


def _is_recording(connection: OdooConnection) -> bool:
    return connection.url.lower().startswith(RECORDING_SCHEME)


def _recording_path(url: str) -> Path:
    name = url[len(RECORDING_SCHEME) :].strip()
    if not name:
        raise SettingsError("The recording's file is not named.", hint="Write it as recording:FILE.")
    return Path(name).expanduser()


def _check_given(connection: OdooConnection, *, password: str, api_key: str) -> None:
    if not connection.db:
        raise SettingsError(
            "No Odoo database is set.",
            hint="Set ODOO_DB to the database's name; the server's page /web/database/selector may list them.",
        )
    if connection.protocol == "json2" and not api_key:
        raise SettingsError("JSON-2 needs an API key.", hint="Set ODOO_API_KEY, or leave ODOO_PROTOCOL at auto.")
    if not (password or api_key):
        raise SettingsError("No Odoo password is set.", hint="Set ODOO_USER and ODOO_PASSWORD, or ODOO_API_KEY.")


def _use_json2(connection: OdooConnection, major: tuple[int, int], api_key: str) -> bool:
    if connection.protocol == "json2" and major < JSON2_SINCE:
        raise SettingsError(
            f"Odoo {major[0]}.{major[1]} has no JSON-2 (Odoo 19 and later have).",
            hint="Leave ODOO_PROTOCOL at auto, or set it to odoorpc.",
        )
    return bool(api_key) and connection.protocol != "odoorpc" and major >= JSON2_SINCE


def _find_series(http: OdooHTTP, context: CallContext) -> tuple[str, tuple[int, int]]:
    """Ask the server for its version, without a log-in.

    All versions up to 19 have `version_info`; `GET /web/version` came with 19, and asked of an older server it makes
    the website of that server render a page for nothing. So the old way goes first, the new one where it is gone.
    """
    headers = {"Content-Type": "application/json"}
    answer = http.request("POST", "/web/webclient/version_info", body=_VERSION_REQUEST, headers=headers)
    if answer.status == 404:
        answer = http.request("GET", "/web/version")
        told = answer.json()
    else:
        told = result_of(envelope_of(answer), context)
    facts = told if isinstance(told, dict) else {}
    version = facts.get("server_serie") or facts.get("server_version") or facts.get("version") or ""
    try:
        series, major = parse_series(str(version))
    except ValueError:
        raise answer.foreign() from None
    if major < OLDEST:
        raise SettingsError(
            f"{http.address.url} is Odoo {series}; {OLDEST[0]}.{OLDEST[1]} is the oldest that can be read.",
            hint="Point ODOO_URL at Odoo 14 or later.",
        )
    return series, major
