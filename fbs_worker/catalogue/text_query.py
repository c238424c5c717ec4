"""The words of a search. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MOST_WORDS: Final = 8
"""Words that are looked for; what follows them is left out."""

WORDS: Final = "to_tsquery('simple'::regconfig, %(query)s)"
"""SQL for `query_of`."""

_MOST_TEXT: Final = 200

_DIVIDED: Final = re.compile("[^0-9A-Za-z\u0080-\U0010ffff]+")


def words_of(text: str) -> Sequence[str]:
    """The words of a text, in small letters, each once.

    Args:
        text: as a person typed it; whatever is ASCII and neither letter nor digit divides words.
    """
    readable = "".join(sign for sign in text[:_MOST_TEXT] if not "\ud800" <= sign <= "\udfff")
    found = (word for word in _DIVIDED.split(readable.lower()) if word)
    return tuple(dict.fromkeys(found))[:MOST_WORDS]


def query_of(text: str) -> str:
    """What PostgreSQL's `to_tsquery` wants to find every word of a text as the beginning of one; empty without words.

    Args:
        text: as a person typed it.
    """
    return " & ".join(f"'{word}':*" for word in words_of(text))
