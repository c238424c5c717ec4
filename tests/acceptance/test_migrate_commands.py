"""`fbs migrate` and `fbs diagram` as people type them, beside one `fbs up`."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.acceptance.conftest import CommandLine
from tests.acceptance.test_solutions import as_json, sql

FIELD = '{"type": "text", "stored": true}'


@pytest.fixture(scope="module")
def shop(stack: CommandLine) -> CommandLine:
    """The command line beside a solution `shop` that mirrors hr.job, with a row."""
    own = ("--table-prefix", "shop_fbs_", "--business-prefix", "shop_", "--mirror", "hr.job")
    stack("setup", "--solution-name", "shop", "--domain", "hr", "--database-name", "fbs", *own)
    return stack


def comes(stack: CommandLine, name: str) -> None:
    """A field comes in Odoo, as far as the catalogue knows."""
    change = "jsonb_set(schema_definition, %s, %s)"
    sql(
        stack,
        f"UPDATE shop_fbs_discoveries SET schema_definition = {change} WHERE name = 'hr.job' AND is_active"
        " AND discovery_type = 'model'",
        ["fields", name],
        FIELD,
    )


def goes(stack: CommandLine, name: str) -> None:
    """A field goes."""
    sql(
        stack,
        "UPDATE shop_fbs_discoveries SET schema_definition = schema_definition #- %s WHERE name = 'hr.job' AND is_active"
        " AND discovery_type = 'model'",
        ["fields", name],
    )


def columns(stack: CommandLine) -> set[str]:
    found = sql(stack, "SELECT attname FROM pg_attribute WHERE attrelid = 'shop_hr_job'::regclass AND NOT attisdropped")
    return {name for (name,) in found}


def plan(stack: CommandLine, *more: str) -> Any:
    return as_json(stack, "migrate", "shop", "--plan", *more)


def test_planned_then_applied_then_undone(shop: CommandLine) -> None:
    comes(shop, "x_first")
    page = shop("migrate", "--solution-name", "shop", "--plan").stdout
    assert 'ALTER TABLE "shop_hr_job" ADD COLUMN "x_first" text' in page
    assert "hr.job.x_first of Odoo" in page
    (fingerprint,) = re.findall("fbs migrate --solution-name shop --apply ([0-9a-f]{16})\n", page)
    assert "x_first" not in columns(shop)
    status = shop("status", "shop").stdout
    assert "the column x_first (text) is missing" in status
    assert "fbs migrate --solution-name shop" in status

    refused = shop("migrate", "shop", code=4).stderr
    assert "needs a confirmation" in refused
    assert "--apply FINGERPRINT" in refused
    applied = as_json(shop, "migrate", "shop", "--apply", fingerprint)
    assert applied["applied"]["executed"] == 1
    assert "x_first" in columns(shop)

    undo = plan(shop, "--undo")
    assert undo["undoes"] == applied["applied"]["run"]
    output = shop("migrate", "shop", "--undo", "--apply", undo["fingerprint"], "--inline").stdout
    assert "is undone" in output
    assert "x_first" not in columns(shop)
    goes(shop, "x_first")


def test_hazards_are_allowed_by_name_and_renames_answered(shop: CommandLine) -> None:
    sql(shop, "INSERT INTO shop_hr_job (odoo_id, name, alias_id, description) VALUES (1, 'Cook', 1, 'kept')")
    goes(shop, "description")
    comes(shop, "x_descriptions")
    planned = plan(shop)
    assert planned["needs"] == ["DELETES_DATA", "POSSIBLE_RENAME"]
    rename = ("--rename", "shop_hr_job.description=x_descriptions")
    refused = shop("migrate", "shop", "--apply", planned["fingerprint"], code=4)
    assert " ".join(rename) in refused.stderr
    shown = shop.at_terminal("migrate", "shop", code=4)
    assert "Nothing was changed." in shown
    assert "[y/N]" not in shown
    shop("migrate", "shop", *rename, "--apply", plan(shop, *rename)["fingerprint"])
    assert sql(shop, "SELECT x_descriptions FROM shop_hr_job") == [("kept",)]


def test_a_question_at_a_terminal(shop: CommandLine) -> None:
    comes(shop, "x_asked")
    shown = shop.at_terminal("migrate", "shop", answer="n", code=4)
    assert "x_asked" in shown
    assert "Nothing was changed." in shown
    assert "x_asked" not in columns(shop)
    assert "match their definition now" in shop.at_terminal("migrate", "shop", answer="y")
    assert "x_asked" in columns(shop)
    assert "There was nothing to change" in shop.at_terminal("migrate", "shop")


def test_switched_off_and_not_waited_for(shop: CommandLine) -> None:
    comes(shop, "x_off")
    off = ("migrate", "shop", "--inline")
    assert "switched off" in shop(*off, "--plan", FBS_ENABLE_MIGRATIONS="false").stdout
    refused = shop(*off, "--apply", "0" * 16, code=4, FBS_ENABLE_MIGRATIONS="false")
    assert "Migrations are switched off" in refused.stderr
    job = as_json(shop, "migrate", "shop", "--apply", plan(shop)["fingerprint"], "--no-wait")["job"]
    assert "match their definition now" in shop("jobs", "watch", job).stdout
    assert "x_off" in columns(shop)
    assert "Unknown hazard" in shop("migrate", "shop", "--plan", "--allow", "NOTHING", code=2).stderr


def test_a_diagram(shop: CommandLine) -> None:
    comes(shop, "x_drawn")
    drawn = ElementTree.fromstring(shop("diagram", "--solution-name", "shop").stdout)
    words = "".join(drawn.itertext())
    assert "shop_hr_job" in words
    assert "+ x_drawn" in words
    text = shop("diagram", "shop", "--format", "mermaid").stdout
    assert '"shop_department" ' in text
    assert 'text x_drawn "new: the column x_drawn (text) is missing"' in text
    goes(shop, "x_drawn")
