"""fbs-worker: reads what an Odoo server can do into PostgreSQL, as Celery jobs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fbs_worker._version import __version__

if TYPE_CHECKING:
    from fbs_worker.client.client import Client, JobHandle
    from fbs_worker.client.service import IntegrationService

__all__ = ["Client", "IntegrationService", "JobHandle", "__version__"]

_PLACES: Final = {
    "Client": "fbs_worker.client.client",
    "IntegrationService": "fbs_worker.client.service",
    "JobHandle": "fbs_worker.client.client",
}


def __getattr__(name: str) -> Any:
    """What other applications use, imported when it is first asked for: importing the package costs nothing."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
