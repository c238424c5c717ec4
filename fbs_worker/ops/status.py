"""Status of solutions: one in detail, or all in a table. Read directly from the databases, without a worker.

The registry lists the solutions and their databases; the manifest in each solution's own database says the same from
its side. A solution has drifted when the two differ or when tables that it owns are missing.

    active        set up, registry and manifest agree
    inactive      not set up completely: a setup or a drop is running or was interrupted
    drifted       registry, manifest or tables differ; a setup repairs it
    unreachable   its database does not answer
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final

from fbs_worker.catalogue.model import SectionStatus
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.catalogue.writer import active_counts
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, DatabaseRightsMissing, FBSError
from fbs_worker.core.fanout import database_timeout, fan_out
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import JobReader, JobState
from fbs_worker.ops.records import record_states, record_summaries
from fbs_worker.scheduling.model import Kind
from fbs_worker.scheduling.service import refresh_every, schedule_status, sync_window
from fbs_worker.scheduling.store import scheduled_solution
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.inspector import existing_tables
from fbs_worker.schema.model import is_enforced
from fbs_worker.schema.system_tables import system_tables, table_exists
from fbs_worker.schema.table_stats import table_sizes
from fbs_worker.solutions.databases import Databases
from fbs_worker.solutions.registry import DamagedRow, SolutionRecord, read_rows, table_name
from fbs_worker.solutions.target import desired_tables, plan_migration

LIST_SECONDS: Final = 5.0
"""Time limit of `list` for all databases together."""

STATUS_SECONDS: Final = 30.0
"""Time limit of `status` for its one database: it counts rows."""

_SUMMARY_SECONDS: Final = 4.0
_DETAIL_SECONDS: Final = 25.0

_REDIS: Final = "redis"
"""Key of Redis among the servers of a fan-out."""

_JOBS_TIMED_OUT: Final = "Active jobs are not known: Redis did not answer in time."

_UNFINISHED: Final = (JobState.RUNNING, JobState.RETRYING, JobState.QUEUED, JobState.LOST)

_REPAIR: Final = "Run `fbs setup` again with the same configuration to repair it."


_NOT_KNOWN: Final[dict[str, str | None]] = {"last_checked": None, "last_change": None}


class OverallStatus(StrEnum):
    """The status of a solution."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DRIFTED = "drifted"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The status of a solution with its reason.

    Attributes:
        status: the status.
        reason: one line; empty when the solution is active.
        hint: what to do, one line; empty when the solution is active.
    """

    status: OverallStatus
    reason: str = ""
    hint: str = ""

    @classmethod
    def of_error(cls, exc: FBSError) -> Assessment:
        """Unreachable, with the error as the reason."""
        return cls(status=OverallStatus.UNREACHABLE, reason=exc.message, hint=exc.hint)

    def to_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"overall_status": str(self.status), "reason": self.reason, "hint": self.hint}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A solution's database, inspected by a few cheap queries.

    Attributes:
        manifest: the solution's manifest; None where there is none.
        missing: tables that the solution owns and that do not exist.
        counts: active discoveries of its domain per type.
        records: the copies of its mirrored models in short; None without any.
    """

    manifest: SolutionRecord | DamagedRow | None
    missing: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    records: Mapping[str, Any] | None = None

    @property
    def last_refresh(self) -> dict[str, Any] | None:
        """The last refresh according to the manifest; None if there was none."""
        return self.manifest.last_refresh if isinstance(self.manifest, SolutionRecord) else None

    @property
    def freshness(self) -> dict[str, str | None]:
        """`last_checked` and `last_change`: when Odoo was last asked, and when that last found something."""
        if not isinstance(self.manifest, SolutionRecord):
            return _NOT_KNOWN
        return {"last_checked": self.manifest.last_checked, "last_change": self.manifest.last_change}


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A solution's database, inspected completely.

    Attributes:
        summary: the result of the cheap queries.
        tables: `table`, `kind` (system, business or mirrored), `rows` and `bytes` of each; of a mirrored one `links`.
        records: where the copy of each mirrored model stands.
        denied: the sections of the last read of Odoo that were not complete.
        pending: how the tables differ from the definition; a migration applies it.
        drift: manual changes, which a migration leaves alone.
        notes: what could not be inspected, and why.
    """

    summary: Summary
    tables: Sequence[Mapping[str, Any]] = ()
    records: Sequence[Mapping[str, Any]] = ()
    denied: Sequence[Mapping[str, Any]] = ()
    pending: Sequence[str] = ()
    drift: Sequence[str] = ()
    notes: Sequence[str] = ()


def assess(entry: SolutionRecord, summary: Summary, *, jobs: Sequence[Mapping[str, Any]] = ()) -> Assessment:
    """Compare a registry entry with the solution's database. Pure.

    Args:
        entry: the entry in the registry.
        summary: the inspected database.
        jobs: the solution's active jobs, as `JobRecord.to_dict`.

    Returns:
        The status and its reason.
    """
    name, manifest = entry.solution_name, summary.manifest
    if isinstance(manifest, DamagedRow):
        return Assessment(status=OverallStatus.DRIFTED, reason=manifest.error.message, hint=manifest.error.hint)
    running = next((job for job in jobs if job["state"] == JobState.RUNNING and job["action"] != "refresh"), None)
    if not entry.is_active and running is not None:
        return Assessment(
            status=OverallStatus.INACTIVE,
            reason=f"A running job changes it ({running['action']}).",
            hint=f"Follow it: fbs jobs watch {running['id']}",
        )
    if manifest is None:
        if not entry.is_active:
            return Assessment(
                status=OverallStatus.INACTIVE,
                reason="Its setup or drop was not completed.",
                hint=f"Run `fbs setup` again, or `fbs drop {name}` to remove it.",
            )
        return Assessment(
            status=OverallStatus.DRIFTED,
            reason=f"The database {entry.database.name!r} has no manifest of it: {entry.table_prefix}solution_schemas"
            " has no row for it.",
            hint=_REPAIR,
        )
    differences = _differences(entry, manifest)
    if differences and not _differences(replace(entry, is_active=True), manifest):
        return Assessment(
            status=OverallStatus.DRIFTED,
            reason="A job that changes it was interrupted or is still running.",
            hint=f"Run that job again: `fbs migrate --solution-name {name}` or `fbs setup`; either repairs it.",
        )
    if differences:
        return Assessment(
            status=OverallStatus.DRIFTED,
            reason=f"Registry and database differ: {'; '.join(differences)}.",
            hint=_REPAIR,
        )
    if not entry.is_active:
        return Assessment(status=OverallStatus.INACTIVE, reason="It is marked as inactive.", hint=_REPAIR)
    if summary.missing:
        return Assessment(
            status=OverallStatus.DRIFTED,
            reason=f"Tables of it are missing: {', '.join(summary.missing)}.",
            hint=_REPAIR,
        )
    return Assessment(status=OverallStatus.ACTIVE)


def solution_status(
    settings: Settings, name: str, *, databases: Databases | None = None, jobs: JobReader | None = None
) -> dict[str, Any]:
    """Inspect one solution in detail.

    Args:
        settings: the home database, the keys and Redis; after `effective_settings`.
        name: the solution's name.
        databases: opens the databases; default: a connection each.
        jobs: reads the jobs; default: a connection of its own.

    Returns:
        JSON-ready, without secrets: `solution` (its name), `overall_status`, `reason`, `hint`, `config` (the registry
        entry), `database` (`place`, `size` in bytes, `server_version`), `tables` (`table`, `kind`, `rows`, `bytes`),
        `discoveries` (active ones per type), `odoo` (as in `list_solutions`), `sections_denied`,
        `last_refresh` (`at`, `report`, …: the last one that
        read Odoo; None if there was none), `last_checked` (time of the last refresh), `last_change` (time of the last
        one that found something), `schedule` (when it is refreshed; see `schedule_status`), `records` (where the
        copy of each mirrored model stands: `TableState.to_dict`), `pending` (how the tables
        differ from the definition), `drift` (manual changes), `jobs` (the active ones) and `notes` (what could not be
        inspected or cannot be done yet). If the database is unreachable, only the registry's values are filled.

    Raises:
        SolutionNotFound: the registry has no solution of that name.
        SettingsError: no home database is set.
        SecretError: a key in FBS_SECRET_KEYS is invalid.
        DatabaseError: the home database rejected a query.
        DatabaseUnreachable: the home database does not answer.
    """
    databases = databases or Databases(settings)
    with databases.registry(seconds=STATUS_SECONDS) as registry:
        entry = registry.get(name)
    server = _server(entry.database)
    calls: list[_Call] = [
        (server, partial(_detail, databases, entry)),
        (server, partial(_facts, databases, entry)),
        (_REDIS, partial(_active_jobs, settings, jobs)),
    ]
    detail, facts, unfinished = fan_out(calls, seconds=STATUS_SECONDS)
    active = unfinished if isinstance(unfinished, _ActiveJobs) else _ActiveJobs(note=_JOBS_TIMED_OUT)
    own_jobs = active.of(name)
    notes = [active.note] if active.note else []
    status: dict[str, Any] = {
        "solution": name,
        "config": entry.redacted(),
        "database": {"place": entry.database.address(), "size": None, "server_version": None},
        "tables": [],
        "discoveries": {},
        "odoo": _odoo(entry, None),
        "sections_denied": [],
        "last_refresh": None,
        **_NOT_KNOWN,
        "schedule": schedule_status(
            scheduled_solution(entry),
            refresh_every(settings),
            sync=scheduled_solution(entry, Kind.SYNC),
            window=sync_window(settings),
        ),
        "records": [],
        "pending": [],
        "drift": [],
        "jobs": own_jobs,
        "notes": notes,
    }
    if not isinstance(detail, Detail) or not isinstance(facts, dict):
        failed = next((one for one in (detail, facts) if isinstance(one, FBSError)), None)
        error = failed or database_timeout(entry.database, STATUS_SECONDS)
        return {**status, **Assessment.of_error(error).to_dict()}
    return {
        **status,
        **assess(entry, detail.summary, jobs=own_jobs).to_dict(),
        "database": {**status["database"], "size": facts["size"], "server_version": facts["server_version"]},
        "tables": list(detail.tables),
        "discoveries": facts["discoveries"],
        "odoo": _odoo(entry, detail.summary.manifest),
        "sections_denied": list(detail.denied),
        "last_refresh": detail.summary.last_refresh,
        **detail.summary.freshness,
        "records": list(detail.records),
        "pending": list(detail.pending),
        "drift": list(detail.drift),
        "notes": [*detail.notes, *notes],
    }


def list_solutions(
    settings: Settings, *, databases: Databases | None = None, jobs: JobReader | None = None
) -> dict[str, Any]:
    """Summarise all solutions; an unreachable or hanging database does not delay the others.

    Args:
        settings: as for `solution_status`.
        databases: the same.
        jobs: the same.

    Returns:
        JSON-ready, without secrets: `home` (address of the registry's database), `solutions` (by name: `solution`,
        `domain`, `database`, `table_prefix`, `business_prefix`, `overall_status`, `reason`, `hint`, `discoveries`,
        `odoo` (`connection`, and of the last refresh `url`, `database`, `series`), `last_refresh`, `last_checked`,
        `last_change` (timestamps), `records` (the copies of its mirrored models in short; None without any), `jobs`
        (number of active ones)), `counts` (solutions per status) and `notes`.

    Raises:
        SettingsError: no home database is set.
        SecretError: a key in FBS_SECRET_KEYS is invalid.
        DatabaseError: the home database rejected a query.
        DatabaseUnreachable: the home database does not answer.
    """
    databases = databases or Databases(settings)
    with databases.registry(seconds=LIST_SECONDS) as registry:
        entries = registry.entries()
    records = [entry for entry in entries if isinstance(entry, SolutionRecord)]
    summaries, active = _summarise_all(records, databases, partial(_active_jobs, settings, jobs))
    solutions = []
    for entry in entries:
        own_jobs = active.of(entry.solution_name)
        if isinstance(entry, DamagedRow):
            solutions.append(_damaged_row(entry, own_jobs))
        else:
            solutions.append(_solution_row(entry, summaries[entry.solution_name], own_jobs))
    counted = Counter(solution["overall_status"] for solution in solutions)
    return {
        "home": databases.home.address(),
        "solutions": solutions,
        "counts": {str(status): counted[str(status)] for status in OverallStatus},
        "notes": [active.note] if active.note else [],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _ActiveJobs:
    """Active jobs, as `JobRecord.to_dict`; `note` says why they could not be read."""

    by_solution: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    note: str = ""

    def of(self, name: str) -> list[dict[str, Any]]:
        return self.by_solution.get(name, [])


_Summaries = dict[str, Summary | FBSError]
_Call = tuple[Hashable, Callable[[], Detail | dict[str, Any] | FBSError | _ActiveJobs | _Summaries]]


def _server(database: DatabaseConfig) -> Hashable:
    return database.host, database.port


def _detail(databases: Databases, entry: SolutionRecord) -> Detail | FBSError:
    try:
        with databases.connection(entry.database, seconds=_DETAIL_SECONDS, read_only=False) as connection:
            return _inspect(connection, entry)
    except FBSError as exc:
        return exc


def _facts(databases: Databases, entry: SolutionRecord) -> dict[str, Any] | FBSError:
    """The database's size and version, and the discoveries: slow queries that need nothing of the others."""
    try:
        with databases.connection(entry.database, seconds=_DETAIL_SECONDS) as connection:
            size, version = databases.size_and_version(connection, entry.database)
            counts = _counts(connection, [entry])[entry.domain]
    except FBSError as exc:
        return exc
    return {"size": size, "server_version": version, "discoveries": counts}


