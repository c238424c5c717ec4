"""Beat's entries in Redis made anew from the address book, and the address book's schedules from the own rows.

A Redis that has lost everything, a schedule that was set while Redis was away or by a command that was killed half-way,
a solution that was dropped: this is what heals them all.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from fbs_worker.core.advisory_locks import POLL_SECONDS, solution_lock
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, FBSError, SettingsError, UsageError
from fbs_worker.core.fanout import bounded_connection, fan_out
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.scheduling.entries import REFRESH_DUE, PlanStore, definition, entry_name
from fbs_worker.scheduling.model import DUE_EVERY, Schedule, due
from fbs_worker.solutions.records import read_rows, table_name
from fbs_worker.solutions.registry import AddressBook, DamagedRow, OwnRow, SolutionRecord, home_database

_log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 3
_BOOK_SECONDS: Final = 20.0
_OWN_ROWS_SECONDS: Final = 5.0
_LOCK_SECONDS: Final = 10.0

_NEVER: Final = datetime.fromtimestamp(0, tz=UTC)
_EVERY_MINUTE: Final = Schedule.parse(every=f"{DUE_EVERY.total_seconds():.0f}s")


@contextmanager
def open_book(settings: Settings, vault: Vault, *, read_only: bool = True) -> Iterator[tuple[Connection, AddressBook]]:
    """The home database and its address book, answered by in bounded time.

    Args:
        settings: the home database.
        vault: opens its password.
        read_only: nothing can be written.

    Raises:
        SettingsError, SecretError: there is no home database, or its password cannot be opened.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    home = home_database(settings).resolved(vault, allow_plain=True)
    with bounded_connection(
        home, connect_seconds=_CONNECT_SECONDS, seconds=_BOOK_SECONDS, read_only=read_only
    ) as connection:
        yield connection, AddressBook(connection, table_prefix=settings.fbs_table_prefix, vault=vault)


@contextmanager
def schedule_lock(home: Connection, name: str) -> Iterator[None]:
    """Write a solution's schedule alone: own row and address book are two databases.

    Args:
        home: a connection to the home database, outside of a transaction.
        name: the solution's.

    Raises:
        DatabaseBusy: somebody else has been at it for too long.
    """
    asked = 0
    holder = "somebody else"

    def waiting(who: str) -> None:
        nonlocal holder
        holder = who

    def patience() -> None:
        nonlocal asked
        asked += 1
        if asked * POLL_SECONDS > _LOCK_SECONDS:
            raise DatabaseBusy(f"The schedule of {name!r} is being changed by {holder}.", hint="Try again later.")

    with solution_lock(home, f"schedule:{name}", on_wait=waiting, check_cancelled=patience):
        yield


def refresh_every(settings: Settings) -> Schedule | None:
    """How often solutions without a schedule of their own are refreshed; None: not at all.

    Raises:
        SettingsError: FBS_REFRESH_EVERY is not valid.
    """
    if not settings.fbs_refresh_every.strip():
        return None
    try:
        return Schedule.parse(every=settings.fbs_refresh_every)
    except UsageError as exc:
        raise SettingsError(f"FBS_REFRESH_EVERY is not valid: {exc.message}", hint=exc.hint) from None


def schedule_of(record: SolutionRecord) -> Schedule | None:
    """A solution's own schedule; None where it has none, or one that somebody has broken."""
    if record.schedule is None:
        return None
    try:
        return Schedule.from_dict(record.schedule)
    except UsageError as exc:
        _log.warning("the schedule of %s is not valid: %s", record.solution_name, exc.message)
        return None


def without_schedule(entries: Sequence[SolutionRecord | DamagedRow]) -> dict[str, datetime]:
    """The active solutions without a schedule of their own, each with the time when its entry was last written.

    Args:
        entries: the address book's.
    """
    return {
        entry.solution_name: _written(entry)
        for entry in entries
        if isinstance(entry, SolutionRecord) and entry.is_active and schedule_of(entry) is None
    }


def due_solutions(every: Schedule, written: Mapping[str, datetime], store: PlanStore, *, now: datetime) -> list[str]:
    """Which solutions without a schedule of their own are to be refreshed now; see `schedule_times.due`.

    Args:
        every: every how long.
        written: see `without_schedule`.
        store: remembers when each was last refreshed so.
        now: what has come until then.
    """
    refreshed = store.refreshed()
    return due(every, {name: max(at, refreshed.get(name, at)) for name, at in written.items()}, now=now)


