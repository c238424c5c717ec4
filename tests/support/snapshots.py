"""Snapshots made by hand, for tests of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg2.extras import NamedTupleCursor

from fbs_worker.catalogue.model import Discovery, DiscoveryType, Section, SectionStatus
from fbs_worker.catalogue.store import Catalogue

MODULE, MODEL, WORKFLOW, FEATURE = DiscoveryType
DOMAIN = "rental"
SOURCE = {"url": "https://erp.example.com", "database": "live", "series": "19.0"}


class MadeSnapshot:
    """A snapshot of given discoveries."""

    def __init__(
        self,
        *discoveries: Discovery,
        domain: str = DOMAIN,
        types: Iterable[DiscoveryType] = tuple(DiscoveryType),
        source: Mapping[str, str] | None = None,
        incomplete: Iterable[str] = (),
        fingerprint: Mapping[str, Any] | None = None,
    ) -> None:
        self.domain = domain
        self.types = frozenset(types)
        self.source = source or SOURCE
        self.fingerprint = fingerprint
        self._incomplete = frozenset(incomplete)
        self._discoveries = discoveries
        self._ended = False

    @property
    def sections(self) -> Sequence[Section]:
        assert self._ended, "the sections are only known at the end"
        names = ("modules", "models", "fields", "views", "reports")
        return [
            Section(name=n, status=SectionStatus.DENIED if n in self._incomplete else SectionStatus.COMPLETE, rows=1)
            for n in names
        ]

    def __iter__(self) -> Iterator[Discovery]:
        yield from self._discoveries
        self._ended = True


def thing(
    kind: DiscoveryType = MODEL, name: str = "sale.order", *, version: str | None = None, **schema: Any
) -> Discovery:
    """A discovery of the domain; metadata is given as `meta`."""
    metadata = {"source": SOURCE, "title": "Order", **schema.pop("meta", {})}
    return Discovery(
        discovery_type=kind,
        domain=DOMAIN,
        name=name,
        version=version,
        metadata=metadata,
        schema_definition=schema or None,
    )


def model(*fields: str, name: str = "sale.order", **meta: Any) -> Discovery:
    """A model with these fields."""
    return thing(MODEL, name, meta=meta, fields={field: {"type": "char"} for field in fields})


class ListedCatalogue(Catalogue):
    """A catalogue whose rows can be listed."""

    def rows(self, *, active: bool | None = True, domain: str = "%", discovery_type: str = "%") -> list[Any]:
        """The rows by id, each with its columns as attributes; both active and inactive ones where `active` is None."""
        statement = f"""
            SELECT * FROM {self._prefix}discoveries
            WHERE domain LIKE %s AND discovery_type LIKE %s AND is_active = coalesce(%s, is_active) ORDER BY id
        """
        with self._transaction(), self._connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
            cursor.execute(statement, (domain, discovery_type, active))  # type: ignore[no-untyped-call]
            return cursor.fetchall()
