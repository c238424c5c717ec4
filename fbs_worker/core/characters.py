"""Characters that no text of a request may have, and those that must be seen where text is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

BIDIRECTIONAL: Final = {
    code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Translation of the bidirectional control characters to escapes, as in JSON and Python."""

_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")

_Text = TypeVar("_Text", bound=str)


def visible(text: _Text) -> _Text:
    """Return the text with escapes for what changes its direction: a label could pass for another.

    Markup stays markup.
    """
    return text.translate(BIDIRECTIONAL)  # type: ignore[return-value]


def check_characters(value: Any) -> None:
    """Refuse NUL, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot encode.

    Args:
        value: a text, or JSON with texts at any depth.

    Raises:
        ValueError: a text has one.
    """
    remaining = [value]
    while remaining:
        match remaining.pop():
            case str() as text:
                if _UNSTORABLE.search(text):
                    raise ValueError("texts have neither NUL nor lone surrogates")
            case Mapping() as mapping:
                remaining += [*mapping, *mapping.values()]
            case list() | tuple() as items:
                remaining += items
