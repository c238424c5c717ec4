"""Full-text search of the catalogue: modules, models, fields, workflows and BI features by words. Read-only.

Every word of a text must begin a word of a hit: `sale ord` finds `sale.order`, `partner` finds `partner_id`. Fields
match by name and label, and additionally by words of their model's name: `order partner` finds the partner fields of
`sale.order`. A name that is the text comes first, then names that begin with it (`sale ord`: `sale.order` before
`sale.mass.cancel.orders`), then other hits, each by name; fields follow, by model and name.

The index of `schema.search_index` finds the rows; a database without the index is searched more slowly.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from fbs_worker.catalogue.copy_rows import is_storable
from fbs_worker.catalogue.pagination import (
    MAX_ID,
    Page,
    bad_cursor,
    checked_limit,
    cut,
    decode_cursor,
    encode_cursor,
)
from fbs_worker.catalogue.statements import fetch_rows
from fbs_worker.core.errors import UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.schema import search_index

Kind = Literal["module", "model", "field", "workflow", "bi_feature"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""The kinds of hits."""

FIELD: Final = "field"

MAX_WORDS: Final = 8
"""Maximum words of a query; further words are ignored."""

TSQUERY: Final = "to_tsquery('simple'::regconfig, %(query)s)"
"""SQL expression for a text of `tsquery_of`."""

_MAX_TEXT: Final = 200

_SEPARATORS_OF_TEXT: Final = re.compile("[^0-9A-Za-z\u0080-\U0010ffff]+")

_SEPARATORS: Final = "._-/:(),'&#\"<["
"""The usual separators of words in names and labels; rare ones are not worth the time."""

_MAX_MODELS: Final = 200
"""Maximum models whose fields are searched for one page: bounds the time of queries for frequent words."""

_THINGS: Final = """
SELECT rank, name, id, hit::text FROM (
    SELECT name, id, CASE WHEN named = %(phrase)s THEN 0 WHEN starts_with(named, %(phrase)s) THEN 1 ELSE 2 END AS rank,
        json_build_object('kind', discovery_type, 'id', id, 'name', name, 'title', metadata ->> 'title',
            'version', version) AS hit
    FROM {discoveries} CROSS JOIN LATERAL (SELECT lower(translate(name, %(separators)s, %(blanks)s)) AS named) n
    WHERE {things} @@ {query} AND domain = %(domain)s AND is_active AND discovery_type = ANY(%(kinds)s)
) ranked
WHERE (rank, name, id) > (%(rank)s, %(name)s, %(id)s)
ORDER BY rank, name, id LIMIT %(limit)s
"""

_FIELDS: Final = """
WITH models AS MATERIALIZED (
    SELECT id, name FROM {discoveries}
    WHERE {fields} @@ {query} AND discovery_type = 'model' AND domain = %(domain)s AND is_active
        AND (name, id) >= (%(name)s, %(id)s)
    ORDER BY name, id LIMIT %(models)s
), last AS (
    SELECT name, id FROM models ORDER BY name, id OFFSET %(models)s - 1
), matches AS (
    SELECT m.name, m.id, f.field, f.hit FROM models m
    JOIN {discoveries} d ON d.id = m.id
    CROSS JOIN LATERAL (
        SELECT field, json_build_object('kind', 'field', 'model', m.name, 'field', field,
            'label', definition ->> 'label', 'type', definition ->> 'type',
            'relation', definition ->> 'relation')::text AS hit
        FROM (
            SELECT field, definition, lower(translate(' ' || field || ' ' || coalesce(definition ->> 'label', ''),
                    %(separators)s, %(blanks)s)) AS own,
                lower(translate(' ' || m.name, %(separators)s, %(blanks)s)) AS model
            FROM jsonb_each(CASE jsonb_typeof(d.schema_definition -> 'fields')
                WHEN 'object' THEN d.schema_definition -> 'fields' ELSE '{{}}' END) AS fields (field, definition)
            WHERE m.id <> %(id)s OR field > %(field)s
            OFFSET 0
        ) named WHERE {every} AND ({some})
        ORDER BY field
    ) f
    ORDER BY m.name, m.id, f.field LIMIT %(limit)s
)
SELECT l.name, l.id, f.name, f.id, f.field, f.hit FROM (SELECT) AS always
LEFT JOIN last l ON TRUE LEFT JOIN matches f ON TRUE ORDER BY f.name, f.id, f.field
"""
"""Each part keeps the order of the previous one, so that the last LIMIT stops all of them."""


@dataclass(frozen=True, kw_only=True)
class Hits(Page):
    """A page of hits.

    Each row has its `kind`. Fields have `model`, `field` (the name), `label`, `type` and `relation`; all other kinds
    have `id`, `name`, `title` and `version`.
    """


def words_of(text: str) -> Sequence[str]:
    """Split a text into distinct lower-case words.

    Args:
        text: user input; every ASCII character other than letters and digits separates words.

    Returns:
        At most `MAX_WORDS` words, in their order.
    """
    return tuple(dict.fromkeys(_phrase_of(text).split()))[:MAX_WORDS]


def _phrase_of(text: str) -> str:
    """The words of a text in lower case, with blanks between them."""
    readable = "".join(char for char in text[:_MAX_TEXT] if not "\ud800" <= char <= "\udfff")
    return _SEPARATORS_OF_TEXT.sub(" ", readable.lower()).strip()


