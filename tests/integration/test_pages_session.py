"""Sessions and CSRF tokens of the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie

import pytest
import redis
from cryptography.fernet import Fernet
from markupsafe import Markup
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.core.settings import Settings
from fbs_worker.web.api.auth import SESSION_COOKIE
from fbs_worker.web.api.tokens import LOCAL, Entry, Principal, Tokens, new_token
from fbs_worker.web.pages.layout import Layout
from fbs_worker.web.pages.login import safe_path
from fbs_worker.web.pages.session import SESSION_SECONDS, Sessions

READER, WRITER = (Entry.of(new_token(), name=name, scope=name) for name in ("read", "write"))
BOTH = Tokens([READER, WRITER])
KEY = Fernet.generate_key().decode()

Make = Callable[..., Sessions]


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def make(redis_url: str) -> Iterator[Make]:
    made: list[Sessions] = []

    def new(tokens: Tokens = BOTH, keys: str = "", **given: Clock) -> Sessions:
        settings = Settings(fbs_redis_url=redis_url, fbs_secret_keys=SecretStr(keys))
        made.append(Sessions(settings, tokens, **given))
        return made[-1]

    yield new
    for sessions in made:
        sessions.close()


def begun(sessions: Sessions, caller: Principal = READER.principal, *, https: bool = False) -> SimpleCookie:
    answer = Response()
    sessions.begin(Request({"type": "http", "headers": []}), answer, caller, https=https)
    return SimpleCookie(answer.headers["set-cookie"])


def cookie(sessions: Sessions, caller: Principal = READER.principal) -> str:
    return begun(sessions, caller)[SESSION_COOKIE].value


def request(value: str = "") -> Request:
    headers = [(b"cookie", f"{SESSION_COOKIE}={value}".encode())] if value else []
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


def test_a_cookie_resolves_to_its_principal(make: Make) -> None:
    sessions = make()
    assert sessions.required
    mine = cookie(sessions)
    assert sessions.principal(mine) == READER.principal
    assert sessions.principal(cookie(sessions, WRITER.principal)) == WRITER.principal
    assert cookie(sessions) != mine, "each session has its own"


def test_the_cookie_contains_no_token_and_is_strict(make: Make, redis_url: str) -> None:
    found = begun(make())[SESSION_COOKIE]
    assert READER.hash not in found.value
    assert (found["httponly"], found["samesite"], found["path"], found["secure"]) == (True, "strict", "/", "")
    assert int(found["max-age"]) == SESSION_SECONDS
    assert begun(make(), https=True)[SESSION_COOKIE]["secure"]
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        for name in raw.scan_iter():
            assert 0 < raw.ttl(name) <= SESSION_SECONDS
            assert found.value not in f"{name} {raw.get(name)}"


def test_a_session_expires(make: Make) -> None:
    clock = Clock()
    sessions = make(clock=clock)
    value = cookie(sessions)
    clock.now += SESSION_SECONDS
    assert sessions.principal(value) == READER.principal
    clock.now += 1
    assert sessions.principal(value) is None


def test_a_log_out_ends_the_session_in_all_processes(make: Make) -> None:
    sessions, other = make(keys=KEY), make(keys=KEY)
    mine, another = cookie(sessions), cookie(sessions)
    sessions.end(request(mine), Response(), https=False)
    assert [other.principal(value) for value in (mine, another)] == [None, READER.principal]
    sessions.end(request(), Response(), https=False)


@pytest.mark.parametrize("left", [Tokens([WRITER]), Tokens([Entry(name="read", scope="write", hash=READER.hash)])])
def test_a_session_ends_with_its_token(make: Make, left: Tokens) -> None:
    assert make(left, keys=KEY).principal(cookie(make(keys=KEY))) is None


def test_forged_cookies_are_rejected(make: Make, redis_url: str) -> None:
    sessions = make(keys=KEY)
    value, form = cookie(sessions), sessions.form_token(request())
    foreign = cookie(make())
    sealed_for_passwords = Fernet(KEY).encrypt(f"session\n{READER.principal.token_id}".encode()).decode()
    made = ("", ".", value[:-1], value[1:], f"{value[:-9]}AAAA{value[-5:]}", "é" * 10, "x" * 5_000, form, foreign)
    assert [sessions.principal(one) for one in (*made, sealed_for_passwords)] == [None] * 10


def test_a_csrf_token_is_bound_to_its_session(make: Make) -> None:
    sessions = make()
    mine, other = request(cookie(sessions)), request(cookie(sessions))
    token = sessions.form_token(mine)
    assert len(token) <= 200, "as long as a form's field may be"
    assert sessions.is_form_token(mine, token)
    assert not sessions.is_form_token(other, token)
    assert not sessions.is_form_token(request(), token)
    made = ("", token[:-1], "é", "\ud800", mine.cookies[SESSION_COOKIE])
    assert not any(sessions.is_form_token(mine, one) for one in made)
    assert not make().is_form_token(mine, token)


def test_without_tokens_csrf_tokens_are_bound_to_the_server(make: Make) -> None:
    sessions = make(Tokens())
    assert not sessions.required
    token = sessions.form_token(request("anything"))
    assert sessions.is_form_token(request(), token)
    assert not make(Tokens()).is_form_token(request(), token)
    assert LOCAL.token_id not in token


def test_key_rotation(make: Make) -> None:
    new = Fernet.generate_key().decode()
    made = [make(keys=keys) for keys in (KEY, f"{new},{KEY}", new)]
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


def test_pages_show_the_direction_of_text_as_an_escape(make: Make) -> None:
    template = Layout(make())._environment.from_string("<b>{{ label }}</b>{{ markup }}{{ number }}")
    shown = template.render(label="<a\u202eb", markup=Markup("<i>\u2066</i>"), number=7)
    assert shown == r"<b>&lt;a\u202eb</b><i>\u2066</i>7"
