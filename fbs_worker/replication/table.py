"""Keep one mirrored table equal to its model: first copy, changes, sweep, everything again, verification.

    copy         every record in the order of ids, in one or several ranges; then what changed meanwhile, then a sweep
    changes      records written since the high water, minus an overlap: a record is visible when its transaction ends,
                 and its date is that transaction's beginning
    sweep        all ids and dates against ours: deletions, and what the changes missed
    whole        every record again, and what is gone: views and tables without dates always, small tables too
    verify       every record compared, none written

Times are those of Odoo's clock, and of the database; the worker's does not matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import (
    DatabaseError,
    FBSError,
    OdooAccessDenied,
    OdooError,
    OdooModelMissing,
    OdooTimeout,
    SyncPaused,
)
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.replication import sweep
from fbs_worker.replication.files import FileCopy
from fbs_worker.replication.meter import Meter
from fbs_worker.replication.source import Page, Reader, RecordSource
from fbs_worker.replication.state import Phase, Status, TableState, save, state_of
from fbs_worker.replication.target import LinkTable, Target, present
from fbs_worker.replication.verify import Comparison
from fbs_worker.replication.writer import Counts, TableWriter, count_rows, is_empty

OVERLAP: Final = timedelta(minutes=10)
"""How far behind the high water changes are read again."""
SMALL: Final = 500
"""A table with at most so many rows is read whole each time: that is one call, as is asking for changes."""
PART_ROWS: Final = 200_000
"""A first copy of more than two times as many records is split into ranges of about as many."""
MAX_PARTS: Final = 16
IDS_PER_CALL: Final = 2_000
CHANGES: Final = "changes"
EVERYTHING: Final = "everything"
COPIED: Final = "copied"
DANGLING: Final = "dangling"
"""In `last_run`: records were deleted, and those that refer to them have to be read again."""
CONFIRM_SECONDS: Final = 1.0
"""Records that were not found are asked for again after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a sync is to do.

    Attributes:
        run: its id.
        full: read every record again.
        verify: compare afterwards.
        allow_delete: the number of deletions that a person allowed.
        sweep_every: seconds after which deletions are looked for; 0: each time.
        full_every: seconds after which every record is read again; 0: never by itself.
        keep_deleted: whether the rows of deleted records are kept.
        parts: whether a large first copy may be split.
        deadline: `time.monotonic()` at which the job pauses; None: never.
    """

    run: str
    full: bool = False
    verify: bool = False
    allow_delete: int = 0
    sweep_every: int = 3_600
    full_every: int = 86_400
    keep_deleted: bool = False
    parts: bool = False
    deadline: float | None = None


@dataclass(slots=True, kw_only=True)
class TableSync:
    """The sync of one mirrored model.

    Args:
        source: reads the records.
        reader: who reads.
        connection: to the solution's database, outside of a transaction.
        target: the table, its columns and link tables, as the catalogue has them.
        incoming: link tables of other models that lead to this one.
        solution: the solution's name.
        table_prefix: of the system tables.
        options: what to do.
        progress: receives the records as units.
    """

    source: RecordSource
    reader: Reader
    connection: Connection
    target: Target
    incoming: Sequence[LinkTable]
    solution: str
    table_prefix: str
    options: Options
    progress: Progress
    state: TableState = field(init=False)
    _counts: Counts = field(init=False, default_factory=Counts)
    _kinds: list[str] = field(init=False, default_factory=list)
    _facts: dict[str, Any] = field(init=False, default_factory=dict)
    _calls: int = field(init=False, default=0)
    _began: float = field(init=False, default=0.0)
    _goes_on: bool = field(init=False, default=False)

    def run(self) -> TableState:
        """Bring the table up to date, and write how that ended.

        Raises:
            SyncPaused: the job's time is over; it goes on where it stopped.
            JobCancelled: the job was cancelled.
            UnreachableError, OdooServerError, DatabaseBusy: try again; what was read is saved.
        """
        self._calls, self._began = self.source.calls, time.monotonic()
        with self._transaction() as cursor:
            self.state = self.open(cursor)
        if self.state.status is Status.STOPPED:
            return self.state
        try:
            self._sync()
        except (OdooError, OdooTimeout, DatabaseError) as exc:
            self._fail(exc)
            if exc.retryable:
                raise
        return self.state

    def _fail(self, exc: FBSError) -> None:
        """Note why the sync ended; what was not committed does not count."""
        with self._transaction() as cursor:
            self.state = state_of(cursor, self.table_prefix, self.target.table) or self.state
            if not present(cursor, self.target).exists:
                raise exc  # the table was dropped meanwhile, maybe with its solution: there is nothing to note
        state = self.state
        reason = f"{exc.message} {exc.hint}".strip()
        if isinstance(exc, OdooModelMissing):
            self._end(Status.STOPPED, exc.message)
        elif isinstance(exc, OdooAccessDenied):
            state.swept_at = None  # once it may be read again, everything is looked at
            self._end(Status.REVIEW, f"{reason} Nothing was deleted.")
        elif not exc.retryable:
            self._end(Status.FAILED, reason)
        else:  # the next attempt goes on: the run is not done
            state.status, state.reason = Status.FAILED, reason
            with self._transaction() as cursor:
                save(cursor, self.table_prefix, state, ["status", "reason"])

    def copy_part(self, part: int) -> TableState:
        """Copy one range of ids of a first copy that is split; see `run` for what is raised."""
        with self._transaction() as cursor:
            self.state = self.open(cursor)
        ranges = self.state.position.get("ranges") or []
        if self.state.phase is Phase.COPY and self.state.status is not Status.STOPPED and part < len(ranges):
            self._copy_range(part)
        return self.state

    def open(self, cursor: Cursor) -> TableState:
        """Return the state of the table, after what is known before anything is read: whether it can be copied."""
        state = state_of(cursor, self.table_prefix, self.target.table) or TableState(
            solution_name=self.solution, model=self.target.model, table_name=self.target.table
        )
        state.solution_name, state.model = self.solution, self.target.model
        if state.last_run.get(DANGLING):
            self._facts[DANGLING] = True
        self.target = present(cursor, self.target)
        reason = self._why_not(state)
        if reason:
            state.status, state.reason = Status.STOPPED, reason
            self.state = state
            self._save_end(cursor)
            return state
        if state.status is Status.STOPPED:
            state.status, state.reason = Status.PENDING, ""
        if state.phase is not Phase.COPY and state.row_count and is_empty(cursor, self.target.table):
            state.phase, state.position = Phase.COPY, {}  # it was emptied, or made anew
        return state

    def _why_not(self, state: TableState) -> str:
        if self.target.is_transient:
            return "Its records are those of dialogs (a transient model): there is nothing to keep."
        if not self.target.exists:
            return f"The table {self.target.table} is not there yet: fbs migrate {self.solution}"
        if not self.options.full and is_other_database(state.source, self.reader):
            return (
                "Another database answers at this address: its first users are others. If that is right,"
                f" fbs sync {self.solution} --full goes on with it."
            )
        return ""

    def plan(self) -> list[int]:
        """Split the first copy of a large model, where that is not done yet; the parts that are to be copied.

        Returns:
            The numbers of the ranges; one or none where the table is not split.
        """
        with self._transaction() as cursor:
            self.state = self.open(cursor)
        stopped = self.state.status is Status.STOPPED
        if self.state.phase is not Phase.COPY or stopped or not (self.options.parts and self.target.is_logged):
            return []
        self._split()
        return [number for number, each in enumerate(self.state.position["ranges"]) if not each[3]]

    def _sync(self) -> None:
        state = self.state
        files = bool(self.target.files) and self._must_sweep
        if unreadable := state.last_run.get("left_out"):
            readable = self.source.readable(self.target.model)
            self._leave_out([name for name in unreadable if name not in readable])
        if not self.target.is_logged or (state.phase is Phase.STEADY and self._is_small):
            self._whole()
        else:
            if state.phase is Phase.COPY:
                self._copy()
            goes_on = state.position.get("kind") == EVERYTHING
            full = goes_on or self._must_read_everything
            if not goes_on:
                self._changes()
            self._new_fields()
            if full:
                self._everything()
            if goes_on:
                self._changes()
            if state.phase is Phase.CATCH_UP or self._must_sweep:
                self._sweep()
        state.phase = Phase.STEADY
        if files:
            self._copy_files()
        if self.options.verify:
            self._verify()
        review = state.status is Status.REVIEW
        self._end(Status.REVIEW if review else Status.OK, state.reason if review else "")

    @property
    def _is_small(self) -> bool:
        return self.state.row_count <= SMALL and not self.state.position

    @property
    def _must_read_everything(self) -> bool:
        """Whether every record is to be read again: one that was asked for sees what was in Odoo when it was."""
        options, state = self.options, self.state
        if state.phase is Phase.CATCH_UP:
            return options.full and state.position != {"kind": COPIED, "run": options.run}
        return options.full or (bool(options.full_every) and self._is_due(state.read_whole_at, options.full_every))

    @property
    def _must_sweep(self) -> bool:
        options = self.options
        due = self._is_due(self.state.swept_at, options.sweep_every)
        return due or options.full or bool(options.allow_delete) or "swept" in self._facts

    def _is_due(self, last: datetime | None, every: int) -> bool:
        return last is None or (self._now() - last).total_seconds() >= every

    # the first copy

    def _copy(self) -> None:
        self._split()
        for part in range(len(self.state.position["ranges"])):
            self._copy_range(part)

    def _split(self) -> None:
        """Decide where the ranges of the first copy begin and end, once."""
        state = self.state
        if "ranges" in state.position:
            return
        began = self.source.clock
        summary = self.source.summary(self.target.model)
        parts = min(MAX_PARTS, summary.count // PART_ROWS) if self.options.parts else 1
        bounds = [summary.last_id * part // max(parts, 1) for part in range(max(parts, 1))]
        ends: list[int | None] = [*bounds[1:], None]
        state.position = {
            "ranges": [[low, high, low, False] for low, high in zip(bounds, ends, strict=True)],
            "began": began or self.source.clock,
            "total": summary.count,
            "run": self.options.run,
        }
        state.source = self.reader.to_dict()
        state.fields = self._signature()
        with self._transaction() as cursor:
            save(cursor, self.table_prefix, state)

    def _copy_range(self, part: int) -> None:
        position = self.state.position
        ranges = position.get("ranges") or []
        if part >= len(ranges) or ranges[part][3]:
            return
        _, high, last, _ = ranges[part]
        self._kinds.append("copy")
        domain = [("id", "<=", high)] if high is not None else []
        total = max(0, int(position["total"]) // len(ranges))
        for page in self._pages("copy", self.target, domain, after=last, total=total):

            def note(cursor: Cursor, page: Page = page) -> None:
                self._note_range(cursor, part, page.last_id, is_last=page.is_last)

            self._write(page, self.target, note)

    def _note_range(self, cursor: Cursor, part: int, last: int, *, is_last: bool) -> None:
        """Note how far a range is, with those of other workers as they are by now."""
        state = state_of(cursor, self.table_prefix, self.target.table, lock=True) or self.state
        ranges = state.position.get("ranges")
        if ranges is None:  # another worker, which took this one for dead, has finished the copy
            return
        ranges[part][2:] = [last, is_last]
        names = ["position"]
        if all(each[3] for each in ranges):
            state.phase, state.high_water = Phase.CATCH_UP, parsed(state.position["began"])
            state.position = {"kind": COPIED, "run": state.position.get("run")}
            cursor.execute("SELECT NOW() AT TIME ZONE 'UTC'")
            row = cursor.fetchone()
            state.read_whole_at = row[0] if row else None
            names += ["phase", "high_water", "read_whole_at"]
        save(cursor, self.table_prefix, state, names)
        for name in names:
            setattr(self.state, name, getattr(state, name))

    # changes

    def _changes(self) -> None:
        """Read what was written since the high water, minus the overlap."""
        state = self.state
        position = state.position if state.position.get("kind") == CHANGES else {}
        self._goes_on = self._goes_on or bool(position)
        since = position.get("since") or _text(state.high_water and state.high_water - OVERLAP)
        self._kinds.append(CHANGES)
        began = position.get("began") or ""
        domain = [("write_date", ">=", since)] if since else []
        for page in self._pages("changes", self.target, domain, after=position.get("last_id", 0)):
            began = began or page.clock
            state.position = {"kind": CHANGES, "since": since, "began": began, "last_id": page.last_id}
            if page.is_last:
                state.position, state.high_water = {}, parsed(began) or state.high_water
            self._write(page, self.target, self._note)

    def _new_fields(self) -> None:
        """Fill columns that came since the last sync, by reading their fields alone."""
        before, now = self.state.fields, self._signature()
        new = [name for name, column in now.items() if before.get(name) != column] if before else []
        if new:
            readable = self.source.readable(self.target.model)
            now = {name: column for name, column in now.items() if name not in new or name in readable}
            new = [name for name in new if name in readable]
        if new:
            self._kinds.append("new fields")
            part = self.target.only(new)
            for page in self._pages("fill", part, [], total=self.state.row_count):
                self._write(page, part, lambda _: None, inserts=False)
        self.state.fields = now

    def _everything(self) -> None:
        """Read every record again: many changes do not move its date.

        One that was broken off goes on where it stopped, unless this run was asked for after it began.
        """
        state = self.state
        position = state.position if state.position.get("kind") == EVERYTHING else {}
        if self.options.full and position.get("run") != self.options.run:
            position = {}
        run = position.get("run", self.options.run)
        self._kinds.append("full")
        for page in self._pages("read", self.target, [], after=position.get("last_id", 0), total=state.row_count):
            state.position = {} if page.is_last else {"kind": EVERYTHING, "run": run, "last_id": page.last_id}
            self._write(page, self.target, self._note)
        self._facts["swept"] = True  # deletions are looked for as well
        state.read_whole_at = self._now()

    def _whole(self) -> None:
        """Read every record, and find what is gone."""
        self._kinds.append("whole")
        began = ""
        seen: set[int] = set()
        for page in self._pages("read", self.target, [], total=self.state.row_count or None):
            began = began or page.clock
            seen.update(int(record["id"]) for record in page.records)
            seen.update(each.id for each in page.unreadable)
            self._write(page, self.target, lambda _: None)
        with self._transaction() as cursor:
            absent = sweep.not_among(cursor, self.target.table, seen, rejected=self._rejections)
        self._delete_absent(absent, found=len(seen))
        self.state.high_water = parsed(began) or self.state.high_water
        self.state.position, self.state.fields = {}, self._signature()
        self.state.swept_at = self.state.read_whole_at = self._now()

    # deletions

    def _sweep(self) -> None:
        """Compare ids and dates with Odoo's: read what differs, delete what is gone."""
        self._kinds.append("sweep")
        self.progress.step(f"sweep {self.target.model}")
        stale: list[int] = []
        absent: list[int] = []
        found = 0
        with self._transaction() as cursor:
            bounds = sweep.bounds(cursor, self.target.table)
        for dates in self.source.dates(self.target.model, bounds=bounds):
            found += len(dates.ids)
            with self._transaction() as cursor:
                different = sweep.compare(cursor, self.target.table, dates, rejected=self._rejections)
            stale += different.stale
            absent += different.absent
            self._check_time()
        self.read_ids(stale)
        self._delete_absent(absent, found=found)
        self.state.swept_at = self._now()

    def read_referring(self, column: str, table: str) -> None:
        """Read the records again whose many2one refers to a record of a table that was deleted."""
        with self._transaction() as cursor:
            self.state = self.open(cursor)
            if column not in {each.column for each in self.target.columns}:
                return
            statement = sql.SQL(
                "SELECT odoo_id FROM {} WHERE {} IN (SELECT odoo_id FROM {} WHERE table_name = %s) ORDER BY 1"
            ).format(
                sql.Identifier(self.target.table),
                sql.Identifier(column),
                sql.Identifier(f"{self.table_prefix}deleted_records"),
            )
            cursor.execute(statement, (table,))
            ids = [row[0] for row in cursor.fetchall()]
        self.read_ids(ids)

    def read_ids(self, ids: Sequence[int]) -> None:
        """Read some records again."""
        for start in range(0, len(ids), IDS_PER_CALL):
            domain = [("id", "in", list(ids[start : start + IDS_PER_CALL]))]
            for page in self._read(self.target, domain):
                self._write(page, self.target, lambda _: None)

    def _delete_absent(self, ids: Sequence[int], *, found: int) -> None:
        """Delete records that Odoo has no more: after a second look, and not where that may be a loss of rights."""
        state = self.state
        gone = self._confirmed(ids)
        reason = sweep.why_review(
            gone=len(gone),
            rows=state.row_count or found + len(gone),
            found=found,
            allowed=self.options.allow_delete,
            reader_changed=who(state.source) != who(self.reader.to_dict()) if state.source else False,
            is_guarded=self.target.is_logged,
            solution=self.solution,
        )
        if reason:
            state.status, state.reason = Status.REVIEW, reason
            return
        state.source = self.reader.to_dict()
        state.status, state.reason = Status.OK, ""
        if not gone:
            return
        writer = self._writer(self.target)
        for start in range(0, len(gone), 10 * IDS_PER_CALL):
            some = gone[start : start + 10 * IDS_PER_CALL]
            with self._transaction() as cursor:
                deleted = writer.delete(cursor, some, incoming=self.incoming, keep=self.options.keep_deleted)
                state.last_run = {**state.last_run, DANGLING: True}
                save(cursor, self.table_prefix, state, ["last_run"])
            self._counts.deleted += deleted
        self._facts[DANGLING] = True

    def _confirmed(self, ids: Sequence[int]) -> list[int]:
        """Those of some records that are still not found after a while."""
        if not ids:
            return []
        time.sleep(CONFIRM_SECONDS)
        there: set[int] = set()
        for start in range(0, len(ids), 10 * IDS_PER_CALL):
            there |= self.source.existing(self.target.model, ids[start : start + 10 * IDS_PER_CALL])
        return [number for number in ids if number not in there]

    # files

    def _copy_files(self) -> None:
        """Copy files and images whose checksum is another one."""
        self._kinds.append("files")
        self.progress.step(f"files {self.target.model}")
        files = FileCopy(
            self.source, self.connection, self.target, table_prefix=self.table_prefix, solution=self.solution
        )
        self._counts.updated += files.run().updated
        if files.left_out:
            self._facts["files_left_out"] = files.left_out

    # verification

    def _verify(self) -> None:
        """Compare every record with Odoo's; what differs is asked for again, after what changed meanwhile."""
        self._kinds.append("verify")
        comparison = self._comparison()
        last = 0
        for page in self._pages("verify", self.target, [], total=self.state.row_count):
            if page.left_out:
                comparison = self._comparison(page.left_out)
            with self._transaction() as cursor:
                comparison.page(cursor, page, after=last)
            last = page.last_id
            self.progress.advance(len(page.records))
        suspects = comparison.suspects
        if suspects:
            if self.target.is_logged:
                self._changes()
            comparison.again()
            for start in range(0, len(suspects), IDS_PER_CALL):
                some = suspects[start : start + IDS_PER_CALL]
                pages = self._read(self.target, [("id", "in", some)])
                records = [record for page in pages for record in page.records]
                with self._transaction() as cursor:
                    comparison.some(cursor, records, some)
        difference = comparison.difference
        with self._transaction() as cursor:
            rejected = self._rejected(cursor)[0]
        if rejected and not difference:
            difference = f"{rejected:,} records are rejected, see rejected_records"
        self._facts["verified"] = {"equal": not difference, **({"difference": difference} if difference else {})}
        if not difference:
            self.state.verified_at = self._now()

    # what the passes share

    def _read(self, target: Target, domain: Sequence[Any], *, after: int = 0, ahead: bool = False) -> Iterator[Page]:
        links = target.link_fields
        return self.source.pages(target.model, target.fields, domain=domain, after=after, ahead=ahead, links=links)

    def _pages(
        self, step: str, target: Target, domain: Sequence[Any], *, after: int = 0, total: int | None = None
    ) -> Iterator[Page]:
        """Read pages, report them, and pause when the job's time is over."""
        meter = Meter(self.progress, f"{step} {target.model}", total=total)
        for page in self._read(target, domain, after=after, ahead=True):
            yield page
            meter.advance(len(page.records))
            self._check_time()

    def _write(self, page: Page, target: Target, note: Callable[[Cursor], None], *, inserts: bool = True) -> None:
        """Write a page, and where the pass stands, in one transaction."""
        if page.left_out:
            target = target.without(page.left_out)
            self._leave_out(page.left_out)
        for attempt in (1, 2):
            try:
                with self._transaction() as cursor:
                    counts = self._writer(target, inserts=inserts).write(cursor, page.records, page.unreadable)
                    note(cursor)
                break
            except DatabaseError:  # a migration may have taken a column away meanwhile
                with self._transaction() as cursor:
                    self.target = present(cursor, self.target)
                narrowed = target.only(self.target.fields)
                if attempt == 2 or narrowed == target or not self.target.exists:
                    raise
                target = narrowed
        self._counts.add(counts)

    def _leave_out(self, fields: Iterable[str]) -> None:
        """Read no more of fields that the user may not read; their columns stay as they are."""
        names = sorted(fields)
        self.target = self.target.without(names)
        if names:
            self._facts["left_out"] = sorted({*self._facts.get("left_out", ()), *names})

    def _note(self, cursor: Cursor) -> None:
        save(cursor, self.table_prefix, self.state, ["position", "high_water"])

    def _writer(self, target: Target, *, inserts: bool = True) -> TableWriter:
        return TableWriter(target, table_prefix=self.table_prefix, solution=self.solution, inserts=inserts)

    def _comparison(self, left_out: Iterable[str] = ()) -> Comparison:
        target = self.target.without(set(left_out))
        return Comparison(target, table_prefix=self.table_prefix, solution=self.solution)

    def _signature(self) -> dict[str, Any]:
        """The fields that are copied, each with what changes when it has to be read again."""
        reader = {"translated": self.reader.lang, "company": str(self.reader.companies[:1])}
        columns = {
            each.field: " ".join([each.column, each.type, *(reader[one] for one in each.depends)])
            for each in self.target.columns
        }
        columns |= {each.field: each.table for each in self.target.links}
        return {name: column for name, column in columns.items() if name not in self._facts.get("left_out", ())}

    def _check_time(self) -> None:
        if self.options.deadline is not None and time.monotonic() > self.options.deadline:
            raise SyncPaused(
                f"The time of a job is over; the copy of {self.target.model} goes on where it stopped.",
                hint="Nothing has to be done. FBS_JOB_TIME_LIMIT says how long one run may take.",
            )

    def _now(self) -> datetime:
        """The database's clock, UTC."""
        with self._transaction() as cursor:
            cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
            row = cursor.fetchone()
        assert row is not None  # noqa: S101 -- a query without FROM has one row
        now: datetime = row[0]
        return now

    def _transaction(self) -> Any:
        return transaction(self.connection)

    @property
    def _rejections(self) -> str:
        """The table of rejected records."""
        return f"{self.table_prefix}rejected_records"

    def _rejected(self, cursor: Cursor) -> tuple[int, datetime]:
        """The number of rejected records, and the database's clock, UTC."""
        statement = sql.SQL("SELECT count(*), NOW() AT TIME ZONE 'UTC' FROM {} WHERE table_name = %s")
        cursor.execute(statement.format(sql.Identifier(self._rejections)), (self.target.table,))
        row = cursor.fetchone()
        assert row is not None  # noqa: S101 -- an aggregate has one row
        return int(row[0]), row[1]

    def _end(self, status: Status, reason: str) -> None:
        self.state.status, self.state.reason = status, reason
        with self._transaction() as cursor:
            self._save_end(cursor)

    def _save_end(self, cursor: Cursor) -> None:
        """Write how the sync of the table ended."""
        state = self.state
        # to count a large table takes long, and most syncs read changes alone; one that broke off added up no rows
        if self._kinds == [CHANGES] and not self._goes_on:
            state.row_count += self._counts.inserted
        elif self.target.exists:
            state.row_count = count_rows(cursor, self.target.table)
        state.rejected, now = self._rejected(cursor)
        if state.status in (Status.OK, Status.REVIEW) and state.phase is Phase.STEADY:
            state.synced_at = now
        facts = {name: value for name, value in self._facts.items() if name != "swept"}
        state.last_run = {
            "run": self.options.run,
            "kind": ", ".join(dict.fromkeys(self._kinds)),
            **asdict(self._counts),
            "calls": self.source.calls - self._calls,
            "seconds": round(time.monotonic() - self._began, 3) if self._began else 0.0,
            **facts,
        }
        save(cursor, self.table_prefix, state)


def is_other_database(source: Mapping[str, Any], reader: Reader) -> bool:
    """Whether the rows are from another database: one whose first users were created at other times."""
    before = {int(number): date for number, date in source.get("born") or ()}
    return any(number in before and before[number] != date for number, date in reader.born)


def who(source: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides which records a reader gets."""
    return tuple(source.get(name) for name in ("uid", "groups", "companies"))


def parsed(text: str) -> datetime | None:
    """A time of Odoo's, UTC; None where it is empty."""
    return datetime.fromisoformat(text) if text else None


def _text(instant: datetime | None) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S") if instant else ""


def referring(targets: Iterable[Target], model: str) -> Iterator[tuple[Target, str]]:
    """Yield the many2one columns that lead to a model: their target and column."""
    for target in targets:
        for column in target.columns:
            if column.type == "many2one" and column.relation == model:
                yield target, column.column
