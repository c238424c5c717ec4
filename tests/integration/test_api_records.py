"""Records over HTTP, in Python and on the command line: the state by table, rows by pages, syncs enqueued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fbs_worker.cli.app import run as run_command
from fbs_worker.client.client import Client
from fbs_worker.client.service import IntegrationService
from fbs_worker.core.postgres import connect
from fbs_worker.jobs.store import JobReader
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.ops.records import RecordTable, read_rows
from fbs_worker.solutions.databases import Databases
from fbs_worker.web.app import create_app
from fbs_worker.web.mcp.tools import ListRecords, Source, read_records
from tests.support.asgi import Asking
from tests.support.copied import DEPARTMENTS, MODELS, copied_site
from tests.support.site import Site
from tests.support.solutions import rows, run

SHOP = "/api/v1/solutions/shop/"
RECORDS = f"{SHOP}records/"


@pytest.fixture(scope="module")
def site(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with copied_site(postgres, redis_server, tmp_path_factory.mktemp("records")) as made:
        yield made


@pytest.fixture(scope="module")
def asking(site: Site) -> Iterator[Asking]:
    app = create_app(site.settings)
    yield Asking(app=app)
    for part in (app.state.databases, app.state.client, app.state.idempotency):
        part.close()


def rows_of(asking: Asking, path: str) -> list[dict[str, Any]]:
    answer = asking.get(RECORDS + path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rows"]
    return found


def test_the_state_by_table(asking: Asking, site: Site) -> None:
    answer = asking.get(RECORDS).json()
    assert answer["solution"] == "shop"
    found = {each["model"]: each for each in answer["tables"]}
    assert {model: each["status"] for model, each in found.items()} == {
        "hr.department": "needs review",
        "hr.employee": "pending",
        "hr.job": "ok",
        "res.users": "pending",
    }
    assert 299 < found["hr.job"]["lag_seconds"] < 600
    assert found["hr.employee"]["lag_seconds"] is None
    with Client(settings=site.settings) as client:
        assert [each["model"] for each in client.records("shop")] == MODELS
    assert [each["model"] for each in IntegrationService(site.settings).records("shop")] == MODELS
    assert asking.get("/api/v1/solutions/nothing/records/").status_code == 404


def test_mcp_clients_see_it(site: Site) -> None:
    with closing(JobReader(site.settings.fbs_redis_url)) as jobs:
        source = Source(databases=Databases(site.settings), jobs=jobs)
        first = read_records(source, ListRecords(solution="shop", limit=3))
        second = read_records(source, ListRecords(solution="shop", cursor=first["next"]))
    assert [row["model"] for row in (*first["tables"], *second["tables"])] == MODELS
    assert second["next"] is None


def test_status_and_list_have_them(asking: Asking) -> None:
    status = asking.get(f"{SHOP}status/").json()
    assert [each["model"] for each in status["records"]] == MODELS
    (one,) = asking.get("/api/v1/solutions/").json()["solutions"]
    assert one["records"].pop("lag_seconds") > 299
    assert one["records"] == {"tables": 2, "rows": DEPARTMENTS + 2, "needs_review": 1, "failed": 0}


def test_the_command_line_has_them(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings_environment(site.settings).items():
        monkeypatch.setenv(name, value)
    assert run_command(["status", "shop"]) == 0
    shown = capsys.readouterr().out
    assert "hr_hr_department  needs review  130" in shown
    assert "hr_hr_department needs review: 40 of 130 are gone. fbs sync shop --allow-delete 40" in shown
    assert run_command(["list"]) == 0
    assert "132 rows, 5 min, 1 needs review" in capsys.readouterr().out
    assert run_command(["sync", "shop", "--no-wait", "--model", "hr.job", "--allow-delete", "7"]) == 0
    with Client(settings=site.settings) as client:
        job = client.sync("shop", models=["hr.job"], allow_delete=7)
    assert capsys.readouterr().out == f"{job.id}\n"
    assert run_command(["sync", "shop", "--allow-delete", "all"]) == 2


def test_rows_come_by_pages(asking: Asking) -> None:
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = asking.get(f"{RECORDS}hr_hr_department/?limit=50&cursor={cursor}").json()
        seen += [row["odoo_id"] for row in page["rows"]]
        cursor = page["next"]
    assert seen == list(range(1, DEPARTMENTS + 1))
    (row,) = rows_of(asking, "hr_hr_job/?odoo_id=8")
    assert (row["name"], row["department_id"], row["sequence"]) == ("Clerk 100%", 500, None)
    (row,) = rows_of(asking, "hr_hr_department/?odoo_id=2")
    assert (row["active"], row["create_date"]) == (True, "2026-01-02T03:04:05")


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ("name=Department 7", [7]),
        ("active=false&parent_id=3", [7]),
        ("parent_id=", [1]),
        ("name=nobody", []),
        ("create_date=2026-01-02 03:04:05&odoo_id=5", [5]),
    ],
)
def test_rows_are_filtered(asking: Asking, filters: str, ids: list[int]) -> None:
    assert [row["odoo_id"] for row in rows_of(asking, f"hr_hr_department/?{filters}")] == ids


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("hr_hr_department/?surprise=1", 422, "usage"),
        ("hr_hr_department/?parent_id=x", 422, "usage"),
        ("hr_hr_department/?parent_id=99999999999999", 422, "usage"),
        ("hr_hr_department/?active=perhaps", 422, "usage"),
        ("hr_hr_department/?name=%00", 422, "usage"),
        (f"hr_hr_department/?name={'x' * 1001}", 422, "usage"),
        (f"hr_hr_department/?{'name=a&' * 21}", 422, "usage"),
        ("hr_hr_department/?limit=1001", 422, "usage"),
        ("hr_hr_department/?cursor=xyz", 422, "usage"),
        ("hr_hr_department/?cursor=WzEsMl0", 422, "usage"),
        ("fbs_solution_schemas/", 404, "table_not_found"),
        ("hr_employee/", 404, "table_not_found"),
        ("pg_authid/", 404, "table_not_found"),
        ('x"; DROP TABLE y/', 404, "table_not_found"),
    ],
)
def test_nothing_else_is_read(asking: Asking, path: str, status: int, code: str) -> None:
    answer = asking.get(RECORDS + path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_link_tables_and_their_keys(asking: Asking, site: Site) -> None:
    links = [
        name
        for (name,) in rows(
            site.target, "SELECT relname FROM pg_class WHERE relname LIKE 'hr\\_%\\_\\_%' AND relkind = 'r'"
        )
    ]
    assert links
    run(site.target, f"INSERT INTO {links[0]} SELECT n, m FROM generate_series(1, 3) n, generate_series(1, 2) m")
    try:
        first = asking.get(f"{RECORDS}{links[0]}/?limit=4").json()
        second = asking.get(f"{RECORDS}{links[0]}/?limit=4&cursor={first['next']}").json()
        assert [(row["from_id"], row["to_id"]) for row in (*first["rows"], *second["rows"])] == [
            (n, m) for n in (1, 2, 3) for m in (1, 2)
        ]
        assert rows_of(asking, f"{links[0]}/?from_id=3") == [{"from_id": 3, "to_id": 1}, {"from_id": 3, "to_id": 2}]
    finally:
        run(site.target, f"TRUNCATE {links[0]}")


def test_rejected_and_deleted_records(asking: Asking) -> None:
    (rejected,) = rows_of(asking, "hr_hr_job/rejected/")
    assert (rejected["odoo_id"], rejected["reason"]) == (9, "It is no whole number.")
    (deleted,) = rows_of(asking, "hr_hr_job/deleted/?odoo_id=5")
    assert deleted["record"] == {"name": "gone"}
    assert rows_of(asking, "hr_hr_department/deleted/") == []
    assert asking.get(f"{RECORDS}fbs_snapshots/rejected/").status_code == 404


def test_binary_values_are_never_sent(asking: Asking, site: Site) -> None:
    run(site.target, "ALTER TABLE hr_hr_job ADD COLUMN file BYTEA DEFAULT 'secret'")
    try:
        assert {"name", "file"} & set(rows_of(asking, "hr_hr_job/")[0]) == {"name"}
        assert asking.get(f"{RECORDS}hr_hr_job/?file=secret").status_code == 422
    finally:
        run(site.target, "ALTER TABLE hr_hr_job DROP COLUMN file")


def test_a_table_that_is_not_there_has_no_rows(site: Site) -> None:
    with closing(connect(site.target)) as connection:
        table = RecordTable(name="nothing", model="x", key=("odoo_id",), columns={})
        assert read_rows(connection, table).rows == []


def test_a_sync_is_enqueued(asking: Asking, site: Site) -> None:
    body = {"model": ["hr.job"], "full": True, "verify": True, "allow_delete": 3}
    answer = asking.post(RECORDS, json=body)
    assert answer.status_code == 202
    job = answer.json()["job"]
    assert (job["action"], job["variant"], job["solution"], job["queue"]) == (
        "sync",
        "full verify",
        "shop",
        "fbs.records",
    )
    with Client(settings=site.settings) as client:
        again = client.sync("shop", models=["hr.job"], full=True, verify=True, allow_delete=3)
        assert again.id == job["id"]
        assert client.sync("shop").id != job["id"]
    assert asking.post(RECORDS, json={"model": ["Not A Model"]}).status_code == 422
    for number in (-1, 2**31, 2**80, 1.5, "3"):
        assert asking.post(RECORDS, json={"allow_delete": number}).status_code == 422
    assert asking.post("/api/v1/solutions/nothing/records/", json={}).status_code == 404
