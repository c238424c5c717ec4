"""Sync a solution: copy the records of its mirrored models, table by table.

A table, and each range of ids of a large first copy, is a unit with a lock of its own. The sync enqueues the long ones
as jobs, so that other workers take them, and does what none has taken; a unit whose worker dies is free again. So one
worker is enough, and none waits for one that does not come. A worker that is done with its unit, and has Odoo open,
goes on with others that are free.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

from fbs_worker.catalogue.store import model_definitions, transient_models
from fbs_worker.core.advisory_locks import free_lock, transaction
from fbs_worker.core.errors import DatabaseError, FBSError, OdooServerError, OdooTimeout, SyncPaused, UsageError
from fbs_worker.core.poolers import refuse_transaction_pooler
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.replication.source import Reader, RecordSource
from fbs_worker.replication.state import Phase, Status, TableState, forget, save, state_of, states
from fbs_worker.replication.table import DANGLING, Options, TableSync, referring
from fbs_worker.replication.target import Target, targets
from fbs_worker.schema.system_tables import SYSTEM_TABLES, ensure_tables
from fbs_worker.solutions.odoo_connections import find_odoo
from fbs_worker.solutions.registry import Manifest, SolutionRecord
from fbs_worker.solutions.requests import SyncRequest, SyncTableRequest
from fbs_worker.solutions.workspace import Home, find_solution, locked_connection, read_manifest, vault_of

_log = logging.getLogger(__name__)

LONG_ROWS: Final = 20_000
"""Reading every record of a table with at most so many rows is not worth a job of its own."""
POLL_SECONDS: Final = 0.1

_GONE: Final = "Odoo has no model {} any more, or its module is not of the domain; the table stays as it is."
_NOT_OURS: Final = "The table {} was not made by this solution: it is not touched."


class OpenRecords(Protocol):
    """Opens an Odoo to read records: `fbs_worker.tasks.sync.open_records`."""

    def __call__(
        self, odoo: OdooConnection, /, *, settings: Settings, progress: Progress
    ) -> AbstractContextManager[RecordSource]: ...


class TimeWindow(Protocol):
    """When schedules may copy records: `fbs_worker.scheduling.window.Window`."""

    def is_open(self, instant: datetime) -> bool: ...

    def opens_after(self, instant: datetime) -> datetime: ...

    def closes_after(self, instant: datetime) -> datetime | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one worker does at a time.

    Attributes:
        model: the mirrored model.
        part: a range of ids of its first copy; None: everything that is left.
    """

    model: str
    part: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """How a sync runs.

    Attributes:
        run: its id, the same at each attempt.
        settings: the home database, the Odoo connections, the keys and FBS_SYNC_….
        progress: receives the steps.
        open_records: opens the Odoo.
        enqueue: enqueues a job for a unit; None: everything is done here.
        deadline: `time.monotonic()` at which it pauses; None: never.
        window: when a sync of a schedule may run; None: at any time.
    """

    run: str
    settings: Settings
    progress: Progress
    open_records: OpenRecords
    enqueue: Callable[[SyncTableRequest], object] | None = None
    deadline: float | None = None
    window: TimeWindow | None = None


@dataclass(slots=True, kw_only=True)
class _Solution:
    """A solution whose records are copied.

    Attributes:
        job: how the sync runs.
        manifest: the solution.
        connection: to its database.
        targets: mirrored model → its tables.
    """

    job: Job
    manifest: SolutionRecord
    connection: Connection
    targets: dict[str, Target]

    def state(self, model: str) -> TableState | None:
        """The state of a model's table."""
        with transaction(self.connection) as cursor:
            return state_of(cursor, self.manifest.table_prefix, self.targets[model].table)

    def lock(self, unit: Unit) -> AbstractContextManager[bool]:
        """Hold a unit, if no other worker does."""
        name = f"records:{self.manifest.solution_name}:{self.targets[unit.model].table}"
        return free_lock(self.connection, name if unit.part is None else f"{name}:{unit.part}")

    @contextmanager
    def while_mirrored(self, model: str) -> Iterator[None]:
        """End the `with` block without an error if it failed because a migration took the model's table away."""
        try:
            yield
        except DatabaseError:
            with transaction(self.connection):
                manifest = Manifest.read(self.connection, self.manifest.table_prefix, self.manifest.solution_name)
            if manifest is None or model in manifest.mirrored:
                raise
            _log.info("%s is not mirrored any more", model)
            del self.targets[model]

    def is_done(self, unit: Unit, run: str) -> bool:
        """Whether a unit was done in this run, by whatever worker."""
        state = self.state(unit.model)
        if state is None:
            return False
        if unit.part is None:
            return state.last_run.get("run") == run
        ranges = state.position.get("ranges") or []
        return state.phase is not Phase.COPY or (unit.part < len(ranges) and bool(ranges[unit.part][3]))


