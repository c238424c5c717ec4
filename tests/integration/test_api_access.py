"""Every endpoint and every page without a token, with a wrong one, with a read token and with a write token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from starlette.routing import Route

from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.programs import Program
from fbs_worker.web.api.auth import MCP, SESSION_COOKIE
from fbs_worker.web.api.tokens import new_token
from fbs_worker.web.app import create_app
from tests.support.api_server import READER, WRITER, ApiServer, api_server

MISSING: Final = {
    "name": "missing",
    "domain": "rental",
    "discovery_type": "model",
    "job_id": "00000000-0000-4000-8000-000000000000",
    "item": "nothing",
    "table": "nothing",
    "path": "no/such/page",
}
"""Path parameters of things that are not there."""

OPEN: Final = {"/login", "/login/", "/static/style.css"}
WRONG: Final = new_token()


def asked() -> list[tuple[str, str]]:
    """Each method and each path that is there."""
    app = create_app(Settings(fbs_redis_url="redis://127.0.0.1:1/0"))
    found = {
        (
            method,
            re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: MISSING[match[1]], route.path).replace(
                "/static/missing", "/static/style.css"
            ),
        )
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or ())
    }
    return sorted(found, key=lambda one: (one[1], one[0]))


EVERYTHING: Final = asked()
API: Final = [one for one in EVERYTHING if one[1].startswith(("/api/", "/metrics", *MCP))]
PAGES: Final = [one for one in EVERYTHING if one not in API and one[1] not in OPEN]
WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def served(worker: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    settings = worker.settings.model_copy(update={"fbs_api_rate": 0})
    with api_server(settings, log=tmp_path_factory.mktemp("api") / "api.log") as running:
        yield running


@pytest.fixture(scope="module")
def sessions(served: ApiServer) -> Mapping[str, dict[str, str]]:
    """The cookie of a session for each token."""
    result = {}
    for token in (READER, WRITER):
        answer = served.ask("POST", "/login", token="", data={"token": token})
        assert answer.status_code == 303
        result[token] = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
        assert result[token]["Cookie"].startswith(f"{SESSION_COOKIE}=")
        assert token not in answer.headers["set-cookie"]
    return result


def names(one: tuple[str, str]) -> str:
    return " ".join(one)


def test_there_is_something_to_ask() -> None:
    assert ("POST", "/api/v1/solutions/setup/") in API
    assert ("DELETE", "/api/v1/solutions/missing") in API
    assert ("GET", "/api/v1/openapi.json") in API
    assert ("GET", "/metrics") in API
    assert ("GET", "/") in PAGES
    assert len(API) > 25
    assert len(PAGES) > 20


@pytest.mark.parametrize("one", API, ids=names)
def test_the_api_answers_requests_with_a_token(
    served: ApiServer, sessions: Mapping[str, dict[str, str]], one: tuple[str, str]
) -> None:
    method, path = one
    body: dict[str, Any] = {"json": {}} if method == "POST" else {}
    basic = {"Authorization": "Basic ZmJzOmZicw=="}
    for anonymous in (
        served.ask(method, path, token="", **body),
        served.ask(method, path, token="", headers=basic, **body),
        served.ask(method, f"{path}?token={WRITER}&access_token={WRITER}", token="", **body),
    ):
        assert anonymous.status_code == 401, anonymous.text
        assert anonymous.headers["content-type"] == "application/problem+json"
        assert anonymous.headers["www-authenticate"].startswith("Bearer")
    assert served.ask(method, path, token=WRONG, **body).status_code in {401, 429}  # there are many here
    session = served.ask(method, path, token="", headers=sessions[WRITER], **body)
    assert session.status_code == (404 if "/events" in path else 401)
    read = served.ask(method, path, token=READER, **body)
    if path in MCP:  # reads by POST
        assert read.status_code == 400, read.text
    elif method in WRITES:
        assert (read.status_code, read.json()["code"]) == (403, "scope_missing")
    else:
        assert read.status_code in {200, 404, 422}, read.text
    write = served.ask(method, path, token=WRITER, **body)
    assert write.status_code in {200, 202, 404, 422, 400 if path in MCP else 200}, write.text


@pytest.mark.parametrize("one", PAGES, ids=names)
def test_pages_need_a_session(served: ApiServer, sessions: Mapping[str, dict[str, str]], one: tuple[str, str]) -> None:
    method, path = one
    body: dict[str, Any] = {"data": {"x": "y"}} if method == "POST" else {}
    anonymous = served.ask(method, path, token="", **body)
    assert (anonymous.status_code, anonymous.headers["location"].partition("?")[0]) == (303, "/login")
    assert anonymous.content == b""
    forged = served.ask(method, path, token="", headers={"Cookie": f"{SESSION_COOKIE}=1.x.9999999999.n.s"}, **body)
    assert forged.status_code == 303
    assert served.ask(method, path, token=WRONG, **body).status_code in {401, 429}
    for token, session in sessions.items():
        answer = served.ask(method, path, token="", headers=session, **body)
        if method in WRITES:  # the form was not of a page of ours
            assert answer.status_code == 403
            evil = {**session, "Origin": "http://evil.example"}
            assert served.ask(method, path, token="", headers=evil, **body).status_code == 403
        else:
            assert answer.status_code in ({403} if path.startswith("/setup") and token == READER else {200, 404})
            assert answer.headers["content-type"].startswith("text/html")
            assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", sorted(OPEN))
def test_public_paths_disclose_nothing(served: ApiServer, path: str) -> None:
    answer = served.ask("GET", path, token="")
    assert answer.status_code == 200
    assert "missing" not in answer.text


def test_the_document_says_which_scope_each_operation_needs(served: ApiServer) -> None:
    document = served.ask("GET", "/api/v1/openapi.json", token=READER).json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            scope = "write" if method.upper() in WRITES else "read"
            assert operation["security"] == [{"bearer": [scope]}], f"{method} {path}"


def test_nothing_that_was_asked_here_is_in_the_log(served: ApiServer) -> None:
    text = served.log.read_text()
    for secret in (READER, WRITER, WRONG):
        assert secret not in text
    assert "Traceback" not in text
