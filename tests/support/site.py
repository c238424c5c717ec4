"""The pages with something to show: an application in this process, a solution that was set up and changed since."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.fernet import Fernet
from fastapi import FastAPI
from lxml import html
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.state import database_url
from fbs_worker.web.api.auth import SESSION_COOKIE
from fbs_worker.web.app import create_app
from fbs_worker.web.pages.layout import HEADERS
from tests.integration.test_refresh_task import make_it_look_changed
from tests.support.api_server import READER, TOKENS, WRITER
from tests.support.asgi import BASE, Asking
from tests.support.servers import fresh_database, redis_database
from tests.support.solutions import config_of, few_models, inline

NAME = "shop"

_OWN = re.compile(r"(?:/(?!/)|[?#]).*")


@dataclass(frozen=True, kw_only=True)
class Site:
    """Databases with a solution called `shop`, and the settings that lead there.

    Attributes:
        settings: with the tokens of `api_server`.
        target: the solution's database.
    """

    settings: Settings
    target: DatabaseConfig


@contextmanager
def empty_site(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, folder: Path, **given: Any) -> Iterator[Site]:
    """Databases and settings for a solution; its Odoo has few models.

    Args:
        postgres: where its databases are made.
        redis_server: where its jobs are.
        folder: for files of the settings.
        **given: further settings.
    """
    with (
        fresh_database(postgres) as home,
        fresh_database(postgres) as target,
        redis_database(redis_server.url) as redis_url,
    ):
        values: dict[str, Any] = {
            "fbs_redis_url": redis_url,
            "fbs_database_url": database_url(home),
            "fbs_secret_keys": SecretStr(Fernet.generate_key().decode()),
            "fbs_home": folder / "home",
            "fbs_business_prefix": "hr_",
            "fbs_api_rate": 0,
            "odoo_url": f"recording:{few_models()}",
        }
        yield Site(settings=Settings(**{**values, **given}), target=target)


@contextmanager
def make_site(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, folder: Path, **given: Any) -> Iterator[Site]:
    """A solution of the domain hr, with a mirrored model, refreshed once after something had changed.

    Args:
        postgres: where its databases are made.
        redis_server: where its jobs are.
        folder: for files of the settings.
        **given: further settings.
    """
    with empty_site(postgres, redis_server, folder, fbs_api_tokens=TOKENS, **given) as site:
        inline("setup", config_of(site.target, NAME, mirror=["hr.job"]), site.settings)
        make_it_look_changed(site.target)
        inline("refresh", {"solution_name": NAME, "full": True}, site.settings)
        yield site


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """A browser without JavaScript.

    Attributes:
        app: the application.
        token: the token of its session; empty for no session.
    """

    app: FastAPI
    token: str = READER
    headers: dict[str, str] = field(default_factory=dict)

    @cached_property
    def cookie(self) -> str:
        """The session's."""
        if not self.token:
            return ""
        answer = Asking(app=self.app).post("/login", data={"token": self.token})
        assert answer.status_code == 303, answer.text
        return answer.cookies[SESSION_COOKIE]

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask for something; redirects are not followed."""
        headers = {**self.headers, **options.pop("headers", {})}
        if self.cookie:
            headers["Cookie"] = f"{SESSION_COOKIE}={self.cookie}"
        return Asking(app=self.app).ask(method, path, headers=headers, **options)

    def get(self, path: str, *, status: int = 200) -> html.HtmlElement:
        """A page, checked for what every page has to be."""
        answer = self.ask("GET", path)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[:500]}"
        return checked(answer)

    def press(self, page: html.HtmlElement, words: str, **options: Any) -> httpx.Response:
        """Press the button with these words."""
        form = next(form for form in page.forms if words in form.text_content())
        assert form.method == "POST"
        return self.ask("POST", form.action, data=dict(form.fields), **options)


def visitor(settings: Settings, token: str = READER) -> Visitor:
    """A visitor of a new application."""
    return Visitor(app=create_app(settings), token=token)


def writer(settings: Settings) -> Visitor:
    """A visitor with write access."""
    return visitor(settings, WRITER)


def checked(answer: httpx.Response) -> html.HtmlElement:
    """A page's HTML, after a look at what must not be in it, and at its headers."""
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    page: html.HtmlElement = html.document_fromstring(answer.text)
    scripts = [script.get("src", "").partition("?")[0] for script in page.iter("script")]
    assert scripts in (["/static/htmx.min.js"], ["/static/htmx.min.js", "/static/diagram.js"])
    assert all(script.text is None for script in page.iter("script"))
    assert not list(page.iter("style", "iframe", "object", "embed", "base"))
    for element in page.iter(html.etree.Element):
        for name, value in element.attrib.items():
            assert not name.startswith("on"), (element.tag, name)
            assert name != "style"
            if name in {"href", "src", "action", "hx-get", "hx-post", "data", "poster", "formaction"}:
                assert _OWN.fullmatch(value), (element.tag, name, value)
    headings = [heading.text_content().strip() for heading in page.iter("h1")]
    assert len(headings) == 1
    assert headings[0]
    ids = [element.get("id") for element in page.iter(html.etree.Element) if element.get("id")]
    assert len(ids) == len(set(ids))
    for field_ in page.xpath("//input[not(@type='hidden')] | //select"):
        assert page.xpath(f"//label[@for='{field_.get('id')}']"), "a field without a label"
    for named in page.xpath("//*[@aria-labelledby]"):
        assert page.xpath(f"//*[@id='{named.get('aria-labelledby')}']"), named.get("aria-labelledby")
    return page


def words(page: html.HtmlElement) -> str:
    """A page's text, with single spaces."""
    return " ".join(" ".join(page.get_element_by_id("main").itertext()).split())


def links(page: html.HtmlElement, start: str = "/") -> list[str]:
    """Where a page leads, in its order, each once."""
    found = [link.get("href") for link in page.iter("a")]
    return list(dict.fromkeys(link for link in found if link.startswith(start)))


def next_of(answer: httpx.Response) -> str:
    """The target after the log-in, from the redirect to it."""
    assert answer.status_code == 303
    place = urlsplit(answer.headers["Location"])
    assert place.path == "/login"
    return parse_qs(place.query).get("next", ["/"])[0]


__all__ = [
    "BASE",
    "NAME",
    "Site",
    "Visitor",
    "checked",
    "links",
    "make_site",
    "next_of",
    "visitor",
    "words",
    "writer",
]
