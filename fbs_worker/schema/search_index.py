"""Full-text search expressions of the catalogue, shared by the index and its queries. Pure.

PostgreSQL's text parser splits names and labels into words. It would parse `sale.order` as a host and `a/b` as a file,
so separators in names are replaced by blanks first. The configuration `simple` folds case and has no stop words; unlike
extensions such as pg_trgm it is available on every server.
"""

from __future__ import annotations

from typing import Final

_SEPARATORS: Final = "._-/@<>&+~?=#"
"""Contains no character that SQLAlchemy, psycopg2 or SQL literals require to be doubled."""

_MAX_CHARACTERS: Final = 200_000
"""Maximum number of indexed characters: a tsvector is limited to a megabyte, beyond which the INSERT would fail."""


def _tsvector(text: str) -> str:
    blanks = " " * len(_SEPARATORS)
    return f"to_tsvector('simple'::regconfig, translate(left({text}, {_MAX_CHARACTERS}), '{_SEPARATORS}', '{blanks}'))"


def _json_text(path: str) -> str:
    """Return the values of a JSON path as one text; empty for a malformed definition."""
    return f"coalesce(jsonb_path_query_array(schema_definition, '{path}', silent => true)::text, '')"


THINGS: Final = _tsvector("name::text || ' ' || coalesce(metadata ->> 'title', '')")
"""The words of a discovery's name and title, as a tsvector."""

FIELDS: Final = _tsvector(
    f"name::text || ' ' || {_json_text('$.fields.keyvalue().key')} || ' ' || {_json_text('$.fields.*.label')}"
)
"""The words of a model's name and of its fields' names and labels, as a tsvector."""
