"""Rendering of discoveries and jobs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fbs_worker.catalogue.model import Change, ChangeReport, DiscoveryType, Section, SectionStatus, Skipped
from fbs_worker.cli.output import Block, Table, plain_lines
from fbs_worker.cli.render.discoveries import discovery_blocks
from fbs_worker.cli.render.formats import MAX_ROWS
from fbs_worker.cli.render.jobs import job_blocks, job_lines

SOURCE = {"url": "http://odoo.example:8069", "database": "shop", "series": "19.0"}


def saved(**report: Any) -> dict[str, Any]:
    return {
        "report": ChangeReport(domain="rental", **report).to_dict(),
        "source": SOURCE,
        "calls": 12,
        "seconds": 1.26,
        "database": {},
    }


def text(blocks: list[Block]) -> str:
    return "\n".join(block if isinstance(block, str) else "\n".join(plain_lines(block)) for block in blocks)


def change(number: int, *, kind: DiscoveryType = DiscoveryType.MODEL, breaking: bool = False) -> Change:
    return Change(discovery_type=kind, name=f"model.{number:03}", version="1.0", breaking=breaking)


def test_a_first_discovery_has_counts_and_additions() -> None:
    added = [change(1), change(2), change(3, kind=DiscoveryType.WORKFLOW)]
    output = text(discovery_blocks(saved(added=added, counts={"model": 2, "workflow": 1}), domain="rental"))
    assert output.splitlines()[:5] == [
        "Domain rental of http://odoo.example:8069 (Odoo 19.0, database shop): 12 calls, 1.3 s.",
        "Found:",
        "  type       active  added  changed  removed",
        "  models     2       2      -        -",
        "  workflows  1       1      -        -",
    ]
    assert "Added (3):" in output
    assert "Nothing changed" not in output


@pytest.mark.parametrize(
    ("read", "how"), [(True, "."), (False, " (its fingerprint is the same, so nothing was read).")]
)
def test_an_unchanged_discovery_says_so(read: bool, how: str) -> None:
    output = text(discovery_blocks(saved(counts={"model": 7}, unchanged=7, read=read), domain="rental"))
    assert output.endswith(f"Nothing changed since the last discovery{how}")


def test_a_change_shows_versions_fields_and_whether_it_breaks() -> None:
    changed = [
        Change(
            discovery_type=DiscoveryType.MODEL, name="calm", version="1.1", previous_version="1.0", fields=["fields.a"]
        ),
        Change(
            discovery_type=DiscoveryType.MODEL,
            name="rude",
            version="2.0",
            previous_version="1.0",
            fields=["fields.a.type", "fields.b", "fields.c", "fields.d", "fields.e"],
            breaking=True,
        ),
    ]
    output = text(discovery_blocks(saved(changed=changed, counts={"model": 2}), domain="rental")).splitlines()
    at = output.index("Changed (2):")
    assert output[at + 2] == "  model  rude  1.0 → 2.0  BREAKING: fields.a.type, fields.b, fields.c and 2 more"
    assert output[at + 3] == "  model  calm  1.0 → 1.1  fields.a"


def test_a_long_table_shows_some_of_each_type_and_the_number_omitted() -> None:
    added = [change(number) for number in range(30)]
    added += [change(number, kind=DiscoveryType.MODULE) for number in range(2)]
    removed = [change(number, breaking=number == 29) for number in range(30)]
    output = discovery_blocks(saved(added=added, removed=removed, counts={"model": 30}), domain="rental")
    tables = {block.title: block for block in output if isinstance(block, Table)}
    shown = tables["Added (32)"].rows
    assert len(shown) == MAX_ROWS
    assert [row[0] for row in shown[:3]] == ["module", "module", "model"]
    assert tables["Added (32)"].footnote == "… and 12 more (all with --output-format json)"
    assert tables["Removed (30)"].rows[0][1] == "model.029"


def test_unread_sections_and_unsaved_discoveries_are_shown() -> None:
    sections = [
        Section(name="modules", status=SectionStatus.COMPLETE, rows=3),
        Section(name="views", status=SectionStatus.DENIED, needs="Administration / Settings"),
        Section(name="fields", status=SectionStatus.PARTIAL, detail="fields_get only"),
    ]
    skipped = [Skipped(discovery_type=DiscoveryType.MODEL, name="x" * 101, reason="longer than 100 characters")]
    output = text(discovery_blocks(saved(sections=sections, skipped=skipped), domain="rental"))
    assert "views    denied   Administration / Settings" in output
    assert "fields   partial                             fields_get only" in output
    assert "modules" not in output
    assert "Found, but not saved (1):" in output
    assert f"model  {'x' * 101}  longer than 100 characters" in output


def test_without_a_database_the_names_are_listed() -> None:
    result = {
        "found": {
            "module": [{"name": "sale", "title": "Sales", "version": "19.0.1.2"}],
            "model": [{"name": f"sale.{number}", "title": f"Sale {number}"} for number in range(25)],
            "workflow": [],
        },
        "counts": {"module": 1, "model": 25, "workflow": 0},
        "sections": [{"name": "views", "status": "denied", "rows": 0, "needs": "Settings"}],
        "source": SOURCE,
        "calls": 3,
        "seconds": 0.5,
    }
    output = text(discovery_blocks(result, domain="rental"))
    assert "Modules (1):\n  name  title  version\n  sale  Sales  19.0.1.2\n" in output
    assert "Models (25):\n  name     title\n" in output
    assert "… and 5 more" in output
    assert "Workflows (0): none." in output
    assert "Nothing was saved" in output
    assert "views    denied  Settings" in output


def test_an_odoo_with_nothing_for_the_domain() -> None:
    assert "Odoo has nothing for the domain rental." in text(discovery_blocks(saved(), domain="rental"))


RECORD: dict[str, Any] = {
    "id": "0b9f3c5e-8a53-4c7d-9f0e-6a3b8f3a2c11",
    "action": "discover",
    "variant": "full",
    "solution": "",
    "domain": "rental",
    "state": "running",
    "step": "fields",
    "current": 5,
    "total": 10,
    "percent": 50,
    "message": "",
    "created_at": "2026-01-02T03:04:05.678+00:00",
    "started_at": None,
    "finished_at": None,
    "heartbeat_at": None,
    "attempts": 1,
    "result": None,
    "error": None,
}


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "running: fields 50%"),
        ({"percent": None}, "running: fields"),
        ({"state": "succeeded", "percent": 100, "finished_at": "2026-01-02T03:04:06+00:00"}, "succeeded"),
        ({"state": "queued", "step": "", "percent": None}, "queued"),
    ],
)
def test_the_list_of_jobs(facts: dict[str, Any], state: str) -> None:
    (table,) = job_blocks([RECORD | facts])
    assert isinstance(table, Table)
    assert table.rows[0][:4] == ("0b9f3c5e", "discover full", "rental", state)
    assert re.fullmatch(r"2026-01-0[123]T\d\d:\d\d:05[+-]\d\d:\d\d", table.rows[0][4])


def test_no_jobs() -> None:
    assert job_blocks([]) == ["There are no jobs."]


def test_a_failed_job_shows_message_and_hint() -> None:
    lines = job_lines(RECORD | {"state": "failed", "error": {"message": "No Odoo.", "hint": "Start it."}})
    assert "error     No Odoo." in lines
    assert "hint      Start it." in lines
    assert not [line for line in lines if str(line).startswith("finished")]
