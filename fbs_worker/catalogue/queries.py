"""Read side of the catalogue: discoveries by pages, one discovery, snapshots. Read-only.

PostgreSQL renders the JSON of each row, so callers can pass it on without parsing it. Each function raises
DatabaseUnreachable where the server cannot be reached or closed the connection, and DatabaseError where PostgreSQL
reports any other error.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from fbs_worker.catalogue.copy_rows import is_storable
from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.pagination import (
    MAX_ID,
    Page,
    bad_cursor,
    checked_limit,
    cut,
    decode_cursor,
    encode_cursor,
)
from fbs_worker.catalogue.search import TSQUERY, tsquery_of
from fbs_worker.catalogue.statements import fetch_rows
from fbs_worker.core.postgres import Connection
from fbs_worker.schema import search_index

_TIMES: Final = """'created_at', created_at AT TIME ZONE 'UTC', 'updated_at', updated_at AT TIME ZONE 'UTC',
    'discovered_at', discovered_at AT TIME ZONE 'UTC'"""
_ROW: Final = f"""json_build_object('id', id, 'discovery_type', discovery_type, 'domain', domain, 'name', name,
    'version', version, 'title', metadata ->> 'title', 'is_active', is_active, {_TIMES},
    'metadata', metadata"""

_FULL: Final = f"{_ROW}, 'schema_definition', schema_definition)::text"
_SHORT: Final = f"{_ROW})::text"

_PAGE: Final = """
SELECT id, {row} FROM {discoveries}
WHERE id > %(after)s {conditions} ORDER BY id LIMIT %(limit)s
"""

_ONE: Final = """
SELECT {row} FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = %(type)s AND name = %(name)s
ORDER BY is_active DESC, id DESC LIMIT 1
"""

_VERSIONS: Final = """
SELECT coalesce(json_agg(json_build_object('version', version, 'is_active', is_active, {times}) ORDER BY id DESC), '[]')
    ::text
FROM {discoveries} WHERE domain = %(domain)s AND discovery_type = %(type)s AND name = %(name)s
"""

_SNAPSHOT_ROW: Final = """json_build_object('id', id, 'domain', domain, 'taken_at', taken_at AT TIME ZONE 'UTC',
    'types', types, 'source', source, 'sections', sections, 'changes', changes)::text"""

_SNAPSHOTS: Final = """
SELECT {row} FROM {snapshots} WHERE domain = %(domain)s ORDER BY taken_at DESC, id DESC LIMIT %(limit)s
"""

_SNAPSHOT_BY_ID: Final = "SELECT {row} FROM {snapshots} WHERE id = %(id)s"


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
    """Read a page of discoveries, ordered by id.

    Args:
        connection: connection to the database.
        table_prefix: the solution's table prefix.
        domain: filter by business domain.
        discovery_type: filter by type.
        text: filter by words: each must begin a word of the name or title, or of a model's name, fields and labels.
        active: only active (True) or inactive (False) rows; None for both.
        cursor: `next` of the previous page; empty for the first page.
        limit: maximum rows, 1 to 1,000.
        full: include `schema_definition`.

    Returns:
        The page; an empty one where the database has no catalogue.

    Raises:
        UsageError: the cursor or the limit is not valid.
    """
    after = _id_of(cursor) if cursor else 0
    parameters = {
        "domain": domain,
        "type": discovery_type,
        "query": tsquery_of(text),
        "active": active,
        "after": after,
        "limit": checked_limit(limit) + 1,
    }
    if text and not parameters["query"]:
        return Page()
    conditions = {
        "domain = %(domain)s": domain,
        "discovery_type = %(type)s": discovery_type,
        f"({search_index.THINGS} @@ {TSQUERY} OR {search_index.FIELDS} @@ {TSQUERY})": parameters["query"],
        "is_active" if active else "is_active IS NOT TRUE": active is not None,
    }
    used = "".join(f" AND {condition}" for condition, is_used in conditions.items() if is_used)
    rows = fetch_rows(connection, table_prefix, _PAGE, parameters, row=_FULL if full else _SHORT, conditions=used)
    return cut(rows, limit, lambda row: encode_cursor(row[0]))


def one(
    connection: Connection, table_prefix: str, *, domain: str, discovery_type: DiscoveryType, name: str
) -> dict[str, Any] | None:
    """Read one discovery: its active version, else its latest.

    Args:
        connection: connection to the database.
        table_prefix: the solution's table prefix.
        domain: the business domain.
        discovery_type: its type.
        name: its name, e.g. `sale.order`.

    Returns:
        The row, and `versions`: `version`, `is_active` and times of each, newest first. None where the catalogue has
        no such discovery.
    """
    if not is_storable(name):
        return None
    parameters = {"domain": domain, "type": discovery_type, "name": name}
    rows = fetch_rows(connection, table_prefix, _ONE, parameters, row=_FULL)
    if not rows:
        return None
    versions = fetch_rows(connection, table_prefix, _VERSIONS, parameters, times=_TIMES)
    return {**orjson.loads(rows[0][0]), "versions": orjson.loads(versions[0][0]) if versions else []}


def snapshots(connection: Connection, table_prefix: str, domain: str, limit: int = 20) -> list[dict[str, Any]]:
    """Read the snapshots of a domain that changed something, newest first.

    Args:
        connection: connection to the database.
        table_prefix: the solution's table prefix.
        domain: the business domain.
        limit: maximum rows, 1 to 1,000.

    Returns:
        Of each: `id`, `domain`, `taken_at`, `types`, `source`, `sections` and `changes` (`ChangeReport.to_dict`).

    Raises:
        UsageError: the limit is not valid.
    """
    parameters = {"domain": domain, "limit": checked_limit(limit)}
    rows = fetch_rows(connection, table_prefix, _SNAPSHOTS, parameters, row=_SNAPSHOT_ROW)
    return [orjson.loads(text) for (text,) in rows]


def snapshot(connection: Connection, table_prefix: str, number: int) -> dict[str, Any] | None:
    """Read one snapshot, in the form of `snapshots`.

    Args:
        connection: connection to the database.
        table_prefix: the solution's table prefix.
        number: its id.

    Returns:
        The snapshot; None where the database has no such row.
    """
    if not 0 < number <= MAX_ID:
        return None
    rows = fetch_rows(connection, table_prefix, _SNAPSHOT_BY_ID, {"id": number}, row=_SNAPSHOT_ROW)
    return orjson.loads(rows[0][0]) if rows else None


def _id_of(cursor: str) -> int:
    position = decode_cursor(cursor)
    if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position <= MAX_ID:
        raise bad_cursor()
    return position
