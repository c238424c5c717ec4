"""Reconcile schedules: manifests are copied to the registry, and beat's entries in Redis are rebuilt from the registry.

This repairs a Redis that lost its data, a schedule that was set while Redis was unreachable or by a command that was
killed, and the entry of a dropped solution.
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
from fbs_worker.scheduling.entries import REFRESH_DUE, EntryStore, definition, entry_name
from fbs_worker.scheduling.model import DUE_EVERY, Schedule, due
from fbs_worker.solutions.registry import (
    DamagedRow,
    Manifest,
    Registry,
    SolutionRecord,
    home_database,
    read_rows,
    table_name,
)

_log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 3
_REGISTRY_SECONDS: Final = 20.0
_MANIFESTS_SECONDS: Final = 5.0
_LOCK_SECONDS: Final = 10.0

_NEVER: Final = datetime.fromtimestamp(0, tz=UTC)
_EVERY_MINUTE: Final = Schedule.parse(every=f"{DUE_EVERY.total_seconds():.0f}s")


@contextmanager
def open_registry(settings: Settings, vault: Vault, *, read_only: bool = True) -> Iterator[tuple[Connection, Registry]]:
    """Yield a connection to the home database and its registry, with connect and statement timeouts.

    Args:
        settings: the home database.
        vault: decrypts its password.
        read_only: open read-only transactions.

    Raises:
        SettingsError: no home database is set.
        SecretError: its password cannot be decrypted.
        DatabaseError: a statement failed or timed out.
        DatabaseUnreachable: the home database does not answer.
    """
    home = home_database(settings).resolved(vault, allow_plain=True)
    with bounded_connection(
        home, connect_seconds=_CONNECT_SECONDS, seconds=_REGISTRY_SECONDS, read_only=read_only
    ) as connection:
        yield connection, Registry(connection, table_prefix=settings.fbs_table_prefix, vault=vault)


@contextmanager
def schedule_lock(home: Connection, name: str) -> Iterator[None]:
    """Hold the advisory lock of a solution's schedule: manifest and registry are written in two databases.

    Args:
        home: to the home database, outside of a transaction.
        name: the solution's name.

    Raises:
        DatabaseBusy: another session held the lock for more than 10 s.
    """
    polls = 0
    holder = "another session"

    def waiting(session: str) -> None:
        nonlocal holder
        holder = session

    def check_timeout() -> None:
        nonlocal polls
        polls += 1
        if polls * POLL_SECONDS > _LOCK_SECONDS:
            raise DatabaseBusy(f"The schedule of {name!r} is being changed by {holder}.", hint="Try again later.")

    with solution_lock(home, f"schedule:{name}", on_wait=waiting, check_cancelled=check_timeout):
        yield


def refresh_every(settings: Settings) -> Schedule | None:
    """Return the schedule of FBS_REFRESH_EVERY, for solutions without a schedule of their own; None if it is empty.

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
    """Return a solution's own schedule; None without one, or if the stored value is not valid."""
    if record.schedule is None:
        return None
    try:
        return Schedule.from_dict(record.schedule)
    except UsageError as exc:
        _log.warning("the schedule of %s is not valid: %s", record.solution_name, exc.message)
        return None


def without_schedule(entries: Sequence[SolutionRecord | DamagedRow]) -> dict[str, datetime]:
    """Return the active solutions without a schedule of their own, each with the time of its entry's last write.

    Args:
        entries: the entries of the registry.
    """
    return {
        entry.solution_name: _updated_at(entry)
        for entry in entries
        if isinstance(entry, SolutionRecord) and entry.is_active and schedule_of(entry) is None
    }


def due_solutions(every: Schedule, written: Mapping[str, datetime], store: EntryStore, *, now: datetime) -> list[str]:
    """Return the solutions without a schedule of their own that are due; see `scheduling.model.due`.

    Args:
        every: the refresh interval.
        written: the result of `without_schedule`.
        store: has the time of each solution's last refresh by `fbs.refresh_due`.
        now: the current time.
    """
    refreshed = store.refreshed()
    return due(every, {name: max(at, refreshed.get(name, at)) for name, at in written.items()}, now=now)


