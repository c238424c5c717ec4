"""Secrets that lie in files, as container platforms hand them over."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MOST_BYTES: Final = 64 * 1024


class UnreadableSecret(Exception):
    """A file that does not hold a secret; the message ends a sentence about the file: `cannot be read: …`."""


def read_secret(path: str) -> str:
    """A file's content, one trailing newline left out.

    Args:
        path: the file; `~` is the user's home.

    Raises:
        UnreadableSecret: it cannot be read, or is too large; the message shows nothing of its content.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode()
    except (OSError, RuntimeError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        if isinstance(exc, RuntimeError):  # what pathlib raises for ~name without such a user
            reason = "there is no such home"
        raise UnreadableSecret(f"cannot be read: {reason}") from None
    if len(content) > _MOST_BYTES:
        raise UnreadableSecret("is too large for one")
    return text.removesuffix("\n").removesuffix("\r")
