"""Every transport passes the contract, and keeps its connection."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.json2 import JSON2Transport
from fbs_worker.connectors.jsonrpc import OdooRPCTransport
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import OdooModelMissing, OdooUnreachable, RecordingError, SettingsError
from fbs_worker.core.settings import OdooConnection
from tests.support.odoo_server import OdooServer, OdooUser
from tests.support.small_odoo import write_small_recording
from tests.support.transport_contract import LoginContract, RightsContract, TransportContract, Way, raised

PASSWORD = "pass-w0rd-of-the-test"
KEY = "0123456789abcdef0123456789abcdef01234567"
DENIED_PASSWORD = "an0ther-password"
DENIED_KEY = "fedcba9876543210fedcba9876543210fedcba98"
SECRETS = (PASSWORD, KEY, DENIED_PASSWORD, DENIED_KEY)
DENIED = {"ir.ui.view": ["Website/Editor", "Role / Administrator"]}

USERS = (
    OdooUser(login="admin", password=PASSWORD, api_keys=(KEY,)),
    OdooUser(login="restricted", password=DENIED_PASSWORD, api_keys=(DENIED_KEY,), denied=DENIED),
)

NETWORK_WAYS: dict[str, dict[str, str]] = {
    "odoorpc-password": {"secret": "password", "user": "admin", "protocol": "auto"},
    "odoorpc-api-key": {"secret": "api_key", "user": "admin", "protocol": "odoorpc"},
    "json2": {"secret": "api_key", "user": "", "protocol": "auto"},
}


@pytest.fixture
def odoo(backend: RecordingTransport) -> Iterator[OdooServer]:
    with OdooServer(backend, users=USERS) as server:
        yield server


def network_way(odoo: OdooServer, name: str) -> Way:
    facts = NETWORK_WAYS[name]

    def connect(secret: str, **overrides: Any) -> Transport:
        given = {"url": odoo.url, "db": odoo.database, "user": facts["user"], "protocol": facts["protocol"]}
        return open_transport(OdooConnection(**{**given, facts["secret"]: secret, **overrides}))

    mine, denied = (PASSWORD, DENIED_PASSWORD) if facts["secret"] == "password" else (KEY, DENIED_KEY)
    return Way(
        open=lambda *, secret=mine, **overrides: connect(secret, **overrides),
        open_denied=lambda: connect(denied, user=facts["user"] and "restricted"),
        secrets=SECRETS,
    )


def recording_way(folder: Path) -> Way:
    def replay(path: Path) -> Transport:
        return open_transport(OdooConnection(url=f"recording:{path}"))

    return Way(
        open=lambda: replay(write_small_recording(folder / "replayed.json.xz")),
        open_denied=lambda: replay(write_small_recording(folder / "denied.json.xz", denied=DENIED)),
        secrets=SECRETS,
    )


@pytest.fixture(params=list(NETWORK_WAYS))
def way(request: pytest.FixtureRequest, odoo: OdooServer) -> Way:
    return network_way(odoo, str(request.param))


class TestOverTheNetwork(TransportContract, RightsContract, LoginContract):
    """The three ways to a server."""


class TestReplayed(TransportContract, RightsContract):
    """A recording."""

    @pytest.fixture
    def way(self, tmp_path: Path) -> Way:
        return recording_way(tmp_path)


def test_all_answers_are_the_same_over_all_transports(odoo: OdooServer, tmp_path: Path) -> None:
    ways = [*(network_way(odoo, name) for name in NETWORK_WAYS), recording_way(tmp_path)]
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("ir.model", "search_read", {"domain": [], "fields": ["model", "write_date"], "order": "id desc", "limit": 3}),
        ("ir.ui.view", "search", {"domain": ["!", ("inherit_id", "=", False)], "context": {"active_test": False}}),
        ("ir.module.module", "search_read", {"domain": [("category_id.parent_id.name", "=", "Apps")]}),
        ("ir.module.module", "fields_get", {"attributes": ["type", "relation"]}),
        (
            "ir.model",
            "read_group",
            {"domain": [], "fields": ["write_date:max", "id:max"], "groupby": [], "lazy": False},
        ),
    ]
    answers = []
    for each in ways:
        transport = each.open()
        answers.append([transport.call(model, method, **arguments) for model, method, arguments in asked])
        transport.close()
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_many_calls_are_one_connection(odoo: OdooServer, way: Way) -> None:
    transport = way.open()
    for _ in range(20):
        transport.call("ir.model", "search_count", domain=[])
    transport.close()
    assert transport.calls == len(odoo.calls) == 20
    assert odoo.connections == 1
    assert odoo.requests <= 22


class CountingLimiter:
    """A limiter that lets everybody through and remembers it."""

    def __init__(self) -> None:
        self.slots = 0
        self.closed = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        self.slots += 1
        yield

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(("secret", "requests"), [({"password": PASSWORD}, 4), ({"api_key": KEY}, 3)])
def test_every_request_takes_a_slot(odoo: OdooServer, secret: dict[str, Any], requests: int) -> None:
    limiter = CountingLimiter()
    transport = open_transport(OdooConnection(url=odoo.url, db=odoo.database, user="admin", **secret), limiter=limiter)
    for _ in range(2):
        assert transport.call("ir.model", "search_count", domain=[]) == 5
    assert (limiter.slots, limiter.closed) == (requests, 0), "the version, the login, the calls"
    transport.close()
    assert limiter.closed == 1


@pytest.mark.parametrize(
    ("url", "error"),
    [("localhost", SettingsError), ("http://127.0.0.1:9", OdooUnreachable), ("recording:missing.json", RecordingError)],
)
def test_the_limiter_is_closed_when_nothing_can_be_opened(url: str, error: type[Exception]) -> None:
    limiter = CountingLimiter()
    with pytest.raises(error):
        open_transport(OdooConnection(url=url, db="live", api_key=SecretStr(KEY)), limiter=limiter)
    assert limiter.closed


class TestChoice:
    """Which transport is used follows from the server and the credentials."""

    @pytest.mark.parametrize(
        ("series", "given", "expected", "path"),
        [
            ("19.0", {"password": PASSWORD}, OdooRPCTransport, "web"),
            ("19.0", {"api_key": KEY}, JSON2Transport, ""),
            ("19.0", {"api_key": KEY, "password": PASSWORD}, JSON2Transport, ""),
            ("19.0", {"api_key": KEY, "protocol": "odoorpc"}, OdooRPCTransport, "rpc"),
            ("19.0", {"api_key": KEY, "password": PASSWORD, "protocol": "odoorpc"}, OdooRPCTransport, "web"),
            ("19.0", {"api_key": KEY, "protocol": "json2"}, JSON2Transport, ""),
            ("saas~19.1", {"api_key": KEY}, JSON2Transport, ""),
            ("18.0", {"api_key": KEY}, OdooRPCTransport, "rpc"),
            ("14.0", {"api_key": KEY, "password": PASSWORD}, OdooRPCTransport, "web"),
        ],
    )
    def test_chooses(
        self, backend: RecordingTransport, series: str, given: dict[str, Any], expected: type, path: str
    ) -> None:
        with OdooServer(backend, users=USERS, series=series) as odoo:
            transport = open_transport(OdooConnection(url=odoo.url, db=odoo.database, user="admin", **given))
            assert type(transport) is expected
            assert len(transport.call("ir.model", "search_read", domain=[])) == 5
            assert bool(odoo.sessions) == (path == "web")
            assert transport.server.series == series.removeprefix("saas~")
            transport.close()

    def test_finds_the_version_of_a_server_with_the_new_method_only(
        self, odoo: OdooServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(odoo, "version_info_gone", True)
        transport = open_transport(OdooConnection(url=odoo.url, db=odoo.database, api_key=SecretStr(KEY)))
        assert transport.server.major == (19, 0)
        transport.close()


class TestOlderOdoo(RightsContract, LoginContract):
    """Errors of Odoo 14 have other texts and classes."""

    @pytest.fixture
    def odoo(self, backend: RecordingTransport) -> Iterator[OdooServer]:
        with OdooServer(backend, users=USERS, series="14.0") as server:
            yield server

    @pytest.fixture(params=["odoorpc-password", "odoorpc-api-key"])
    def way(self, request: pytest.FixtureRequest, odoo: OdooServer) -> Way:
        return network_way(odoo, str(request.param))

    def test_refuses_what_came_later(self, way: Way) -> None:
        transport = way.open()
        raised(OdooModelMissing, way, lambda: transport.call("no.model", "search_read", domain=[]))
        raised(OdooModelMissing, way, lambda: transport.call("ir.model", "get_available_models"))
        transport.close()


def test_the_small_odoo_runs_as_a_process(tmp_path: Path) -> None:
    recording = write_small_recording(tmp_path / "small.json")
    command = [sys.executable, "-m", "tests.support.odoo_server", "--recording", str(recording), "--api-key", KEY]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        transport = open_transport(OdooConnection(url=url, db="live", api_key=SecretStr(KEY)))
        assert transport.call("ir.model", "search_count", domain=[]) == 5
        transport.close()
        process.terminate()
        assert process.wait(timeout=20) == 0