def _summarise_all(
    records: Sequence[SolutionRecord], databases: Databases, read_jobs: Callable[[], _ActiveJobs]
) -> tuple[_Summaries, _ActiveJobs]:
    """Summarise all solutions; those of one database share a connection."""
    summaries: _Summaries = {}
    by_database: dict[DatabaseConfig, list[SolutionRecord]] = {}
    for record in records:
        try:
            by_database.setdefault(databases.resolved(record.database), []).append(record)
        except FBSError as exc:
            summaries[record.solution_name] = exc
    calls: list[_Call] = [
        (_server(database), partial(_summarise_database, databases, group)) for database, group in by_database.items()
    ]
    *results, jobs = fan_out([*calls, (_REDIS, read_jobs)], seconds=LIST_SECONDS)
    for (database, group), result in zip(by_database.items(), results, strict=True):
        late = database_timeout(database, LIST_SECONDS)
        received = result if isinstance(result, dict) else {}
        summaries |= {record.solution_name: received.get(record.solution_name, late) for record in group}
    return summaries, jobs if isinstance(jobs, _ActiveJobs) else _ActiveJobs(note=_JOBS_TIMED_OUT)


def _summarise_database(databases: Databases, records: Sequence[SolutionRecord]) -> _Summaries:
    by_prefix: dict[str, list[SolutionRecord]] = {}
    for record in records:
        by_prefix.setdefault(record.table_prefix, []).append(record)
    results: _Summaries = {}
    try:
        with databases.connection(records[0].database, seconds=_SUMMARY_SECONDS) as connection:
            for group in by_prefix.values():
                try:
                    counts = _counts(connection, group)
                    summaries = _summarise(connection, group, brief=True)
                    copies = record_summaries(connection, group[0].table_prefix, summaries.keys())
                    results |= {
                        record.solution_name: replace(
                            summaries[record.solution_name],
                            counts=counts[record.domain],
                            records=copies.get(record.solution_name),
                        )
                        for record in group
                    }
                except FBSError as exc:
                    _raise_if_closed(connection, exc)
                    results |= {record.solution_name: exc for record in group}
    except FBSError as exc:
        results = {record.solution_name: results.get(record.solution_name, exc) for record in records}
    return results


