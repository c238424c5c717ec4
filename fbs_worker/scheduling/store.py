"""Schedules in the home database, the one place where they are kept.

`schema_definition` of a solution's row there has two keys for those of refreshes, and two for those of syncs:

    schedule        when it is refreshed (`Schedule.to_dict`); absent without a schedule of its own
    schedule_state  {"since": …, "last_run": …}: slots up to `since` are done; both are ISO 8601 in UTC
    sync_schedule   when its records are copied, in the same form
    sync_state      as `schedule_state`

A slot is claimed in the transaction that enqueues its job, with the row locked: any number of beats may run, and one
that dies between the two leaves the slot to the others. Jobs that write the row leave all keys as they are
(`solutions.records`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from psycopg2 import sql

from fbs_worker.catalogue.copy_rows import to_json
from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import SolutionNotFound, UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.scheduling.model import Kind, Schedule
from fbs_worker.schema.system_tables import table_exists
from fbs_worker.solutions.registry import (
    SCHEDULE,
    SCHEDULE_STATE,
    SYNC_SCHEDULE,
    SYNC_STATE,
    SolutionRecord,
    table_name,
)

_log = logging.getLogger(__name__)

_LOCK_SECONDS: Final = 10.0
_EPOCH: Final = datetime.fromtimestamp(0, tz=UTC)

_KEYS: Final = {Kind.REFRESH: (SCHEDULE, SCHEDULE_STATE), Kind.SYNC: (SYNC_SCHEDULE, SYNC_STATE)}
"""The keys of a kind's schedule and state."""

_ROWS: Final = """
SELECT solution_name, coalesce(is_active, FALSE), coalesce(updated_at, created_at, 'epoch'),
    jsonb_build_object('schedule', schema_definition->'schedule', 'schedule_state', schema_definition->'schedule_state',
        'sync_schedule', schema_definition->'sync_schedule', 'sync_state', schema_definition->'sync_state')
FROM {table} ORDER BY 1
"""

_LOCK_ROW: Final = """
SELECT schema_definition FROM {table} WHERE solution_name = %s FOR UPDATE {skip}
"""

_WRITE: Final = "UPDATE {table} SET schema_definition = %s WHERE solution_name = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSolution:
    """A solution's schedule and where it stands.

    Attributes:
        name: the solution's.
        is_active: its set-up is complete.
        own: its own schedule; None without one, or with one that is not valid.
        since: slots up to this instant are done (UTC).
        last_run: when a job was last enqueued by this schedule (UTC); None before.
        kind: what the schedule runs.
    """

    name: str
    is_active: bool
    own: Schedule | None
    since: datetime
    last_run: datetime | None
    kind: Kind = Kind.REFRESH

    def schedule(self, default: Schedule | None) -> Schedule | None:
        """Its own schedule, else the default if it is set up."""
        return self.own or (default if self.is_active else None)

    def next_slot(self, default: Schedule | None) -> datetime | None:
        """Its first slot that has not run, which may be past; None without a schedule, or while that is paused."""
        schedule = self.schedule(default)
        return schedule.after(self.since, name=self.name) if schedule and not schedule.paused else None


