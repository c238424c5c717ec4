"""A solution's life at the command line: set up, looked at, refreshed, taken away; beside one `fbs up`."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.vault import new_key
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.state import find_stack
from tests.acceptance.conftest import CommandLine

PASSWORD = "correct-horse-battery-staple"


def sql(stack: CommandLine, statement: str, *values: Any, database: str = "") -> list[tuple[Any, ...]]:
    """What a statement yields in the stack's PostgreSQL."""
    info = find_stack(stack.home)
    assert info is not None
    place = info.database
    connection = psycopg2.connect(host=place.host, port=place.port, user=place.user, dbname=database or place.name)
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall()) if cursor.description else []


def tables(stack: CommandLine, prefix: str) -> list[str]:
    found = sql(stack, "SELECT tablename FROM pg_tables WHERE starts_with(tablename, %s) ORDER BY 1", prefix)
    return [name for (name,) in found]


def as_json(stack: CommandLine, *arguments: str, code: int = 0, **more: str) -> Any:
    output = stack(*arguments, "--output-format", "json", code=code, **more)
    return json.loads(output.stdout)


def test_the_life_cycle_of_a_solution(stack: CommandLine) -> None:
    setup = ("setup", "--solution-name", "demo", "--domain", "rental", "--database-name", "fbs")
    first = stack(*setup)
    assert first.stdout.startswith("The solution demo is set up in ")
    assert "  property\n" in first.stdout
    assert "Found:" in first.stdout
    again = as_json(stack, *setup)
    assert (again["created"], again["changed"], again["refresh"]["report"]["added"]) == ([], False, [])
    assert "nothing was changed there" in stack("jobs", "show", again["job"]).stdout

    page = stack("status", "demo").stdout
    assert "active" in page.splitlines()[0]
    assert "Tables:" in page
    output = as_json(stack, "status", "--solution-name", "demo")
    assert output["overall_status"] == "active"
    assert "  demo " in stack("list").stdout
    assert "Nothing changed since the last refresh" in stack("refresh", "demo").stdout

    planned = as_json(stack, "drop", "demo", "--dry-run")
    assert planned["dry_run"]
    assert "lease" in planned["dropped"]
    assert "lease" in tables(stack, "")
    sql(stack, "INSERT INTO property (property_name, rent_amount) VALUES ('Mill', 1)")
    refused = stack("drop", "demo", "--yes", code=4)
    error, hint = refused.stderr.splitlines()[-2:]
    assert "property" in error
    assert "--with-data" in hint
    assert "lease" in tables(stack, "")
    assert "The solution demo is dropped." in stack("drop", "demo", "--yes", "--with-data").stdout
    assert not {"property", "lease"} & set(tables(stack, ""))
    assert stack("status", "demo", code=2).stderr.startswith("error: There is no solution 'demo'.")


def test_a_foreign_table_rejects_the_setup(stack: CommandLine) -> None:
    sql(stack, "CREATE TABLE their_tenant (x integer)")
    setup = ("setup", "--solution-name", "theirs", "--domain", "rental", "--database-name", "fbs")
    refused = stack(*setup, "--business-prefix", "their_", code=4)
    assert "their_tenant" in refused.stderr.splitlines()[-2]
    assert tables(stack, "their_") == ["their_tenant"]
    assert "theirs" not in stack("list").stdout


def test_without_a_queue_without_odoo_and_with_prefixes(stack: CommandLine) -> None:
    setup = ("setup", "--domain", "hr", "--database-name", "fbs", "--no-refresh-discoveries", "--inline")
    for company in ("a", "b"):
        own = ("--solution-name", f"company_{company}", "--table-prefix", f"{company}_fbs_")
        output = as_json(stack, *setup, *own, "--business-prefix", f"{company}_", FBS_REDIS_URL="redis://127.0.0.1:1/0")
        assert output["refresh"] is None
        assert {f"{company}_employee", f"{company}_fbs_discoveries"} <= set(output["created"])
    shared = ("--solution-name", "company_c", "--table-prefix", "c_", "--business-prefix", "a_")
    assert "company_a" in stack(*setup, *shared, code=4).stderr
    output = {entry["solution"] for entry in as_json(stack, "list")["solutions"]}
    assert {"company_a", "company_b"} <= output
    assert "company_c" not in output
    stack("drop", "company_a", "--yes", "--inline")
    assert tables(stack, "a_employee") == []
    assert tables(stack, "b_employee") == ["b_employee"]


def test_mirrored_models_and_a_job_that_is_not_waited_for(stack: CommandLine) -> None:
    setup = ("setup", "--solution-name", "shop", "--domain", "ecommerce", "--database-name", "fbs")
    own = (
        "--table-prefix",
        "shop_fbs_",
        "--business-prefix",
        "shop_",
        "--mirror",
        "sale.order",
        "--mirror",
        "res.partner",
    )
    job = as_json(stack, *setup, *own, "--no-wait")["job"]
    assert "shop_sale_order" in stack("jobs", "watch", job).stdout
    assert {"shop_sale_order", "shop_res_partner", "shop_order"} <= set(tables(stack, "shop_"))


def test_a_question_before_a_drop(stack: CommandLine) -> None:
    setup = ("setup", "--solution-name", "asked", "--domain", "generic", "--database-name", "fbs")
    stack(*setup, "--business-prefix", "asked_", "--no-refresh-discoveries")
    assert "needs a confirmation" in stack("drop", "asked", code=4).stderr
    shown = stack.at_terminal("drop", "asked", answer="n", code=4)
    assert "asked_entity" in shown
    assert "Nothing was dropped." in shown
    assert len(tables(stack, "asked_")) == 2
    assert "is dropped" in stack.at_terminal("drop", "asked", answer="y")
    assert tables(stack, "asked_") == []


