"""A solution whose mirrored models are things and tags of an Odoo in memory, changed at random and compared."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from tests.support.odoo_records import RecordsOdoo, described
from tests.support.snapshots import MadeSnapshot, thing
from tests.support.solutions import config_of, inline, rows

THING: Final = "x.thing"
TAG: Final = "x.tag"
TABLE: Final = "x_x_thing"
LINKS: Final = "x_x_thing__tag_ids"
TAGS: Final = range(1, 41)
LONG_AGO: Final = "2026-01-05 06:07:08"

FIELDS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    THING: {
        "name": {"type": "char", "stored": True, "required": True},
        "note": {"type": "text", "stored": True},
        "amount": {"type": "float", "stored": True},
        "active": {"type": "boolean", "stored": True},
        "parent_id": {"type": "many2one", "stored": True, "relation": THING},
        "tag_ids": {"type": "many2many", "stored": True, "relation": TAG},
        "write_date": {"type": "datetime", "stored": True},
    },
    TAG: {
        "name": {"type": "char", "stored": True, "required": True},
        "write_date": {"type": "datetime", "stored": True},
    },
}


class Things:
    """The records of an Odoo.

    Args:
        odoo: gets the models.
        chance: the source of randomness.
    """

    def __init__(self, odoo: RecordsOdoo, chance: random.Random) -> None:
        self._odoo = odoo
        self._chance = chance
        for name, fields in FIELDS.items():
            odoo.models[name] = described(fields)

    def fill(self, count: int) -> None:
        """Begin anew with so many things."""
        for name in FIELDS:
            self._odoo.models[name].records.clear()
        for number in TAGS:
            self._odoo.put(TAG, number, name=f"tag {number}", write_date=LONG_AGO)
        for number in range(1, count + 1):
            self._write(number, write_date=LONG_AGO)
        self._next = count + 1

    def change(self, count: int) -> None:
        """Create, write, delete; few deletions, which are believed."""
        known = self._odoo.models[THING].records
        for _ in range(count):
            action = self._chance.random()
            if action < 0.4:
                self._write(self._next)
                self._next += 1
            elif action < 0.95:
                self._write(self._chance.choice([*known]))
            else:
                del known[self._chance.choice([*known])]

    def differences(self, target: DatabaseConfig) -> list[str]:
        """How the tables differ from the records."""
        records = self._odoo.models[THING].records
        columns = [name for name in FIELDS[THING] if name != "tag_ids"]
        listed = ", ".join(columns).replace("write_date", "write_date::text").replace("amount", "amount::float8")
        ours = {number: values for number, *values in rows(target, f"SELECT odoo_id, {listed} FROM {TABLE}")}
        theirs = {
            number: [
                value if name == "active" or value is not False else None for name in columns for value in [each[name]]
            ]
            for number, each in records.items()
        }
        links = set(rows(target, f"SELECT from_id, to_id FROM {LINKS}"))
        wanted = {(number, tag) for number, each in records.items() for tag in each["tag_ids"]}
        found = [
            f"{n}: {ours.get(n)}, not {theirs.get(n)}" for n in ours.keys() | theirs if ours.get(n) != theirs.get(n)
        ]
        return [*sorted(found), *(f"link {pair}" for pair in sorted(links ^ wanted))]

    def _write(self, number: int, **more: Any) -> None:
        pick = self._chance
        self._odoo.put(
            THING,
            number,
            name=f"thing {number}",
            note=pick.choice([False, "", "a\tb\\N\n", "\N{GRINNING FACE}"]),
            amount=pick.choice([0.0, 0.1, -1e30, 12.5]),
            active=pick.random() < 0.9,
            parent_id=pick.choice([False, number, 7, 999_999]),
            tag_ids=sorted(pick.sample(TAGS, pick.choice([0, 0, 2, 5]))),
            **more,
        )


def set_up(settings: Settings, target: DatabaseConfig, name: str = "shop", *, table_prefix: str = "fbs_") -> None:
    """Make a solution that mirrors the models, whose tables are empty."""
    found = [replace(thing(name=model, fields=fields), domain="hr") for model, fields in FIELDS.items()]
    with closing(connect(target)) as connection:
        Catalogue(connection, table_prefix=table_prefix).save(MadeSnapshot(*found, domain="hr"))
    more: dict[str, Any] = {"mirror": [THING, TAG], "refresh_discoveries": False, "sync": False}
    prefixes = {"table_prefix": table_prefix, "business_prefix": "x_"}
    inline("setup", config_of(target, name, **more, **prefixes), settings)