def tsquery_of(text: str) -> str:
    """Build the `to_tsquery` text that matches every word of a text as a prefix.

    Args:
        text: user input.

    Returns:
        The query; empty where the text has no words.
    """
    return " & ".join(f"'{word}':*" for word in words_of(text))


def search(
    connection: Connection,
    table_prefix: str,
    *,
    domain: str,
    text: str,
    kinds: Collection[str] = KINDS,
    cursor: str = "",
    limit: int = 100,
) -> Hits:
    """Search the active discoveries of a domain.

    Args:
        connection: connection to the database.
        table_prefix: the solution's table prefix.
        domain: the business domain.
        text: user input.
        kinds: filter by kind.
        cursor: `next` of the previous page; empty for the first page.
        limit: maximum hits, 1 to 1,000. A page may have fewer although more follow: only `next` marks the end.

    Returns:
        The page of hits; an empty one where the text has no words or the database has no catalogue.

    Raises:
        UsageError: the cursor, the limit or a kind is not valid.
        DatabaseUnreachable: the server cannot be reached or closed the connection.
        DatabaseError: PostgreSQL reports any other error.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UsageError("A kind to search for is not known.", hint=f"Use one of: {', '.join(KINDS)}.")
    words = words_of(text)
    position = _Position.of(cursor)
    left = checked_limit(limit)
    if not words:
        return Hits()
    parameters = {
        "domain": domain,
        "query": tsquery_of(text),
        "phrase": _phrase_of(text),
        "separators": _SEPARATORS,
        "blanks": " " * len(_SEPARATORS),
        **{f"word{number}": f" {word}" for number, word in enumerate(words)},
    }
    texts: list[str] = []
    rows_of_own = sorted(set(kinds) - {FIELD})
    if rows_of_own and not position.fields:
        hits = _search_rows(connection, table_prefix, {**parameters, "kinds": rows_of_own}, position, left)
        texts += hits.texts
        left -= len(hits.texts)
        if hits.next or FIELD not in kinds:
            return Hits(texts=texts, next=hits.next)
        if not left:
            return Hits(texts=texts, next=_Position(fields=True).cursor())
    if FIELD not in kinds:
        return Hits(texts=texts)
    position = position if position.fields else _Position(fields=True)
    hits = _search_fields(connection, table_prefix, {**parameters, "words": len(words)}, position, left)
    return Hits(texts=[*texts, *hits.texts], next=hits.next)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    """The last hit of a page: the next page starts after it.

    Attributes:
        fields: it is among the fields, which follow all other hits.
        rank: 0 where its name is the text, 1 where it begins with it, 2 otherwise.
        name: its name, or its model's.
        id: the id of its row.
        field: the field's name.
    """

    fields: bool = False
    rank: int = 0
    name: str = ""
    id: int = 0
    field: str = ""

    @classmethod
    def of(cls, cursor: str) -> _Position:
        if not cursor:
            return cls()
        match decode_cursor(cursor):
            case [int(rank), str(name), int(number)] if 0 <= rank <= 2 and _is_possible(name, number):
                return cls(rank=rank, name=name, id=number)
            case [str(name), int(number), str(field)] if _is_possible(name + field, number):
                return cls(fields=True, name=name, id=number, field=field)
        raise bad_cursor()

    def cursor(self) -> str:
        return encode_cursor([self.name, self.id, self.field] if self.fields else [self.rank, self.name, self.id])


def _is_possible(text: str, number: int) -> bool:
    return is_storable(text) and -1 < number <= MAX_ID and not isinstance(number, bool)


def _search_rows(
    connection: Connection, prefix: str, parameters: Mapping[str, Any], position: _Position, limit: int
) -> Page:
    after = {"rank": position.rank, "name": position.name, "id": position.id, "limit": limit + 1}
    rows = fetch_rows(connection, prefix, _THINGS, {**parameters, **after}, things=search_index.THINGS, query=TSQUERY)
    return cut(rows, limit, lambda row: _Position(rank=row[0], name=row[1], id=row[2]).cursor())


def _search_fields(
    connection: Connection, prefix: str, parameters: Mapping[str, Any], position: _Position, limit: int
) -> Page:
    own = [f"strpos(own, %(word{number})s) > 0" for number in range(parameters["words"])]
    either = [f"({part} OR {part.replace('own', 'model')})" for part in own]
    after = {"name": position.name, "id": position.id, "field": position.field, "models": _MAX_MODELS}
    rows = fetch_rows(
        connection,
        prefix,
        _FIELDS,
        {**parameters, **after, "limit": limit + 1},
        fields=search_index.FIELDS,
        query=TSQUERY,
        every=" AND ".join(either),
        some=" OR ".join(own),
    )
    hits = [row for row in rows if row[-1] is not None]
    page = cut(hits, limit, lambda row: _Position(fields=True, name=row[2], id=row[3], field=row[4]).cursor())
    if page.next is None and rows and rows[0][0] is not None:  # further models follow the last one searched
        return replace(page, next=_Position(fields=True, name=rows[0][0], id=rows[0][1] + 1).cursor())
    return page