@pytest.fixture(scope="module")
def guarded(stack: CommandLine) -> tuple[str, ...]:
    """The options of a database whose role has a password."""
    sql(stack, f"CREATE ROLE guard LOGIN PASSWORD '{PASSWORD}'")
    sql(stack, "CREATE DATABASE guarded OWNER guard")
    return ("--database-name", "guarded", "--database-user", "guard", "--database-password", "-")


def test_a_password_is_encrypted_before_it_is_stored(stack: CommandLine, guarded: tuple[str, ...]) -> None:
    setup = ("setup", "--solution-name", "sealed", "--domain", "hr", *guarded)
    output = stack(*setup, piped=f"{PASSWORD}\n")
    status = stack("status", "sealed", "--output-format", "json")
    stored = [
        row
        for database in ("fbs", "guarded")
        for row in sql(stack, "SELECT database_password FROM fbs_solution_schemas", database=database)
        if row[0]
    ]
    assert [password.startswith("sealed:") for (password,) in stored] == [True, True]
    log = (stack.home / "worker.log").read_text()
    assert PASSWORD not in output.stdout + output.stderr + status.stdout + log

    info = find_stack(stack.home)
    assert info is not None
    keys = f"{new_key()},{info.secret_keys}"
    rotated = as_json(stack, "rotate-keys", FBS_SECRET_KEYS=keys)
    assert rotated["unreachable"] == []
    assert stack("status", "sealed", FBS_SECRET_KEYS=keys.partition(",")[0]).returncode == 0
    back = ",".join(reversed(keys.split(",")))
    stack("rotate-keys", FBS_SECRET_KEYS=back)
    stack("refresh", "sealed")


def test_without_a_key_a_plain_password_is_rejected(fbs: CommandLine, redis_url: str, database: DatabaseConfig) -> None:
    setup = ("setup", "--solution-name", "x", "--domain", "hr", "--database-name", "d", "--database-password", PASSWORD)
    output = fbs(*setup, code=2, FBS_REDIS_URL=redis_url, FBS_DATABASE_URL=f"postgresql:///{database.name}")
    assert output.stderr.startswith("error: FBS_SECRET_KEYS is not set: secrets cannot be encrypted or decrypted.")
    assert PASSWORD not in output.stdout + output.stderr
    assert fbs("jobs", "list", FBS_REDIS_URL=redis_url).stdout == "There are no jobs.\n"


def test_status_and_list_report_an_unreachable_database(stack: CommandLine, postgres: EmbeddedPostgres) -> None:
    postgres.create_database("passing")
    place = postgres.config("passing")
    own = ("--database-name", "passing", "--database-host", place.host, "--database-user", place.user)
    setup = ("setup", "--solution-name", "passing", "--domain", "hr", "--no-refresh-discoveries", *own)
    stack(*setup)
    postgres.drop_database("passing")
    output = stack("status", "passing", code=3)
    assert "unreachable" in output.stdout
    assert "no database 'passing'" in output.stdout
    assert "unreachable" in stack("list").stdout
    assert "The solution passing is dropped." in stack("drop", "passing", "--yes").stdout
    assert "passing" not in stack("list").stdout


def test_jobs_are_named_filtered_and_run_again(stack: CommandLine) -> None:
    setup = ("setup", "--solution-name", "again", "--domain", "generic", "--database-name", "fbs")
    stack(*setup, "--table-prefix", "again_fbs_", "--business-prefix", "again_", "--no-refresh-discoveries")
    enqueued = stack("migrate", "again", "--plan", "--no-wait")
    job = enqueued.stdout.strip()
    assert len(job.split()) == 1
    assert enqueued.stderr.strip() == f"Enqueued. Follow it: fbs jobs watch {job[:8]}"
    stack("jobs", "watch", job[:8])
    listed = stack("jobs", "list", "--solution", "again", "--state", "succeeded", "--action", "migrate").stdout
    assert f"  {job[:8]}  migrate plan  again  succeeded  20" in listed
    assert job not in listed
    log = stack("jobs", "logs", job[:8]).stdout.splitlines()
    assert [line.split()[1:3] for line in log][:2] == [["state", "queued"], ["state", "running"]]
    assert log[-1].split()[1:] == ["state", "succeeded"]
    again = as_json(stack, "jobs", "retry", job[:8])
    assert again["job"] != job
    assert as_json(stack, "jobs", "show", again["job"])["variant"] == "plan"
    stack("jobs", "retry", "ffffffff", code=2)
    assert "stale" in stack("migrate", "again", "--apply", "0123456789abcdef", code=4).stderr
    failed = as_json(stack, "jobs", "list", "--solution", "again", "--state", "failed")[0]["id"]
    assert " WARNING  job " in stack("jobs", "logs", failed).stdout


@pytest.mark.parametrize("command", [("refresh",), ("migrate", "--plan"), ("drop", "--dry-run")])
def test_no_job_for_a_solution_that_is_not_set_up(stack: CommandLine, command: tuple[str, ...]) -> None:
    before = as_json(stack, "jobs", "list")
    assert stack(*command, "missing", code=2).stderr.startswith("error: There is no solution 'missing'.")
    assert as_json(stack, "jobs", "list") == before
