"""Searching a catalogue: modules, models, fields, workflows and BI features by the words of their names. Reads only.

Every word of a text must begin a word of what is found: `sale ord` finds `sale.order`, `partner` finds `partner_id`. A
field is found by its name and its label, and by words of its model's name beside those: `order partner` finds the
fields with a partner of `sale.order`. What bears exactly that name comes first, then the other things by their names,
then fields by model and name.

The index of words (`schema.search`) finds the rows; where a database does not have it yet, a search only takes longer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from psycopg2 import sql

from fbs_worker.catalogue.copy_rows import is_storable
from fbs_worker.catalogue.pagination import MOST_ID, Page, asked, bad_cursor, checked_limit, cursor_of, cut, read_cursor
from fbs_worker.catalogue.text_query import WORDS, query_of, words_of
from fbs_worker.core.errors import UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.schema import search_index as words_of_rows

Kind = Literal["module", "model", "field", "workflow", "bi_feature"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""What can be found."""

FIELD: Final = "field"

_DIVIDES: Final = "._-/:(),'&#\"<["
"""What stands between words of names and labels, as far as it is worth its time."""

_MOST_MODELS: Final = 200
"""Models whose fields are looked at for one page: a page takes as long for words that are everywhere."""

_THINGS: Final = sql.SQL(
    """
SELECT name <> ALL (%(exactly)s) AS other, name, id,
    json_build_object('kind', discovery_type, 'id', id, 'name', name, 'title', metadata ->> 'title', 'version', version)
        ::text
FROM {discoveries}
WHERE {things} @@ {words} AND domain = %(domain)s AND is_active AND discovery_type = ANY(%(kinds)s)
    AND (name <> ALL (%(exactly)s), name, id) > (%(other)s, %(name)s, %(id)s)
ORDER BY 1, name, id LIMIT %(limit)s
"""
)

_FIELDS: Final = sql.SQL(
    """
WITH models AS MATERIALIZED (
    SELECT id, name FROM {discoveries}
    WHERE {fields} @@ {words} AND discovery_type = 'model' AND domain = %(domain)s AND is_active
        AND (name, id) >= (%(name)s, %(id)s)
    ORDER BY name, id LIMIT %(models)s
), last AS (
    SELECT name, id FROM models ORDER BY name, id OFFSET %(models)s - 1
), found AS (
    SELECT m.name, m.id, f.field, f.told FROM models m
    JOIN {discoveries} d ON d.id = m.id
    CROSS JOIN LATERAL (
        SELECT field, json_build_object('kind', 'field', 'model', m.name, 'field', field, 'label', told ->> 'label',
            'type', told ->> 'type', 'relation', told ->> 'relation')::text AS told
        FROM (
            SELECT field, told, lower(translate(' ' || field || ' ' || coalesce(told ->> 'label', ''),
                    %(divides)s, %(blanks)s)) AS own,
                lower(translate(' ' || m.name, %(divides)s, %(blanks)s)) AS model
            FROM jsonb_each(CASE jsonb_typeof(d.schema_definition -> 'fields')
                WHEN 'object' THEN d.schema_definition -> 'fields' ELSE '{{}}' END) AS fields (field, told)
            WHERE m.id <> %(id)s OR field > %(field)s
            OFFSET 0
        ) named WHERE {every} AND ({some})
        ORDER BY field
    ) f
    ORDER BY m.name, m.id, f.field LIMIT %(limit)s
)
SELECT l.name, l.id, f.name, f.id, f.field, f.told FROM (SELECT) AS always
LEFT JOIN last l ON TRUE LEFT JOIN found f ON TRUE ORDER BY f.name, f.id, f.field
"""
)
"""Each part is read in the order of the one before, so that the last LIMIT ends all the work."""


