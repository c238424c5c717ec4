"""Authentication and authorisation of the pages and their forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.web.api.auth import SESSION_COOKIE
from fbs_worker.web.api.rate_limit import WRONG_TOKENS_PER_MINUTE
from fbs_worker.web.api.tokens import new_token
from fbs_worker.web.app import create_app
from fbs_worker.web.pages.session import SESSION_SECONDS
from tests.conftest import MakeSettings
from tests.support.api_server import READER, TOKENS, WRITER, bearer
from tests.support.asgi import BASE as SITE
from tests.support.asgi import Asking
from tests.support.site import NAME, Site, Visitor, checked, make_site, next_of, visitor, words

BASE = f"/solutions/{NAME}/"
PAGES = [
    *("/", "/jobs/", "/jobs/none/", BASE, f"{BASE}catalogue/", f"{BASE}models/hr.job/", f"{BASE}workflows/hr.leave/"),
    *(
        f"{BASE}modules/hr/",
        f"{BASE}features/?name=x",
        f"{BASE}changes/",
        f"{BASE}tables/",
        f"{BASE}records/",
        f"{BASE}records/hr_hr_job/",
        "/nothing",
        "/setup/",
        "/docs/",
    ),
    *("/odoo/", "/odoo/default/"),
]
BUTTONS = [
    f"{BASE}refresh",
    f"{BASE}plan",
    f"{BASE}sync",
    f"{BASE}refresh/",
    f"{BASE}plan/",
    "/jobs/none/cancel",
    "/jobs/none/cancel/",
    "/jobs/none/apply",
    "/jobs/none/plan",
    "/jobs/none/retry",
    "/setup/",
    f"{BASE}schedule",
]


@pytest.fixture(scope="module")
def site(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with make_site(postgres, redis_server, tmp_path_factory.mktemp("access")) as made:
        yield made


@pytest.fixture(scope="module")
def stranger(site: Site) -> Visitor:
    return visitor(site.settings, token="")


@pytest.fixture(scope="module")
def user(stranger: Visitor) -> Visitor:
    """Someone with write access."""
    return Visitor(app=stranger.app, token=WRITER)


@pytest.fixture(scope="module")
def foreign(stranger: Visitor) -> str:
    """What a form of another one's page has."""
    page = Visitor(app=stranger.app, token=WRITER).get(BASE)
    return str(next(form for form in page.forms).fields["form_token"])


def waiting(user: Visitor) -> list[str]:
    """The jobs that were enqueued and not cancelled."""
    return [job.id for job in user.app.state.client.jobs() if not job.state.finished]


@pytest.mark.parametrize("path", PAGES)
def test_who_is_not_logged_in_is_asked_to(stranger: Visitor, path: str) -> None:
    answer = stranger.ask("GET", path)
    assert next_of(answer) == path
    assert NAME not in answer.text


