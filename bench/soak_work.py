"""Work of the soak test: its solutions, the jobs on them, and manual changes of their tables."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fbs_worker.client.client import Client, JobHandle
from fbs_worker.core.database_config import DatabaseConfig
from tests.support.solutions import config_of

HOME: Final = "soak_home"
TARGET: Final = "soak_target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A solution, or a discovery without one.

    Attributes:
        name: the solution's name.
        domain: its domain.
        table_prefix: of its system tables.
        mirror: Odoo models that have a table each.
        solution: False for a discovery alone.
    """

    name: str
    domain: str
    table_prefix: str = "fbs_"
    mirror: tuple[str, ...] = ()
    solution: bool = True

    @property
    def business_prefix(self) -> str:
        """Of its business tables."""
        return f"{self.name}_"


ANCHOR: Final = Place(name="anchor", domain="generic")
"""Exists throughout, so that the shared system tables do."""

COPIED: Final = Place(name="copied", domain="hr", table_prefix="copied_")
"""Copies records: the models of `tests.support.copied_things`. Exists throughout."""

PLACES: Final = (
    COPIED,
    Place(name="rent", domain="rental"),
    Place(name="staff", domain="hr", mirror=("hr.job",)),
    Place(name="shop", domain="ecommerce"),
    Place(name="alone", domain="hr", table_prefix="alone_"),
    Place(name="seen", domain="hr", table_prefix="seen_", solution=False),
)
"""No two share a domain and a table prefix, so that the order of their jobs does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something to be done to a place: a job, or tampering.

    Attributes:
        action: `setup`, `refresh`, `sync`, `drop`, `discover` or `tamper`.
        place: which.
        full: read everything.
        read: a set-up reads Odoo.
    """

    action: str
    place: Place
    full: bool = False
    read: bool = True

    def __str__(self) -> str:
        return f"{self.action} {self.place.name}"

    def arguments(self, target: DatabaseConfig) -> dict[str, Any]:
        """The keyword arguments of its task."""
        place = self.place
        config = config_of(target, place.name, domain=place.domain, mirror=list(place.mirror) if self.read else [])
        match self.action:
            case "setup":
                prefixes = {"table_prefix": place.table_prefix, "business_prefix": place.business_prefix}
                return {**config, **prefixes, "refresh_discoveries": self.read}
            case "discover":
                database = config["database_config"]
                prefix = place.table_prefix
                return {
                    "domain": place.domain,
                    "database_config": database,
                    "table_prefix": prefix,
                    "full": self.full,
                }
            case "refresh" | "sync":
                return {"solution_name": place.name, "full": self.full}
            case _:
                return {"solution_name": place.name}

    def enqueue(self, client: Client, target: DatabaseConfig) -> JobHandle:
        """Let a worker do it."""
        given = self.arguments(target)
        match self.action:
            case "setup":
                return client.setup(given)
            case "discover":
                return client.discover(**given)
            case "refresh":
                return client.refresh(**given)
            case "sync":
                return client.sync(**given)
            case _:
                return client.drop(**given)

    def statements(self) -> Sequence[str]:
        """The tampering: the next full read has something to change."""
        prefix, domain = self.place.table_prefix, self.place.domain
        mine = f"domain = '{domain}'"
        some = f"{mine} AND discovery_type = 'bi_feature' AND is_active AND length(name) % 7 = 0"
        found = [
            f"DELETE FROM {prefix}discoveries WHERE {mine} AND discovery_type = 'workflow'",
            f"UPDATE {prefix}discoveries SET metadata = jsonb_set(metadata, '{{title}}', '\"?\"') WHERE {some}",
        ]
        return [*found, f"DELETE FROM {prefix}workflow_definitions WHERE {mine}"] if self.place.solution else found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"action": self.action, "place": self.place.name, "full": self.full, "read": self.read}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Work:
        """Parse the result of `to_dict`."""
        places = {place.name: place for place in (ANCHOR, *PLACES)}
        return cls(**{**values, "place": places[values["place"]]})


class Plan:
    """Choose the work of each round.

    Args:
        chance: the source of randomness.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._present: set[str] = set()

    def tampering(self) -> list[Work]:
        """What is tampered with before a round."""
        return [
            Work(action="tamper", place=place)
            for place in PLACES
            if place.name in self._present and self._chance.random() < 0.4
        ]

    def jobs(self) -> list[Work]:
        """A round's jobs, of different places."""
        places = self._chance.sample(PLACES, k=self._chance.choice((1, 2, 2, 3)))
        return [self._job(place) for place in places]

    def done(self, work: Work) -> None:
        """A job has succeeded."""
        if work.action == "drop":
            self._present.discard(work.place.name)
        else:
            self._present.add(work.place.name)

    def _job(self, place: Place) -> Work:
        if place is COPIED:
            return Work(action="sync", place=place, full=self._chance.random() < 0.3)
        if not place.solution:
            return Work(action="discover", place=place, full=True)
        if place.name not in self._present:
            return Work(action="setup", place=place)
        action = self._chance.choices(("refresh", "setup", "drop"), (6, 2, 3))[0]
        return Work(action=action, place=place, full=action == "refresh" and self._chance.random() < 0.8)
