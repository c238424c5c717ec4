"""What lies between a worker and Odoo: proxies, gates, rate limits, certificates, and settings as people type them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.connectors.odoo_errors import CallContext, odoo_error
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.connectors.surroundings import proxy_for
from fbs_worker.core.errors import FBSError, OdooBadAnswer, OdooServerError, OdooUnreachable, SettingsError
from fbs_worker.core.odoo_address import extra_headers, parse_url
from fbs_worker.core.progress import NullProgress
from fbs_worker.core.settings import OdooConnection, load_settings
from fbs_worker.domains import load_domain
from tests.support.certificate import self_signed
from tests.support.odoo_server import OdooServer
from tests.support.solutions import few_models

KEY = "a" * 40
PASSWORD = "admin-password"
Refusal = tuple[int, dict[str, str]] | None


def connect(odoo: OdooServer, *, progress: Any = None, **given: Any) -> Transport:
    known = {"url": odoo.url, "db": odoo.database, "user": "admin", "timeout": 10.0}
    return open_transport(OdooConnection(**{**known, **(given or {"api_key": KEY})}), progress=progress)


def ask(transport: Transport) -> int:
    with closing(transport):
        return len(transport.call("ir.model", "search_read", domain=[], fields=["model", "name"]))


def only(*paths: str) -> Callable[[str, Mapping[str, str]], Refusal]:
    return lambda path, _: None if path.startswith(paths) else (403, {})


@pytest.mark.parametrize(
    ("paths", "given"),
    [
        (("/json/2", "/web/version"), {"api_key": KEY}),
        (("/jsonrpc",), {"api_key": KEY}),
        (("/jsonrpc",), {"password": PASSWORD}),
        (("/web",), {"password": PASSWORD}),
    ],
)
def test_one_way_let_through_is_enough(odoo: OdooServer, paths: tuple[str, ...], given: dict[str, str]) -> None:
    odoo.gate = only(*paths)
    assert ask(connect(odoo, **given)) == 5


def test_json2_that_is_blocked(odoo: OdooServer) -> None:
    odoo.gate = lambda path, _: (404, {}) if path.startswith("/json/2") else None
    with pytest.raises(OdooBadAnswer) as caught:
        ask(connect(odoo))
    assert "ODOO_PROTOCOL" in caught.value.hint


def test_a_server_that_refuses_the_header_with_the_database(odoo: OdooServer) -> None:
    odoo.gate = lambda _, headers: (404, {}) if "X-Odoo-Database" in headers else None
    assert ask(connect(odoo)) == 5


@pytest.mark.parametrize(
    ("wanted", "value", "given"),
    [
        ("CF-Access-Client-Secret", "s3cret-value", {"api_key": KEY}),
        ("Authorization", "Basic dXNlcjpwYXNz", {"api_key": KEY, "password": PASSWORD}),
        ("Authorization", "Basic dXNlcjpwYXNz", {"api_key": KEY}),
    ],
)
def test_headers_that_a_proxy_wants(odoo: OdooServer, wanted: str, value: str, given: dict[str, str]) -> None:
    odoo.gate = lambda _, headers: None if headers.get(wanted) == value else (401, {})
    with pytest.raises(FBSError) as caught:
        connect(odoo, **given)
    assert "ODOO_HEADERS" in caught.value.hint
    assert ask(connect(odoo, headers=f"{wanted}: {value}", **given)) == 5
    odoo.gate = lambda _, headers: (500, {})
    with pytest.raises(FBSError) as caught:
        connect(odoo, headers=f'{{"{wanted}": "{value}"}}', **given)
    assert value not in str(caught.value.to_dict())


@pytest.mark.parametrize("text", ["no colon", '{"a": 1}', "{", "Host: x", "a b: c", "X: \x07", "Content-Length: 1"])
def test_headers_that_cannot_be_set(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        extra_headers(text)
    assert caught.value.hint


class Messages(NullProgress):
    """Progress that keeps the messages."""

    def __init__(self) -> None:
        self.messages: set[str] = set()

    def advance(self, units: int = 1, *, message: str = "") -> None:
        self.messages.add(message)


@pytest.fixture
def recorded() -> Iterator[OdooServer]:
    with OdooServer(RecordingTransport(few_models())) as server:
        yield server


@pytest.mark.parametrize(("status", "given", "times"), [(429, {"api_key": KEY}, 2), (503, {"password": PASSWORD}, 1)])
def test_a_limit_of_one_request_a_second_is_waited_for_at_the_call(
    recorded: OdooServer, status: int, given: dict[str, str], times: int
) -> None:
    free_at, refused = 0.0, 0

    def gate(_path: str, _headers: Mapping[str, str]) -> Refusal:
        nonlocal free_at, refused
        if time.monotonic() < free_at and refused < times:
            refused += 1
            return status, {"Retry-After": "1"}
        free_at = time.monotonic() + 0.5
        return None

    recorded.gate = gate
    progress = Messages()
    with closing(connect(recorded, progress=progress, **given)) as transport:
        modules = OdooConnector(transport).read(load_domain("hr"), progress=progress)
        assert len([*modules]) > 10
        assert len(recorded.calls) == transport.calls, "a call was made twice"
    assert refused == times
    assert any(str(status) in message for message in progress.messages)


def test_a_wait_is_bounded_and_ends_when_the_transport_is_closed(odoo: OdooServer) -> None:
    transport = connect(odoo)
    odoo.gate = lambda *_: (429, {"Retry-After": "3600"})
    with pytest.raises(OdooServerError):
        ask(transport)
    odoo.gate = None
    transport = connect(odoo)
    odoo.gate = lambda *_: (429, {"Retry-After": "60"})
    threading.Timer(0.5, transport.close).start()
    began = time.monotonic()
    with pytest.raises(FBSError):
        transport.call("ir.model", "search_read", domain=[], fields=["model"])
    assert time.monotonic() - began < 10


def test_a_redirect_names_the_address_with_its_port(odoo: OdooServer) -> None:
    odoo.gate = lambda *_: (301, {"Location": "https://127.0.0.1:8402/web"})
    with pytest.raises(FBSError) as caught:
        connect(odoo)
    assert "https://127.0.0.1:8402." in caught.value.hint


class TestProxies:
    @pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
    def test_plain_http(self, odoo: OdooServer, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        monkeypatch.setenv(variable, odoo.url.replace("://", "://me:pr0xy@"))  # the small Odoo is its own proxy
        seen: list[str] = []
        odoo.gate = lambda _, headers: seen.append(f"{headers['Host']} {headers['Proxy-Authorization']}")
        assert ask(connect(odoo, url="http://odoo.invalid:8069", api_key=KEY)) == 5
        assert set(seen) == {"odoo.invalid:8069 Basic bWU6cHIweHk="}

    @pytest.mark.parametrize("trust", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
    @pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
    def test_tls(
        self, backend: RecordingTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, trust: str
    ) -> None:
        certificate = self_signed(tmp_path, host="127.0.0.2")
        monkeypatch.setenv(trust, str(certificate.certificate))
        with OdooServer(backend, tls=certificate.server_context()) as odoo, tunnel(odoo) as (proxy, asked):
            monkeypatch.setenv(variable, proxy)
            monkeypatch.setenv("no_proxy", "example.com")
            monkeypatch.setattr("fbs_worker.connectors.surroundings._is_direct", lambda *_: False)
            assert ask(connect(odoo, url="https://127.0.0.2:4443", api_key=KEY)) == 5
            assert set(asked) == {"CONNECT 127.0.0.2:4443 HTTP/1.1"} or set(asked) == {
                "CONNECT 127.0.0.2:4443 HTTP/1.0"
            }

    def test_one_that_does_not_answer_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://me:pr0xy@127.0.0.1:1")
        with pytest.raises(OdooUnreachable) as caught:
            open_transport(OdooConnection(url="mycompany.odoo.com", db="live", api_key=SecretStr(KEY)))
        assert "127.0.0.1:1" in caught.value.message
        assert "HTTPS_PROXY" in caught.value.hint
        assert "pr0xy" not in str(caught.value.to_dict())

    @pytest.mark.parametrize(
        ("url", "no_proxy", "direct"),
        [
            ("https://a.example.com", "", False),
            ("https://a.example.com", "x.org, .example.com", True),
            ("https://a.example.com", "*.example.com", True),
            ("https://example.com", "example.com", True),
            ("https://notexample.com", "example.com", False),
            ("https://a.example.com:8443", "example.com:443", False),
            ("https://a.example.com", "*", True),
            ("https://10.1.2.3", "10.0.0.0/8", True),
            ("https://11.1.2.3", "10.0.0.0/8", False),
            ("https://localhost:8069", "", True),
            ("https://127.0.0.1", "", True),
        ],
    )
    def test_hosts_without(self, monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, direct: bool) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert (proxy_for(parse_url(url)) is None) is direct

    @pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "http://proxy:http", "http://"])
    def test_what_is_no_proxy(self, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(SettingsError):
            proxy_for(parse_url("https://example.com"))


class tunnel:  # noqa: N801 -- a context manager
    """A proxy that connects whatever host is asked for to one server; gives its URL and the requests."""

    def __init__(self, odoo: OdooServer) -> None:
        self._port = parse_url(odoo.url).port
        self._asked: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> tuple[str, list[str]]:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}", self._asked

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._asked.append(client.recv(4096).decode().splitlines()[0])
            server = socket.create_connection(("127.0.0.1", self._port))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while piece := one.recv(65_536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            other.close()


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        (" mycompany.odoo.com ", "https://mycompany.odoo.com"),
        ("localhost:8069", "localhost:8069"),
        ("localhost", "localhost"),
        ("10.0.0.1", "10.0.0.1"),
        ("odoo.example.com:8069", "odoo.example.com:8069"),
        ("http://mycompany.odoo.com", "http://mycompany.odoo.com"),
    ],
)
def test_values_are_trimmed_and_a_public_name_is_https(
    monkeypatch: pytest.MonkeyPatch, url: str, completed: str
) -> None:
    for name, value in {
        "URL": url,
        "DB": " live ",
        "USER": " admin ",
        "LANG": " fr_FR\n",
        "PROTOCOL": " json2 ",
    }.items():
        monkeypatch.setenv(f"ODOO_{name}", value)
        monkeypatch.setenv(f"FBS_ODOO__OTHER__{name}", value)
    monkeypatch.setenv("FBS_ODOO__OTHER__HEADERS", '{"X-A": "b"}')
    settings = load_settings()
    for connection in (settings.odoo(), settings.odoo("other")):
        found = (connection.url, connection.db, connection.user, connection.lang, connection.protocol)
        assert found == (completed, "live", "admin", "fr_FR", "json2")
    assert extra_headers(settings.odoo("other").headers.get_secret_value()) == {"X-A": "b"}


def test_a_language_that_is_not_installed() -> None:
    context = CallContext(url="http://odoo", database="live", model="ir.model", method="search_read")
    error = odoo_error("odoo.exceptions.UserError", "Invalid language code: fr_FR", context)
    assert error.message == "The language fr_FR is not installed in database live."
    assert "ODOO_LANG" in error.hint
