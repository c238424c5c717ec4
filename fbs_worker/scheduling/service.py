"""Refresh schedules: set, remove, list.

A schedule is stored in the solution's manifest, in its registry entry, and in Redis, where beat reads it. It is written
in this order; `reconcile` completes an interrupted write.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, SolutionNotFound
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.scheduling.entries import LOCK, PREFIX, EntryStore, ScheduleEntry, definition, entry_name
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.reconcile import open_registry, refresh_every, schedule_lock, schedule_of
from fbs_worker.solutions.registry import DamagedRow, Manifest, SolutionRecord

LOCK_SECONDS: Final = 30.0
"""Lifetime of beat's lock without a heartbeat; a standby beat takes over afterwards."""

POLL_SECONDS: Final = 5.0
"""Longest time between two checks of beat for due entries."""

_CONNECT_SECONDS: Final = 3
_WRITE_SECONDS: Final = 15.0

SOURCE_SOLUTION: Final = "solution"
SOURCE_DEFAULT: Final = "FBS_REFRESH_EVERY"


def beat_configuration(
    settings: Settings, *, lock_seconds: float = LOCK_SECONDS, poll_seconds: float = POLL_SECONDS
) -> dict[str, Any]:
    """Return RedBeat's part of Celery's configuration.

    Args:
        settings: Redis.
        lock_seconds: lifetime of beat's lock without a heartbeat.
        poll_seconds: longest time between two checks for due entries.

    Raises:
        SettingsError: FBS_REDIS_URL is not valid.
    """
    from fbs_worker.core import redis as queue

    return {
        "redbeat_redis_url": queue.check_url(settings.fbs_redis_url),
        "redbeat_redis_options": {
            "socket_connect_timeout": queue.CONNECT_SECONDS,
            "socket_timeout": queue.ANSWER_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 30,
            "protocol": 2,
        },
        "redbeat_key_prefix": PREFIX,
        "redbeat_lock_key": LOCK,
        "redbeat_lock_timeout": lock_seconds,
        "beat_max_loop_interval": poll_seconds,
    }


def set_schedule(settings: Settings, name: str, schedule: Schedule | None) -> dict[str, Any]:
    """Set or remove a solution's schedule.

    Args:
        settings: the home database, the keys and Redis; the result of `effective_settings`.
        name: the solution's name.
        schedule: the schedule; None to remove it.

    Returns:
        JSON-ready: `solution`, `schedule` and `before` (`Schedule.to_dict`; None without), `next_run` (UTC; None
        without) and `notes` (warnings for the user).

    Raises:
        SolutionNotFound: the registry has no such solution, or its database has no manifest. Nothing is changed.
        SettingsError: no home database is set.
        SecretError: a password cannot be decrypted.
        DatabaseBusy: another session held the lock of the schedule for more than 10 s.
        DatabaseError: a statement failed.
        DatabaseUnreachable: the home database or the solution's database does not answer.
    """
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    payload = None if schedule is None else schedule.to_dict()
    with open_registry(settings, vault, read_only=False) as (home, registry), schedule_lock(home, name):
        entry = registry.get(name)
        before = _write_manifest(entry, entry.database.resolved(vault), payload)
        registry.put_schedule(name, payload)
    next_run = None if schedule is None else schedule.after(datetime.now(tz=UTC), name=name)
    notes = []
    try:
        with EntryStore(settings.fbs_redis_url) as store:
            if schedule is None or next_run is None:
                store.remove(entry_name(name))
            else:
                stored, desired = store.get(entry_name(name)), definition(schedule, solution=name)
                if stored is not None and stored.definition == desired:
                    next_run = stored.due
                else:
                    store.put(entry_name(name), desired, due=next_run)
            notes += _beat_notes(store, needed=schedule is not None)
    except FBSError as exc:
        notes.append(f"Beat applies the schedule once Redis answers: {exc.message}")
    if schedule is None and refresh_every(settings) is not None:
        notes.append(f"The solution is now refreshed every {settings.fbs_refresh_every} ({SOURCE_DEFAULT}).")
    return {
        "solution": name,
        "schedule": payload,
        "before": before,
        "next_run": _iso(next_run),
        "notes": notes,
    }


