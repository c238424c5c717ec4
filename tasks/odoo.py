"""`fbs.test_odoo`: log in to an Odoo, and find what its user may read."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

from celery import shared_task

from fbs_worker.catalogue.model import SectionStatus
from fbs_worker.connectors.connect import limiter_for, open_transport
from fbs_worker.connectors.rights import RightsCheck, protocol_of
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.odoo_connections import DATABASE, ENVIRONMENT, find_odoo
from fbs_worker.solutions.odoo_requests import OdooTestRequest

_MAX_SECONDS: Final = 30.0
"""Time-out of a call: a person waits."""


@shared_task(  # type: ignore[untyped-decorator]  # Celery has no types
    name=OdooTestRequest.task, bind=True, base=JobTask, is_retried=False
)
def test_odoo_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `check_connection`; the arguments are the fields of `OdooTestRequest`."""
    request = OdooTestRequest.from_message(message, settings=self.settings, in_process=self.in_process)
    return check_connection(request, settings=self.settings, progress=self.progress)


def check_connection(request: OdooTestRequest, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Log in to the Odoo of a connection, and find what its user may read. Nothing is stored.

    Args:
        request: the connection's name.
        settings: the connections and the keys.
        progress: receives the steps.

    Returns:
        `connection`, `origin` (`environment` or `database`), `source` (URL, database and series of the Odoo), `user`,
        `protocol` (the one chosen), `sections` (`name`, `status`; `needs`, the group that is missing, and `detail`
        where it is not complete), `complete` (whether all are), `call_ms` (median duration of a call),
        `clock_offset` (seconds that its clock is ahead of ours; None if unknown) and `seconds`.

    Raises:
        SettingsError: no connection has that name, or it lacks something.
        FBSError: the home database or Odoo reported an error.
    """
    began = time.monotonic()
    progress.step("connect")
    connection = find_odoo(settings, request.name)
    origin = DATABASE if connection.stored_as else ENVIRONMENT
    quick = connection.model_copy(update={"timeout": min(connection.timeout, _MAX_SECONDS)})
    limiter = limiter_for(quick, settings=settings, progress=progress)
    transport = open_transport(quick, limiter=limiter, max_answer=settings.fbs_odoo_max_answer, progress=progress)
    with closing(transport):
        progress.step("rights")
        check = RightsCheck(transport, connection.lang)
        sections = check.sections()
        server = transport.server
        return {
            "connection": request.name.lower(),
            "origin": origin,
            "source": {"url": server.url, "database": server.database, "series": server.series},
            "user": connection.user,
            "protocol": protocol_of(transport),
            "sections": [{key: text for key, text in each.to_dict().items() if key != "rows"} for each in sections],
            "complete": all(each.status is SectionStatus.COMPLETE for each in sections),
            "call_ms": check.call_ms,
            "clock_offset": _ahead(transport.clock),
            "seconds": round(time.monotonic() - began, 3),
        }


def _ahead(clock: str) -> float | None:
    """The seconds that a clock, as `Transport.clock` has it, is ahead of ours."""
    if not clock:
        return None
    return round((datetime.fromisoformat(clock).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds(), 1)
