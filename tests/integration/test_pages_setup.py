"""The form that sets a solution up: its checks, what it enqueues, and that it keeps a password to itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.web.pages.layout import HEADERS
from tests.support.servers import fresh_database
from tests.support.site import NAME, Site, Visitor, checked, make_site, visitor, words, writer
from tests.support.solutions import PASSWORD, run


@pytest.fixture(scope="module")
def site(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with make_site(postgres, redis_server, tmp_path_factory.mktemp("setup"), fbs_business_prefix="") as made:
        yield made


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    with fresh_database(postgres) as config:
        yield config


@pytest.fixture(scope="module")
def user(site: Site) -> Visitor:
    return writer(site.settings)


def filled(user: Visitor, target: DatabaseConfig, **given: str) -> dict[str, str]:
    """The fields of the form, filled in."""
    (form,) = [form for form in user.get("/setup/").forms if form.action == "/setup/"]
    fields = {name: value or "" for name, value in dict(form.fields).items()}
    database = {"name": target.name, "user": target.user, "host": target.host, "port": str(target.port)}
    own = {f"database_{name}": value for name, value in database.items()}
    basics = {"solution_name": "rentals", "domain": "rental", "database_password": PASSWORD}
    return {**fields, **own, **basics, **given}


def test_a_solution_is_set_up(site: Site, user: Visitor, target: DatabaseConfig) -> None:
    values = filled(user, target, mirror="res.partner, sale.order", business_prefix="rental_")
    assert (values["refresh_discoveries"], values["sync"]) == ("true", "true")
    answer = user.ask("POST", "/setup/", data=values)
    assert answer.status_code == 303
    job = answer.headers["Location"]
    with closing(JobStore(site.settings.fbs_redis_url, ttl=600)) as jobs:
        record = jobs.get(job.split("/")[2])
        assert (record.action, record.solution, record.domain) == ("setup", "rentals", "rental")
        assert PASSWORD not in user.ask("GET", job).text
        jobs.request_cancel(record.id)


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        ({"solution_name": "no name"}, 422, "solution_name is not valid"),
        ({"domain": "none"}, 422, "There is no domain 'none'"),
        ({"database_name": ""}, 422, "database_config.name is missing"),
        ({"database_port": "70000"}, 422, "database_config.port is not valid"),
        ({"business_prefix": "9x"}, 422, "business_prefix is not valid"),
        ({"database_host": "169.254.169.254"}, 403, "metadata or link-local address"),
        ({"database_password": "env:HOME"}, 422, "cannot be used"),
    ],
)
def test_what_is_wrong_is_said_and_the_password_kept(
    user: Visitor, target: DatabaseConfig, given: dict[str, str], status: int, text: str
) -> None:
    values = filled(user, target, **given)
    answer = user.ask("POST", "/setup/", data=values)
    page = checked(answer)
    assert (answer.status_code, text in words(page)) == (status, True), words(page)
    assert PASSWORD not in answer.text
    assert page.get_element_by_id("solution_name").get("value") == values["solution_name"]
    assert page.get_element_by_id("database_password").get("value") is None


def checks(user: Visitor, values: dict[str, str]) -> str:
    answer = user.ask("POST", "/setup/", data={**values, "then": "check"})
    assert answer.status_code == 200
    assert PASSWORD not in answer.text
    return " ".join(" ".join(checked(answer).get_element_by_id("checks").itertext()).split())


def test_the_form_is_checked_as_it_is_filled_in(user: Visitor, target: DatabaseConfig) -> None:
    empty = filled(user, target, solution_name="", domain="", database_name="")
    assert (
        checks(user, empty)
        == "Name: open Still missing. Domain: open Still missing. Database name: open Still missing."
    )
    assert "Name: ok rentals is free" in checks(user, {**empty, "solution_name": "rentals"})
    assert "Name: wrong solution_name is not valid" in checks(user, {**empty, "solution_name": "no name"})
    found = checks(user, filled(user, target))
    for part in (
        "Name: ok",
        "Database: ok PostgreSQL",
        "Prefix: ok No table is in the way",
        "Odoo: ok The connection default",
    ):
        assert part in found
    run(target, "CREATE TABLE property (id int)")
    assert "Prefix: wrong Tables of these names exist: property." in checks(user, filled(user, target))
    assert f"Name: look {NAME} exists" in checks(user, filled(user, target, solution_name=NAME))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"database_name": "none_such"}, "Database: wrong PostgreSQL at"),
        ({"database_host": "169.254.169.254"}, "Database: wrong This host has a metadata or link-local address"),
        ({"database_password": "env:HOME"}, "Database: wrong The password reference 'env:HOME' cannot be used"),
        ({"odoo": "none"}, "Odoo: look This server has no connection none"),
    ],
)
def test_what_a_check_finds(user: Visitor, target: DatabaseConfig, given: dict[str, str], text: str) -> None:
    assert text in checks(user, filled(user, target, **given))


@pytest.mark.parametrize("data", [{}, {"form_token": "x"}, {"form_token": "x", "then": "check"}])
def test_a_forged_form_is_refused(user: Visitor, data: dict[str, Any]) -> None:
    assert user.ask("POST", "/setup/", data=data).status_code == 403


def test_a_reader_is_refused(site: Site) -> None:
    page = visitor(site.settings).get("/setup/", status=403)
    assert "has read access only" in words(page)
    assert "Set a solution up" not in words(visitor(site.settings).get("/"))


def test_what_is_no_form(user: Visitor) -> None:
    answer = user.ask("POST", "/setup/", data={str(number): "x" for number in range(100)})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (422, HEADERS["Cache-Control"])
