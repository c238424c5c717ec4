"""Rendering of solutions."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.catalogue.model import ChangeReport
from fbs_worker.cli.output import Block, plain_lines
from fbs_worker.cli.render.formats import local_time, size
from fbs_worker.cli.render.results import result_blocks
from fbs_worker.cli.render.solutions import drop_blocks, list_blocks, rotation_blocks, setup_blocks, status_blocks

PLACE = {"name": "shop", "user": "me", "password": "***", "host": "db.example", "port": 5432}
SETUP: dict[str, Any] = {
    "solution": "demo",
    "created": ["property", "lease"],
    "existing": ["fbs_discoveries"],
    "changed": True,
    "pending": [],
    "database": PLACE,
    "refresh": None,
}
UNTOUCHED = {"added": 0, "changed": 0, "removed": 0, "unchanged": 3, "skipped": []}
REFRESH: dict[str, Any] = {
    "solution": "demo",
    "report": ChangeReport(domain="rental", counts={"model": 3}, unchanged=3).to_dict(),
    "workflows": UNTOUCHED,
    "dashboards": UNTOUCHED,
    "source": {"url": "http://odoo.example", "database": "shop", "series": "19.0"},
    "calls": 4,
    "seconds": 0.4,
}
STATUS: dict[str, Any] = {
    "solution": "demo",
    "overall_status": "active",
    "reason": "",
    "hint": "",
    "config": {
        "domain": "rental",
        "table_prefix": "fbs_",
        "business_prefix": "rental_",
        "mirrored": {"sale.order": "rental_sale_order"},
        "odoo": "default",
    },
    "database": {"place": "me@db.example:5432/shop", "size": 10 * 1024 * 1024, "server_version": "18.1"},
    "tables": [{"table": "rental_lease", "kind": "business", "rows": 1200, "bytes": 81920}],
    "discoveries": {"model": 157, "module": 32},
    "sections_denied": [{"name": "views", "status": "denied", "needs": "Settings"}],
    "last_refresh": {
        "at": "2026-01-02T03:04:05+00:00",
        "report": {"added": 3, "removed": 0, "changed": 1, "unchanged": 9, "skipped": 2},
    },
    "last_checked": "2026-01-03T03:04:05+00:00",
    "last_change": None,
    "pending": ["rental_lease.notes: the column is missing"],
    "jobs": [],
    "notes": ["Active jobs are not known: Redis does not answer."],
}


def text(blocks: list[Block]) -> str:
    return "\n".join(block if isinstance(block, str) else "\n".join(plain_lines(block)) for block in blocks)


def test_a_setup_shows_address_and_created_tables() -> None:
    assert text(setup_blocks(SETUP)).splitlines() == [
        "The solution demo is set up in me@db.example:5432/shop.",
        "Created tables (2):",
        "  table",
        "  property",
        "  lease",
        "Existing tables: 1.",
        "Odoo was not read. To read it: fbs refresh demo",
    ]


def test_a_second_setup_shows_differences() -> None:
    pending = ["lease.notes: the column is missing"]
    output = text(setup_blocks(SETUP | {"created": [], "changed": False, "pending": pending, "refresh": REFRESH}))
    assert output.startswith(
        "The solution demo is already set up in me@db.example:5432/shop: nothing was changed there."
    )
    assert "Differs from the definition (1):\n  difference\n  lease.notes: the column is missing" in output
    assert output.endswith("Nothing changed since the last refresh.")


def test_a_refresh_shows_changed_derivations() -> None:
    assert "Derived" not in text(result_blocks("refresh", REFRESH, name="demo"))
    skipped = [{"name": "rental." + "x" * 100, "reason": "too long"}]
    changed = REFRESH | {"workflows": UNTOUCHED | {"added": 2}, "dashboards": UNTOUCHED | {"skipped": skipped}}
    output = text(result_blocks("refresh", changed, name="demo"))
    assert "  workflows   2      -        -" in output
    assert f"  rental.{'x' * 100}  too long" in output


@pytest.mark.parametrize(
    ("dry_run", "title", "kept"), [(True, "Would be dropped", "Would remain"), (False, "Dropped", "Remaining")]
)
def test_a_drop(dry_run: bool, title: str, kept: str) -> None:
    result = {
        "solution": "demo",
        "dropped": ["lease", "fbs_snapshots"],
        "kept": ["fbs_discoveries"],
        "rows": {"lease": 7},
    }
    output = text(drop_blocks(result | {"dry_run": dry_run})).splitlines()
    assert output[:5] == [
        f"{title} (2):",
        "  table          rows",
        "  lease          7",
        "  fbs_snapshots  -",
        f"{kept}: fbs_discoveries.",
    ]
    assert output[5:] == ([] if dry_run else ["The solution demo is dropped."])


def test_a_drop_of_an_incomplete_solution() -> None:
    nothing: dict[str, Any] = {"solution": "demo", "dropped": [], "kept": [], "rows": {}}
    assert "only its registry entry would be removed" in text(drop_blocks(nothing | {"dry_run": True}))


def test_a_status() -> None:
    output = text(status_blocks(STATUS))
    for line in (
        "The solution demo is active.",
        "database      me@db.example:5432/shop (PostgreSQL 18.1, 10.0 MB)",
        "prefixes      fbs_ (system), rental_ (business)",
        "mirrored      sale.order",
        "jobs          no active jobs",
        "  rental_lease  business  1,200  80 kB",
        "  models   157",
        "  views    denied  Settings",
        "  rental_lease.notes: the column is missing",
        "Active jobs are not known: Redis does not answer.",
    ):
        assert line in output.splitlines()
    assert ": 3 added, 1 changed, 2 skipped" in output
    assert f"last checked  {local_time(STATUS['last_checked'])}" in output
    assert "last change" not in output


def test_an_unreachable_status_has_reason_and_hint() -> None:
    away: dict[str, Any] = {
        "overall_status": "unreachable",
        "reason": "No connection.",
        "hint": "Start it.",
        "database": {"place": "me@db.example:5432/shop", "size": None, "server_version": None},
        **{name: [] for name in ("tables", "sections_denied", "pending", "notes")},
        "discoveries": {},
        "last_refresh": None,
    }
    output = text(status_blocks(STATUS | away)).splitlines()
    assert output[:2] == ["The solution demo is unreachable: No connection.", "Hint: Start it."]
    assert "database      me@db.example:5432/shop" in output
    assert "last refresh  not known" in output


LISTED: dict[str, Any] = {
    "solution": "demo",
    "domain": "rental",
    "database": PLACE,
    "table_prefix": "fbs_",
    "business_prefix": "",
    "overall_status": "active",
    "reason": "",
    "last_checked": "2026-01-03T03:04:05+00:00",
    "last_change": None,
}
CHECKED = local_time("2026-01-03T03:04:05+00:00")


def test_the_list() -> None:
    damaged = LISTED | {"solution": "bad", "overall_status": "drifted", "reason": "Its row is damaged."}
    damaged |= {"last_checked": None, "domain": None, "database": None, "table_prefix": None, "business_prefix": None}
    local = LISTED | {"solution": "near", "database": PLACE | {"host": "/run/postgresql"}, "business_prefix": "n_"}
    output = text(list_blocks({"solutions": [damaged, LISTED, local], "notes": []})).splitlines()
    assert output == [
        "Solutions:",
        "  solution  domain  status   database         prefixes  last checked               last change",
        "  bad       -       drifted  -                          -                          -",
        f"  demo      rental  active   db.example/shop  fbs_      {CHECKED}  -",
        f"  near      rental  active   shop             fbs_, n_  {CHECKED}  -",
        "bad is drifted: Its row is damaged.",
    ]
    assert "There are no solutions." in text(list_blocks({"solutions": [], "notes": []}))


def test_a_rotation_of_keys() -> None:
    output: dict[str, Any] = {
        "resealed": 2,
        "current": 1,
        "references": 0,
        "unopened": [],
        "unreachable": [],
        "complete": True,
    }
    assert text(rotation_blocks(output)).endswith("here and on all workers.")
    away = {"solution": "demo", "database": "db.example:5432/shop", "reason": "No connection.", "hint": "Start it."}
    shown = text(rotation_blocks(output | {"unreachable": [away], "complete": False}))
    assert "  demo      db.example:5432/shop  No connection." in shown
    assert "Keep the older keys" in shown


@pytest.mark.parametrize(
    ("count", "output"),
    [(None, ""), (0, "0 B"), (1023, "1,023 B"), (8192, "8 kB"), (10_485_760, "10.0 MB"), (2**50, "1,024 TB")],
)
def test_a_size(count: int | None, output: str) -> None:
    assert size(count) == output


def test_pending_changes_and_drift_are_shown() -> None:
    output = text(status_blocks(STATUS | {"pending": ["lease.notes: missing"], "drift": ["lease.city: by hand"]}))
    assert "To apply it: fbs migrate --solution-name" in output
    assert "Changed by hand (1):" in output
