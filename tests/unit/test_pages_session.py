"""Sessions and CSRF tokens of the pages."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.core.settings import Settings
from fbs_worker.web.api.auth import SESSION_COOKIE
from fbs_worker.web.api.tokens import LOCAL, Entry, Principal, Tokens, new_token
from fbs_worker.web.pages.login import safe_path
from fbs_worker.web.pages.session import SESSION_SECONDS, Sessions

READER, WRITER = (Entry.of(new_token(), name=name, scope=name) for name in ("read", "write"))
BOTH = Tokens([READER, WRITER])


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def begun(sessions: Sessions, caller: Principal = READER.principal, *, https: bool = False) -> SimpleCookie:
    answer = Response()
    sessions.begin(answer, caller, https=https)
    return SimpleCookie(answer.headers["set-cookie"])


def cookie(sessions: Sessions, caller: Principal = READER.principal) -> str:
    return begun(sessions, caller)[SESSION_COOKIE].value


def request(value: str = "") -> Request:
    headers = [(b"cookie", f"{SESSION_COOKIE}={value}".encode())] if value else []
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


def test_a_cookie_resolves_to_its_principal() -> None:
    sessions = Sessions(BOTH)
    assert sessions.required
    assert sessions.principal(cookie(sessions)) == READER.principal
    assert sessions.principal(cookie(sessions, WRITER.principal)) == WRITER.principal


def test_the_cookie_contains_no_token_and_is_strict() -> None:
    found = begun(Sessions(BOTH))[SESSION_COOKIE]
    assert READER.hash not in found.value
    assert (found["httponly"], found["samesite"], found["path"], found["secure"]) == (True, "strict", "/", "")
    assert int(found["max-age"]) == SESSION_SECONDS
    assert begun(Sessions(BOTH), https=True)[SESSION_COOKIE]["secure"]


def test_sessions_are_unique() -> None:
    sessions = Sessions(BOTH)
    assert cookie(sessions) != cookie(sessions)


def test_a_session_expires() -> None:
    clock = Clock()
    sessions = Sessions(BOTH, clock=clock)
    value = cookie(sessions)
    clock.now += SESSION_SECONDS - 1
    assert sessions.principal(value) == READER.principal
    clock.now += 1
    assert sessions.principal(value) is None


@pytest.mark.parametrize("left", [Tokens([WRITER]), Tokens([Entry(name="read", scope="write", hash=READER.hash)])])
def test_a_session_ends_with_its_token(left: Tokens) -> None:
    key = b"k" * 32
    value = cookie(Sessions(BOTH, keys=[key]))
    assert Sessions(left, keys=[key]).principal(value) is None


def test_forged_cookies_are_rejected() -> None:
    sessions = Sessions(BOTH)
    value = cookie(sessions)
    body, _, signature = value.rpartition(".")
    version, _token_id, ends, nonce = body.split(".")
    for made in (
        "",
        ".",
        "....",
        body,
        f"{body}.",
        f"{body}.{signature[:-1]}",
        f"{version}.{WRITER.principal.token_id}.{ends}.{nonce}.{signature}",
        f"{version}.{READER.principal.token_id}.9{ends}.{nonce}.{signature}",
        f"{body}.{'é' * 10}",
        "x" * 5_000,
        cookie(Sessions(BOTH)),
    ):
        assert sessions.principal(made) is None


def test_a_csrf_token_is_bound_to_its_session() -> None:
    sessions = Sessions(BOTH)
    mine, other = request(cookie(sessions)), request(cookie(sessions))
    token = sessions.form_token(mine)
    assert sessions.is_form_token(mine, token)
    assert not sessions.is_form_token(other, token)
    assert not sessions.is_form_token(request(), token)
    assert not any(sessions.is_form_token(mine, made) for made in ("", token[:-1], "é", "\ud800"))
    assert not Sessions(BOTH).is_form_token(mine, token)


def test_without_tokens_csrf_tokens_are_bound_to_the_server() -> None:
    sessions = Sessions(Tokens())
    assert not sessions.required
    token = sessions.form_token(request("anything"))
    assert sessions.is_form_token(request(), token)
    assert not Sessions(Tokens()).is_form_token(request(), token)
    assert LOCAL.token_id not in token


def test_key_rotation() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    made = [Sessions.of(Settings(fbs_secret_keys=SecretStr(keys)), BOTH) for keys in (old, f"{new},{old}", new)]
    value = cookie(made[0])
    assert [sessions.principal(value) for sessions in made] == [READER.principal, READER.principal, None]
    form = made[0].form_token(request(value))
    assert [sessions.is_form_token(request(value), form) for sessions in made] == [True, True, False]


@pytest.mark.parametrize("text", ["/", "/jobs/", "/solutions/shop/catalogue/?q=sale+ord&type=model", "/a//b"])
def test_redirect_targets_after_the_log_in(text: str) -> None:
    assert safe_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "jobs", "//evil.example", "/\\evil.example", "https://evil.example/", "/\\/x", "javascript:alert(1)", "/x\n", "/x\r\nSet-Cookie: a=b", "/login", "/a\\b"],
)  # fmt: skip
def test_a_redirect_stays_on_this_server(text: str) -> None:
    assert safe_path(text) == "/"
