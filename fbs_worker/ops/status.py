"""How solutions are: one in every detail, or all of them at a glance. Asked directly, no worker is needed.

The address book says which solutions there are and where; each one's own row says the same from its side. Where the
two differ, or tables that a solution owns are gone, it has drifted.

    active        set up, and both sides agree
    inactive      not set up completely: a set-up or a drop is under way, or was cut off
    drifted       the sides do not agree; a set-up mends it
    unreachable   its database cannot be asked
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError
from fbs_worker.core.fanout import bounded_connection, database_timeout, fan_out
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.jobs.store import JobState, JobStore
from fbs_worker.ops.status_queries import Counted, LongLook, Look, look_at, look_long_at
from fbs_worker.scheduling.entries import Plan
from fbs_worker.scheduling.reconcile import refresh_every
from fbs_worker.scheduling.service import planned, what_beat_knows
from fbs_worker.solutions.registry import AddressBook, DamagedRow, SolutionRecord, home_database

LIST_SECONDS: Final = 5.0
"""How long `list` waits for databases, all of them together."""

STATUS_SECONDS: Final = 30.0
"""How long `status` waits for one database: it counts rows."""

_CONNECT_SECONDS: Final = 3
_LOOK_SECONDS: Final = 4.0
_LONG_LOOK_SECONDS: Final = 25.0

_PER_CONNECTION: Final = 50
"""How many solutions of one database are looked at over one connection."""

_MOST_JOBS: Final = 1_000

_JOBS: Final = "jobs"
"""Redis's place among the servers that are asked."""

_NO_JOBS_IN_TIME: Final = "Which jobs run is not known: Redis did not answer in time."

_UNFINISHED: Final = (JobState.RUNNING, JobState.RETRYING, JobState.QUEUED, JobState.LOST)

_SET_UP_AGAIN: Final = "Run `fbs setup` again with its configuration; that mends it."


class OverallStatus(StrEnum):
    """How a solution is, in a word."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DRIFTED = "drifted"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a solution is, and why.

    Attributes:
        status: in a word.
        reason: one line; empty when it is active.
        hint: what to do, one line; empty when it is active.
    """

    status: OverallStatus
    reason: str = ""
    hint: str = ""

    @classmethod
    def of_error(cls, exc: FBSError) -> Verdict:
        """The database could not be asked."""
        return cls(status=OverallStatus.UNREACHABLE, reason=exc.message, hint=exc.hint)

    def to_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"overall_status": str(self.status), "reason": self.reason, "hint": self.hint}


def judge(entry: SolutionRecord, look: Look, *, jobs: Sequence[Mapping[str, Any]] = ()) -> Verdict:
    """How a solution is, from both sides. Pure.

    Args:
        entry: what the address book says.
        look: what its database says.
        jobs: the jobs that work on it now, as `JobRecord.to_dict`.
    """
    name, own = entry.solution_name, look.own
    if isinstance(own, DamagedRow):
        return Verdict(status=OverallStatus.DRIFTED, reason=own.error.message, hint=own.error.hint)
    busy = next((job for job in jobs if job["state"] == JobState.RUNNING and job["action"] != "refresh"), None)
    if not entry.is_active and busy is not None:
        return Verdict(
            status=OverallStatus.INACTIVE,
            reason=f"A job changes it at this moment ({busy['action']}).",
            hint=f"Follow it: fbs jobs watch {busy['id']}",
        )
    if own is None:
        if not entry.is_active:
            return Verdict(
                status=OverallStatus.INACTIVE,
                reason="Its set-up or its drop was not completed.",
                hint=f"Run `fbs setup` again, or `fbs drop {name}` to take it away.",
            )
        return Verdict(
            status=OverallStatus.DRIFTED,
            reason=f"The database {entry.database.name!r} does not know it: {entry.table_prefix}solution_schemas has no"
            " row for it.",
            hint=_SET_UP_AGAIN,
        )
    differing = _differing(entry, own)
    if differing and not _differing(replace(entry, is_active=True), own):
        return Verdict(
            status=OverallStatus.DRIFTED,
            reason="A job that changed it was cut off, or is under way.",
            hint=f"Run that job again: `fbs migrate --solution-name {name}` or `fbs setup`; either mends it.",
        )
    if differing:
        return Verdict(
            status=OverallStatus.DRIFTED,
            reason=f"The address book and the database do not agree: {'; '.join(differing)}.",
            hint=_SET_UP_AGAIN,
        )
    if not entry.is_active:
        return Verdict(status=OverallStatus.INACTIVE, reason="It is switched off.", hint=_SET_UP_AGAIN)
    if look.missing:
        return Verdict(
            status=OverallStatus.DRIFTED,
            reason=f"Tables that belong to it are gone: {', '.join(look.missing)}.",
            hint=_SET_UP_AGAIN,
        )
    return Verdict(status=OverallStatus.ACTIVE)


