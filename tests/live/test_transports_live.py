"""The transports pass the contract on a real Odoo 19."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from tests.live.conftest import LiveOdoo
from tests.support.transport_contract import LoginContract, RightsContract, TransportContract, Way

pytestmark = pytest.mark.live

WAYS: Mapping[str, Mapping[str, str]] = {
    "odoorpc-password": {"secret": "password", "protocol": "auto"},
    "odoorpc-api-key": {"secret": "api_key", "protocol": "odoorpc"},
    "json2": {"secret": "api_key", "protocol": "json2"},
}


def live_way(live: LiveOdoo, name: str) -> Way:
    facts = WAYS[name]

    def connect(*, secret: str = "", **changes: Any) -> Transport:
        mine = {"password": live.password, "api_key": live.api_key}[facts["secret"]]
        given = {"protocol": facts["protocol"], "password": "", facts["secret"]: secret or mine}
        return open_transport(live.connection(**{**given, **changes}))

    # the names of the live users are their passwords, and names are shown
    return Way(
        open=connect,
        open_denied=lambda: connect(user="restricted", secret="restricted"),
        secrets=(live.api_key,),
    )


class TestContract(TransportContract, LoginContract):
    @pytest.fixture(params=list(WAYS))
    def way(self, request: pytest.FixtureRequest, live: LiveOdoo) -> Way:
        return live_way(live, str(request.param))


class TestRights(RightsContract):
    """The user with few rights has no API key."""

    @pytest.fixture
    def way(self, live: LiveOdoo) -> Way:
        return live_way(live, "odoorpc-password")