def _summarise(connection: Connection, entries: Sequence[SolutionRecord], *, brief: bool = False) -> dict[str, Summary]:
    """Inspect solutions by a few cheap queries for all together.

    Args:
        connection: to their database, outside of a transaction.
        entries: their entries in the registry, all with the same prefix of system tables.
        brief: leave the recorded schemas out of the manifests.
    """
    prefix, names = entries[0].table_prefix, [entry.solution_name for entry in entries]
    with errors_translated(connection), connection, connection.cursor() as cursor:
        rows = read_rows(cursor, table_name(prefix), names=names, manifest_only=True, brief=brief)
        manifests = {row.solution_name: row for row in rows}
        owned = {name: row.owned for name, row in manifests.items() if isinstance(row, SolutionRecord)}
        existing = set(existing_tables(connection, frozenset().union(*owned.values())))
    return {
        entry.solution_name: Summary(
            manifest=manifests.get(entry.solution_name),
            missing=tuple(sorted(owned.get(entry.solution_name, frozenset()) - existing)),
        )
        for entry in entries
    }


def _counts(connection: Connection, entries: Sequence[SolutionRecord]) -> dict[str, dict[str, int]]:
    """Active discoveries of each domain per type; arguments as for `_summarise`."""
    prefix, domains = entries[0].table_prefix, {entry.domain for entry in entries}
    with errors_translated(connection), connection, connection.cursor() as cursor:
        exists = table_exists(connection, f"{prefix}discoveries")
        return {domain: active_counts(cursor, prefix, domain) if exists else {} for domain in domains}