def solution_status(settings: Settings, name: str) -> dict[str, Any]:
    """A solution in every detail.

    Args:
        settings: the home database, the keys and Redis; after `effective_settings`.
        name: the solution's name.

    Returns:
        JSON-ready, without a secret: `solution` (its name), `overall_status`, `reason`, `hint`, `config` (what the
        address book says), `database` (`place`, `size` in bytes, `server_version`), `tables` (`table`, `kind`, `rows`,
        `bytes`), `discoveries` (active ones per type), `sections_denied`, `last_refresh` (`at`, `report`, …; None where
        there was none), `schedule` (when it is refreshed; see `schedules.planned`), `pending` (how tables differ from
        the definition), `drift` (what was changed by hand and stays so), `jobs` (those that wait or run) and `notes`
        (what could not be looked at, or cannot be done yet). Of a database that cannot be reached there is what the
        address book knows.

    Raises:
        SolutionNotFound: there is none of that name.
        SettingsError: no home database is set.
        SecretError: a key is not one.
        DatabaseError, DatabaseUnreachable: of the home database.
    """
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    with _book(settings, vault, seconds=STATUS_SECONDS) as book:
        entry = book.get(name)
    asks: list[_Ask] = [
        (_server(entry.database), partial(_long_look, entry, vault)),
        (_JOBS, partial(_jobs, settings)),
        (_JOBS, partial(what_beat_knows, settings, name)),
    ]
    found, jobs, beat = fan_out(asks, seconds=STATUS_SECONDS)
    working = jobs if isinstance(jobs, _Jobs) else _Jobs(note=_NO_JOBS_IN_TIME)
    ours = working.of(name)
    notes = [working.note] if working.note else []
    own = found.look.own if isinstance(found, LongLook) else None
    plan, refreshed = beat if isinstance(beat, tuple) else (None, None)
    told: dict[str, Any] = {
        "solution": name,
        "config": entry.redacted(),
        "database": {"place": entry.database.address(), "size": None, "server_version": None},
        "tables": [],
        "discoveries": {},
        "sections_denied": [],
        "last_refresh": None,
        "schedule": planned(
            own if isinstance(own, SolutionRecord) else entry, refresh_every(settings), plan, refreshed
        ),
        "pending": [],
        "drift": [],
        "jobs": ours,
        "notes": notes,
    }
    if not isinstance(found, LongLook):
        error = found if isinstance(found, FBSError) else database_timeout(entry.database, STATUS_SECONDS)
        return {**told, **Verdict.of_error(error).to_dict()}
    return {
        **told,
        **judge(entry, found.look, jobs=ours).to_dict(),
        "database": {**told["database"], **found.database},
        "tables": list(found.tables),
        "discoveries": dict(found.look.counts),
        "sections_denied": list(found.denied),
        "last_refresh": found.look.last_refresh,
        "pending": list(found.pending),
        "drift": list(found.drift),
        "notes": [*found.notes, *notes],
    }


def list_solutions(settings: Settings) -> dict[str, Any]:
    """All solutions at a glance; one whose database is down or hangs holds none of the others up.

    Args:
        settings: as for `solution_status`.

    Returns:
        JSON-ready, without a secret: `home` (where the address book is), `solutions` (by name: `solution`, `domain`,
        `database`, `table_prefix`, `business_prefix`, `overall_status`, `reason`, `hint`, `discoveries`,
        `last_refresh` (when), `jobs` (how many wait or run)), `counts` (how many are in each status) and `notes`.

    Raises:
        SettingsError: no home database is set.
        SecretError: a key is not one.
        DatabaseError, DatabaseUnreachable: of the home database.
    """
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    with _book(settings, vault, seconds=LIST_SECONDS) as book:
        entries = book.entries()
    records = [entry for entry in entries if isinstance(entry, SolutionRecord)]
    looks, jobs = _look_at_all(records, settings, vault)
    solutions = []
    for entry in entries:
        ours = jobs.of(entry.solution_name)
        if isinstance(entry, DamagedRow):
            solutions.append(_damaged(entry, ours))
        else:
            solutions.append(_glance(entry, looks[entry.solution_name], ours))
    counted = Counter(told["overall_status"] for told in solutions)
    return {
        "home": home_database(settings).address(),
        "solutions": solutions,
        "counts": {str(status): counted[str(status)] for status in OverallStatus},
        "notes": [jobs.note] if jobs.note else [],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Jobs:
    """The jobs that wait or run, as `JobRecord.to_dict`; `note` says why they are not known."""

    by_solution: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    note: str = ""

    def of(self, name: str) -> list[dict[str, Any]]:
        """Those of one solution."""
        return self.by_solution.get(name, [])


_Looks = dict[str, Look | FBSError]
_BeatKnows = tuple[Plan | None, datetime | None]
_Ask = tuple[Hashable, Callable[[], LongLook | FBSError | _Jobs | _Looks | _BeatKnows]]


@contextmanager
def _book(settings: Settings, vault: Vault, *, seconds: float) -> Iterator[AddressBook]:
    home = home_database(settings).resolved(vault, allow_plain=True)
    with bounded_connection(home, connect_seconds=_CONNECT_SECONDS, seconds=seconds) as connection:
        yield AddressBook(connection, table_prefix=settings.fbs_table_prefix, vault=vault)


def _server(database: DatabaseConfig) -> Hashable:
    return database.host, database.port


def _long_look(entry: SolutionRecord, vault: Vault) -> LongLook | FBSError:
    try:
        database = entry.database.resolved(vault)
        with bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_LONG_LOOK_SECONDS) as connection:
            return look_long_at(connection, entry)
    except FBSError as exc:
        return exc


