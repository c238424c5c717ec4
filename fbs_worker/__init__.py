"""fbs-worker: reads what an Odoo server can do into PostgreSQL, as Celery jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fbs_worker.client import Client, JobHandle

__all__ = ["Client", "JobHandle", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What other applications use, imported when it is first asked for: importing the package costs nothing."""
    if name in {"Client", "JobHandle"}:
        from fbs_worker import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
