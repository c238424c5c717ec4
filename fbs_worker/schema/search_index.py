"""What a search over the catalogue looks through, as SQL that an index and a query share. Pure.

Names and labels are cut into words by PostgreSQL's parser for text. It would take `sale.order` for a host and `a/b` for
a file, so what divides words in names is made a blank first. The configuration `simple` makes every word small and
leaves none out; unlike extensions such as pg_trgm it is there on every server.
"""

from __future__ import annotations

from typing import Final

_SEPARATORS: Final = "._-/@<>&+~?=#"
"""No sign among them that SQLAlchemy, psycopg2 or SQL's literals would want to have doubled."""

_MAX_CHARACTERS: Final = 200_000
"""Characters that are looked at: a tsvector holds a megabyte, and a row that did not fit could not be written."""


def _tsvector(text: str) -> str:
    blanks = " " * len(_SEPARATORS)
    return f"to_tsvector('simple'::regconfig, translate(left({text}, {_MAX_CHARACTERS}), '{_SEPARATORS}', '{blanks}'))"


def _json_text(path: str) -> str:
    """What a path leads to, as one text; nothing where a row is not as it should be."""
    return f"coalesce(jsonb_path_query_array(schema_definition, '{path}', silent => true)::text, '')"


THINGS: Final = _tsvector("name::text || ' ' || coalesce(metadata ->> 'title', '')")
"""The words of a discovery's name and title, as a tsvector."""

FIELDS: Final = _tsvector(
    f"name::text || ' ' || {_json_text('$.fields.keyvalue().key')} || ' ' || {_json_text('$.fields.*.label')}"
)
"""The words of a model's name and of its fields' names and labels, as a tsvector."""
