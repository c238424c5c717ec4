"""Cross-references of the catalogue: referring fields, BI features of a model, models of a module. Read-only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fbs_worker.catalogue.copy_rows import is_storable
from fbs_worker.catalogue.statements import fetch_rows
from fbs_worker.core.postgres import Connection

MAX_REFERENCES: Final = 500
"""Maximum rows of each result."""

_REFERRING: Final = """
SELECT d.name, f.name, coalesce(f.definition ->> 'label', ''), coalesce(f.definition ->> 'type', '')
FROM {discoveries} d
CROSS JOIN LATERAL jsonb_each(
    CASE jsonb_typeof(d.schema_definition -> 'fields')
        WHEN 'object' THEN d.schema_definition -> 'fields' ELSE '{{}}' END
) AS f (name, definition)
WHERE d.domain = %(domain)s AND d.discovery_type = 'model' AND d.is_active
    AND d.schema_definition @? %(path)s::jsonpath AND f.definition ->> 'relation' = %(model)s
ORDER BY 1, 2 LIMIT %(limit)s
"""
"""The path filters rows before their fields are expanded: most models refer to few others."""

_KNOWN: Final = """
SELECT discovery_type, name FROM {discoveries}
WHERE domain = %(domain)s AND is_active AND discovery_type = ANY(%(types)s) AND name = ANY(%(names)s)
"""

_FEATURES: Final = """
SELECT name, coalesce(metadata ->> 'title', ''), coalesce(schema_definition ->> 'kind', '') FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = 'bi_feature' AND is_active AND schema_definition ->> 'model' = %(model)s
ORDER BY 1 LIMIT %(limit)s
"""

_OF_MODULE: Final = """
SELECT name, coalesce(metadata ->> 'title', ''), metadata ->> 'defined_by' = %(module)s FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = 'model' AND is_active
    AND (metadata ->> 'defined_by' = %(module)s OR metadata -> 'extended_by' ? %(module)s)
ORDER BY 1 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A field that refers to a model.

    Attributes:
        model: the model that has the field.
        field: its name.
        label: the label in Odoo.
        type: `many2one`, `one2many` or `many2many`.
    """

    model: str
    field: str
    label: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A discovery by name.

    Attributes:
        name: its name.
        title: its title in Odoo.
        kind: a BI feature's kind, or the relation of a model to a module (`defines`, `extends`).
    """

    name: str
    title: str
    kind: str


class References:
    """Cross-references between the active discoveries of a domain.

    Args:
        connection: connection to the database.
        table_prefix: the solution's table prefix.
        domain: the business domain.

    Raises:
        DatabaseUnreachable: (every method) the server cannot be reached or closed the connection.
        DatabaseError: (every method) PostgreSQL reports any other error.
    """

    def __init__(self, connection: Connection, table_prefix: str, domain: str) -> None:
        self._connection = connection
        self._prefix = table_prefix
        self._domain = domain

    def referring(self, model: str) -> Sequence[Reference]:
        """The fields, of all models, that refer to a model."""
        if not is_storable(model):
            return []
        quoted = model.replace("\\", "\\\\").replace('"', '\\"')
        path = f'$.fields.* ? (@.relation == "{quoted}")'
        rows = self._fetch(_REFERRING, model=model, path=path)
        return [Reference(model=row[0], field=row[1], label=row[2], type=row[3]) for row in rows]

    def known(self, names: Collection[str], *types: str) -> frozenset[tuple[str, str]]:
        """Filter names by existence in the catalogue.

        Args:
            names: names of discoveries.
            *types: discovery types.

        Returns:
            Type and name of each that exists.
        """
        storable = sorted(name for name in set(names) if is_storable(name))
        return frozenset((kind, name) for kind, name in self._fetch(_KNOWN, names=storable, types=list(types)))

    def features(self, model: str) -> Sequence[Named]:
        """The BI features of a model."""
        rows = self._fetch(_FEATURES, model=model) if is_storable(model) else []
        return [Named(name=name, title=title, kind=kind) for name, title, kind in rows]

    def models_of(self, module: str) -> Sequence[Named]:
        """The models that a module defines or extends."""
        rows = self._fetch(_OF_MODULE, module=module) if is_storable(module) else []
        return [
            Named(name=name, title=title, kind="defines" if defines else "extends") for name, title, defines in rows
        ]

    def _fetch(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        given = {"domain": self._domain, "limit": MAX_REFERENCES, **parameters}
        return fetch_rows(self._connection, self._prefix, statement, given)
