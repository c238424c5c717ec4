"""Schedules of refreshes: set, listed, ended.

A schedule is in the solution's own row, in its entry in the address book, and in Redis, where beat looks. It is written
in that order; what is cut off in between heals (`schedule_rebuild`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, SolutionNotFound
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.scheduling.entries import LOCK, PREFIX, Plan, PlanStore, definition, entry_name
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.reconcile import open_book, refresh_every, schedule_lock, schedule_of
from fbs_worker.solutions.registry import DamagedRow, OwnRow, SolutionRecord

LOCK_SECONDS: Final = 30.0
"""A beat that gives no sign of life for so long has lost its place to the next."""

LOOK_SECONDS: Final = 5.0
"""How often beat looks at least whether something is due."""

_CONNECT_SECONDS: Final = 3
_WRITE_SECONDS: Final = 15.0

OF_ITS_OWN: Final = "solution"
OF_ALL: Final = "FBS_REFRESH_EVERY"


def beat_configuration(
    settings: Settings, *, lock_seconds: float = LOCK_SECONDS, look_seconds: float = LOOK_SECONDS
) -> dict[str, Any]:
    """What RedBeat wants to be told in Celery's configuration.

    Args:
        settings: Redis.
        lock_seconds: see `LOCK_SECONDS`.
        look_seconds: see `LOOK_SECONDS`.
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
        "beat_max_loop_interval": look_seconds,
    }


def set_schedule(settings: Settings, name: str, schedule: Schedule | None) -> dict[str, Any]:
    """Say when a solution is refreshed, or that it is not.

    Args:
        settings: the home database, the keys and Redis; after `effective_settings`.
        name: the solution's name.
        schedule: when; None to end its schedule.

    Returns:
        JSON-ready: `solution`, `schedule` and `before` (`Schedule.to_dict`; None without), `next_run` (UTC; None
        without) and `notes` (what a person should know).

    Raises:
        SolutionNotFound: there is none of that name, or it is not set up. Nothing is changed then.
        SettingsError, SecretError: there is no home database; a password cannot be opened.
        DatabaseError, DatabaseUnreachable: of its database or the home database.
    """
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    told = None if schedule is None else schedule.to_dict()
    with open_book(settings, vault, read_only=False) as (home, book), schedule_lock(home, name):
        entry = book.get(name)
        before = _write_own(entry, entry.database.resolved(vault), told)
        book.put_schedule(name, told)
    next_run = None if schedule is None else schedule.after(datetime.now(tz=UTC), name=name)
    notes = []
    try:
        with PlanStore(settings.fbs_redis_url) as store:
            if schedule is None or next_run is None:
                store.remove(entry_name(name))
            else:
                plan, wanted = store.get(entry_name(name)), definition(schedule, solution=name)
                if plan is not None and plan.definition == wanted:
                    next_run = plan.due
                else:
                    store.put(entry_name(name), wanted, due=next_run)
            notes += _beat_notes(store, needed=schedule is not None)
    except FBSError as exc:
        notes.append(f"Beat takes it up once Redis answers: {exc.message}")
    if schedule is None and refresh_every(settings) is not None:
        notes.append(f"From now on it is refreshed every {settings.fbs_refresh_every} ({OF_ALL}).")
    return {
        "solution": name,
        "schedule": told,
        "before": before,
        "next_run": _iso(next_run),
        "notes": notes,
    }


def list_schedules(settings: Settings) -> dict[str, Any]:
    """When solutions are refreshed.

    Args:
        settings: the home database, the keys and Redis; after `effective_settings`.

    Returns:
        JSON-ready: `schedules` (by name: `planned` of each solution, and `solution`) and `notes`.

    Raises:
        SettingsError, SecretError: there is no home database; FBS_REFRESH_EVERY is not valid.
        DatabaseError, DatabaseUnreachable: of the home database.
    """
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    with open_book(settings, vault) as (_, book):
        entries = book.entries()
    every = refresh_every(settings)
    plans: dict[str, Plan] = {}
    refreshed: dict[str, datetime] = {}
    notes = []
    try:
        with PlanStore(settings.fbs_redis_url) as store:
            plans, refreshed = store.all(), store.refreshed()
            notes += _beat_notes(store, needed=bool(plans) or every is not None)
    except FBSError as exc:
        notes.append(f"Whether beat works, and when it last did, is not known: {exc.message}")
    schedules = []
    for entry in entries:
        if isinstance(entry, DamagedRow):
            notes.append(entry.error.message)
            continue
        name = entry.solution_name
        told = planned(entry, every, plans.get(entry_name(name)), refreshed.get(name))
        schedules.append({"solution": name, **told})
    return {"schedules": schedules, "notes": notes}


def planned(
    record: SolutionRecord, every: Schedule | None, plan: Plan | None, refreshed: datetime | None
) -> dict[str, Any]:
    """When a solution is refreshed. Pure.

    Args:
        record: what is known of it.
        every: how often those without a schedule of their own are refreshed; None: not at all.
        plan: beat's entry, if that is known.
        refreshed: when it was last refreshed for want of a schedule of its own, if that is known.

    Returns:
        `schedule` (`Schedule.to_dict`; None: never), `source` (`solution`: its own; `FBS_REFRESH_EVERY`; None),
        `next_run` and `last_run` (UTC; None where not known or never).
    """
    own = schedule_of(record)
    now = datetime.now(tz=UTC)
    if own is not None:
        due = plan.due if plan else own.after(now, name=record.solution_name)
        last = plan.last_run if plan else None
        return {"schedule": own.to_dict(), "source": OF_ITS_OWN, "next_run": _iso(due), "last_run": _iso(last)}
    if every is not None and record.is_active:
        due = every.after(now, name=record.solution_name)
        return {"schedule": every.to_dict(), "source": OF_ALL, "next_run": _iso(due), "last_run": _iso(refreshed)}
    return {"schedule": None, "source": None, "next_run": None, "last_run": None}


def what_beat_knows(settings: Settings, name: str) -> tuple[Plan | None, datetime | None]:
    """`plan` and `refreshed` of `planned`, as far as Redis tells.

    Args:
        settings: Redis.
        name: the solution's.
    """
    try:
        with PlanStore(settings.fbs_redis_url) as store:
            return store.get(entry_name(name)), store.refreshed().get(name)
    except FBSError:  # when it is due follows from its schedule, too
        return None, None


def _write_own(entry: SolutionRecord, database: DatabaseConfig, told: dict[str, str] | None) -> dict[str, Any] | None:
    """Write the own row's schedule; what it was comes back."""
    name = entry.solution_name
    with (
        bounded_connection(
            database, connect_seconds=_CONNECT_SECONDS, seconds=_WRITE_SECONDS, read_only=False
        ) as connection,
        connection,
    ):
        own = OwnRow.read(connection, entry.table_prefix, name)
        found = OwnRow.put_schedule(connection, entry.table_prefix, name, told)
    if own is None or not found:
        raise SolutionNotFound(
            f"The database {entry.database.name!r} does not hold the solution {name!r}.",
            hint="Run `fbs setup` again: its set-up was not completed, or its tables were taken away.",
        )
    return own.schedule


def _beat_notes(store: PlanStore, *, needed: bool) -> list[str]:
    if not needed or store.beat_works():
        return []
    return ["No beat works, so nothing is refreshed by itself: start one with `fbs up` or `fbs beat`."]


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
