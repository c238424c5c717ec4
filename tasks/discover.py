"""`fbs.discover`: read the discoveries of a domain from Odoo and save them in the catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from celery import shared_task
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.model import ChangeReport, DiscoveryType, SectionStatus, Snapshot
from fbs_worker.catalogue.store import Catalogue, SnapshotRecord
from fbs_worker.connectors.connect import limiter_for, open_transport
from fbs_worker.connectors.modules import INSTALLED
from fbs_worker.connectors.odoo import MIRRORED, OdooConnector
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.domains import Domain, load_domain
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.odoo_connections import find_odoo
from fbs_worker.solutions.registry import mirrored_models
from fbs_worker.solutions.requests import DiscoverRequest, check_odoo


@shared_task(name=DiscoverRequest.task, bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def discover_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `discover`; the arguments are the fields of `DiscoverRequest`."""
    request = DiscoverRequest.from_message(message, settings=self.settings, in_process=self.in_process)
    return discover(request, settings=self.settings, progress=self.progress)


def discover(request: DiscoverRequest, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Read the discoveries of a domain from Odoo; save them if the request has a database.

    Args:
        request: the validated parameters.
        settings: the Odoo connections and the keys.
        progress: receives the steps.

    Returns:
        With a database: `report` (the changes) and `database` (without the password). Without one: `found` (names and
        titles per discovery type), `counts` and `sections`. Always: `source` (the Odoo), `calls` (number of calls to
        Odoo) and `seconds`.

    Raises:
        FBSError: a connection failed, or Odoo or PostgreSQL reported an error. Both connections are closed.
    """
    began = time.monotonic()
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    # a plain password comes from the settings or from a caller in this process: the task rejects one in a message
    database = None if request.database_config is None else request.database_config.resolved(vault, allow_plain=True)
    domain = load_domain(request.domain).selecting(include=request.include_modules, exclude=request.exclude_modules)
    connection = find_odoo(settings, request.odoo)
    check_odoo(connection, request.odoo_expected)
    progress.step("connect")
    limiter = limiter_for(connection, settings=settings, progress=progress)
    transport = open_transport(connection, limiter=limiter, max_answer=settings.fbs_odoo_max_answer, progress=progress)
    with closing(transport):
        connector = OdooConnector(transport, page_size=settings.fbs_page_size, lang=connection.lang)
        if database is None:
            result = _summary(connector.read(domain, types=request.discovery_types, progress=progress))
        else:
            with closing(connect(database, application_name="fbs-worker discover")) as opened:
                report = read_and_save(
                    connector,
                    opened,
                    domain=domain,
                    table_prefix=request.table_prefix,
                    types=request.discovery_types,
                    full=request.full,
                    full_after=settings.fbs_full_after,
                    odoo_moved=request.odoo_moved,
                    progress=progress,
                )
            result = {"report": report.to_dict(), "database": database.redacted()}
        result |= {"source": dict(connector.source), "calls": transport.calls}
    return {**result, "seconds": round(time.monotonic() - began, 3)}


def read_and_save(
    connector: OdooConnector,
    connection: Connection,
    *,
    domain: Domain,
    table_prefix: str,
    types: Collection[DiscoveryType] = tuple(DiscoveryType),
    full: bool,
    full_after: int,
    odoo_moved: bool,
    progress: Progress,
    mirror: Collection[str] = (),
    within: Callable[[Cursor, ChangeReport], None] | None = None,
) -> ChangeReport:
    """Read the discoveries of a domain and save them, unless Odoo's fingerprint says that nothing changed.

    Args:
        connector: reads Odoo.
        connection: to the database, outside of a transaction.
        domain: the business area.
        table_prefix: prefix of the system tables.
        types: the discovery types to read.
        full: read everything, even if the fingerprint says that nothing changed.
        full_after: seconds after which an equal fingerprint no longer replaces a full read.
        odoo_moved: the saved discoveries were read from this same Odoo under another address.
        progress: receives the steps.
        mirror: models to mirror, in addition to those that the solutions of this domain and database mirror.
        within: called in the save's transaction after its writes; not called when nothing was read.

    Returns:
        The changes.

    Raises:
        FBSError: Odoo or PostgreSQL reported an error; nothing is saved.
    """
    catalogue = Catalogue(connection, table_prefix=table_prefix)
    mirrored = {*mirror, *mirrored_models(connection, table_prefix, domain.name)}
    if not full:
        last = catalogue.last_snapshot(domain.name, types=types)
        now = datetime.now(tz=UTC)
        if last and comparable(last, source=connector.source, now=now, full_after=full_after):
            progress.step("compare fingerprint")
            fingerprint = last.fingerprint or {}
            if mirrored <= {*fingerprint.get(MIRRORED, ())} and connector.unchanged(fingerprint, domain):
                return catalogue.unchanged_report(domain.name, sections=last.sections, types=types)
    snapshot = connector.read(domain, types=types, mirrored=mirrored, progress=progress)
    return catalogue.save(snapshot, progress=progress, odoo_moved=odoo_moved, within=within)


def comparable(last: SnapshotRecord, *, source: Mapping[str, str], now: datetime, full_after: int) -> bool:
    """Return whether an equal fingerprint can replace a read: the last read was complete, recent, and of the same Odoo.

    Args:
        last: the last read.
        source: the Odoo to read now.
        now: the current time.
        full_after: the maximum age of the last read, in seconds.
    """
    return (
        last.fingerprint is not None
        and dict(last.source) == dict(source)
        and all(section.status is SectionStatus.COMPLETE for section in last.sections)
        and (now - last.taken_at).total_seconds() < full_after
    )


def _summary(snapshot: Snapshot) -> dict[str, Any]:
    found: dict[str, list[dict[str, str]]] = {str(kind): [] for kind in DiscoveryType if kind in snapshot.types}
    needed_by: dict[str, str] = {}
    for discovery in snapshot:
        entry = {"name": discovery.name, "title": str(discovery.metadata.get("title") or discovery.name)}
        if discovery.version is not None:
            entry["version"] = discovery.version
        if discovery.discovery_type is DiscoveryType.MODULE:
            facts = discovery.metadata
            entry |= {"state": facts.get("state", ""), "why": facts.get("selected_by", "")}
            if facts.get("state") in INSTALLED:
                needed_by |= {name: discovery.name for name in facts.get("depends", ()) if name not in needed_by}
        found[discovery.discovery_type].append(entry)
    for entry in found.get(DiscoveryType.MODULE, ()):
        entry["why"] = entry["why"] or f"dependency of {needed_by.get(entry['name'], 'a core module')}"
    for entries in found.values():
        entries.sort(key=lambda entry: entry["name"])
    return {
        "found": found,
        "counts": {kind: len(entries) for kind, entries in found.items()},
        "sections": [section.to_dict() for section in snapshot.sections],
    }