def rebuild(
    settings: Settings, store: EntryStore, *, manifests: bool, now: datetime | None = None
) -> dict[str, datetime]:
    """Rebuild beat's entries in Redis from the registry; correct entries are not written again.

    Args:
        settings: the home database, the keys, and FBS_REFRESH_EVERY.
        store: the entries.
        manifests: first copy the schedules of the manifests to the registry, of the databases that answer.
        now: the current time; ticks missed before it are caught up.

    Returns:
        The result of `without_schedule`.

    Raises:
        FBSError: the registry or Redis does not answer; the entries are unchanged.
    """
    now = now or datetime.now(tz=UTC)
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    with open_registry(settings, vault, read_only=not manifests) as (home, registry):
        entries = registry.entries()
        if manifests and _copy_schedules(home, registry, entries, vault):
            entries = registry.entries()
    stored = store.all()
    expected: set[str] = set()
    for entry in entries:
        name = entry_name(entry.solution_name)
        if isinstance(entry, DamagedRow):
            expected.add(name)  # its schedule is unknown: keep the stored entry
            continue
        schedule = schedule_of(entry)
        if schedule is None:
            continue
        expected.add(name)
        desired = definition(schedule, solution=entry.solution_name)
        known = stored.get(name)
        if known is None or known.definition != desired:
            since = max(_updated_at(entry), (known.last_run if known else None) or _NEVER)
            store.put(name, desired, due=schedule.due_at(since, name=entry.solution_name, now=now))
    every = refresh_every(settings)
    if every is not None:
        expected.add(REFRESH_DUE)
        desired = definition(_EVERY_MINUTE, every=every.every)
        if REFRESH_DUE not in stored or stored[REFRESH_DUE].definition != desired:
            store.put(REFRESH_DUE, desired, due=now)
    for name in stored.keys() - expected:
        store.remove(name)
    return without_schedule(entries)


def _updated_at(entry: SolutionRecord) -> datetime:
    return entry.updated_at or entry.created_at or _NEVER


def _copy_schedules(
    home: Connection, registry: Registry, entries: Sequence[SolutionRecord | DamagedRow], vault: Vault
) -> bool:
    """Copy the schedules of the manifests to the registry; return whether an entry was changed."""
    by_database: dict[DatabaseConfig, list[SolutionRecord]] = {}
    for entry in entries:
        if isinstance(entry, SolutionRecord):
            try:
                by_database.setdefault(entry.database.resolved(vault), []).append(entry)
            except FBSError as exc:
                _log.warning("cannot read the manifest of %s: %s", entry.solution_name, exc.message)
    calls: list[tuple[Hashable, Any]] = [
        ((database.host, database.port), partial(_differing, database, records))
        for database, records in by_database.items()
    ]
    changed = False
    for (database, _), differing in zip(by_database.items(), fan_out(calls, seconds=_MANIFESTS_SECONDS), strict=True):
        for entry in differing or ():
            changed = _copy_schedule(home, registry, entry, database) or changed
    return changed


def _differing(database: DatabaseConfig, records: Sequence[SolutionRecord]) -> list[SolutionRecord]:
    """Return the entries whose manifests have another schedule; none of a database that does not answer."""
    differing = []
    try:
        with bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_MANIFESTS_SECONDS) as connection:
            for prefix in sorted({record.table_prefix for record in records}):
                with errors_translated(connection), connection, connection.cursor() as cursor:
                    rows = read_rows(cursor, table_name(prefix), manifest_only=True)
                manifests = {row.solution_name: row for row in rows}
                for record in records:
                    manifest = manifests.get(record.solution_name)
                    if record.table_prefix == prefix and isinstance(manifest, SolutionRecord):
                        differing += [record] if manifest.schedule != record.schedule else []
    except FBSError as exc:
        _log.warning("cannot read the manifests in %s: %s", database.address(), exc.message)
    return differing


def _copy_schedule(home: Connection, registry: Registry, entry: SolutionRecord, database: DatabaseConfig) -> bool:
    """Copy the manifest's schedule to the registry, under the lock that `set_schedule` holds."""
    name = entry.solution_name
    try:
        with (
            schedule_lock(home, name),
            bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_MANIFESTS_SECONDS) as connection,
        ):
            with errors_translated(connection), connection:
                manifest = Manifest.read(connection, entry.table_prefix, name)
            return manifest is not None and registry.put_schedule(name, manifest.schedule)
    except FBSError as exc:
        _log.warning("the schedule of %s in the registry may be outdated: %s", name, exc.message)
        return False