@dataclass(slots=True, kw_only=True)
class _Reading:
    """A solution with an open Odoo.

    Attributes:
        solution: the solution.
        source: reads the records.
        reader: who reads.
        request: what was asked for.
        options: the same for tables.
        here: the models whose table was done here.
    """

    solution: _Solution
    source: RecordSource
    reader: Reader
    request: SyncRequest | SyncTableRequest
    options: Options
    here: set[str] = field(default_factory=set)

    def table(self, model: str) -> TableSync:
        """The sync of one model."""
        every = self.solution.targets.values()
        return TableSync(
            source=self.source,
            reader=self.reader,
            connection=self.solution.connection,
            target=self.solution.targets[model],
            incoming=[link for target in every for link in target.links if link.relation == model],
            solution=self.solution.manifest.solution_name,
            table_prefix=self.solution.manifest.table_prefix,
            options=self.options,
            progress=self.solution.job.progress,
        )

    def share(self, units: Iterable[Unit]) -> None:
        """Enqueue units as jobs, for other workers."""
        job, request = self.solution.job, self.request
        if job.enqueue is None:
            return
        for unit in units:
            job.enqueue(
                SyncTableRequest(
                    solution_name=request.solution_name,
                    model=unit.model,
                    models=request.models,
                    run=self.options.run,
                    part=-1 if unit.part is None else unit.part,
                    full=request.full,
                    verify=request.verify,
                    allow_delete=request.allow_delete,
                    scheduled=request.scheduled,
                    reader=self.reader.to_dict(),
                )
            )

    def work(self, units: Iterable[Unit]) -> None:
        """Do every unit that no other worker does, until all are done.

        Raises:
            OdooTimeout, OdooServerError: a unit failed, after the others were done.
        """
        left = list(units)
        failures: list[FBSError] = []
        while left:
            is_idle = True
            for unit in list(left):
                if unit.model not in self.solution.targets:  # not mirrored any more
                    left.remove(unit)
                    continue
                with self.solution.lock(unit) as is_free, self.solution.while_mirrored(unit.model):
                    if is_free:
                        left.remove(unit)
                        is_idle = False
                        if not self.solution.is_done(unit, self.options.run):
                            try:
                                self.run(unit)
                            except (OdooTimeout, OdooServerError) as exc:
                                failures.append(exc)
            if is_idle:
                waiting = ", ".join(sorted({unit.model for unit in left}))
                self.solution.job.progress.advance(0, message=f"other workers copy {waiting}")
                time.sleep(POLL_SECONDS)
        if failures:
            raise failures[0]

    def help(self, unit: Unit) -> None:
        """Do further units of the run that are free, after one that was enqueued; what fails is left to the sync."""
        solution, request = self.solution, self.request
        state = solution.state(unit.model)
        ranges = state.position.get("ranges") or () if state and unit.part is not None else ()
        units = [Unit(model=unit.model, part=part) for part in range(len(ranges))]
        models = [model for model in solution.targets if not request.models or model in request.models]
        units += [Unit(model=model) for model in models if _is_long(solution.state(model), request)]
        with suppress(OdooTimeout, OdooServerError):
            for each in units:
                with solution.lock(each) as is_free, solution.while_mirrored(each.model):
                    if is_free and not solution.is_done(each, self.options.run):
                        self.run(each)
                if each.model not in solution.targets:
                    return

    def run(self, unit: Unit) -> TableState:
        """Do a unit whose lock is held. A large first copy is split, and its ranges are shared."""
        table = self.table(unit.model)
        if unit.part is not None:
            return table.copy_part(unit.part)
        parts = [Unit(model=unit.model, part=part) for part in table.plan()]
        if len(parts) > 1:
            self.share(parts)
            self.work(parts)
        self.here.add(unit.model)
        return table.run()

    def read_referring(self) -> None:
        """Read the records again that refer to deleted ones: Odoo emptied their field without moving their date."""
        solution, prefix = self.solution, self.solution.manifest.table_prefix
        for model in solution.targets:
            state = solution.state(model)
            if state is None or not state.last_run.get(DANGLING):
                continue
            for target, column in referring(solution.targets.values(), model):
                self.table(target.model).read_referring(column, state.table_name)
            with transaction(solution.connection) as cursor:
                state.last_run.pop(DANGLING)
                save(cursor, prefix, state, ["last_run"])