@pytest.mark.parametrize("path", BUTTONS)
def test_who_is_not_logged_in_cannot_press_buttons(stranger: Visitor, path: str) -> None:
    answer = stranger.ask("POST", path, data={"form_token": "x"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/login"


def test_a_live_part_sends_the_whole_page_to_the_log_in(stranger: Visitor) -> None:
    answer = stranger.ask("GET", "/jobs/", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login"


def test_the_log_in_and_its_files_are_open(stranger: Visitor) -> None:
    page = checked(stranger.ask("GET", "/login?next=/jobs/"))
    assert "fbs new-token" in words(page)
    (form,) = page.forms
    assert form.fields["next"] == "/jobs/"
    for element in page.xpath("//link | //script"):
        address = element.get("href") or element.get("src")
        answer = stranger.ask("GET", address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
        again = stranger.ask("GET", address, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["none", "..%2f__init__.py", "htmx.LICENSE"])
def test_no_other_file_is_open(stranger: Visitor, name: str) -> None:
    answer = stranger.ask("GET", f"/static/{name}")
    assert answer.status_code == 404 or next_of(answer)


def test_a_log_in(stranger: Visitor) -> None:
    asking = Asking(app=stranger.app)
    answer = asking.post("/login", data={"token": f" {READER} ", "next": f"{BASE}catalogue/?q=a+b"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{BASE}catalogue/?q=a+b")
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={SESSION_SECONDS}"):
        assert part in cookie
    assert "Secure" not in cookie
    assert READER not in cookie


def test_over_https_the_cookie_says_so(stranger: Visitor) -> None:
    asking = Asking(app=stranger.app)
    answer = asking.post(SITE.replace("http:", "https:") + "/login", data={"token": READER})
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example/", "/\\evil.example", "/login"])
def test_a_redirect_stays_on_this_server(stranger: Visitor, following: str) -> None:
    answer = Asking(app=stranger.app).post("/login", data={"token": READER, "next": following})
    assert answer.headers["Location"] == "/"
    page = stranger.get(f"/login?next={quote(following, safe='')}")
    assert "evil" not in page.text_content()


@pytest.mark.parametrize(
    "token",
    ["", "x", new_token(), "é", "\0", "x" * 3_000],
    ids=["nothing", "a letter", "unknown", "not ASCII", "NUL", "long"],
)
def test_a_wrong_token(site: Site, token: str) -> None:
    answer = Asking(app=create_app(site.settings)).post("/login", data={"token": token, "next": "/jobs/"})
    assert answer.status_code in {401, 422}
    assert "set-cookie" not in answer.headers
    assert not token.strip("\0") or token == "x" or token not in answer.text
    checked(answer)


def test_many_wrong_tokens(site: Site) -> None:
    asking = Asking(app=create_app(site.settings))
    for _ in range(WRONG_TOKENS_PER_MINUTE):
        assert asking.post("/login", data={"token": new_token()}).status_code == 401
    answer = asking.post("/login", data={"token": new_token()})
    assert answer.status_code == 429
    assert "Try again in a minute" in words(checked(answer))
    assert asking.post("/login", data={"token": READER}).status_code == 303


def test_a_log_out(site: Site) -> None:
    user, events = visitor(site.settings), f"/api/v1/jobs/{'0' * 32}/events/"
    assert user.ask("GET", events).status_code == 404, "the one path of the API that takes a cookie"
    answer = user.press(user.get("/"), "Log out")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert f'{SESSION_COOKIE}=""' in answer.headers["Set-Cookie"]
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert next_of(user.ask("GET", "/")) == "/", "the server has ended it, too: the old cookie opens nothing"
    assert user.ask("GET", events).status_code == 401
    assert visitor(site.settings).ask("POST", "/logout/", data={"form_token": "x"}).status_code == 403


def test_a_reader_has_no_buttons(site: Site) -> None:
    user = visitor(site.settings)
    page = user.get(BASE)
    assert [button.text for button in page.iter("button")] == ["Log out"]
    assert "look · read only" in page.text_content()
    token = next(form for form in page.forms).fields["form_token"]
    for path in BUTTONS:
        answer = user.ask("POST", path, data={"form_token": token})
        assert answer.status_code == 403
        assert "has read access only" in words(checked(answer))
    assert not waiting(user)


@pytest.mark.parametrize("path", BUTTONS)
def test_a_button_of_another_page_does_nothing(user: Visitor, foreign: str, path: str) -> None:
    given: list[dict[str, Any]] = [{}, {"form_token": ""}, {"form_token": foreign}, {"form_token": "x" * 100}]
    for data in given:
        assert user.ask("POST", path, data=data).status_code in {403, 422}
    assert not waiting(user)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_another_site_cannot_press_buttons(user: Visitor, headers: dict[str, str]) -> None:
    page = user.get(BASE)
    assert user.press(page, "Refresh", headers=headers).status_code == 403
    assert Asking(app=user.app).post("/login", data={"token": WRITER}, headers=headers).status_code == 403
    assert not waiting(user)


def test_an_error_of_the_middleware_is_a_page_too(site: Site) -> None:
    asking = Asking(app=create_app(site.settings.model_copy(update={"fbs_api_rate": 1})), headers=bearer(READER))
    headers = {"Accept": "text/html"}
    assert asking.get("/jobs/", headers=headers).status_code == 200
    answer = asking.get("/jobs/", headers=headers)
    assert answer.status_code == 429
    assert 50 <= int(answer.headers["Retry-After"]) <= 60
    assert "within a minute" in words(checked(answer))
    assert asking.get("/jobs/").headers["Content-Type"] == "application/problem+json"


def test_a_browser_here_can(user: Visitor) -> None:
    answer = user.press(user.get(BASE), "Refresh", headers={"Origin": SITE, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 303
    user.app.state.client.job(answer.headers["Location"].split("/")[2]).cancel()


def test_a_session_is_not_for_programs(user: Visitor) -> None:
    for method, path in (("GET", "/api/v1/solutions/"), ("POST", f"/api/v1{BASE}discoveries/"), ("GET", "/metrics")):
        assert user.ask(method, path).status_code == 401


def test_a_token_that_is_taken_out_ends_its_sessions(site: Site) -> None:
    user = visitor(site.settings)
    entries = [entry for entry in TOKENS.get_secret_value().split(",") if not entry.startswith("look:")]
    left = create_app(site.settings.model_copy(update={"fbs_api_tokens": type(TOKENS)(",".join(entries))}))
    assert (
        next_of(Visitor(app=left, token="").ask("GET", "/", headers={"Cookie": f"{SESSION_COOKIE}={user.cookie}"}))
        == "/"
    )
    same = create_app(site.settings)
    assert Visitor(app=same, token="").ask("GET", "/", headers={"Cookie": f"{SESSION_COOKIE}={user.cookie}"}).status_code == 200  # fmt: skip


def test_a_program_with_a_token_may_look_at_pages(stranger: Visitor) -> None:
    assert stranger.ask("GET", "/", headers=bearer(READER)).status_code == 200
    assert stranger.ask("POST", f"{BASE}refresh", headers=bearer(WRITER), data={"form_token": "x"}).status_code == 403


def test_without_tokens_this_machine_is_let_in(settings: MakeSettings) -> None:
    user = visitor(settings(), token="")
    page = user.get("/")
    assert "Log out" not in page.text_content()
    assert user.ask("GET", "/login").headers["Location"] == "/"
    assert user.ask("POST", "/login", data={"token": "x"}).headers["Location"] == "/"
    assert user.ask("GET", "/", headers={"Host": "evil.example"}).status_code == 403
    assert user.ask("POST", "/jobs/none/cancel", data={}).status_code in {403, 422}
    assert user.ask("POST", "/jobs/none/cancel", data={"form_token": "x"}).status_code == 403
