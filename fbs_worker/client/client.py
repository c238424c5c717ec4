"""Client of the job queue: enqueue jobs, follow them, wait for them and cancel them.

    client = Client("redis://localhost:6379/0")
    job = client.discover(domain="rental", database_config={"name": "rental_db", "user": "me", "password": "…"})
    for event in job.follow():
        print(event.step, event.percent)
    print(job.wait())

Tasks are addressed by name, and dependencies are imported on first use, so importing this module is cheap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Required, Self, TypedDict, Unpack

from fbs_worker.client.handle import JobHandle, outcome
from fbs_worker.client.odoo import OdooConnections
from fbs_worker.core.errors import DatabaseError, RefusedError, SecretError, UnreachableError

if TYPE_CHECKING:
    from fbs_worker.core.settings import Settings
    from fbs_worker.jobs.app import FBSCelery
    from fbs_worker.jobs.model import JobRecord, JobState
    from fbs_worker.jobs.store import JobStore
    from fbs_worker.solutions.requests import Request

__all__ = ["Client", "DiscoverFields", "JobHandle", "MigrateFields", "OdooConnections", "SyncFields", "outcome"]


class DiscoverFields(TypedDict, total=False):
    """The fields of `DiscoverRequest`, which describes them."""

    domain: Required[str]
    database_config: Mapping[str, Any] | None
    table_prefix: str | None
    discovery_types: Sequence[str] | None
    include_modules: Sequence[str]
    exclude_modules: Sequence[str]
    full: bool
    odoo: str
    odoo_moved: bool


class MigrateFields(TypedDict, total=False):
    """The fields of `MigrateRequest`, which describes them, without `solution_name`."""

    plan_only: bool
    fingerprint: str | None
    allow: Collection[str]
    renames: Sequence[str]
    restore: bool
    mirror: Sequence[str]
    unmirror: Sequence[str]
    undo: bool


class SyncFields(TypedDict, total=False):
    """The fields of `SyncRequest`, which describes them, without `solution_name`."""

    models: Sequence[str]
    full: bool
    verify: bool
    allow_delete: int


class Client:
    """Enqueues jobs and reads their records.

    Args:
        redis_url: `redis://[:password@]host:port/db`; FBS_REDIS_URL of the settings if None.
        settings: the settings; those of this process if None.

    Raises:
        SettingsError: a setting is not valid.
    """

    def __init__(self, redis_url: str | None = None, *, settings: Settings | None = None) -> None:
        from fbs_worker.core.settings import get_settings

        settings = settings or get_settings()
        if redis_url is not None:
            settings = settings.model_copy(update={"fbs_redis_url": redis_url})
        self._settings = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to Redis and the broker."""
        # each is created on first use
        if "_jobs" in self.__dict__:
            self._jobs.close()
        if "_app" in self.__dict__:
            self._app.close()

    def enqueue(self, request: Request) -> JobHandle:
        """Enqueue a job.

        Args:
            request: what it is to do, made by the `parse` of its class.

        Raises:
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
            QueueUnreachable: Redis does not answer.
        """
        message = request.to_message(self._settings)
        labels = {"solution": message.get("solution_name", ""), "domain": message.get("domain", "")}
        return self._enqueue(request.task, message, **labels)

    def check_known(self, request: Request) -> None:
        """Check that the solution of a request is set up, where this process has the home database and it answers.

        Args:
            request: a request; one that sets a solution up, or names none, is not looked at.

        Raises:
            SolutionNotFound: no solution has that name.
        """
        name = getattr(request, "solution_name", "")
        if not name or request.task == "fbs.setup" or not self._settings.fbs_database_url:
            return
        from fbs_worker.solutions.databases import Databases

        with suppress(DatabaseError, UnreachableError, SecretError):  # the worker may reach it
            Databases(self._settings).solution(name)

    def discover(self, **fields: Unpack[DiscoverFields]) -> JobHandle:
        """Enqueue the discovery of a domain.

        Args:
            **fields: those of `DiscoverRequest`.

        Raises:
            UsageError: an argument is not valid.
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import DiscoverRequest

        return self.enqueue(DiscoverRequest.parse(fields, settings=self._settings))

    def setup(self, config: Mapping[str, Any] | None = None, **fields: Any) -> JobHandle:
        """Enqueue the set-up of a solution. The set-up is idempotent.

        Args:
            config: the fields of `SetupRequest`.
            **fields: the same as keywords; they take precedence.

        Raises:
            UsageError: an argument is not valid.
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import SetupRequest

        return self.enqueue(SetupRequest.parse(config, settings=self._settings, **fields))

    def refresh(self, solution_name: str, *, full: bool = False, odoo_moved: bool = False) -> JobHandle:
        """Enqueue a solution's refresh: read its Odoo again and record the changes.

        The arguments are the fields of `RefreshRequest`.

        Raises:
            UsageError: an argument is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import RefreshRequest

        return self.enqueue(RefreshRequest(solution_name=solution_name, full=full, odoo_moved=odoo_moved))

    def drop(self, solution_name: str, *, with_data: bool = False, dry_run: bool = False) -> JobHandle:
        """Enqueue the removal of a solution: drop the tables created for it, and nothing else.

        The arguments are the fields of `DropRequest`.

        Raises:
            UsageError: an argument is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import DropRequest

        return self.enqueue(DropRequest(solution_name=solution_name, with_data=with_data, dry_run=dry_run))

    def migrate(self, solution_name: str, **fields: Unpack[MigrateFields]) -> JobHandle:
        """Enqueue a solution's migration: make its tables match their definition.

        Args:
            solution_name: the solution's name.
            **fields: the others of `MigrateRequest`.

        Raises:
            UsageError: an argument is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import MigrateRequest

        return self.enqueue(MigrateRequest.parse(fields, settings=self._settings, solution_name=solution_name))

    def sync(self, solution_name: str, **fields: Unpack[SyncFields]) -> JobHandle:
        """Enqueue a sync: copy the records of a solution's mirrored models from Odoo into their tables.

        Args:
            solution_name: the solution's name.
            **fields: the others of `SyncRequest`.

        Raises:
            UsageError: an argument is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import SyncRequest

        return self.enqueue(SyncRequest.parse(fields, settings=self._settings, solution_name=solution_name))

    def records(self, solution_name: str) -> Sequence[dict[str, Any]]:
        """Return where the copy of each mirrored model stands. Runs in this process; no worker is needed.

        Args:
            solution_name: the solution's name.

        Returns:
            `TableState.to_dict` of each; `status` is `pending` for one that was never copied.

        Raises:
            SolutionNotFound: no solution has that name.
            SettingsError: FBS_DATABASE_URL is not set.
            DatabaseError: PostgreSQL answered with an error.
            DatabaseUnreachable: the home database or the solution's does not answer.
        """
        from fbs_worker.ops.records import record_states
        from fbs_worker.solutions.databases import Databases

        databases = Databases(self._settings)
        record = databases.solution(solution_name)
        with databases.connection(record.database) as connection:
            return record_states(connection, record)

    def refresh_due(self, every: str | None = None) -> JobHandle:
        """Enqueue a job that enqueues the due refreshes of solutions without a schedule of their own.

        Args:
            every: the refresh interval, e.g. `6h`; the worker's FBS_REFRESH_EVERY if None.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        return self._enqueue("fbs.refresh_due", {"every": every})

    def set_schedule(
        self,
        solution_name: str,
        *,
        every: str | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        sync_every: str | None = None,
    ) -> dict[str, Any]:
        """Set the schedule of a solution's refreshes, of its syncs, or both. Runs in this process; no worker is needed.

        Args:
            solution_name: the solution's name.
            every: the interval, e.g. `6h`; exclusive with `cron`.
            cron: the five fields of crontab(5).
            timezone: the time zone of `cron`; UTC if None.
            sync_every: how often records are copied, e.g. `5m`.

        Returns:
            The JSON of `fbs schedule set`.

        Raises:
            UsageError: an argument is not valid.
            SolutionNotFound: no solution has that name.
            DatabaseError: PostgreSQL answered with an error.
            DatabaseUnreachable: the home database or the solution's does not answer.
        """
        from fbs_worker.scheduling.model import schedules_of
        from fbs_worker.scheduling.service import set_schedules

        changes = schedules_of(every=every, cron=cron, timezone=timezone, sync_every=sync_every)
        return set_schedules(self._settings, solution_name, changes)

    def remove_schedule(self, solution_name: str, *, only: str | None = None) -> dict[str, Any]:
        """Remove the schedules of a solution.

        Args:
            solution_name: the solution's name.
            only: `refresh` or `sync`; None for both.

        Returns:
            The JSON of `fbs schedule remove`.

        Raises:
            SolutionNotFound: no solution has that name.
            DatabaseError: PostgreSQL answered with an error.
            DatabaseUnreachable: the home database or the solution's does not answer.
        """
        from fbs_worker.scheduling.model import kinds_of
        from fbs_worker.scheduling.service import set_schedules

        return set_schedules(self._settings, solution_name, dict.fromkeys(kinds_of(only)))

    def pause_schedule(self, solution_name: str, *, paused: bool = True, only: str | None = None) -> dict[str, Any]:
        """Pause the schedules of a solution, or let them run again.

        Args:
            solution_name: the solution's name.
            paused: False to let them run again.
            only: `refresh` or `sync`; None for both.

        Returns:
            The JSON of `fbs schedule pause`.

        Raises:
            UsageError: it has no schedule.
            SolutionNotFound: no solution has that name.
            DatabaseError: PostgreSQL answered with an error.
            DatabaseUnreachable: the home database or the solution's does not answer.
        """
        from fbs_worker.scheduling.model import kinds_of
        from fbs_worker.scheduling.service import pause_schedule

        return pause_schedule(self._settings, solution_name, paused=paused, kinds=kinds_of(only))

    def schedules(self) -> dict[str, Any]:
        """List the schedules of refreshes and syncs.

        Raises:
            SettingsError: FBS_DATABASE_URL is not set.
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        from fbs_worker.scheduling.service import list_schedules

        return list_schedules(self._settings)

    def status(self, solution_name: str) -> dict[str, Any]:
        """Return the status of a solution. Runs in this process; no worker is needed.

        Args:
            solution_name: the solution's name.

        Returns:
            `overall_status` and the other fields of `fbs status --output-format json`.

        Raises:
            SolutionNotFound: no solution has that name.
            SettingsError: FBS_DATABASE_URL is not set.
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        from fbs_worker.ops.status import solution_status

        return solution_status(self._settings, solution_name)

    def list(self) -> dict[str, Any]:
        """List the solutions with their status. Runs in this process; no worker is needed.

        Returns:
            `solutions` and the other fields of `fbs list --output-format json`.

        Raises:
            SettingsError: FBS_DATABASE_URL is not set.
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        from fbs_worker.ops.status import list_solutions

        return list_solutions(self._settings)

    @cached_property
    def odoo(self) -> OdooConnections:
        """The connections to Odoo."""
        return OdooConnections(self._settings, self)

    def jobs(
        self, limit: int = 50, *, state: JobState | None = None, solution: str = "", action: str = ""
    ) -> Sequence[JobRecord]:
        """List jobs, newest first.

        Args:
            limit: the maximum number of records.
            state: only jobs in this state; None for all.
            solution: only jobs of this solution; empty for all.
            action: only jobs with this action, e.g. `refresh`; empty for all.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.list(limit, state, solution=solution, action=action)

    def retry(self, job_id: str) -> JobHandle:
        """Enqueue a finished job again, with the arguments it had.

        Args:
            job_id: the id of a job that failed, was cancelled, or is to be run once more.

        Returns:
            The new job; if the same is queued or running already, that one.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
            RefusedError: the job has not finished, or was enqueued by another program, whose arguments are not kept.
            QueueUnreachable: Redis does not answer.
        """
        record = self._jobs.get(job_id)
        if not record.state.finished:
            raise RefusedError(
                f"The job is {record.state}: there is nothing to retry yet.", hint=f"Follow it: fbs jobs watch {job_id}"
            )
        arguments = self._jobs.request(job_id)
        if not arguments:
            raise RefusedError(
                "The arguments of this job are not kept: another program or an older version enqueued it.",
                hint="Enqueue it again where it came from.",
            )
        return self._enqueue(f"fbs.{record.action}", arguments, solution=record.solution, domain=record.domain)

    def full_id(self, beginning: str) -> str:
        """Return the id of the one job whose id begins so, of 8 characters or more; a whole id is returned as it is.

        Args:
            beginning: what `fbs jobs list` shows.

        Raises:
            JobNotFound: no job's id begins so.
            UsageError: several do.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.full_id(beginning)

    def job(self, job_id: str) -> JobHandle:
        """Return the handle of a job.

        Args:
            job_id: the job's id.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
            QueueUnreachable: Redis does not answer.
        """
        self._jobs.get(job_id)
        return JobHandle(job_id, self._jobs)

    @cached_property
    def _jobs(self) -> JobStore:
        from fbs_worker.jobs.store import JobStore

        return JobStore(self._settings.fbs_redis_url, ttl=self._settings.fbs_job_ttl)

    @cached_property
    def _app(self) -> FBSCelery:
        """Celery, whose import takes time, enqueues jobs; their records need Redis alone."""
        from fbs_worker.jobs.app import make_app

        app = make_app(self._settings, results=False)
        app.jobs = self._jobs
        return app

    def _enqueue(self, task: str, kwargs: Mapping[str, Any], *, solution: str = "", domain: str = "") -> JobHandle:
        return JobHandle(self._app.enqueue(task, kwargs, solution=solution, domain=domain), self._jobs)