def _inspect(connection: Connection, entry: SolutionRecord) -> Detail:
    summary = _summarise(connection, [entry])[entry.solution_name]
    record = summary.manifest if isinstance(summary.manifest, SolutionRecord) else entry
    notes: list[str] = []
    changes: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    definition = None
    try:
        with errors_translated(connection), connection, connection.cursor() as cursor:
            target = desired_tables(cursor, record)
            definition = target.definition
            plan = plan_migration(cursor, record, target)
            changes, drift = plan.changes, plan.drift
            notes += plan.notes
    except FBSError as exc:
        _raise_if_closed(connection, exc)
        notes.append(f"Differences from the definition are not known: {exc.message}")
    records = record_states(connection, record)
    denied = _denied_sections(connection, record)
    tables: list[dict[str, Any]] = []
    try:  # last: counting may use up the remaining time
        with errors_translated(connection), connection:
            tables = _tables(connection, record, definition)
    except DatabaseBusy as exc:
        _raise_if_closed(connection, exc)
        notes.append(f"Rows and sizes are not known: counting took too long ({exc.message})")
    except DatabaseRightsMissing as exc:  # row-level security
        notes.append(f"Rows and sizes are not known: {exc.message}")
    return Detail(
        summary=summary,
        tables=tables,
        records=records,
        denied=denied,
        pending=changes,
        drift=drift,
        notes=notes,
    )


