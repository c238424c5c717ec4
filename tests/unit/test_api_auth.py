"""Access middleware: authentication, scopes, limits and headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, StreamingResponse

from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.web.api.auth import (
    SESSION_COOKIE,
    AccessMiddleware,
    Principal,
    check_token,
    principal_of,
    require_read,
    require_write,
)
from fbs_worker.web.api.problems import handle_error, handle_http_exception, handle_validation_error
from fbs_worker.web.api.rate_limit import RateLimiter
from fbs_worker.web.api.tokens import Entry, Tokens, new_token
from tests.support.asgi import Asking

READER, WRITER = new_token(), new_token()
ENTRIES = [Entry.of(READER, name="look", scope="read"), Entry.of(WRITER, name="ci", scope="write")]
SESSION = {"Cookie": f"{SESSION_COOKIE}=a-session"}


class Body(BaseModel):
    port: int
    password: str = ""


def application(tokens: Tokens, **settings: Any) -> FastAPI:
    app = FastAPI(
        redirect_slashes=False,
        exception_handlers={
            FBSError: handle_error,
            RequestValidationError: handle_validation_error,
            HTTPException: handle_http_exception,
        },
    )
    wrong_tokens = RateLimiter(3)
    app.state.tokens, app.state.wrong_tokens, app.state.session_principal = tokens, wrong_tokens, None

    @app.get("/api/v1/things/", dependencies=[Depends(require_read)])
    @app.get("/things/")
    async def read(request: Request) -> dict[str, str]:
        return {"caller": principal_of(request).name}

    @app.post("/api/v1/things/")
    async def write(body: Body, caller: Annotated[Principal, Depends(require_write)]) -> dict[str, Any]:
        return {"caller": caller.name, "port": body.port}

    @app.get("/api/v1/jobs/{job}/events/")
    async def events(job: str) -> str:
        return job

    @app.get("/api/v1/wrong/")
    async def wrong(what: str) -> None:
        if what == "usage":
            raise UsageError("This is not so.", hint="Do it otherwise.")
        raise RuntimeError("a secret detail")

    @app.get("/api/v1/half/")
    async def half() -> StreamingResponse:
        async def parts() -> Any:
            yield b"half"
            raise RuntimeError("the other half")

        return StreamingResponse(parts())

    @app.post("/login")
    async def log_in(request: Request) -> dict[str, str]:
        return {"caller": check_token(request, (await request.body()).decode()).name}

    @app.get("/static/style.css")
    async def style() -> PlainTextResponse:
        return PlainTextResponse("body {}", headers={"Cache-Control": "max-age=60"})

    app.add_middleware(AccessMiddleware, settings=Settings(**settings), tokens=tokens, wrong_tokens=wrong_tokens)
    return app


@pytest.fixture
def guarded() -> Asking:
    return Asking(app=application(Tokens(ENTRIES)))


@pytest.fixture
def open_to_all() -> Asking:
    return Asking(app=application(Tokens()))


def bearer(token: str, kind: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{kind} {token}"}


@pytest.mark.parametrize("path", ["/api/v1/things/", "/api/v1/nothing/", "/metrics", "/openapi.json"])
@pytest.mark.parametrize(
    "headers",
    [
        bearer(new_token()),
        bearer(READER, "Basic"),
        bearer(""),
        bearer(f"{READER} {READER}"),
        {"Authorization": READER},
        {"Authorization": ""},
        {"Authorization": b"Bearer t\xf6ken"},
    ],
    ids=["unknown", "Basic", "empty", "twice", "without Bearer", "nothing", "not ASCII"],
)
def test_a_wrong_token_gets_401(guarded: Asking, path: str, headers: Any) -> None:
    answer = guarded.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("path", ["/api/v1/things/", "/api/v1/nothing/", "/metrics", "/api/v1/jobs/x/events/"])
def test_no_token_gets_401(guarded: Asking, path: str) -> None:
    answer = guarded.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="fbs-worker"')


def test_a_read_token_reads(guarded: Asking) -> None:
    for kind in ("Bearer", "bearer", "BEARER"):
        assert guarded.get("/api/v1/things/", headers=bearer(READER, kind)).json() == {"caller": "look"}


def test_a_read_token_does_not_write(guarded: Asking) -> None:
    answer = guarded.post("/api/v1/things/", json={"port": 1}, headers=bearer(READER))
    assert answer.status_code == 403
    assert answer.json()["code"] == "scope_missing"
    assert answer.json()["context"] == {"scope": "write"}
    assert 'scope="write"' in answer.headers["www-authenticate"]


def test_a_write_token_reads_and_writes(guarded: Asking) -> None:
    assert guarded.get("/api/v1/things/", headers=bearer(WRITER)).json() == {"caller": "ci"}
    answer = guarded.post("/api/v1/things/", json={"port": 1}, headers=bearer(WRITER))
    assert answer.json() == {"caller": "ci", "port": 1}


def test_a_page_redirects_to_the_log_in_and_back(guarded: Asking) -> None:
    answer = guarded.get("/things/?q=a&b=ü")
    assert (answer.status_code, answer.content) == (303, b"")
    assert answer.headers["location"] == "/login?next=%2Fthings%2F%3Fq%3Da%26b%3D%25C3%25BC"
    assert guarded.post("/things/").headers["location"] == "/login"
    part = guarded.get("/things/", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login")


def test_the_paths_of_the_log_in_are_public(guarded: Asking) -> None:
    assert guarded.post("/login", content=WRITER).json() == {"caller": "ci"}
    assert guarded.get("/static/style.css").text == "body {}"
    assert guarded.get("/static/../things/").status_code == 303
    assert guarded.get("/login/other").status_code == 303


def test_a_session_authenticates_pages_and_event_streams_only(guarded: Asking) -> None:
    asked: list[str] = []

    def whose(cookie: str) -> Principal | None:
        asked.append(cookie)
        return ENTRIES[1].principal if cookie == "a-session" else None

    app: Any = guarded.app
    app.state.session_principal = whose
    assert guarded.get("/things/", headers=SESSION).json() == {"caller": "ci"}
    assert guarded.get("/api/v1/jobs/x/events/", headers=SESSION).status_code == 200
    assert guarded.get("/api/v1/jobs/x/events", headers=SESSION).status_code == 404
    assert set(asked) == {"a-session"}
    assert guarded.get("/things/", headers={"Cookie": f"{SESSION_COOKIE}=other"}).status_code == 303
    assert guarded.get("/api/v1/things/", headers=SESSION).status_code == 401
    assert guarded.post("/api/v1/things/", json={"port": 1}, headers=SESSION).status_code == 401
    assert guarded.post("/api/v1/jobs/x/events/", json={}, headers=SESSION).status_code == 401
    assert guarded.get("/api/v1/jobs/x/y/events/", headers=SESSION).status_code == 401


def test_cross_site_requests_with_a_session_are_rejected(guarded: Asking) -> None:
    app: Any = guarded.app
    app.state.session_principal = lambda _: ENTRIES[1].principal
    evil = {**SESSION, "Origin": "http://evil.example"}
    assert guarded.get("/things/", headers=SESSION).status_code == 200
    assert guarded.post("/things/", headers=evil).json()["code"] == "cross_site"
    assert guarded.get("/api/v1/jobs/x/events/", headers=evil).json()["code"] == "cross_site"


def test_wrong_tokens_are_limited_and_right_ones_still_pass(guarded: Asking) -> None:
    result = [guarded.get("/api/v1/things/", headers=bearer(new_token())).status_code for _ in range(5)]
    assert result == [401, 401, 401, 429, 429]
    limited = guarded.post("/login", content=new_token())
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0
    assert guarded.get("/api/v1/things/", headers=bearer(READER)).status_code == 200


def test_a_wrong_token_is_logged_without_itself(guarded: Asking, caplog: pytest.LogCaptureFixture) -> None:
    token = new_token()
    guarded.get("/api/v1/things/", headers=bearer(token))
    assert "rejected a request from 127.0.0.1: unknown token" in caplog.text
    assert token not in caplog.text


def test_the_rate_limit_is_per_principal() -> None:
    asking = Asking(app=application(Tokens(ENTRIES), fbs_api_rate=2))
    result = [asking.get("/api/v1/things/", headers=bearer(READER)) for _ in range(3)]
    assert [answer.status_code for answer in result] == [200, 200, 429]
    assert result[-1].json()["retryable"]
    assert int(result[-1].headers["retry-after"]) in range(1, 31)
    assert asking.get("/api/v1/things/", headers=bearer(WRITER)).status_code == 200


def test_without_tokens_local_requests_have_all_scopes(open_to_all: Asking) -> None:
    assert open_to_all.get("/things/").json() == {"caller": "local"}
    assert open_to_all.post("/api/v1/things/", json={"port": 1}).json() == {"caller": "local", "port": 1}
    assert open_to_all.get("/things/", headers=bearer(new_token())).status_code == 200


def test_a_browser_gets_errors_as_pages(open_to_all: Asking) -> None:
    app: Any = open_to_all.app
    app.state.error_page = lambda request, error: PlainTextResponse(f"a page: {error.code}", status_code=403)
    evil, person = {"Origin": "http://evil.example"}, {"Accept": "text/html,*/*;q=0.8"}
    assert open_to_all.post("/things/", headers={**evil, **person}).text == "a page: cross_site"
    assert open_to_all.post("/things/", headers=evil).json()["code"] == "cross_site"
    assert open_to_all.post("/api/v1/things/", headers={**evil, **person}).json()["code"] == "cross_site"


@pytest.mark.parametrize("path", ["/api/v1/things/", "/things/", "/static/style.css", "/login"])
def test_without_tokens_a_rebound_name_is_rejected(open_to_all: Asking, path: str) -> None:
    answer = open_to_all.get(path, headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_local")


def test_without_tokens_another_sites_page_is_not_answered(open_to_all: Asking) -> None:
    headers = {"Origin": "http://evil.example"}
    answer = open_to_all.post("/api/v1/things/", json={"port": 1}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert open_to_all.get("/api/v1/things/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_without_tokens_another_machine_is_not_answered() -> None:
    asking = Asking(app=application(Tokens()), client="10.0.0.9")
    assert asking.get("/api/v1/things/").json()["code"] == "not_local"


def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    asking = Asking(app=application(Tokens(), fbs_api_max_body=1_024))
    answer = asking.post("/api/v1/things/", json={"port": 1, "password": "x" * 1_024})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_body_that_is_too_large_as_it_comes_ends_there() -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"port": 1, "password": "'
        for _ in range(100):
            yield b"x" * 100

    headers = {"Content-Type": "application/json"}
    asking = Asking(app=application(Tokens(), fbs_api_max_body=1_024))
    answer = asking.post("/api/v1/things/", content=parts(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert asking.post("/login", content=parts()).status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp", "application/json5"])  # fmt: skip
def test_a_body_must_be_said_to_be_json(open_to_all: Asking, kind: str) -> None:
    answer = open_to_all.post("/api/v1/things/", content=b'{"port": 1}', headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type")


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.fbs+json"])
def test_a_body_that_is_json(open_to_all: Asking, kind: str) -> None:
    answer = open_to_all.post("/api/v1/things/", content=b'{"port": 1}', headers={"Content-Type": kind})
    assert answer.status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"1", b'{"port": "hunter2"}', b'{"password": ["hunter2"]}', b'{"port": NaN}'])  # fmt: skip
def test_validation_errors_do_not_repeat_values(open_to_all: Asking, body: bytes) -> None:
    answer = open_to_all.post("/api/v1/things/", content=body, headers={"Content-Type": "application/json"})
    result = answer.json()
    assert answer.status_code == 422
    assert (answer.headers["content-type"], result["code"]) == ("application/problem+json", "usage")
    assert "hunter2" not in answer.text
    if b"hunter2" in body:
        assert {error["pointer"] for error in result["errors"]} & {"/port", "/password"}


def test_errors_are_problems(open_to_all: Asking, caplog: pytest.LogCaptureFixture) -> None:
    usage = open_to_all.get("/api/v1/wrong/?what=usage")
    assert (usage.status_code, usage.json()["hint"]) == (422, "Do it otherwise.")
    mistake = open_to_all.get("/api/v1/wrong/?what=mistake")
    assert (mistake.status_code, mistake.json()["code"]) == (500, "internal")
    assert "a secret detail" not in mistake.text
    assert "GET /api/v1/wrong/ failed" in caplog.text
    missing = open_to_all.get("/api/v1/wrong/")
    assert missing.json()["errors"] == [{"place": "query", "pointer": "what", "detail": "Field required"}]
    unknown = open_to_all.get("/api/v1/nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    method = open_to_all.delete("/api/v1/things/")
    assert (method.status_code, method.headers["allow"]) == (405, "GET, POST")
    assert method.json()["code"] == "method_not_allowed"


def test_an_answer_that_breaks_half_way_is_not_taken_for_whole(open_to_all: Asking) -> None:
    with pytest.raises(RuntimeError, match="the other half"):
        open_to_all.get("/api/v1/half/")


def test_every_answer_is_careful(guarded: Asking) -> None:
    for answer in (
        guarded.get("/api/v1/things/", headers=bearer(READER)),
        guarded.get("/api/v1/things/"),
        guarded.get("/things/"),
        guarded.get("/static/style.css"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        kept = "max-age=60" if answer.url.path.startswith("/static/") else "no-store"
        assert answer.headers.get_list("cache-control") == [kept]


def test_who_changed_what_is_in_the_log(guarded: Asking, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="fbs_worker.web.api"):
        guarded.get("/api/v1/things/", headers=bearer(WRITER))
        guarded.post("/api/v1/things/", json={"port": 1, "password": "hunter2"}, headers=bearer(WRITER))
        guarded.post("/api/v1/things/", json={"port": 1}, headers=bearer(READER))
    result = [record.getMessage() for record in caplog.records if record.name.startswith("fbs_worker.web.api")]
    assert [line.rpartition(",")[0] for line in result] == [
        "ci: POST /api/v1/things/ 200",
        "look: POST /api/v1/things/ 403",
    ]
