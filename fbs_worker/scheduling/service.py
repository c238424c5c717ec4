"""Set, list and remove schedules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import FBSError, SettingsError, UsageError
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.settings import Settings
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.store import ScheduledSolution, ScheduleStore, scheduled_solution
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


def set_schedule(settings: Settings, name: str, schedule: Schedule | None) -> dict[str, Any]:
    """Set when a solution is refreshed, or remove its schedule.

    Args:
        settings: the home database, the keys and Redis; after `effective_settings`.
        name: the solution's name.
        schedule: when; None to remove it.

    Returns:
        JSON-ready: `solution`, `schedule` and `before` (`Schedule.to_dict`; None without), `next_run` (UTC; None
        without) and `notes` (for a person).

    Raises:
        SolutionNotFound: there is none of that name; the hint lists the known ones.
        SettingsError, SecretError: there is no home database; its password cannot be decrypted.
        DatabaseBusy: a job holds the solution's row.
        DatabaseError, DatabaseUnreachable: the home database does not answer, or refuses.
    """
    every = refresh_every(settings)
    with open_home(settings, read_only=False) as (registry, store):
        registry.get(name)
        now = store.now()
        before = store.set(name, schedule, now=now)
    runs = schedule is not None and not schedule.paused
    notes = beat_notes(settings) if runs else []
    if schedule is None and every is not None:
        notes.append(f"From now on it is refreshed every {every.every} ({OF_ALL}).")
    return {
        "solution": name,
        "schedule": None if schedule is None else schedule.to_dict(),
        "before": before,
        "next_run": _iso(schedule.after(now, name=name)) if schedule is not None and runs else None,
        "notes": notes,
    }


def pause_schedule(settings: Settings, name: str, *, paused: bool) -> dict[str, Any]:
    """Pause a solution's schedule, or let it run again; what was missed meanwhile is not made up for.

    Args:
        settings: as for `set_schedule`.
        name: the solution's name.
        paused: whether to pause it. One that has only the schedule of all (FBS_REFRESH_EVERY) gets it as its own.

    Returns:
        As `set_schedule`.

    Raises:
        UsageError: it has no schedule.
        SolutionNotFound, SettingsError, SecretError, DatabaseBusy, DatabaseError, DatabaseUnreachable: as
            `set_schedule`.
    """
    with open_home(settings) as (registry, _):
        schedule = scheduled_solution(registry.get(name)).schedule(refresh_every(settings))
    if schedule is None:
        raise UsageError(f"{name} has no schedule.", hint=f"Set one: fbs schedule set {name} --every 6h")
    return set_schedule(settings, name, replace(schedule, paused=paused))


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
    every = refresh_every(settings)
    with open_home(settings) as (_, store):
        solutions, now = store.all(), store.now()
    schedules = [{"solution": each.name, **schedule_status(each, every, now=now)} for each in solutions]
    needed = any(each["schedule"] for each in schedules)
    return {"schedules": schedules, "notes": beat_notes(settings) if needed else []}


def schedule_status(
    solution: ScheduledSolution, every: Schedule | None, *, now: datetime | None = None
) -> dict[str, Any]:
    """When a solution is refreshed. Pure.

    Args:
        solution: its schedule and where it stands.
        every: the schedule of solutions without one of their own; None: they are not refreshed.
        now: the current time; a slot that is past is due now.

    Returns:
        `schedule` (`Schedule.to_dict`; None: never), `source` (`solution`: its own; `FBS_REFRESH_EVERY`; None),
        `next_run` and `last_run` (UTC; None where there is none, as while it is paused).
    """
    schedule, slot = solution.schedule(every), solution.next_slot(every)
    if schedule is None:
        return {"schedule": None, "source": None, "next_run": None, "last_run": None}
    return {
        "schedule": schedule.to_dict(),
        "source": OF_ITS_OWN if solution.own else OF_ALL,
        "next_run": _iso(max(slot, now or datetime.now(tz=UTC))) if slot else None,
        "last_run": _iso(solution.last_run) if solution.last_run else None,
    }


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