def sync(request: SyncRequest, job: Job) -> dict[str, Any]:
    """Copy the records of a solution's mirrored models, and keep their tables equal to Odoo.

    Args:
        request: the validated parameters.
        job: how it runs.

    Returns:
        `solution`, `tables` (`TableState.to_dict` of each), the sums `read`, `written`, `deleted`, `rejected`, `calls`,
        `seconds`, the models whose table `needs_review`, `failed`, is `stopped` or `differs` from Odoo, and `models`:
        those that were asked for; empty for all.

    Raises:
        SolutionNotFound: the registry has no such solution.
        UsageError: a model is not mirrored.
        SyncPaused: the job's time is over; the next attempt goes on.
        FBSError: Odoo or PostgreSQL does not answer; what was read is saved.
    """
    began = time.monotonic()
    name = request.solution_name
    with _opened(job, name, lock=f"{name} (records)") as solution:
        job = _within_window(request, job, solution.connection)
        models = _chosen(solution.manifest, request)
        with transaction(solution.connection):
            ensure_tables(solution.connection, solution.manifest.table_prefix, SYSTEM_TABLES)
        _stop_missing(solution, models, job.run)
        units = [Unit(model=model) for model in models if model in solution.targets]
        if all(solution.is_done(unit, job.run) for unit in units):
            # the job ended once, and its record was lost: Odoo may have changed since
            job = replace(job, run=f"{job.run}-{uuid.uuid4().hex[:8]}")
        calls = 0
        here: frozenset[str] = frozenset()
        if units:
            with _reading(solution, job, request, None) as reading:
                long = [unit for unit in units if _is_long(solution.state(unit.model), request)]
                if len(long) > 1:
                    reading.share(long)
                reading.work([*long, *(unit for unit in units if unit not in long)])
                reading.read_referring()
                calls, here = reading.source.calls, frozenset(reading.here)
        mirrored = read_manifest(solution.connection, solution.manifest).mirrored  # by now
        with transaction(solution.connection) as cursor:
            forget(cursor, solution.manifest.table_prefix, name, keep=mirrored.values())
            cursor.execute("SELECT NOW() AT TIME ZONE 'UTC'")
            row = cursor.fetchone()
            every = states(cursor, solution.manifest.table_prefix, name)
        tables = [each for each in every if each.model in models]
        calls += sum(int(each.last_run.get("calls") or 0) for each in tables if each.model not in here)
        result = _result(name, tables, now=row[0] if row else None, run=job.run, calls=calls, began=began)
        return {**result, "models": list(request.models)}


def sync_table(request: SyncTableRequest, job: Job) -> dict[str, Any]:
    """Do one unit of a sync, unless another worker does it or has done it.

    Args:
        request: the validated parameters.
        job: how it runs.

    Returns:
        `solution`, `model`, `table` (`TableState.to_dict`; None where it was done elsewhere).

    Raises:
        FBSError: as for `sync`.
    """
    name, unit = request.solution_name, Unit(model=request.model, part=request.part if request.part >= 0 else None)
    done: dict[str, Any] = {"solution": name, "model": request.model, "table": None}
    with _opened(job, name) as solution, ExitStack() as stack:
        if unit.model not in solution.targets:
            return done
        with solution.lock(unit) as is_free:
            if not is_free or solution.is_done(unit, request.run):
                return done
            job = replace(_within_window(request, job, solution.connection), run=request.run)
            reading = stack.enter_context(_reading(solution, job, request, request.reader))
            with solution.while_mirrored(unit.model):
                done["table"] = reading.run(unit).to_dict()
        if unit.model in solution.targets:
            reading.help(unit)
    return done


@contextmanager
def _reading(
    solution: _Solution, job: Job, request: SyncRequest | SyncTableRequest, known: Mapping[str, Any] | None
) -> Iterator[_Reading]:
    """Open the solution's Odoo, as a reader that is known or is asked for."""
    settings = job.settings
    odoo = find_odoo(settings, solution.manifest.odoo)
    job.progress.step("connect")
    with job.open_records(odoo, settings=settings, progress=job.progress) as source:
        options = Options(
            run=job.run,
            full=request.full,
            verify=request.verify,
            allow_delete=request.allow_delete,
            sweep_every=settings.fbs_sync_sweep_every,
            full_every=settings.fbs_sync_full_every,
            keep_deleted=settings.fbs_sync_keep_deleted,
            parts=job.enqueue is not None,
            deadline=job.deadline,
        )
        reader = source.reader(Reader.from_dict(known) if known else None)
        yield _Reading(solution=solution, source=source, reader=reader, request=request, options=options)