def _raise_if_closed(connection: Connection, exc: FBSError) -> None:
    if connection.closed:
        raise exc


def _tables(connection: Connection, record: SolutionRecord, definition: Definition | None) -> list[dict[str, Any]]:
    kinds = {str(table.name): "system" for table in system_tables(record.table_prefix)}
    defined = () if definition is None else definition.table_names
    business = [name for name in defined if name in record.owned]
    business += sorted(record.owned - set(business))
    kinds |= {name: "mirrored" if _is_mirrored(name, record) else "business" for name in business}
    tables = [{**sizes, "kind": kinds[sizes["table"]]} for sizes in table_sizes(connection, kinds)]
    return [one | {"links": _links(one["table"], definition)} if one["kind"] == "mirrored" else one for one in tables]


def _links(name: str, definition: Definition | None) -> dict[str, str]:
    """Columns of a mirrored table → what they refer to, among the other ones; no foreign key enforces that."""
    table = None if definition is None else definition.business.tables.get(name)
    keys = [key for key in (() if table is None else table.foreign_key_constraints) if not is_enforced(key)]
    return {str(part.parent.name): str(part.target_fullname) for key in keys for part in key.elements}


def _is_mirrored(name: str, record: SolutionRecord) -> bool:
    """The table of a mirrored model, or a link table of one."""
    return any(name == table or name.startswith(f"{table}__") for table in record.mirrored.values())


