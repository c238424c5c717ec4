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
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from fbs_worker.client.handle import JobHandle, outcome

if TYPE_CHECKING:
    from fbs_worker.core.settings import Settings
    from fbs_worker.core.vault import Vault
    from fbs_worker.jobs.app import FBSCelery
    from fbs_worker.jobs.model import JobRecord, JobState

__all__ = ["Client", "JobHandle", "outcome"]


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
        if "_app" in self.__dict__:  # created on first use
            self._app.jobs.close()
            self._app.close()

    def discover(
        self,
        *,
        domain: str,
        database_config: Mapping[str, Any] | None = None,
        table_prefix: str | None = None,
        discovery_types: Sequence[str] | None = None,
        full: bool = False,
        odoo: str = "default",
        odoo_moved: bool = False,
    ) -> JobHandle:
        """Enqueue the discovery of a domain.

        Args:
            domain: a domain's name, e.g. `rental`.
            database_config: name, user, password, host and port of the database to write to; a plain password is
                encrypted. None to return the discoveries without storing them.
            table_prefix: prefix of the system tables; FBS_TABLE_PREFIX if None.
            discovery_types: the types to discover; all if None.
            full: read everything, even if nothing changed.
            odoo: the name of an Odoo connection in the worker's settings.
            odoo_moved: confirm that the stored discoveries are of the same Odoo under its former address.

        Raises:
            UsageError: an argument is not valid.
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import DiscoverRequest, expected_odoo

        request = DiscoverRequest.parse(
            domain=domain,
            database_config=database_config,
            table_prefix=table_prefix,
            discovery_types=discovery_types,
            full=full,
            odoo=odoo,
            odoo_moved=odoo_moved,
            settings=self._settings,
        )
        expected = expected_odoo(self._settings, odoo)
        return self._enqueue("fbs.discover", request.to_message(self._vault, odoo_expected=expected), domain=domain)

    def setup(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        odoo_moved: bool = False,
        **flat: Any,
    ) -> JobHandle:
        """Enqueue the set-up of a solution. The set-up is idempotent.

        Args:
            config: the dictionary of a solution: `solution_name`, `domain`, `database_config`, `table_prefix`,
                `business_prefix`, `refresh_discoveries`, `mirror` (Odoo models that get a business table each),
                `odoo` (the name of an Odoo connection in the worker's settings); a plain password is encrypted.
            odoo_moved: confirm that the stored discoveries are of the same Odoo under its former address.
            **flat: the keys of `config` as keywords; they override `config`.

        Raises:
            UsageError: an argument is not valid.
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import SetupRequest, expected_odoo

        request = SetupRequest.parse(config, odoo_moved=odoo_moved, settings=self._settings, **flat)
        solution = request.config
        message = request.to_message(self._vault, odoo_expected=expected_odoo(self._settings, solution.odoo))
        return self._enqueue("fbs.setup", message, solution=solution.solution_name, domain=solution.domain)

    def refresh(self, solution_name: str, *, full: bool = False, odoo_moved: bool = False) -> JobHandle:
        """Enqueue a solution's refresh: read its Odoo again and record the changes.

        Args:
            solution_name: the solution's name.
            full: read everything, even if nothing changed.
            odoo_moved: confirm that the stored discoveries are of the same Odoo under its former address.

        Raises:
            UsageError: an argument is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import RefreshRequest

        request = RefreshRequest.parse(solution_name=solution_name, full=full, odoo_moved=odoo_moved)
        return self._enqueue("fbs.refresh", request.to_message(), solution=solution_name)

    def drop(self, solution_name: str, *, with_data: bool = False, dry_run: bool = False) -> JobHandle:
        """Enqueue the removal of a solution: drop the tables created for it, and nothing else.

        Args:
            solution_name: the solution's name.
            with_data: drop business tables even if they hold rows.
            dry_run: only report the tables that would be dropped.

        Raises:
            UsageError: an argument is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import DropRequest

        request = DropRequest.parse(solution_name=solution_name, with_data=with_data, dry_run=dry_run)
        return self._enqueue("fbs.drop", request.to_message(), solution=solution_name)

    def migrate(
        self,
        solution_name: str,
        *,
        plan_only: bool = False,
        fingerprint: str | None = None,
        allow: Collection[str] = (),
        renames: Sequence[str] = (),
        restore: bool = False,
        mirror: Sequence[str] = (),
        unmirror: Sequence[str] = (),
        undo: bool = False,
    ) -> JobHandle:
        """Enqueue a solution's migration: make its tables match their definition.

        Args:
            solution_name: the solution's name.
            plan_only: only plan; change nothing.
            fingerprint: apply the plan of this fingerprint (returned with `plan_only`) and no other; None for any.
            allow: allowed hazards, e.g. `DELETES_DATA`; a plan with other hazards that need it is rejected.
            renames: renamed columns, each `table.old=new`.
            restore: revert drift, i.e. changes made by hand.
            mirror: further Odoo models to mirror in a business table.
            unmirror: mirrored models whose tables are dropped.
            undo: revert the last migration, as far as this loses no data.

        Raises:
            UsageError: an argument is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import MigrateRequest

        request = MigrateRequest.parse(
            solution_name=solution_name,
            plan_only=plan_only,
            fingerprint=fingerprint,
            allow=allow,
            renames=renames,
            restore=restore,
            mirror=mirror,
            unmirror=unmirror,
            undo=undo,
        )
        return self._enqueue("fbs.migrate", request.to_message(), solution=solution_name)

    def refresh_due(self, every: str | None = None) -> JobHandle:
        """Enqueue a job that enqueues the due refreshes of solutions without a schedule of their own.

        Args:
            every: the refresh interval, e.g. `6h`; the worker's FBS_REFRESH_EVERY if None.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        return self._enqueue("fbs.refresh_due", {"every": every})

    def set_schedule(
        self, solution_name: str, *, every: str | None = None, cron: str | None = None, timezone: str | None = None
    ) -> dict[str, Any]:
        """Set the refresh schedule of a solution. Runs in this process; no worker is needed.

        Args:
            solution_name: the solution's name.
            every: the interval, e.g. `6h`; exclusive with `cron`.
            cron: the five fields of crontab(5).
            timezone: the time zone of `cron`; UTC if None.

        Returns:
            The JSON of `fbs schedule set`.

        Raises:
            UsageError: an argument is not valid.
            SolutionNotFound: no solution has that name.
            DatabaseError: PostgreSQL answered with an error.
            DatabaseUnreachable: the home database or the solution's does not answer.
        """
        from fbs_worker.scheduling.model import Schedule
        from fbs_worker.scheduling.service import set_schedule

        return set_schedule(self._settings, solution_name, Schedule.parse(every=every, cron=cron, timezone=timezone))

    def remove_schedule(self, solution_name: str) -> dict[str, Any]:
        """Remove the refresh schedule of a solution.

        Args:
            solution_name: the solution's name.

        Returns:
            The JSON of `fbs schedule remove`.

        Raises:
            SolutionNotFound: no solution has that name.
            DatabaseError: PostgreSQL answered with an error.
            DatabaseUnreachable: the home database or the solution's does not answer.
        """
        from fbs_worker.scheduling.service import set_schedule

        return set_schedule(self._settings, solution_name, None)

    def schedules(self) -> dict[str, Any]:
        """List the refresh schedules.

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

        Raises:
            SettingsError: FBS_DATABASE_URL is not set.
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        from fbs_worker.ops.status import list_solutions

        return list_solutions(self._settings)

    def jobs(self, limit: int = 50, *, state: JobState | None = None) -> Sequence[JobRecord]:
        """List jobs, newest first.

        Args:
            limit: the maximum number of records.
            state: only jobs in this state; None for all.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        return self._app.jobs.list(limit, state)

    def job(self, job_id: str) -> JobHandle:
        """Return the handle of a job.

        Args:
            job_id: the job's id.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
            QueueUnreachable: Redis does not answer.
        """
        self._app.jobs.get(job_id)
        return JobHandle(job_id, self._app.jobs)

    @cached_property
    def _vault(self) -> Vault:
        from fbs_worker.core.vault import Vault

        return Vault.from_text(self._settings.fbs_secret_keys.get_secret_value())

    @cached_property
    def _app(self) -> FBSCelery:
        from fbs_worker.jobs.app import make_app

        return make_app(self._settings, results=False)

    def _enqueue(self, task: str, kwargs: Mapping[str, Any], *, solution: str = "", domain: str = "") -> JobHandle:
        return JobHandle(self._app.enqueue(task, kwargs, solution=solution, domain=domain), self._app.jobs)