def _look_at_all(records: Sequence[SolutionRecord], settings: Settings, vault: Vault) -> tuple[_Looks, _Jobs]:
    """Look at all solutions; those of one database share connections."""
    looks: _Looks = {}
    together: dict[DatabaseConfig, list[SolutionRecord]] = {}
    for record in records:
        try:
            together.setdefault(record.database.resolved(vault), []).append(record)
        except FBSError as exc:
            looks[record.solution_name] = exc
    shares = [
        (database, several[begin : begin + _PER_CONNECTION])
        for database, several in together.items()
        for begin in range(0, len(several), _PER_CONNECTION)
    ]
    asks: list[_Ask] = [(_server(database), partial(_looks, database, several)) for database, several in shares]
    asks.append((_JOBS, partial(_jobs, settings)))
    *found, jobs = fan_out(asks, seconds=LIST_SECONDS)
    for (database, several), told in zip(shares, found, strict=True):
        late = database_timeout(database, LIST_SECONDS)
        given = told if isinstance(told, dict) else {}
        looks |= {record.solution_name: given.get(record.solution_name, late) for record in several}
    return looks, jobs if isinstance(jobs, _Jobs) else _Jobs(note=_NO_JOBS_IN_TIME)


def _looks(database: DatabaseConfig, records: Sequence[SolutionRecord]) -> _Looks:
    found: _Looks = {}
    try:
        with bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_LOOK_SECONDS) as connection:
            counted: Counted = {}
            for record in records:
                try:
                    found[record.solution_name] = look_at(connection, record, counted=counted)
                except FBSError as exc:
                    if connection.closed:
                        raise
                    found[record.solution_name] = exc
    except FBSError as exc:
        found = {record.solution_name: found.get(record.solution_name, exc) for record in records}
    return found


def _jobs(settings: Settings) -> _Jobs:
    by_solution: dict[str, list[dict[str, Any]]] = {}
    try:
        with JobStore(settings.fbs_redis_url, ttl=settings.fbs_job_ttl) as store:
            for state in _UNFINISHED:
                for job in store.list(_MOST_JOBS, state):
                    if job.solution:
                        by_solution.setdefault(job.solution, []).append(job.to_dict())
    except FBSError as exc:
        return _Jobs(note=f"Which jobs run is not known: {exc.message}")
    return _Jobs(by_solution=by_solution)


def _glance(entry: SolutionRecord, look: Look | FBSError, jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if isinstance(look, Look):
        verdict, counts, last = judge(entry, look, jobs=jobs), dict(look.counts), look.last_refresh or {}
    else:
        verdict, counts, last = Verdict.of_error(look), {}, {}
    return {
        "solution": entry.solution_name,
        "domain": entry.domain,
        "database": entry.database.redacted(),
        "table_prefix": entry.table_prefix,
        "business_prefix": entry.business_prefix,
        **verdict.to_dict(),
        "discoveries": counts,
        "last_refresh": last.get("at"),
        "jobs": len(jobs),
    }


def _damaged(entry: DamagedRow, jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    verdict = Verdict(status=OverallStatus.DRIFTED, reason=entry.error.message, hint=entry.error.hint)
    return {
        "solution": entry.solution_name,
        "domain": None,
        "database": None,
        "table_prefix": None,
        "business_prefix": None,
        **verdict.to_dict(),
        "discoveries": {},
        "last_refresh": None,
        "jobs": len(jobs),
    }


def _differing(entry: SolutionRecord, own: SolutionRecord) -> list[str]:
    """What address book and own row do not agree on, one phrase each; passwords are not compared."""
    sides = [_told(entry), _told(own)]
    return [
        f"{name} is {sides[0][name]!r} there and {sides[1][name]!r} here"
        for name in sides[0]
        if sides[0][name] != sides[1][name]
    ]


def _told(record: SolutionRecord) -> dict[str, Any]:
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