def _denied_sections(connection: Connection, record: SolutionRecord) -> list[dict[str, Any]]:
    last = Catalogue(connection, table_prefix=record.table_prefix).last_snapshot(record.domain)
    sections = last.sections if last else ()
    return [section.to_dict() for section in sections if section.status is not SectionStatus.COMPLETE]


def _active_jobs(settings: Settings, jobs: JobReader | None) -> _ActiveJobs:
    by_solution: dict[str, list[dict[str, Any]]] = {}
    try:
        with nullcontext(jobs) if jobs else JobReader(settings.fbs_redis_url) as reader:
            unfinished = sorted(reader.open(), key=lambda job: (job.created_at, job.id), reverse=True)
    except FBSError as exc:
        return _ActiveJobs(note=f"Active jobs are not known: {exc.message}")
    for job in sorted(unfinished, key=lambda job: _UNFINISHED.index(job.state)):
        if job.solution:
            by_solution.setdefault(job.solution, []).append(job.to_dict())
    return _ActiveJobs(by_solution=by_solution)


def _solution_row(
    entry: SolutionRecord, summary: Summary | FBSError, jobs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    if isinstance(summary, Summary):
        assessment = assess(entry, summary, jobs=jobs)
        counts, last, fresh = dict(summary.counts), summary.last_refresh or {}, summary.freshness
    else:
        assessment, counts, last, fresh = Assessment.of_error(summary), {}, {}, _NOT_KNOWN
    return {
        "solution": entry.solution_name,
        "domain": entry.domain,
        "database": entry.database.redacted(),
        "table_prefix": entry.table_prefix,
        "business_prefix": entry.business_prefix,
        **assessment.to_dict(),
        "discoveries": counts,
        "odoo": _odoo(entry, summary.manifest if isinstance(summary, Summary) else None),
        "last_refresh": last.get("at"),
        **fresh,
        "records": summary.records if isinstance(summary, Summary) else None,
        "jobs": len(jobs),
    }


def _odoo(entry: SolutionRecord, manifest: SolutionRecord | DamagedRow | None) -> dict[str, str]:
    """The connection's name, and where the last refresh was read, if that is known."""
    source = manifest.source if isinstance(manifest, SolutionRecord) else {}
    return {"connection": entry.odoo, **(source or entry.source)}


def _damaged_row(entry: DamagedRow, jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    assessment = Assessment(status=OverallStatus.DRIFTED, reason=entry.error.message, hint=entry.error.hint)
    return {
        "solution": entry.solution_name,
        "domain": None,
        "database": None,
        "table_prefix": None,
        "business_prefix": None,
        **assessment.to_dict(),
        "discoveries": {},
        "odoo": None,
        "last_refresh": None,
        **_NOT_KNOWN,
        "records": None,
        "jobs": len(jobs),
    }


def _differences(entry: SolutionRecord, manifest: SolutionRecord) -> list[str]:
    """One phrase per difference between registry and manifest; passwords are not compared."""
    registered, recorded = _comparable(entry), _comparable(manifest)
    return [
        f"{name} is {registered[name]!r} in the registry and {recorded[name]!r} in the database"
        for name in registered
        if registered[name] != recorded[name]
    ]


def _comparable(record: SolutionRecord) -> dict[str, Any]:
    return {
        "domain": record.domain,
        "database": record.database.address(),
        "table_prefix": record.table_prefix,
        "business_prefix": record.business_prefix,
        "is_active": record.is_active,
        "odoo": record.odoo,
        "mirrored": ", ".join(sorted(record.mirrored)),
        "tables": ", ".join(sorted(record.owned)),
    }
