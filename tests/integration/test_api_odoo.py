"""The API's routes of connections to Odoo, with a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.web.api.response_models import OdooConnectionAnswer, OdooConnectionsAnswer
from fbs_worker.web.app import create_app
from tests.conftest import MakeSettings, StartWorker
from tests.support.api_server import READER, TOKENS, WRITER, bearer
from tests.support.asgi import Asking
from tests.support.odoo_server import OdooServer
from tests.support.solutions import few_models

SECRET = "admin-password"
PATH = "/api/v1/odoo/"


@pytest.fixture(scope="module")
def odoo() -> Iterator[OdooServer]:
    with OdooServer(RecordingTransport(few_models())) as server:
        yield server


@pytest.fixture
def app(settings: MakeSettings, odoo: OdooServer) -> Iterator[FastAPI]:
    made = create_app(settings(fbs_api_rate=0, fbs_api_tokens=TOKENS, fbs_allowed_hosts="127.0.0.1:*,odoo.example.com"))
    yield made
    for part in (made.state.client, made.state.databases, made.state.idempotency):
        part.close()


@pytest.fixture
def asking(app: FastAPI) -> Asking:
    return Asking(app=app, headers=bearer(WRITER))


def body(odoo: OdooServer, **fields: Any) -> dict[str, Any]:
    return {"name": "shop", "url": odoo.url, "db": "live", "user": "admin", "password": SECRET, **fields}


def test_a_connection_from_its_beginning_to_its_end(
    asking: Asking, app: FastAPI, odoo: OdooServer, start_worker: StartWorker
) -> None:
    start_worker(app.state.settings)
    added = asking.post(PATH, json=body(odoo, headers={"X-Token": "t0ken"}))
    assert added.status_code == 201
    OdooConnectionAnswer.model_validate(added.json())
    listed = asking.get(PATH)
    assert [each.name for each in OdooConnectionsAnswer.model_validate(listed.json()).connections] == ["shop"]
    tested = asking.post(f"{PATH}shop/test/?wait=60")
    assert tested.status_code == 200, tested.text
    assert tested.json()["job"]["result"]["source"]["url"] == odoo.url
    changed = asking.ask("PATCH", f"{PATH}shop", json={"timeout": 7, "user": None})
    assert (changed.status_code, changed.json()["timeout"], changed.json()["user"]) == (200, 7, "admin")
    assert asking.get(f"{PATH}Shop/").json() == changed.json()
    assert asking.ask("PATCH", f"{PATH}shop/", json={"password": "wrong"}).status_code == 200
    failed = asking.post(f"{PATH}shop/test/?wait=60")
    assert (failed.status_code, failed.json()["code"]) == (502, "odoo_login_refused")
    moved = asking.ask("PATCH", f"{PATH}shop/", json={"url": "http://127.0.0.1:1", "password": SECRET, "headers": ""})
    assert moved.status_code == 200, moved.text
    away = asking.post(f"{PATH}shop/test/?wait=60")
    assert (away.status_code, away.json()["code"], away.json()["job"]["attempts"]) == (503, "odoo_unreachable", 1)
    for answer in (added, listed, tested, changed, failed, moved, away):
        assert answer.headers["cache-control"] == "no-store"
        assert "t0ken" not in answer.text
        assert SECRET not in answer.text
    assert asking.delete(f"{PATH}shop/").json() == {"name": "shop", "removed": True}
    assert asking.delete(f"{PATH}shop/").status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"url": "http://169.254.169.254/"}, 403, "host_refused"),
        ({"url": "http://10.0.0.1"}, 403, "host_refused"),
        ({"url": "recording:/etc/passwd"}, 403, "host_refused"),
        ({"url": "nothing"}, 422, "usage"),
        ({"url": f"http://{SECRET}:x@127.0.0.1"}, 422, "usage"),
        ({"password": ""}, 422, "usage"),
        ({"password": "env:HOME"}, 422, "secret"),
        ({"password": "sealed:x"}, 422, "secret"),
        ({"password": "x" * 501}, 422, "usage"),
        ({"headers": "x"}, 422, "usage"),
        ({"timeout": -1}, 422, "usage"),
        ({"secret": "x"}, 422, "usage"),
        ({"name": "a/b"}, 422, "usage"),
    ],
)
def test_a_bad_connection_is_a_problem(
    asking: Asking, odoo: OdooServer, fields: dict[str, Any], status: int, code: str
) -> None:
    answer = asking.post(PATH, json=body(odoo, **fields))
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET not in answer.text
    assert asking.get(PATH).json()["connections"] == []


def test_conflicts_and_scopes(asking: Asking, app: FastAPI, odoo: OdooServer) -> None:
    assert asking.post(PATH, json=body(odoo)).status_code == 201
    again = asking.post(PATH, json=body(odoo, name="SHOP"))
    assert (again.status_code, again.json()["code"]) == (409, "odoo_connection_conflict")
    moved = asking.ask("PATCH", f"{PATH}shop/", json={"url": "https://odoo.example.com"})
    assert moved.status_code == 422
    assert "needs the secret again" in moved.json()["detail"]
    reader = Asking(app=app, headers=bearer(READER))
    assert reader.get(PATH).status_code == 200
    for method, path in (("POST", ""), ("PATCH", "shop/"), ("DELETE", "shop/"), ("POST", "shop/test/")):
        assert reader.ask(method, PATH + path, json={"db": "x"}).json()["code"] == "scope_missing"
    assert asking.get(f"{PATH}shop/").json()["url"] == odoo.url
