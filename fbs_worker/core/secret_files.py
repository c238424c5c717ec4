"""Read secrets from files, as container platforms provide them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 64 * 1024


class UnreadableSecret(Exception):
    """A secret file cannot be used; the message completes a sentence about the file: `cannot be read: …`."""


def read_secret(path: str) -> str:
    """Return a file's content without one trailing newline.

    Args:
        path: the file; `~` is the user's home.

    Raises:
        UnreadableSecret: the file cannot be read, is not text, or is larger than 64 KiB; the message shows nothing of
            its content.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode()
    except (OSError, RuntimeError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        if isinstance(exc, RuntimeError):  # raised by pathlib for ~name if there is no such user
            reason = "there is no such home"
        raise UnreadableSecret(f"cannot be read: {reason}") from None
    if len(content) > _MAX_BYTES:
        raise UnreadableSecret("is too large for a secret")
    return text.removesuffix("\n").removesuffix("\r")