@dataclass(frozen=True, kw_only=True)
class Hits(Page):
    """What was found.

    Each row has its `kind`. A field's: `model`, `field` (its name), `label`, `type` and `relation`. The others':
    `id`, `name`, `title` and `version`.
    """


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
    """Find what has these words.

    Args:
        connection: to the database.
        table_prefix: the solution's.
        domain: the business area.
        text: the words, as a person typed them.
        kinds: what is looked for.
        cursor: the one of the page before; empty for the first page.
        limit: hits at most, 1 to 1,000. There may be fewer of them though more follow: `next` tells.

    Raises:
        UsageError: the cursor, the limit or a kind is not valid.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UsageError("A kind to look for is not known.", hint=f"Known are: {', '.join(KINDS)}.")
    words = words_of(text)
    place = _Place.of(cursor)
    left = checked_limit(limit)
    if not words:
        return Hits()
    given = {
        "domain": domain,
        "query": query_of(text),
        "exactly": [text.strip().replace("\0", ""), *(sign.join(words) for sign in "._")],
        "divides": _DIVIDES,
        "blanks": " " * len(_DIVIDES),
        **{f"word{number}": f" {word}" for number, word in enumerate(words)},
    }
    texts: list[str] = []
    things = sorted(set(kinds) - {FIELD})
    if things and not place.fields:
        found = _things(connection, table_prefix, {**given, "kinds": things}, place, left)
        texts += found.texts
        left -= len(found.texts)
        if found.next or FIELD not in kinds:
            return Hits(texts=texts, next=found.next)
        if not left:
            return Hits(texts=texts, next=_Place(fields=True).cursor())
    if FIELD not in kinds:
        return Hits(texts=texts)
    place = place if place.fields else _Place(fields=True)
    found = _fields(connection, table_prefix, {**given, "words": len(words)}, place, left)
    return Hits(texts=[*texts, *found.texts], next=found.next)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a page begins: after this one.

    Attributes:
        fields: among the fields; before those come the other things.
        other: it does not bear exactly the name that is looked for.
        name: its name, or its model's.
        id: its row's.
        field: the field's name.
    """

    fields: bool = False
    other: bool = False
    name: str = ""
    id: int = 0
    field: str = ""

    @classmethod
    def of(cls, cursor: str) -> _Place:
        """The place that a cursor stands for; the beginning where there is none."""
        if not cursor:
            return cls()
        match read_cursor(cursor):
            case [bool(other), str(name), int(number)] if _is_possible(name, number):
                return cls(other=other, name=name, id=number)
            case [str(name), int(number), str(field)] if _is_possible(name + field, number):
                return cls(fields=True, name=name, id=number, field=field)
        raise bad_cursor()

    def cursor(self) -> str:
        """What stands for it."""
        return cursor_of([self.name, self.id, self.field] if self.fields else [self.other, self.name, self.id])


def _is_possible(text: str, number: int) -> bool:
    return is_storable(text) and -1 < number <= MOST_ID and not isinstance(number, bool)


def _things(connection: Connection, prefix: str, given: Mapping[str, Any], place: _Place, limit: int) -> Page:
    statement = _THINGS.format(
        discoveries=sql.Identifier(f"{prefix}discoveries"), things=sql.SQL(words_of_rows.THINGS), words=sql.SQL(WORDS)
    )
    after = {"other": place.other, "name": place.name, "id": place.id, "limit": limit + 1}
    found = asked(connection, statement, {**given, **after})
    return cut(found, limit, lambda row: _Place(other=row[0], name=row[1], id=row[2]).cursor())


def _fields(connection: Connection, prefix: str, given: Mapping[str, Any], place: _Place, limit: int) -> Page:
    own = [sql.SQL(f"strpos(own, %(word{number})s) > 0") for number in range(given["words"])]
    either = [
        sql.SQL(f"(strpos(own, %(word{number})s) > 0 OR strpos(model, %(word{number})s) > 0)")
        for number in range(given["words"])
    ]
    statement = _FIELDS.format(
        discoveries=sql.Identifier(f"{prefix}discoveries"),
        fields=sql.SQL(words_of_rows.FIELDS),
        words=sql.SQL(WORDS),
        every=sql.SQL(" AND ").join(either),
        some=sql.SQL(" OR ").join(own),
    )
    after = {"name": place.name, "id": place.id, "field": place.field, "models": _MOST_MODELS, "limit": limit + 1}
    found = asked(connection, statement, {**given, **after})
    hits = [row for row in found if row[-1] is not None]
    told = cut(hits, limit, lambda row: _Place(fields=True, name=row[2], id=row[3], field=row[4]).cursor())
    if told.next is None and found and found[0][0] is not None:  # there are models that were not looked at
        return replace(told, next=_Place(fields=True, name=found[0][0], id=found[0][1] + 1).cursor())
    return told
