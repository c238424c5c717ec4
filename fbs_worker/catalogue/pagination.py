"""Reading a catalogue a page at a time, for programs and people that look on. Reads only.

PostgreSQL writes the JSON of each row, so that who passes it on need not read it first.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import orjson
import psycopg2.errors
from psycopg2 import sql

from fbs_worker.catalogue.copy_rows import is_storable
from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.text_query import WORDS, query_of
from fbs_worker.core.errors import UsageError
from fbs_worker.core.postgres import Connection, config_of, translate
from fbs_worker.schema import search_index

MOST_ROWS: Final = 1_000
"""Rows of a page at most."""

MOST_ID: Final = 2**31 - 1
"""The largest number that an INTEGER column has."""

_WHEN: Final = "'created_at', created_at AT TIME ZONE 'UTC', 'updated_at', updated_at AT TIME ZONE 'UTC',"
_ROW: Final = f"""json_build_object('id', id, 'discovery_type', discovery_type, 'domain', domain, 'name', name,
    'version', version, 'title', metadata ->> 'title', 'is_active', is_active, {_WHEN}
    'discovered_at', discovered_at AT TIME ZONE 'UTC', 'metadata', metadata"""

_FULL: Final = f"{_ROW}, 'schema_definition', schema_definition)::text"
_SHORT: Final = f"{_ROW})::text"

_PAGE: Final = sql.SQL(
    """
SELECT id, {row} FROM {discoveries}
WHERE id > %(after)s {conditions} ORDER BY id LIMIT %(limit)s
"""
)

_ONE: Final = sql.SQL(
    """
SELECT {row} FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = %(type)s AND name = %(name)s
ORDER BY is_active DESC, id DESC LIMIT 1
"""
)

_VERSIONS: Final = sql.SQL(
    """
SELECT coalesce(json_agg(json_build_object('version', version, 'is_active', is_active,
    'created_at', created_at AT TIME ZONE 'UTC', 'updated_at', updated_at AT TIME ZONE 'UTC',
    'discovered_at', discovered_at AT TIME ZONE 'UTC') ORDER BY id DESC), '[]')::text
FROM {discoveries} WHERE domain = %(domain)s AND discovery_type = %(type)s AND name = %(name)s
"""
)

_SNAPSHOT: Final = """json_build_object('id', id, 'domain', domain, 'taken_at', taken_at AT TIME ZONE 'UTC',
    'types', types, 'source', source, 'sections', sections, 'changes', changes)::text"""

_SNAPSHOTS: Final = sql.SQL(
    """
SELECT {row} FROM {snapshots} WHERE domain = %(domain)s ORDER BY taken_at DESC, id DESC LIMIT %(limit)s
"""
)

_SNAPSHOT_OF_ID: Final = sql.SQL("SELECT {row} FROM {snapshots} WHERE id = %(id)s")


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of what was asked for.

    Attributes:
        texts: each row as JSON.
        next: the cursor of the next page; None after the last one.
    """

    texts: Sequence[str] = ()
    next: str | None = None

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows themselves."""
        return [orjson.loads(text) for text in self.texts]

    def json(self) -> str:
        """All rows as one JSON list."""
        return f"[{','.join(self.texts)}]"


def page(
    connection: Connection,
    table_prefix: str,
    *,
    domain: str | None = None,
    discovery_type: DiscoveryType | None = None,
    text: str = "",
    active: bool | None = True,
    cursor: str = "",
    limit: int = 100,
    full: bool = True,
) -> Page:
    """A page of discoveries, in the order in which they were found first.

    Args:
        connection: to the database.
        table_prefix: the solution's.
        domain: only of this business area.
        discovery_type: only of this type.
        text: only those of which every word begins a word of name or title, or of a model's name, fields and labels.
        active: only active (True) or inactive (False) ones; None for both.
        cursor: the one of the page before; empty for the first page.
        limit: rows at most, 1 to 1,000.
        full: with `schema_definition`.

    Returns:
        The page; an empty one where there is no catalogue.

    Raises:
        UsageError: the cursor or the limit is not valid.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    after = _number_of(cursor) if cursor else 0
    given = {
        "domain": domain,
        "type": discovery_type,
        "query": query_of(text),
        "active": active,
        "after": after,
        "limit": checked_limit(limit) + 1,
    }
    if text and not given["query"]:
        return Page()
    conditions = {
        "domain = %(domain)s": domain,
        "discovery_type = %(type)s": discovery_type,
        f"({search_index.THINGS} @@ {WORDS} OR {search_index.FIELDS} @@ {WORDS})": given["query"],
        "is_active" if active else "is_active IS NOT TRUE": active is not None,
    }
    wanted = tuple(condition for condition, is_wanted in conditions.items() if is_wanted)
    found = asked(connection, _page_statement(table_prefix, wanted, full=full), given)
    return cut(found, limit, lambda row: cursor_of(row[0]))


def one(
    connection: Connection, table_prefix: str, *, domain: str, discovery_type: DiscoveryType, name: str
) -> dict[str, Any] | None:
    """One discovery: its active version, else its latest.

    Args:
        connection: to the database.
        table_prefix: the solution's.
        domain: the business area.
        discovery_type: its type.
        name: its name, e.g. `sale.order`.

    Returns:
        Its row, and `versions`: `version`, `is_active` and times of each, the newest first. None where there is none.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    if not is_storable(name):
        return None
    table = sql.Identifier(f"{table_prefix}discoveries")
    given = {"domain": domain, "type": discovery_type, "name": name}
    found = asked(connection, _ONE.format(row=sql.SQL(_FULL), discoveries=table), given)
    if not found:
        return None
    versions = asked(connection, _VERSIONS.format(discoveries=table), given)
    return {**orjson.loads(found[0][0]), "versions": orjson.loads(versions[0][0]) if versions else []}


def snapshots(connection: Connection, table_prefix: str, domain: str, limit: int = 20) -> list[dict[str, Any]]:
    """The reads of a domain that changed something, the newest first.

    Args:
        connection: to the database.
        table_prefix: the solution's.
        domain: the business area.
        limit: so many at most.

    Returns:
        Of each: `id`, `domain`, `taken_at`, `types`, `source`, `sections` and `changes` (`ChangeReport.to_dict`).

    Raises:
        UsageError: the limit is not valid.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    statement = _SNAPSHOTS.format(row=sql.SQL(_SNAPSHOT), snapshots=sql.Identifier(f"{table_prefix}snapshots"))
    found = asked(connection, statement, {"domain": domain, "limit": checked_limit(limit)})
    return [orjson.loads(text) for (text,) in found]


def snapshot(connection: Connection, table_prefix: str, number: int) -> dict[str, Any] | None:
    """One read of a domain, as `snapshots` tells it; None where there is none.

    Args:
        connection: to the database.
        table_prefix: the solution's.
        number: its id.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    if not 0 < number <= MOST_ID:
        return None
    statement = _SNAPSHOT_OF_ID.format(row=sql.SQL(_SNAPSHOT), snapshots=sql.Identifier(f"{table_prefix}snapshots"))
    found = asked(connection, statement, {"id": number})
    return orjson.loads(found[0][0]) if found else None


def asked(connection: Connection, statement: sql.Composable, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement about the catalogue; none where its tables are not there yet.

    Args:
        connection: to the database; a transaction that is open ends.
        statement: reads.
        given: its parameters.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    whole = nullcontext() if connection.autocommit else connection  # else it would begin a transaction
    try:
        with whole, connection.cursor() as cursor:
            cursor.execute(statement, given)
            return cursor.fetchall()
    except psycopg2.errors.UndefinedTable:
        return []
    except psycopg2.Error as exc:
        raise translate(exc, config_of(connection)) from exc


def cut(found: Sequence[tuple[Any, ...]], limit: int, cursor: Callable[[tuple[Any, ...]], str]) -> Page:
    """Rows as a page.

    Args:
        found: the rows, the JSON of each in its last column; one more than fits where there are more.
        limit: rows of the page at most.
        cursor: makes the cursor after a row.
    """
    rows = found[:limit]
    return Page(texts=[row[-1] for row in rows], next=cursor(rows[-1]) if len(found) > limit else None)


def checked_limit(limit: int) -> int:
    """How many rows were asked for.

    Raises:
        UsageError: too few or too many.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise UsageError("limit is not valid.", hint=f"Ask for 1 to {MOST_ROWS} rows.")
    return limit


def cursor_of(place: Any) -> str:
    """A cursor that stands for a place.

    Args:
        place: JSON-ready.
    """
    return base64.urlsafe_b64encode(orjson.dumps(place)).rstrip(b"=").decode()


def read_cursor(cursor: str) -> Any:
    """The place that `cursor_of` was given.

    Raises:
        UsageError: that is no cursor.
    """
    try:
        return orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def bad_cursor() -> UsageError:
    """What is said of a cursor that is none."""
    return UsageError("The cursor is not valid.", hint="Give `next` of the page before as it is, or none.")


@lru_cache(maxsize=128)
def _page_statement(table_prefix: str, conditions: Sequence[str], *, full: bool) -> sql.Composable:
    return _PAGE.format(
        row=sql.SQL(_FULL if full else _SHORT),
        discoveries=sql.Identifier(f"{table_prefix}discoveries"),
        conditions=sql.SQL("".join(f" AND {condition}" for condition in conditions)),
    )


def _number_of(cursor: str) -> int:
    place = read_cursor(cursor)
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place <= MOST_ID:
        raise bad_cursor()
    return place