@contextmanager
def _opened(job: Job, name: str, *, lock: str = "") -> Iterator[_Solution]:
    """Look a solution up, and connect to its database; with a lock, so that one sync runs at a time."""
    vault = vault_of(job.settings)
    with closing(Home(job.settings, vault)) as home:
        entry = find_solution(home, name)
    database = entry.database.resolved(vault)
    opened: AbstractContextManager[Connection] = (
        locked_connection(database, lock, action="sync", progress=job.progress)
        if lock
        else closing(connect(database, application_name=f"fbs-worker sync {name}"))
    )
    with opened as connection:
        refuse_transaction_pooler(connection)
        manifest = read_manifest(connection, entry)
        with transaction(connection) as cursor:
            where = (manifest.table_prefix, manifest.domain, manifest.mirrored)
            definitions = model_definitions(cursor, *where)
            transient = transient_models(cursor, *where)
        names = {model: table for model, table in manifest.mirrored.items() if model in definitions}
        known = targets(definitions, names, transient=transient, binary=job.settings.fbs_sync_binary)
        try:
            yield _Solution(job=job, manifest=manifest, connection=connection, targets=known)
        except DatabaseError:
            with closing(Home(job.settings, vault)) as home:
                find_solution(home, name)  # it may have been dropped meanwhile, with its tables
            raise


def _within_window(request: SyncRequest | SyncTableRequest, job: Job, connection: Connection) -> Job:
    """Keep a sync of a schedule within FBS_SYNC_WINDOW, by the database's clock.

    Raises:
        SyncPaused: it is not open; the job goes on when it is.
    """
    window = job.window
    if not request.scheduled or job.deadline is None or window is None:
        return job
    with transaction(connection) as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    assert row is not None  # noqa: S101 -- a query without FROM has one row
    now: datetime = row[0]
    if not window.is_open(now):
        opens = window.opens_after(now)
        raise SyncPaused(
            f"Outside of FBS_SYNC_WINDOW; the copy goes on at {opens:%Y-%m-%d %H:%M} UTC.",
            hint="Nothing has to be done. `fbs sync` copies at any time.",
            retry_after=(opens - now).total_seconds(),
        )
    closes = window.closes_after(now)
    left = (closes - now).total_seconds() if closes else float("inf")
    return replace(job, deadline=min(job.deadline, time.monotonic() + left))


def _chosen(manifest: SolutionRecord, request: SyncRequest) -> list[str]:
    unknown = sorted(set(request.models) - manifest.mirrored.keys())
    if unknown:
        raise UsageError(
            f"The solution {request.solution_name!r} does not mirror {', '.join(unknown)}.",
            hint=f"It mirrors: {', '.join(sorted(manifest.mirrored)) or 'nothing'}."
            f" More: fbs migrate {request.solution_name} --mirror MODEL",
            models=unknown,
        )
    return sorted(request.models or manifest.mirrored)


def _stop_missing(solution: _Solution, models: list[str], run: str) -> None:
    """Forget tables that are not mirrored any more, and note which models cannot be copied, before Odoo is asked."""
    manifest = solution.manifest
    with transaction(solution.connection) as cursor:
        forget(cursor, manifest.table_prefix, manifest.solution_name, keep=manifest.mirrored.values())
    reasons = {model: _GONE.format(model) for model in models if model not in solution.targets}
    reasons |= {
        model: _NOT_OURS.format(target.table)
        for model, target in solution.targets.items()
        if model in models and target.table not in manifest.owned
    }
    for model, reason in reasons.items():
        table = manifest.mirrored[model]
        with transaction(solution.connection) as cursor:
            state = state_of(cursor, manifest.table_prefix, table) or TableState(
                solution_name=manifest.solution_name, model=model, table_name=table
            )
            state.status, state.reason, state.last_run = Status.STOPPED, reason, {"run": run}
            save(cursor, manifest.table_prefix, state)
        solution.targets.pop(model, None)


def _is_long(state: TableState | None, request: SyncRequest | SyncTableRequest) -> bool:
    """Whether a table is worth a job of its own."""
    if state is None or state.phase is Phase.COPY:
        return True
    return (request.full or request.verify) and state.row_count > LONG_ROWS


def _result(name: str, tables: list[TableState], *, now: Any, run: str, calls: int, began: float) -> dict[str, Any]:
    runs = [each.last_run for each in tables if each.last_run.get("run") == run]

    def total(*names: str) -> int:
        return sum(int(each.get(one) or 0) for each in runs for one in names)

    def having(status: Status) -> list[str]:
        return [each.model for each in tables if each.status is status]

    return {
        "solution": name,
        "tables": [each.to_dict(now=now) for each in tables],
        "read": total("read"),
        "written": total("inserted", "updated"),
        "deleted": total("deleted"),
        "rejected": total("rejected"),
        "calls": calls,
        "seconds": round(time.monotonic() - began, 3),
        "needs_review": having(Status.REVIEW),
        "failed": having(Status.FAILED),
        "stopped": having(Status.STOPPED),
        "differs": [each.model for each in tables if each.last_run.get("verified", {}).get("equal") is False],
    }
