"""The pages of records, without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fbs_worker.client.client import Client
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.api_server import TOKENS
from tests.support.copied import SCRIPT, copied_site
from tests.support.site import Site, Visitor, links, visitor, words, writer

BASE = "/solutions/shop/"
RECORDS = f"{BASE}records/"
DEPARTMENTS = f"{RECORDS}hr_hr_department/"
JOBS = f"{RECORDS}hr_hr_job/"


@pytest.fixture(scope="module")
def site(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with copied_site(postgres, redis_server, tmp_path_factory.mktemp("site"), fbs_api_tokens=TOKENS) as made:
        yield made


@pytest.fixture(scope="module")
def look(site: Site) -> Visitor:
    """A visitor with read access."""
    return visitor(site.settings)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The syncs that are enqueued."""
    asked: list[dict[str, Any]] = []
    sync = Client.sync

    def remember(self: Client, name: str, **fields: Any) -> Any:
        asked.append({key: value for key, value in fields.items() if value})
        return sync(self, name, **fields)

    monkeypatch.setattr(Client, "sync", remember)
    return asked


@pytest.mark.parametrize("path", [BASE, RECORDS])
def test_the_state_by_table(look: Visitor, path: str) -> None:
    page = look.get(path)
    text = words(page)
    assert "4 mirrored models" in text
    assert "hr_hr_department hr.department needs review 130 130 inserted" in text
    assert "hr_hr_department needs review: 40 of 130 are gone. fbs sync shop --allow-delete 40" in text
    assert "hr_hr_employee hr.employee pending 0 never copied" in text
    assert "1 rejected" in text
    assert {DEPARTMENTS, JOBS, f"{JOBS}rejected/"} <= set(links(page, RECORDS))
    assert not [form for form in page.forms if form.action.endswith("/sync")], "a reader starts none"


def test_syncs_are_started(site: Site, asked: list[dict[str, Any]]) -> None:
    user = writer(site.settings)
    page = user.get(RECORDS)
    (all_of_it, allow) = [form for form in page.forms if form.action == f"{BASE}sync"]
    token = {"form_token": dict(all_of_it.fields)["form_token"]}
    for data in ({}, {"then": "full"}, {"then": "verify"}):
        answer = user.ask("POST", all_of_it.action, data={**token, **data})
        assert (answer.status_code, answer.headers["location"][:6]) == (303, "/jobs/")
    assert user.ask("POST", allow.action, data={**dict(allow.fields), "allow_delete": "40"}).status_code == 303
    assert asked == [{}, {"full": True}, {"verify": True}, {"models": ["hr.department"], "allow_delete": 40}]
    assert user.ask("POST", allow.action, data={**dict(allow.fields), "allow_delete": "all"}).status_code == 422
    assert user.ask("POST", allow.action, data={"allow_delete": "40"}).status_code == 403


def test_the_job_of_a_sync_shows_its_tables(site: Site, look: Visitor) -> None:
    with closing(JobStore(site.settings.fbs_redis_url, ttl=600)) as jobs:
        jobs.create("sync-1", action="sync", solution="shop")
        claim = jobs.start("sync-1", action="sync")
        with Client(settings=site.settings) as client:
            tables = list(client.records("shop"))
        totals = {"read": 132, "written": 132, "deleted": 0, "rejected": 1}
        jobs.mark_succeeded("sync-1", claim.attempt, {"solution": "shop", "tables": tables, **totals})
    page = look.get("/jobs/sync-1/")
    assert "Records 132 read, 132 written, 0 deleted, 1 rejected" in words(page)
    assert DEPARTMENTS in links(page, RECORDS)


def test_rows_by_pages(look: Visitor) -> None:
    seen, path = 0, DEPARTMENTS
    for count in (50, 50, 30):
        page = look.get(path)
        rows = page.xpath("//tbody/tr")
        assert len(rows) == count
        seen += count
        following = [link for link in links(page, "?") if "cursor=" in link]
        path = DEPARTMENTS + following[0] if following else ""
    assert (seen, path) == (130, "")


def test_values_lead_to_what_they_refer_to(look: Visitor) -> None:
    page = look.get(JOBS)
    assert SCRIPT in words(page)
    found = links(page, RECORDS)
    assert {f"{JOBS}?odoo_id=7", f"{DEPARTMENTS}?odoo_id=3", f"{DEPARTMENTS}?odoo_id=500"} <= set(found)
    assert "Department 3 3" in words(page), "by its name"
    one = look.get(f"{DEPARTMENTS}?odoo_id=3")
    text = words(one)
    assert "Record 3 " in text
    assert "parent_id Parent Department Department 1 1" in text
    assert "create_date Created on 2026-01-02 03:04:05" in text
    wide = look.get(f"{JOBS}?all=1")
    assert len(wide.xpath("//thead//th")) > len(page.xpath("//thead//th"))


def test_rows_are_filtered(look: Visitor) -> None:
    page = look.get(f"{DEPARTMENTS}?column=name&q=department+13")
    assert [row.xpath("th")[0].text_content() for row in page.xpath("//tbody/tr")] == ["13", "130"]
    assert "with “department 13”" in words(page)
    assert len(look.get(f"{DEPARTMENTS}?parent_id=2&column=name&q=4").xpath("//tbody/tr")) == 1
    assert "Clerk 100%" in words(look.get(f"{JOBS}?column=name&q=%25"))
    assert "No matching rows" in words(look.get(f"{JOBS}?column=name&q=_"))
    assert "No matching rows" in words(look.get(f"{DEPARTMENTS}?odoo_id=999"))
    assert "not of its column" in words(look.get(f"{DEPARTMENTS}?odoo_id=x", status=422))


def test_rejected_deleted_and_linked_records(look: Visitor) -> None:
    page = look.get(f"{JOBS}rejected/")
    assert "It is no whole number." in words(page)
    assert f"{JOBS}?odoo_id=9" in links(page)
    assert '{"name": "gone"}' in words(look.get(f"{JOBS}deleted/"))
    assert "No deleted records" in words(look.get(f"{DEPARTMENTS}deleted/"))
    (link,) = [link for link in links(look.get(JOBS), RECORDS) if "interviewer" in link][:1]
    assert "link table" in words(look.get(link))
    assert link + "?from_id=7" in links(look.get(f"{JOBS}?odoo_id=7"))


@pytest.mark.parametrize("table", ["fbs_solution_schemas", "hr_employee", "pg_authid"])
def test_other_tables_are_not_shown(look: Visitor, table: str) -> None:
    look.get(f"{RECORDS}{table}/", status=404)


def test_the_list_of_solutions_has_them(look: Visitor) -> None:
    assert "132 rows copied, 1 to review" in words(look.get("/"))