def rebuild(
    settings: Settings, store: PlanStore, *, own_rows: bool, now: datetime | None = None
) -> dict[str, datetime]:
    """Make beat's entries in Redis what the address book says; those that are right are not touched.

    Args:
        settings: the home database, the keys, and how often other solutions are refreshed.
        store: the entries.
        own_rows: correct the book from the solutions' own rows first, as far as their databases answer.
        now: what was missed until then is made up for.

    Returns:
        `without_schedule`.

    Raises:
        FBSError: the address book or Redis could not be asked; what beat has to do is as it was.
    """
    now = now or datetime.now(tz=UTC)
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    with open_book(settings, vault, read_only=not own_rows) as (home, book):
        entries = book.entries()
        if own_rows and _settle(home, book, entries, vault):
            entries = book.entries()
    there = store.all()
    wanted: set[str] = set()
    for entry in entries:
        name = entry_name(entry.solution_name)
        if isinstance(entry, DamagedRow):
            wanted.add(name)  # nobody knows what it says; what was known of it goes on
            continue
        schedule = schedule_of(entry)
        if schedule is None:
            continue
        wanted.add(name)
        told = definition(schedule, solution=entry.solution_name)
        known = there.get(name)
        if known is None or known.definition != told:
            since = max(_written(entry), (known.last_run if known else None) or _NEVER)
            store.put(name, told, due=schedule.due_at(since, name=entry.solution_name, now=now))
    every = refresh_every(settings)
    if every is not None:
        wanted.add(REFRESH_DUE)
        told = definition(_EVERY_MINUTE, every=every.every)
        if REFRESH_DUE not in there or there[REFRESH_DUE].definition != told:
            store.put(REFRESH_DUE, told, due=now)
    for name in there.keys() - wanted:
        store.remove(name)
    return without_schedule(entries)


def _written(entry: SolutionRecord) -> datetime:
    return entry.updated_at or entry.created_at or _NEVER


def _settle(home: Connection, book: AddressBook, entries: Sequence[SolutionRecord | DamagedRow], vault: Vault) -> bool:
    """Let the book say of schedules what the own rows say; tells whether anything had to be corrected."""
    together: dict[DatabaseConfig, list[SolutionRecord]] = {}
    for entry in entries:
        if isinstance(entry, SolutionRecord):
            try:
                together.setdefault(entry.database.resolved(vault), []).append(entry)
            except FBSError as exc:
                _log.warning("the own row of %s is not looked at: %s", entry.solution_name, exc.message)
    asks: list[tuple[Hashable, Any]] = [
        ((database.host, database.port), partial(_differing, database, records))
        for database, records in together.items()
    ]
    corrected = False
    for (database, _), found in zip(together.items(), fan_out(asks, seconds=_OWN_ROWS_SECONDS), strict=True):
        for entry in found or ():
            corrected = _correct(home, book, entry, database) or corrected
    return corrected


def _differing(database: DatabaseConfig, records: Sequence[SolutionRecord]) -> list[SolutionRecord]:
    """The entries whose own rows say another schedule; a database that does not answer is for another time."""
    differing = []
    try:
        with bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_OWN_ROWS_SECONDS) as connection:
            for prefix in sorted({record.table_prefix for record in records}):
                with errors_translated(connection), connection, connection.cursor() as cursor:
                    own = {row.solution_name: row for row in read_rows(cursor, table_name(prefix), own=True)}
                for record in records:
                    found = own.get(record.solution_name)
                    if record.table_prefix == prefix and isinstance(found, SolutionRecord):
                        differing += [record] if found.schedule != record.schedule else []
    except FBSError as exc:
        _log.warning("the own rows in %s are not looked at: %s", database.address(), exc.message)
    return differing


def _correct(home: Connection, book: AddressBook, entry: SolutionRecord, database: DatabaseConfig) -> bool:
    """Write the own row's schedule into the book, unless a command is about to."""
    name = entry.solution_name
    try:
        with (
            schedule_lock(home, name),
            bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_OWN_ROWS_SECONDS) as connection,
        ):
            with errors_translated(connection), connection:
                own = OwnRow.read(connection, entry.table_prefix, name)
            return own is not None and book.put_schedule(name, own.schedule)
    except FBSError as exc:
        _log.warning("the schedule of %s in the address book may be old: %s", name, exc.message)
        return False
