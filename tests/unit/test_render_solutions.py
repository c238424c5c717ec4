"""Solutions as tables and sentences."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.catalogue.model import ChangeReport
from fbs_worker.cli.output import Block, plain_lines
from fbs_worker.cli.render_solutions import (
    drop_blocks,
    list_blocks,
    result_blocks,
    rotation_blocks,
    setup_blocks,
    size,
    status_blocks,
)

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
    "pending": ["rental_lease.notes: the column is missing"],
    "jobs": [],
    "notes": ["Which jobs run is not known: Redis does not answer."],
}


def text(blocks: list[Block]) -> str:
    return "\n".join(block if isinstance(block, str) else "\n".join(plain_lines(block)) for block in blocks)


def test_a_set_up_tells_where_and_what_was_made() -> None:
    assert text(setup_blocks(SETUP)).splitlines() == [
        "The solution demo is set up in me@db.example:5432/shop.",
        "Tables made (2):",
        "  table",
        "  property",
        "  lease",
        "Tables that were there: 1.",
        "Odoo was not read: fbs refresh demo",
    ]


def test_a_second_set_up_tells_that_nothing_changed_and_what_differs() -> None:
    pending = ["lease.notes: the column is missing"]
    told = text(setup_blocks(SETUP | {"created": [], "changed": False, "pending": pending, "refresh": REFRESH}))
    assert told.startswith("The solution demo is set up in me@db.example:5432/shop already: nothing was changed there.")
    assert "Differs from the definition (1):\n  what\n  lease.notes: the column is missing" in told
    assert told.endswith("Nothing changed since the last refresh.")


def test_a_refresh_tells_what_was_derived_when_that_changed() -> None:
    assert "Derived" not in text(result_blocks("refresh", REFRESH, name="demo"))
    skipped = [{"name": "rental." + "x" * 100, "reason": "too long"}]
    changed = REFRESH | {"workflows": UNTOUCHED | {"added": 2}, "dashboards": UNTOUCHED | {"skipped": skipped}}
    told = text(result_blocks("refresh", changed, name="demo"))
    assert "  workflows   2      -        -" in told
    assert f"  rental.{'x' * 100}  too long" in told


@pytest.mark.parametrize(
    ("dry_run", "title", "kept"), [(True, "Would be dropped", "Would stay"), (False, "Dropped", "Stays")]
)
def test_a_drop(dry_run: bool, title: str, kept: str) -> None:
    result = {
        "solution": "demo",
        "dropped": ["lease", "fbs_snapshots"],
        "kept": ["fbs_discoveries"],
        "rows": {"lease": 7},
    }
    told = text(drop_blocks(result | {"dry_run": dry_run})).splitlines()
    assert told[:5] == [
        f"{title} (2):",
        "  table          rows",
        "  lease          7",
        "  fbs_snapshots  -",
        f"{kept}: fbs_discoveries.",
    ]
    assert told[5:] == ([] if dry_run else ["The solution demo is gone."])


def test_a_drop_of_what_was_never_completed() -> None:
    nothing: dict[str, Any] = {"solution": "demo", "dropped": [], "kept": [], "rows": {}}
    assert "its entry would go" in text(drop_blocks(nothing | {"dry_run": True}))


def test_the_page_of_a_status() -> None:
    told = text(status_blocks(STATUS))
    for line in (
        "The solution demo is active.",
        "database      me@db.example:5432/shop (PostgreSQL 18.1, 10.0 MB)",
        "prefixes      fbs_ (system), rental_ (business)",
        "mirrored      sale.order",
        "jobs          none waits or runs",
        "  rental_lease  business  1,200  80 kB",
        "  models   157",
        "  views    denied  Settings",
        "  rental_lease.notes: the column is missing",
        "Which jobs run is not known: Redis does not answer.",
    ):
        assert line in told.splitlines()
    assert ": 3 added, 1 changed, 2 did not fit" in told


def test_a_status_that_is_not_well_tells_why_and_what_to_do() -> None:
    away: dict[str, Any] = {
        "overall_status": "unreachable",
        "reason": "No connection.",
        "hint": "Start it.",
        "database": {"place": "me@db.example:5432/shop", "size": None, "server_version": None},
        **{name: [] for name in ("tables", "sections_denied", "pending", "notes")},
        "discoveries": {},
        "last_refresh": None,
    }
    told = text(status_blocks(STATUS | away)).splitlines()
    assert told[:2] == ["The solution demo is unreachable: No connection.", "What to do: Start it."]
    assert "database      me@db.example:5432/shop" in told
    assert "last refresh  not known" in told


LISTED: dict[str, Any] = {
    "solution": "demo",
    "domain": "rental",
    "database": PLACE,
    "table_prefix": "fbs_",
    "business_prefix": "",
    "overall_status": "active",
    "reason": "",
    "last_refresh": None,
}


def test_the_list() -> None:
    damaged = LISTED | {"solution": "bad", "overall_status": "drifted", "reason": "Its row is damaged."}
    damaged |= {"domain": None, "database": None, "table_prefix": None, "business_prefix": None}
    local = LISTED | {"solution": "near", "database": PLACE | {"host": "/run/postgresql"}, "business_prefix": "n_"}
    told = text(list_blocks({"solutions": [damaged, LISTED, local], "notes": []})).splitlines()
    assert told == [
        "Solutions:",
        "  solution  domain  status   database         prefixes  last refresh",
        "  bad       -       drifted  -                          -",
        "  demo      rental  active   db.example/shop  fbs_      -",
        "  near      rental  active   shop             fbs_, n_  -",
        "bad is drifted: Its row is damaged.",
    ]
    assert "There are no solutions." in text(list_blocks({"solutions": [], "notes": []}))


def test_a_rotation_of_keys() -> None:
    told: dict[str, Any] = {
        "resealed": 2,
        "current": 1,
        "references": 0,
        "unopened": [],
        "unreachable": [],
        "complete": True,
    }
    assert text(rotation_blocks(told)).endswith("now, here and where workers run.")
    away = {"solution": "demo", "database": "db.example:5432/shop", "reason": "No connection.", "hint": "Start it."}
    shown = text(rotation_blocks(told | {"unreachable": [away], "complete": False}))
    assert "  demo      db.example:5432/shop  No connection." in shown
    assert "Keep the older keys" in shown


@pytest.mark.parametrize(
    ("count", "told"),
    [(None, ""), (0, "0 B"), (1023, "1,023 B"), (8192, "8 kB"), (10_485_760, "10.0 MB"), (2**50, "1,024 TB")],
)
def test_a_size(count: int | None, told: str) -> None:
    assert size(count) == told


def test_what_is_pending_or_was_changed_by_hand_says_what_to_do() -> None:
    told = text(status_blocks(STATUS | {"pending": ["lease.notes: missing"], "drift": ["lease.city: by hand"]}))
    assert "What to do: fbs migrate --solution-name" in told
    assert "Changed by hand (1):" in told
