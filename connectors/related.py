"""Related selections: a field that shows a selection of another record has its values, which Odoo stores there alone.

`ir.model.fields.related` is the path from the field's own model (`move_id.state`), each name but the last one a
relation; the last field may be related itself. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fbs_worker.connectors.reader import Row

SELECTION_TYPES: Final = frozenset({"selection", "reference"})
"""Field types with values."""

RELATED_COLUMNS: Final = ("model", "name", "ttype", "relation", "related")
"""Columns of `ir.model.fields` that paths are followed by."""

RELATED_DOMAIN: Final[tuple[Any, ...]] = (
    ("ttype", "in", [*sorted(SELECTION_TYPES), "many2many", "many2one", "one2many"]),
)
"""The fields of the server that a path can lead through or to."""


@dataclass(frozen=True, slots=True)
class RelatedSelections:
    """Finds the field that has the values of a related one."""

    _relations: dict[tuple[str, str], str] = field(default_factory=dict)
    _selections: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows of `RELATED_DOMAIN` into account; others are ignored."""
        for row in rows:
            key = row["model"], row["name"]
            if row["ttype"] in SELECTION_TYPES:
                self._selections[key] = row["id"], row.get("related") or ""
            elif row.get("relation"):
                self._relations[key] = row["relation"]

    def source(self, model: str, name: str) -> int | None:
        """The id of the field whose values a related selection has; None for one that is not related.

        Args:
            model: the field's model.
            name: the field's name.

        Returns:
            The id; None also where the path leads nowhere or in a circle.
        """
        first = key = (model, name)
        seen: set[tuple[str, str]] = set()
        while key in self._selections and key not in seen:
            seen.add(key)
            number, path = self._selections[key]
            if not path:
                return number if key != first else None
            *relations, last = path.split(".")
            model = key[0]
            for relation in relations:
                model = self._relations.get((model, relation), "")
            key = model, last
        return None


def sources_of(related: RelatedSelections, fields: Iterable[Row]) -> Mapping[int, int]:
    """The ids of related selections among rows of `ir.model.fields`, each with the id of the field with its values."""
    selections = (row for row in fields if row["ttype"] in SELECTION_TYPES)
    found = ((row["id"], related.source(row["model"], row["name"])) for row in selections)
    return {number: source for number, source in found if source is not None}
