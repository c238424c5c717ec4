"""Each failure ends in one clear error: what is wrong, what to do, whether a retry can help, and no secret."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import (
    FBSError,
    OdooAnswerCutShort,
    OdooBadAnswer,
    OdooCallFailed,
    OdooLoginRefused,
    OdooServerError,
    OdooTimeout,
    OdooUnreachable,
    SettingsError,
)
from fbs_worker.core.settings import OdooConnection
from tests.support.certificate import SelfSigned, self_signed
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_server import OdooServer, OdooUser
from tests.support.transport_contract import check_error

pytestmark = pytest.mark.faults

PASSWORD = 'pass-"w0rd"/of\\the-test'
KEY = "0123456789abcdef0123456789abcdef01234567"
SECRETS = (PASSWORD, KEY)

WAYS: dict[str, dict[str, str]] = {
    "odoorpc-password": {"user": "admin", "password": PASSWORD},
    "odoorpc-api-key": {"user": "admin", "api_key": KEY, "protocol": "odoorpc"},
    "json2": {"api_key": KEY},
}
TIMEOUT = 0.8
"""Seconds for servers that do not answer in time."""
PATIENCE = 20.0
"""Seconds for everything that should not need a timeout."""

FAILURES: list[tuple[Misbehaviour, type[FBSError], bool]] = [
    (Misbehaviour.BAD_GATEWAY, OdooServerError, True),
    (Misbehaviour.GATEWAY_TIMEOUT, OdooServerError, True),
    (Misbehaviour.TOO_MANY_REQUESTS, OdooServerError, True),
    (Misbehaviour.FOREIGN_JSON, OdooServerError, True),
    (Misbehaviour.POSTGRES_DOWN, OdooServerError, True),
    (Misbehaviour.LOGIN_PAGE, OdooBadAnswer, False),
    (Misbehaviour.REDIRECT, OdooBadAnswer, False),
    (Misbehaviour.PROXY_LOGIN, OdooLoginRefused, False),
    (Misbehaviour.INVALID_JSON, OdooBadAnswer, False),
    (Misbehaviour.NOT_HTTP, OdooBadAnswer, False),
    (Misbehaviour.CUT_SHORT, OdooAnswerCutShort, True),
    (Misbehaviour.CUT_SHORT_UNSAID, OdooAnswerCutShort, True),
    (Misbehaviour.CLOSE_WITHOUT_ANSWER, OdooUnreachable, True),
    (Misbehaviour.HANG, OdooTimeout, True),
    (Misbehaviour.HANG_HALFWAY, OdooTimeout, True),
    (Misbehaviour.DRIP, OdooTimeout, True),
    (Misbehaviour.DRIP_HEADERS, OdooTimeout, True),
    (Misbehaviour.ECHO_SECRETS, OdooCallFailed, False),
]


@pytest.fixture
def odoo(backend: RecordingTransport) -> Iterator[OdooServer]:
    with OdooServer(backend, users=[OdooUser(login="admin", password=PASSWORD, api_keys=(KEY,))]) as server:
        yield server


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> dict[str, str]:
    return WAYS[request.param]


@pytest.fixture
def transport(odoo: OdooServer, way: dict[str, str]) -> Iterator[Transport]:
    with closing(connect(odoo, way)) as opened:
        yield opened


def connect(odoo: OdooServer, way: dict[str, Any], **changes: Any) -> Transport:
    return open_transport(OdooConnection(**{"url": odoo.url, "db": odoo.database, **way, **changes}))


def ask(transport: Transport) -> Any:
    return transport.call("ir.model", "search_read", domain=[], fields=["model", "name"])


def failure(act: Any, expected: type[FBSError]) -> FBSError:
    with pytest.raises(FBSError) as caught:
        act()
    assert type(caught.value) is expected, caught.value.to_dict()
    check_error(caught.value, SECRETS)
    return caught.value


@pytest.mark.parametrize(("how", "expected", "retryable"), FAILURES)
def test_a_call_that_goes_wrong(
    odoo: OdooServer, way: dict[str, str], how: Misbehaviour, expected: type[FBSError], retryable: bool
) -> None:
    limit = TIMEOUT if expected is OdooTimeout else PATIENCE
    transport = connect(odoo, way, timeout=limit)
    sessions = list(odoo.sessions)
    odoo.misbehave(how)
    began = time.monotonic()
    error = failure(lambda: ask(transport), expected)
    assert time.monotonic() - began < limit + 2
    assert error.retryable is retryable
    assert not any(session in str(error.to_dict()) for session in sessions)
    odoo.behave()
    assert len(ask(transport)) == 5, "the transport is of no use after an error"
    transport.close()


@pytest.mark.parametrize(("how", "expected", "retryable"), FAILURES)
def test_a_connection_that_goes_wrong_from_the_start(
    odoo: OdooServer, how: Misbehaviour, expected: type[FBSError], retryable: bool
) -> None:
    odoo.misbehave(how)
    limit = TIMEOUT if expected is OdooTimeout else PATIENCE
    error = failure(lambda: connect(odoo, WAYS["odoorpc-password"], timeout=limit), expected)
    assert error.retryable is retryable


def test_a_failure_that_passes(odoo: OdooServer, transport: Transport) -> None:
    odoo.misbehave(Misbehaviour.BAD_GATEWAY, times=2)
    for _ in range(2):
        failure(lambda: ask(transport), OdooServerError)
    assert len(ask(transport)) == 5


class TestKeptAliveConnections:
    """A server may close a connection between two calls; the call still succeeds."""

    def test_closed_after_an_answer(self, odoo: OdooServer, transport: Transport) -> None:
        odoo.misbehave(Misbehaviour.CLOSE_AFTER)
        for _ in range(5):
            assert len(ask(transport)) == 5
        assert len(odoo.calls) == transport.calls == 5

    def test_closed_when_the_next_request_is_on_its_way(self, odoo: OdooServer, transport: Transport) -> None:
        ask(transport)
        odoo.misbehave(Misbehaviour.CLOSE_WITHOUT_ANSWER, times=1)
        assert len(ask(transport)) == 5
        assert odoo.connections == 2

    @pytest.mark.parametrize(
        ("how", "error", "requests"),
        [(Misbehaviour.CLOSE_WITHOUT_ANSWER, OdooUnreachable, 2), (Misbehaviour.CUT_SHORT, OdooAnswerCutShort, 1)],
    )
    def test_is_tried_again_once_only_and_not_once_an_answer_has_begun(
        self, odoo: OdooServer, transport: Transport, how: Misbehaviour, error: type[FBSError], requests: int
    ) -> None:
        before = odoo.requests
        odoo.misbehave(how)
        failure(lambda: ask(transport), error)
        assert odoo.requests == before + requests


@pytest.mark.parametrize("way", [WAYS["odoorpc-password"]])
class TestSessions:
    """A web session can end in the middle of a run."""

    def test_is_opened_again(self, odoo: OdooServer, transport: Transport) -> None:
        odoo.misbehave(Misbehaviour.FORGET_SESSIONS, times=1)
        assert len(ask(transport)) == 5
        assert transport.calls == 1

    def test_is_opened_again_once_only(self, odoo: OdooServer, transport: Transport) -> None:
        odoo.misbehave(Misbehaviour.FORGET_SESSIONS)
        before = odoo.requests
        failure(lambda: ask(transport), OdooLoginRefused)
        assert odoo.requests == before + 3


class TestLogin:
    def test_a_user_with_a_second_factor(self, backend: RecordingTransport) -> None:
        user = OdooUser(login="admin", password=PASSWORD, api_keys=(KEY,), second_factor=True)
        with OdooServer(backend, users=[user]) as odoo:
            error = failure(lambda: connect(odoo, WAYS["odoorpc-password"]), OdooLoginRefused)
            assert "second factor" in error.message
            assert "ODOO_API_KEY" in error.hint
            transport = connect(odoo, WAYS["odoorpc-api-key"])
            assert len(ask(transport)) == 5
            transport.close()

    def test_an_api_key_in_the_place_of_the_password(self, odoo: OdooServer) -> None:
        error = failure(lambda: connect(odoo, {"user": "admin", "password": KEY}), OdooLoginRefused)
        assert "ODOO_API_KEY" in error.hint

    def test_a_key_that_expires_in_the_middle(self, backend: RecordingTransport) -> None:
        for name in ("odoorpc-api-key", "json2"):
            with OdooServer(backend, users=[OdooUser(login="admin", password=PASSWORD, api_keys=(KEY,))]) as odoo:
                transport = connect(odoo, WAYS[name])
                assert len(ask(transport)) == 5
                odoo.users = (OdooUser(login="admin", password=PASSWORD),)
                error = failure(lambda bound=transport: ask(bound), OdooLoginRefused)
                assert "expired" in error.hint
                transport.close()


SETTINGS_FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("no scheme", {"url": "localhost:8069"}, "http://localhost:8069"),
    ("no scheme, a name and port", {"url": "odoo.example.com:8069"}, "http://odoo.example.com:8069"),
    ("a path", {"url": "http://localhost:8069/web/login"}, "use http://localhost:8069."),
    ("a query", {"url": "http://localhost:8069?db=secret-thing"}, "use http://localhost:8069."),
    ("a fragment", {"url": "https://localhost#home"}, "use https://localhost."),
    ("credentials", {"url": f"http://admin:{KEY}@localhost:8069"}, "ODOO_PASSWORD"),
    ("credentials, no scheme", {"url": f"admin:{KEY}@localhost:8069"}, "http://host:port"),
    ("another scheme", {"url": "ftp://localhost"}, "http://host:port"),
    ("a port that is none", {"url": "http://localhost:odoo"}, "http://host:port"),
    ("a port too high", {"url": "http://localhost:80690"}, "http://host:port"),
    ("port 0", {"url": "http://localhost:0"}, "http://host:port"),
    ("no host", {"url": "http://"}, "http://host:port"),
    ("a space in the host", {"url": "http://my odoo"}, "http://host:port"),
    ("no file", {"url": "recording:"}, "recording:FILE"),
    ("no database", {"url": "http://localhost:8069", "db": ""}, "ODOO_DB"),
    ("no password", {"url": "http://localhost:8069", "password": ""}, "ODOO_PASSWORD"),
    ("JSON-2 without a key", {"url": "http://localhost:8069", "protocol": "json2"}, "ODOO_API_KEY"),
]


@pytest.mark.parametrize(
    ("given", "hint"), [row[1:] for row in SETTINGS_FAILURES], ids=[row[0] for row in SETTINGS_FAILURES]
)
def test_settings_that_cannot_be_used(given: dict[str, Any], hint: str) -> None:
    connection = OdooConnection(**{"db": "live", "user": "admin", "password": PASSWORD, **given})
    error = failure(lambda: open_transport(connection), SettingsError)
    assert hint in error.hint
    assert not error.retryable
    assert "secret-thing" not in str(error.to_dict())


class TestSettingsThatDoNotFitTheServer:
    def test_json2_on_an_older_odoo(self, backend: RecordingTransport) -> None:
        with OdooServer(backend, series="18.0") as odoo:
            error = failure(lambda: connect(odoo, {"api_key": KEY, "protocol": "json2"}), SettingsError)
            assert "18.0" in error.message

    def test_an_odoo_too_old(self, backend: RecordingTransport) -> None:
        with OdooServer(backend, series="13.0") as odoo:
            error = failure(lambda: connect(odoo, WAYS["odoorpc-password"]), SettingsError)
            assert "13.0" in error.message

    def test_no_user_for_odoorpc(self, odoo: OdooServer) -> None:
        error = failure(lambda: connect(odoo, {"password": PASSWORD}), SettingsError)
        assert "ODOO_USER" in error.hint

    @pytest.mark.parametrize("key", [f"{KEY}\r\nX-Evil: 1", f"{KEY}\x00", "schlüssel"])
    def test_a_key_that_fits_no_header(self, odoo: OdooServer, key: str) -> None:
        error = failure(lambda: connect(odoo, {"api_key": key}), SettingsError)
        assert "schlüssel" not in str(error.to_dict())

    def test_a_database_that_fits_no_header(self, odoo: OdooServer) -> None:
        failure(lambda: connect(odoo, WAYS["json2"], db="größe"), SettingsError)


class TestUnreachable:
    def test_an_unknown_host(self) -> None:
        connection = OdooConnection(url="http://no-such-host.invalid", db="live", api_key=SecretStr(KEY))
        error = failure(lambda: open_transport(connection), OdooUnreachable)
        assert "no-such-host.invalid" in error.message
        assert error.retryable

    def test_a_closed_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        connection = OdooConnection(url=f"http://127.0.0.1:{port}", db="live", api_key=SecretStr(KEY))
        error = failure(lambda: open_transport(connection), OdooUnreachable)
        assert "refused" in error.message
        assert "8069" in error.hint
        assert error.retryable


class TestTLS:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> SelfSigned:
        return self_signed(tmp_path, host="127.0.0.1")

    @pytest.fixture
    def odoo(self, backend: RecordingTransport, certificate: SelfSigned) -> Iterator[OdooServer]:
        users = [OdooUser(login="admin", password=PASSWORD, api_keys=(KEY,))]
        with OdooServer(backend, users=users, tls=certificate.server_context()) as server:
            yield server

    def test_is_verified(self, odoo: OdooServer) -> None:
        error = failure(lambda: connect(odoo, WAYS["json2"]), OdooUnreachable)
        assert "certificate" in error.message
        assert "SSL_CERT_FILE" in error.hint

    @pytest.fixture
    def trusted(self, certificate: SelfSigned, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))

    @pytest.mark.usefixtures("trusted")
    def test_works_with_an_authority_of_ones_own(self, odoo: OdooServer, way: dict[str, str]) -> None:
        with closing(connect(odoo, way)) as transport:
            assert len(ask(transport)) == 5
            assert len(ask(transport)) == 5
            assert odoo.connections == 1
            odoo.misbehave(Misbehaviour.CUT_SHORT)
            failure(lambda: ask(transport), OdooAnswerCutShort)

    @pytest.mark.usefixtures("trusted")
    def test_a_dripping_server_runs_out_of_time(self, odoo: OdooServer) -> None:
        with closing(connect(odoo, WAYS["json2"], timeout=TIMEOUT)) as transport:
            odoo.misbehave(Misbehaviour.DRIP)
            failure(lambda: ask(transport), OdooTimeout)

    def test_a_certificate_of_another_host(
        self, backend: RecordingTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = self_signed(tmp_path, host="127.0.0.2")
        monkeypatch.setenv("SSL_CERT_FILE", str(other.certificate))
        with OdooServer(backend, tls=other.server_context()) as odoo:
            error = failure(lambda: connect(odoo, WAYS["json2"]), OdooUnreachable)
            assert "127.0.0.1" in error.message

    def test_plain_http_at_the_port(self, odoo: OdooServer) -> None:
        url = odoo.url.replace("https", "http")
        failure(lambda: connect(odoo, WAYS["json2"], url=url), OdooUnreachable)

    def test_tls_where_http_is_spoken(self, backend: RecordingTransport) -> None:
        with OdooServer(backend) as odoo:
            url = odoo.url.replace("http", "https")
            error = failure(lambda: connect(odoo, WAYS["json2"], url=url), OdooUnreachable)
            assert "http" in error.hint


def test_no_log_shows_a_secret(odoo: OdooServer, way: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for name in ("odoorpc", "odoorpc.rpc.jsonrpclib"):
            caplog.set_level(logging.DEBUG, logger=name)
        transport = connect(odoo, way)
        ask(transport)
        transport.close()
    for secret in (*SECRETS, *odoo.sessions):
        assert secret not in caplog.text
        assert not any(secret in str(record.args) for record in caplog.records)
