"""Set, list and remove schedules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import FBSError, SettingsError, UsageError
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.settings import Settings
from fbs_worker.scheduling.model import Kind, Schedule
from fbs_worker.scheduling.store import ScheduledSolution, ScheduleStore, scheduled_solution
from fbs_worker.scheduling.window import Window
from fbs_worker.solutions.databases import ANSWER_SECONDS, CONNECT_SECONDS, Databases
from fbs_worker.solutions.registry import Registry

BEAT: Final = "fbs:beat"
"""A key in Redis that each running beat renews."""

BEAT_SECONDS: Final = 30
"""A beat that has not renewed its key for so long does not run."""

OF_ITS_OWN: Final = "solution"
OF_ALL: Final = "FBS_REFRESH_EVERY"


@contextmanager
def open_home(
    settings: Settings, *, seconds: float = ANSWER_SECONDS, read_only: bool = True
) -> Iterator[tuple[Registry, ScheduleStore]]:
    """The registry and the schedules in the home database, answered in bounded time.

    Args:
        settings: the home database and the keys; after `effective_settings`.
        seconds: how long everything after connecting may take.
        read_only: nothing can be written.

    Raises:
        SettingsError, SecretError: there is no home database, or its password cannot be decrypted.
        DatabaseError, DatabaseUnreachable: the database does not answer, or refuses.
    """
    databases, prefix = Databases(settings), settings.fbs_table_prefix
    home = databases.resolved(databases.home)
    with bounded_connection(home, connect_seconds=CONNECT_SECONDS, seconds=seconds, read_only=read_only) as connection:
        registry = Registry(connection, table_prefix=prefix, vault=databases.vault)
        yield registry, ScheduleStore(connection, table_prefix=prefix)


def refresh_every(settings: Settings) -> Schedule | None:
    """The schedule of solutions without one of their own; None: they are not refreshed.

    Raises:
        SettingsError: FBS_REFRESH_EVERY is not valid.
    """
    if not settings.fbs_refresh_every.strip():
        return None
    try:
        return Schedule.parse(every=settings.fbs_refresh_every)
    except UsageError as exc:
        raise SettingsError(f"FBS_REFRESH_EVERY is not valid: {exc.message}", hint=exc.hint) from None


def sync_window(settings: Settings) -> Window:
    """When schedules may copy records.

    Raises:
        SettingsError: FBS_SYNC_WINDOW is not valid.
    """
    try:
        return Window.parse(settings.fbs_sync_window)
    except UsageError as exc:
        raise SettingsError(f"FBS_SYNC_WINDOW is not valid: {exc.message}", hint=exc.hint) from None


def set_schedule(settings: Settings, name: str, schedule: Schedule | None) -> dict[str, Any]:
    """Set when a solution is refreshed, or remove its schedule; see `set_schedules`."""
    return set_schedules(settings, name, {Kind.REFRESH: schedule})


def set_schedules(settings: Settings, name: str, changes: Mapping[Kind, Schedule | None]) -> dict[str, Any]:
    """Set when a solution is refreshed or synced, or remove these schedules.

    Args:
        settings: the home database, the keys and Redis; after `effective_settings`.
        name: the solution's name.
        changes: when, by what; None to remove that schedule. What is not there stays as it is.

    Returns:
        JSON-ready: `solution`, of its refreshes `schedule` and `before` (`Schedule.to_dict`; None without) and
        `next_run` (UTC; None without), in `sync` these three of its syncs, and `notes` (for a person).

    Raises:
        SolutionNotFound: there is none of that name; the hint lists the known ones.
        SettingsError, SecretError: there is no home database; its password cannot be decrypted.
        DatabaseBusy: a job holds the solution's row.
        DatabaseError, DatabaseUnreachable: the home database does not answer, or refuses.
    """
    every, window = refresh_every(settings), sync_window(settings)
    reports: dict[Kind, dict[str, Any]] = {}
    with open_home(settings, read_only=False) as (registry, store):
        record = registry.get(name)
        now = store.now()
        for kind in Kind:
            own = scheduled_solution(record, kind).own
            schedule = changes.get(kind, own)
            before = store.set(name, schedule, now=now, kind=kind) if kind in changes else own and own.to_dict()
            runs = schedule is not None and not schedule.paused
            slot = schedule.after(now, name=name) if schedule is not None and runs else None
            reports[kind] = {
                "schedule": None if schedule is None else schedule.to_dict(),
                "before": before,
                "next_run": _next_run(slot, kind, window, now=now),
            }
    notes = beat_notes(settings) if any(reports[kind]["next_run"] for kind in changes) else []
    if Kind.REFRESH in changes and changes[Kind.REFRESH] is None and every is not None:
        notes.append(f"From now on it is refreshed every {every.every} ({OF_ALL}).")
    if changes.get(Kind.SYNC) is not None:
        notes += window_notes(settings)
        if not record.mirrored:
            notes.append(f"It mirrors no model yet: fbs migrate --solution-name {name} --mirror MODEL")
    return {"solution": name, **reports[Kind.REFRESH], "sync": reports[Kind.SYNC], "notes": notes}


def pause_schedule(
    settings: Settings, name: str, *, paused: bool, kinds: Collection[Kind] = tuple(Kind)
) -> dict[str, Any]:
    """Pause a solution's schedules, or let them run again; what was missed meanwhile is not made up for.

    Args:
        settings: as for `set_schedules`.
        name: the solution's name.
        paused: whether to pause them. One that has only the schedule of all (FBS_REFRESH_EVERY) gets it as its own.
        kinds: which of them.

    Returns:
        As `set_schedules`.

    Raises:
        UsageError: it has no schedule.
        SolutionNotFound, SettingsError, SecretError, DatabaseBusy, DatabaseError, DatabaseUnreachable: as
            `set_schedules`.
    """
    with open_home(settings) as (registry, _):
        record, every = registry.get(name), refresh_every(settings)
    defaults = {Kind.REFRESH: every, Kind.SYNC: None}
    found = {kind: scheduled_solution(record, kind).schedule(defaults[kind]) for kind in kinds}
    changes = {kind: replace(schedule, paused=paused) for kind, schedule in found.items() if schedule is not None}
    if not changes:
        raise UsageError(f"{name} has no schedule.", hint=f"Set one: fbs schedule set {name} --every 6h")
    return set_schedules(settings, name, changes)


def list_schedules(settings: Settings) -> dict[str, Any]:
    """When solutions are refreshed.

    Args:
        settings: the home database, the keys and Redis; after `effective_settings`.

    Returns:
        JSON-ready: `schedules` (by name: `schedule_status` of each solution, and `solution`) and `notes`.

    Raises:
        SettingsError, SecretError: there is no home database; FBS_REFRESH_EVERY is not valid.
        DatabaseError, DatabaseUnreachable: the home database does not answer, or refuses.
    """
    every, window = refresh_every(settings), sync_window(settings)
    with open_home(settings) as (_, store):
        solutions, now = store.all(*Kind), store.now()
    schedules = [
        {"solution": each.name, **schedule_status(each, every, sync=sync, window=window, now=now)}
        for each, sync in zip(solutions[::2], solutions[1::2], strict=True)
    ]
    notes = beat_notes(settings) if any(each["schedule"] or each["sync"] for each in schedules) else []
    notes += window_notes(settings) if any(each["sync"] for each in schedules) else []
    return {"schedules": schedules, "notes": notes}


def schedule_status(
    solution: ScheduledSolution,
    every: Schedule | None,
    *,
    sync: ScheduledSolution | None = None,
    window: Window | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """When a solution is refreshed, and when its records are copied. Pure.

    Args:
        solution: its schedule of refreshes and where it stands.
        every: the schedule of solutions without one of their own; None: they are not refreshed.
        sync: its schedule of syncs and where it stands.
        window: when schedules may copy records; None: at any time.
        now: the current time; a slot that is past is due now.

    Returns:
        `schedule` (`Schedule.to_dict`; None: never), `source` (`solution`: its own; `FBS_REFRESH_EVERY`; None),
        `next_run` and `last_run` (UTC; None where there is none, as while it is paused), and `sync`: the same of
        its syncs; None without a schedule.
    """
    now = now or datetime.now(tz=UTC)
    syncs = None if sync is None or sync.own is None else _status(sync, None, window or Window(), now)
    return {**_status(solution, every, window or Window(), now), "sync": syncs}


def _status(solution: ScheduledSolution, every: Schedule | None, window: Window, now: datetime) -> dict[str, Any]:
    schedule, slot = solution.schedule(every), solution.next_slot(every)
    if schedule is None:
        return {"schedule": None, "source": None, "next_run": None, "last_run": None}
    return {
        "schedule": schedule.to_dict(),
        "source": OF_ITS_OWN if solution.own else OF_ALL,
        "next_run": _next_run(slot, solution.kind, window, now=now),
        "last_run": _iso(solution.last_run) if solution.last_run else None,
    }


def _next_run(slot: datetime | None, kind: Kind, window: Window, *, now: datetime) -> str | None:
    """When beat runs a slot: a past one now, that of a sync when the window opens; None without one."""
    if slot is None:
        return None
    run = max(slot, now)
    return _iso(window.opens_after(run) if kind is Kind.SYNC else run)


def window_notes(settings: Settings) -> list[str]:
    """What a person should know of the window of syncs; empty without one."""
    window = settings.fbs_sync_window.strip()
    return [f"Syncs run by schedules only in the window {window} (FBS_SYNC_WINDOW)."] if window else []


def beat_notes(settings: Settings) -> list[str]:
    """What a person should know of beat when schedules count on it; empty while one runs."""
    try:
        with queue.connect(settings.fbs_redis_url) as client:
            runs = bool(client.exists(BEAT))
    except FBSError as exc:
        return [f"Whether beat runs is not known: {exc.message}"]
    return [] if runs else ["No beat runs, so no schedule is run: start one with `fbs up` or `fbs beat`."]


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")