class ScheduleStore:
    """The schedules in the home database. Each method is a transaction of its own.

    Args:
        connection: to the home database, outside of a transaction; the caller closes it.
        table_prefix: the home database's.
    """

    def __init__(self, connection: Connection, *, table_prefix: str) -> None:
        self._connection = connection
        self._table = table_name(table_prefix)

    def now(self) -> datetime:
        """The database's clock: the one that all beats share.

        Raises:
            DatabaseError, DatabaseUnreachable: the database does not answer, or refuses.
        """
        with transaction(self._connection) as cursor:
            cursor.execute("SELECT clock_timestamp()")
            row = cursor.fetchone()
        assert row is not None  # noqa: S101 -- a query without FROM has one row
        now: datetime = row[0]
        return now.astimezone(UTC)

    def all(self, *kinds: Kind) -> Sequence[ScheduledSolution]:
        """All solutions, those without a schedule among them, in the order of their names.

        Args:
            *kinds: each solution comes once for each; without any, for refreshes.

        Raises:
            DatabaseError, DatabaseUnreachable: the database does not answer, or refuses.
        """
        with transaction(self._connection, lock_timeout=_LOCK_SECONDS) as cursor:
            if not table_exists(self._connection, self._table):
                return []
            cursor.execute(self._sql(_ROWS))
            rows = cursor.fetchall()
        return [
            _scheduled(name, active, definition, written.replace(tzinfo=UTC), kind)
            for name, active, written, definition in rows
            for kind in kinds or (Kind.REFRESH,)
        ]

    def set(self, name: str, schedule: Schedule | None, *, now: datetime, kind: Kind = Kind.REFRESH) -> Any:
        """Write a solution's own schedule. The slots up to now count as done.

        Args:
            name: the solution's.
            schedule: when; None to remove it.
            now: the current time.
            kind: what it runs.

        Returns:
            The schedule that the row had, as it was stored; None without one.

        Raises:
            SolutionNotFound: the row is gone.
            DatabaseBusy: a job holds the row for longer than 10 s.
            DatabaseError, DatabaseUnreachable: the database does not answer, or refuses.
        """
        key, state_key = _KEYS[kind]
        with transaction(self._connection, lock_timeout=_LOCK_SECONDS) as cursor:
            cursor.execute(self._sql(_LOCK_ROW), (name,))
            row = cursor.fetchone()
            if row is None:
                raise SolutionNotFound(f"There is no solution {name!r}.", hint="List them: fbs list")
            definition = dict(row[0] or {})
            before = definition.pop(key, None)
            if schedule is not None:
                definition[key] = schedule.to_dict()
            if before != definition.get(key):
                state = definition.get(state_key)
                definition[state_key] = {**(state if isinstance(state, dict) else {}), "since": _iso(now)}
                cursor.execute(self._sql(_WRITE), (to_json(definition).decode(), name))
        return before

    def claim(self, solution: ScheduledSolution, *, now: datetime, enqueue: Callable[[], str]) -> str | None:
        """Run a slot once: enqueue its job and mark the slot as done in one transaction.

        Args:
            solution: as `all` returned it; its slot is due.
            now: the current time.
            enqueue: enqueues the job and returns its id.

        Returns:
            The job's id; None if another beat, or a change of the schedule, came first, or a job holds the row.

        Raises:
            FBSError: raised by `enqueue`; the slot stays due then.
            DatabaseError, DatabaseUnreachable: the database does not answer, or refuses; the slot stays due then.
        """
        state_key = _KEYS[solution.kind][1]
        with transaction(self._connection, lock_timeout=_LOCK_SECONDS) as cursor:
            cursor.execute(self._sql(_LOCK_ROW, skip="SKIP LOCKED"), (solution.name,))
            row = cursor.fetchone()
            definition = dict((row[0] if row else None) or {})
            since, _ = _state(definition.get(state_key))
            own = _own(definition, solution.kind)
            if row is None or (since or solution.since) != solution.since or own != solution.own:
                return None
            job_id = enqueue()
            definition[state_key] = {"since": _iso(now), "last_run": _iso(now)}
            cursor.execute(self._sql(_WRITE), (to_json(definition).decode(), solution.name))
        return job_id

    def _sql(self, statement: str, *, skip: str = "") -> sql.Composed:
        return sql.SQL(statement).format(table=sql.Identifier(self._table), skip=sql.SQL(skip))


def scheduled_solution(record: SolutionRecord, kind: Kind = Kind.REFRESH) -> ScheduledSolution:
    """A solution's schedule from its row in the home database. Pure.

    Args:
        record: the row.
        kind: what the schedule runs.
    """
    written = record.updated_at or record.created_at or _EPOCH
    return _scheduled(record.solution_name, record.is_active, record.schema_definition, written, kind)


def _scheduled(
    name: str, is_active: bool, definition: Mapping[str, Any], written: datetime, kind: Kind
) -> ScheduledSolution:
    """Slots up to the last time that the row was written are done, unless its state says otherwise."""
    key, state_key = _KEYS[kind]
    since, last_run = _state(definition.get(state_key))
    own = _own(definition, kind)
    if own is None and definition.get(key) is not None:
        _log.warning("the %s of %s in its row is not valid: set it again with `fbs schedule set`", key, name)
    return ScheduledSolution(
        name=name, is_active=is_active, own=own, since=since or written, last_run=last_run, kind=kind
    )


def _own(definition: Mapping[str, Any], kind: Kind) -> Schedule | None:
    key = _KEYS[kind][0]
    if definition.get(key) is None:
        return None
    try:
        return Schedule.from_dict(definition[key])
    except UsageError:
        return None


def _state(state: object) -> tuple[datetime | None, datetime | None]:
    values = state if isinstance(state, dict) else {}
    return _instant(values.get("since")), _instant(values.get("last_run"))


def _instant(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