def list_schedules(settings: Settings) -> dict[str, Any]:
    """List the refresh schedules of all solutions.

    Args:
        settings: the home database, the keys and Redis; the result of `effective_settings`.

    Returns:
        JSON-ready: `schedules` (ordered by name; each has `solution` and the fields of `schedule_status`) and `notes`
        (warnings for the user).

    Raises:
        SettingsError: no home database is set, or FBS_REFRESH_EVERY is not valid.
        SecretError: the home database's password cannot be decrypted.
        DatabaseError: a statement failed.
        DatabaseUnreachable: the home database does not answer.
    """
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    with open_registry(settings, vault) as (_, registry):
        entries = registry.entries()
    every = refresh_every(settings)
    stored: dict[str, ScheduleEntry] = {}
    refreshed: dict[str, datetime] = {}
    notes = []
    try:
        with EntryStore(settings.fbs_redis_url) as store:
            stored, refreshed = store.all(), store.refreshed()
            notes += _beat_notes(store, needed=bool(stored) or every is not None)
    except FBSError as exc:
        notes.append(f"The state of beat and the times of the last runs are unknown: {exc.message}")
    schedules = []
    for entry in entries:
        if isinstance(entry, DamagedRow):
            notes.append(entry.error.message)
            continue
        name = entry.solution_name
        status = schedule_status(entry, every, stored.get(entry_name(name)), refreshed.get(name))
        schedules.append({"solution": name, **status})
    return {"schedules": schedules, "notes": notes}


def schedule_status(
    record: SolutionRecord, every: Schedule | None, stored: ScheduleEntry | None, refreshed: datetime | None
) -> dict[str, Any]:
    """Return the schedule that applies to a solution. Pure.

    Args:
        record: the solution's manifest or registry entry.
        every: the schedule of FBS_REFRESH_EVERY; None without one.
        stored: beat's entry of the solution; None if it is unknown.
        refreshed: time of the last refresh by `fbs.refresh_due`; None if it is unknown.

    Returns:
        `schedule` (`Schedule.to_dict`; None if the solution is not refreshed), `source` (`solution` for a schedule of
        its own, `FBS_REFRESH_EVERY`, or None), `next_run` and `last_run` (UTC; None if unknown or never).
    """
    own = schedule_of(record)
    now = datetime.now(tz=UTC)
    if own is not None:
        due = stored.due if stored else own.after(now, name=record.solution_name)
        last = stored.last_run if stored else None
        return {"schedule": own.to_dict(), "source": SOURCE_SOLUTION, "next_run": _iso(due), "last_run": _iso(last)}
    if every is not None and record.is_active:
        due = every.after(now, name=record.solution_name)
        return {
            "schedule": every.to_dict(),
            "source": SOURCE_DEFAULT,
            "next_run": _iso(due),
            "last_run": _iso(refreshed),
        }
    return {"schedule": None, "source": None, "next_run": None, "last_run": None}


def beat_state(settings: Settings, name: str) -> tuple[ScheduleEntry | None, datetime | None]:
    """Return `stored` and `refreshed` of `schedule_status`; both None if Redis does not answer.

    Args:
        settings: Redis.
        name: the solution's name.
    """
    try:
        with EntryStore(settings.fbs_redis_url) as store:
            return store.get(entry_name(name)), store.refreshed().get(name)
    except FBSError:  # the next run can be computed from the schedule
        return None, None


def _write_manifest(
    entry: SolutionRecord, database: DatabaseConfig, schedule: dict[str, str] | None
) -> dict[str, Any] | None:
    """Write the schedule into the manifest and return the previous one."""
    name = entry.solution_name
    with (
        bounded_connection(
            database, connect_seconds=_CONNECT_SECONDS, seconds=_WRITE_SECONDS, read_only=False
        ) as connection,
        connection,
    ):
        manifest = Manifest.read(connection, entry.table_prefix, name)
        written = Manifest.put_schedule(connection, entry.table_prefix, name, schedule)
    if manifest is None or not written:
        raise SolutionNotFound(
            f"The database {entry.database.name!r} does not hold the solution {name!r}.",
            hint="Run `fbs setup` again: the set-up was not completed, or the tables were removed.",
        )
    return manifest.schedule


def _beat_notes(store: EntryStore, *, needed: bool) -> list[str]:
    if not needed or store.beat_is_running():
        return []
    return ["No beat is running, so no schedule is executed: start one with `fbs up` or `fbs beat`."]


def _iso(timestamp: datetime | None) -> str | None:
    return timestamp.isoformat(timespec="seconds") if timestamp else None
