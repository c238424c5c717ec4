"""The pages and forms of the connections to Odoo."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.core.settings import Settings
from fbs_worker.solutions.odoo_connections import find_odoo, list_odoo
from tests.conftest import MakeSettings
from tests.support.api_server import READER, TOKENS, WRITER
from tests.support.site import Visitor, checked, visitor, words

SECRET = "s3cr3t-of-odoo"


@pytest.fixture
def place(settings: MakeSettings) -> Settings:
    return settings(fbs_api_tokens=TOKENS, fbs_api_rate=0, odoo_url="https://env.example.com", odoo_db="prod")


@pytest.fixture
def ours(place: Settings) -> Visitor:
    return visitor(place, WRITER)


def send(visitor: Visitor, path: str, **fields: Any) -> Any:
    """Fill the form of a page in, and send it."""
    page = visitor.get(path)
    (found,) = (each for each in page.forms if each.find(".//input[@id='url']") is not None)
    return visitor.ask("POST", found.action, data={**dict(found.fields), "headers": "", **fields})


def test_a_connection_is_added_changed_tested_and_removed(ours: Visitor, place: Settings) -> None:
    given = {"name": "shop", "url": "https://env.example.com", "db": "live", "user": "reader", "password": SECRET}
    answer = send(ours, "/odoo/", **given, headers="X-Token: t0ken")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/odoo/shop/")
    listed = words(ours.get("/odoo/"))
    for text in ("2 connections", "default", "environment", "shop", "database live, user reader", "no solution"):
        assert text in listed
    fields = dict(ours.get("/odoo/shop/").forms[2].fields)
    assert (fields["url"], fields["db"], fields["timeout"]) == ("https://env.example.com", "live", "120")
    assert (fields["password"], fields["headers"].strip()) == (None, "")
    answer = send(ours, "/odoo/shop/", lang="de_DE", no_headers="1", then="test")
    assert answer.headers["Location"].startswith("/jobs/")
    assert "test_odoo" in words(ours.get(answer.headers["Location"]))
    found = find_odoo(place, "shop")
    assert (found.lang, found.password.get_secret_value(), found.headers.get_secret_value()) == ("de_DE", SECRET, "")
    assert ours.press(ours.get("/odoo/shop/"), "Test").headers["Location"].startswith("/jobs/")
    assert ours.press(ours.get("/odoo/shop/"), "Remove").headers["Location"] == "/odoo/"
    assert [each["name"] for each in list_odoo(place)["connections"]] == ["default"]


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"url": "nothing"}, 422, "The Odoo URL has no scheme"),
        ({"url": "http://10.0.0.1"}, 403, "This Odoo host is not allowed"),
        ({"password": ""}, 422, "password or api_key is missing"),
        ({"timeout": "soon"}, 422, "timeout is not valid"),
        ({"name": "<script>"}, 422, "name is not valid"),
    ],
)
def test_a_mistake_is_shown_with_what_was_typed(
    ours: Visitor, place: Settings, fields: dict[str, str], status: int, text: str
) -> None:
    given = {"name": "shop", "url": "https://env.example.com", "db": "typed", "user": "me", "password": SECRET}
    answer = send(ours, "/odoo/", **{**given, **fields})
    assert answer.status_code == status
    page = checked(answer)
    assert text in words(page)
    assert page.get_element_by_id("db").value == "typed"
    assert SECRET not in answer.text
    assert [each["name"] for each in list_odoo(place)["connections"]] == ["default"]


def test_one_of_the_environment_has_no_form(ours: Visitor) -> None:
    page = ours.get("/odoo/default/")
    assert "It is one of the environment ( ODOO_URL )" in words(page)
    assert "Remove" not in words(page)
    ours.get("/odoo/nothing/", status=404)


def test_who_reads_only_sees_no_forms_and_cannot_send_them(place: Settings, ours: Visitor) -> None:
    page = visitor(place, READER).get("/odoo/")
    assert not [form for form in page.forms if "odoo" in (form.action or "")]
    token = dict(ours.get("/odoo/").forms[1].fields)["form_token"]
    for path in ("/odoo/", "/odoo/default/", "/odoo/default/test", "/odoo/default/remove"):
        for who, data in (
            (visitor(place, READER), {}),
            (ours, {"form_token": "x"}),
            (visitor(place, READER), {"form_token": token}),
        ):
            assert who.ask("POST", path, data=data).status_code == 403
        assert visitor(place, "").ask("POST", path, data={}).headers["Location"] == "/login"
    assert len(list_odoo(place)["connections"]) == 1
