"""What other applications use: enqueue jobs, follow them, wait for them, cancel them.

    client = Client("redis://localhost:6379/0")
    job = client.discover(domain="rental", database_config={"name": "rental_db", "user": "me", "password": "…"})
    for event in job.follow():
        print(event.step, event.percent)
    print(job.wait())

It knows the tasks by their names alone, and what it needs is imported when it is first needed: importing it is light.
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
    """Enqueues jobs.

    Args:
        redis_url: `redis://[:password@]host:port/db`; the settings' if None.
        settings: what to work with; this process's own if None.
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
        """Give the connections to Redis back."""
        if "_app" in self.__dict__:  # it was used
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
            database_config: name, user, password, host and port of the database where the discoveries go, a plain
                password is sealed; None to find without keeping.
            table_prefix: prefix of the system tables; the settings' if None.
            discovery_types: which; all if None.
            full: read everything even though nothing seems changed.
            odoo: the name of an Odoo connection of the worker's.
            odoo_moved: what is kept was read from this same Odoo, under another address.

        Raises:
            UsageError: something of it is not valid.
            SecretError: a plain password, and no key to seal it with.
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
        """Enqueue the set-up of a solution. Setting up again what is set up changes nothing.

        Args:
            config: the dictionary of a solution: `solution_name`, `domain`, `database_config`, `table_prefix`,
                `business_prefix`, `refresh_discoveries`, `mirror` (Odoo models that get a business table each),
                `odoo` (the name of an Odoo connection of the worker's); a plain password is sealed.
            odoo_moved: what is kept was read from this same Odoo, under another address.
            **flat: the keys of `config` by themselves; they count more.

        Raises:
            UsageError: something of it is not valid.
            SecretError: a plain password, and no key to seal it with.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import SetupRequest, expected_odoo

        request = SetupRequest.parse(config, odoo_moved=odoo_moved, settings=self._settings, **flat)
        asked = request.config
        message = request.to_message(self._vault, odoo_expected=expected_odoo(self._settings, asked.odoo))
        return self._enqueue("fbs.setup", message, solution=asked.solution_name, domain=asked.domain)

    def refresh(self, solution_name: str, *, full: bool = False, odoo_moved: bool = False) -> JobHandle:
        """Enqueue a solution's refresh: read its Odoo again and record what changed.

        Args:
            solution_name: the solution's name.
            full: read everything even though nothing seems changed.
            odoo_moved: what is kept was read from this same Odoo, under another address.

        Raises:
            UsageError: something of it is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.requests import RefreshRequest

        request = RefreshRequest.parse(solution_name=solution_name, full=full, odoo_moved=odoo_moved)
        return self._enqueue("fbs.refresh", request.to_message(), solution=solution_name)

    def drop(self, solution_name: str, *, with_data: bool = False, dry_run: bool = False) -> JobHandle:
        """Enqueue the removal of a solution: of the tables that were made for it, and of nothing else.

        Args:
            solution_name: the solution's name.
            with_data: business tables go though they hold rows.
            dry_run: only tell what would be done.

        Raises:
            UsageError: something of it is not valid.
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
            plan_only: only tell what would be done.
            fingerprint: apply this plan and no other, as one with `plan_only` told it; None for whichever it is.
            allow: hazards that are allowed, e.g. `DELETES_DATA`; with others that need it nothing is changed.
            renames: columns that were renamed, each `table.old=new`.
            restore: what was changed by hand is to be as it was made, too.
            mirror: further Odoo models that get a business table.
            unmirror: mirrored models whose tables go.
            undo: revert the last migration instead, as far as that loses nothing.

        Raises:
            UsageError: something of it is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.migrate_request import MigrateRequest

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
        """Enqueue a job that enqueues the refreshes of solutions without a schedule of their own which are due.

        Args:
            every: how often each is to be refreshed, e.g. `6h`; the worker's FBS_REFRESH_EVERY if None.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        return self._enqueue("fbs.refresh_due", {"every": every})

    def set_schedule(
        self, solution_name: str, *, every: str | None = None, cron: str | None = None, timezone: str | None = None
    ) -> dict[str, Any]:
        """Say when beat refreshes a solution, here and now; no worker is needed.

        Args:
            solution_name: the solution's name.
            every: a length of time, e.g. `6h`, or
            cron: the five fields of crontab(5).
            timezone: of cron's clock; UTC if None.

        Returns:
            What `fbs schedule set` tells as JSON.

        Raises:
            UsageError: something of it is not valid.
            SolutionNotFound: there is none of that name.
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        from fbs_worker.scheduling.model import Schedule
        from fbs_worker.scheduling.service import set_schedule

        return set_schedule(self._settings, solution_name, Schedule.parse(every=every, cron=cron, timezone=timezone))

    def remove_schedule(self, solution_name: str) -> dict[str, Any]:
        """Refresh a solution by itself no longer; see `set_schedule`."""
        from fbs_worker.scheduling.service import set_schedule

        return set_schedule(self._settings, solution_name, None)

    def schedules(self) -> dict[str, Any]:
        """When which solution is refreshed by itself.

        Raises:
            SettingsError: no home database is set.
            DatabaseError, DatabaseUnreachable: of the home database.
        """
        from fbs_worker.scheduling.service import list_schedules

        return list_schedules(self._settings)

    def status(self, solution_name: str) -> dict[str, Any]:
        """How a solution is, asked here and now; no worker is needed.

        Args:
            solution_name: the solution's name.

        Raises:
            SolutionNotFound: there is none of that name.
            SettingsError: no home database is set.
            DatabaseError, DatabaseUnreachable: of the home database.
        """
        from fbs_worker.ops.status import solution_status

        return solution_status(self._settings, solution_name)

    def list(self) -> dict[str, Any]:
        """All solutions and how each is, asked here and now; no worker is needed.

        Raises:
            SettingsError: no home database is set.
            DatabaseError, DatabaseUnreachable: of the home database.
        """
        from fbs_worker.ops.status import list_solutions

        return list_solutions(self._settings)

    def jobs(self, limit: int = 50, *, state: JobState | None = None) -> Sequence[JobRecord]:
        """Jobs, the newest first.

        Args:
            limit: at most so many.
            state: only those that are in this state.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        return self._app.jobs.list(limit, state)

    def job(self, job_id: str) -> JobHandle:
        """The job of that id.

        Raises:
            JobNotFound: there is none, or its record has expired.
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
