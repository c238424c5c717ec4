"""How the things of a catalogue hang together: what refers to a model, what else there is about it. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg2 import sql

from fbs_worker.catalogue.copy_rows import is_storable
from fbs_worker.catalogue.pagination import asked
from fbs_worker.core.postgres import Connection

MOST: Final = 500
"""Rows of each answer at most."""

_REFERRING: Final = sql.SQL(
    """
SELECT d.name, f.name, coalesce(f.told ->> 'label', ''), coalesce(f.told ->> 'type', '')
FROM {discoveries} d
CROSS JOIN LATERAL jsonb_each(
    CASE jsonb_typeof(d.schema_definition -> 'fields')
        WHEN 'object' THEN d.schema_definition -> 'fields' ELSE '{{}}' END
) AS f (name, told)
WHERE d.domain = %(domain)s AND d.discovery_type = 'model' AND d.is_active
    AND d.schema_definition @? %(path)s::jsonpath AND f.told ->> 'relation' = %(model)s
ORDER BY 1, 2 LIMIT %(limit)s
"""
)
"""The path is looked for before a row's fields are taken apart: most models refer to few others."""

_KNOWN: Final = sql.SQL(
    """
SELECT discovery_type, name FROM {discoveries}
WHERE domain = %(domain)s AND is_active AND discovery_type = ANY(%(types)s) AND name = ANY(%(names)s)
"""
)

_FEATURES: Final = sql.SQL(
    """
SELECT name, coalesce(metadata ->> 'title', ''), coalesce(schema_definition ->> 'kind', '') FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = 'bi_feature' AND is_active AND schema_definition ->> 'model' = %(model)s
ORDER BY 1 LIMIT %(limit)s
"""
)

_OF_MODULE: Final = sql.SQL(
    """
SELECT name, coalesce(metadata ->> 'title', ''), metadata ->> 'defined_by' = %(module)s FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = 'model' AND is_active
    AND (metadata ->> 'defined_by' = %(module)s OR metadata -> 'extended_by' ? %(module)s)
ORDER BY 1 LIMIT %(limit)s
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A field that refers to a model.

    Attributes:
        model: whose field it is.
        field: its name.
        label: as people read it.
        type: `many2one`, `one2many` or `many2many`.
    """

    model: str
    field: str
    label: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Something by its name.

    Attributes:
        name: its name.
        title: as people read it.
        kind: what kind of it, in a word.
    """

    name: str
    title: str
    kind: str


class Links:
    """How the active things of a domain hang together.

    Args:
        connection: to the database.
        table_prefix: the solution's.
        domain: the business area.

    Raises:
        DatabaseError, DatabaseUnreachable: (every method) as their names say.
    """

    def __init__(self, connection: Connection, table_prefix: str, domain: str) -> None:
        self._connection = connection
        self._table = sql.Identifier(f"{table_prefix}discoveries")
        self._domain = domain

    def referring(self, model: str) -> Sequence[Reference]:
        """The fields of all models that refer to this one."""
        if not is_storable(model):
            return []
        quoted = model.replace("\\", "\\\\").replace('"', '\\"')
        path = f'$.fields.* ? (@.relation == "{quoted}")'
        rows = self._ask(_REFERRING, model=model, path=path)
        return [Reference(model=row[0], field=row[1], label=row[2], type=row[3]) for row in rows]

    def known(self, names: Collection[str], *types: str) -> frozenset[tuple[str, str]]:
        """Type and name of those among these names that the catalogue has.

        Args:
            names: which.
            *types: discovery types.
        """
        wanted = sorted(name for name in set(names) if is_storable(name))
        return frozenset((kind, name) for kind, name in self._ask(_KNOWN, names=wanted, types=list(types)))

    def features(self, model: str) -> Sequence[Named]:
        """The BI features that show this model."""
        rows = self._ask(_FEATURES, model=model) if is_storable(model) else []
        return [Named(name=name, title=title, kind=kind) for name, title, kind in rows]

    def models_of(self, module: str) -> Sequence[Named]:
        """The models that a module defines or extends."""
        rows = self._ask(_OF_MODULE, module=module) if is_storable(module) else []
        return [Named(name=name, title=title, kind="defines" if ours else "extends") for name, title, ours in rows]

    def _ask(self, statement: sql.SQL, **given: Any) -> list[tuple[Any, ...]]:
        known = {"domain": self._domain, "limit": MOST, **given}
        return asked(self._connection, statement.format(discoveries=self._table), known)
