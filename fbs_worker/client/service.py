"""Blocking service for solutions: each call enqueues a job and waits for its result.

    service = IntegrationService()
    service.setup_solution({"solution_name": "fayvad_rentals", "domain": "rental", "database_config": {…}})
    service.get_solution_status(solution_name="fayvad_rentals")["overall_status"]

Workers run the jobs. `Client` has the same operations without waiting: it returns the job's handle. Importing this
module is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from fbs_worker.client.client import Client
from fbs_worker.core.errors import JobError, RefusedError

if TYPE_CHECKING:
    from fbs_worker.client.handle import JobHandle
    from fbs_worker.core.settings import Settings

WAIT_SECONDS: Final = 600.0
"""Default time to wait for a job, because without a worker it never finishes."""


def process_settings() -> Settings:
    """Return this process's settings, completed with the addresses of a stack that `fbs up` started.

    Raises:
        SettingsError: a setting is not valid.
    """
    from fbs_worker.core.settings import get_settings
    from fbs_worker.ops.local.state import effective_settings

    return effective_settings(get_settings())


class IntegrationService:
    """Runs operations on solutions as jobs and waits for their results.

    A call opens its own connection and closes it; within `with IntegrationService() as service:` the calls share one.
    The service is thread-safe. Every error is an FBSError; an error of a job has the job's id in `context["job"]`, and
    JobFailed the job's error in `context["error"]`.

    Args:
        settings: the settings; those of this process if None (in a Django project those of FBS_CONFIG).
        timeout: seconds to wait for a job; None for no limit. The job continues after the time-out.

    Raises:
        SettingsError: a setting is not valid.
    """

    _source: ClassVar[Callable[[], Settings]] = staticmethod(process_settings)

    def __init__(self, settings: Settings | None = None, *, timeout: float | None = WAIT_SECONDS) -> None:
        self._settings = type(self)._source() if settings is None else settings  # noqa: SLF001 -- of this class
        self._timeout = timeout
        self._shared: Client | None = None

    @classmethod
    def set_settings_source(cls, source: Callable[[], Settings]) -> None:
        """Set the default source of settings, for frameworks with settings of their own.

        Args:
            source: called for each service that is created without settings.
        """
        cls._source = staticmethod(source)

    def __enter__(self) -> Self:
        self._shared = Client(settings=self._settings)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the shared connection."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None

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
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Discover an Odoo for a domain.

        Args:
            domain: a domain's name, e.g. `rental`.
            database_config: name, user, password, host and port of the database to write to; a plain password is
                encrypted. None to return the discoveries without storing them.
            table_prefix: prefix of the system tables; FBS_TABLE_PREFIX if None.
            discovery_types: the types to discover; all if None.
            full: read everything, even if nothing changed.
            odoo: the name of an Odoo connection in the worker's settings.
            odoo_moved: confirm that the stored discoveries are of the same Odoo under its former address.
            timeout: seconds to wait for this job; the service's default if None.

        Returns:
            The job's result, with the job's id as `job`.

        Raises:
            UsageError: an argument is not valid; nothing was enqueued.
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
            QueueUnreachable: Redis does not answer; nothing was enqueued.
            JobFailed: the job failed; `context["error"]` holds its error.
            JobCancelled: the job was cancelled.
            JobError: the job has not finished in time, or its worker is lost.
        """
        with self._client() as client:
            job = client.discover(
                domain=domain,
                database_config=database_config,
                table_prefix=table_prefix,
                discovery_types=discovery_types,
                full=full,
                odoo=odoo,
                odoo_moved=odoo_moved,
            )
            return self._result(job, timeout)

    def setup_solution(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        odoo_moved: bool = False,
        timeout: float | None = None,
        **flat: Any,
    ) -> dict[str, Any]:
        """Set a solution up. The set-up is idempotent.

        Args:
            config: the dictionary of a solution, with the keys listed at `Client.setup`.
            odoo_moved: confirm that the stored discoveries are of the same Odoo under its former address.
            timeout: seconds to wait for this job; the service's default if None.
            **flat: the keys of `config` as keywords; they override `config`.

        Returns:
            The job's result, with the job's id as `job`.

        Raises:
            UsageError: an argument is not valid; nothing was enqueued.
            SecretError: the password is plain and FBS_SECRET_KEYS is not set.
            QueueUnreachable: Redis does not answer; nothing was enqueued.
            JobFailed: the job failed; `context["error"]` holds its error.
            JobCancelled: the job was cancelled.
            JobError: the job has not finished in time, or its worker is lost.
        """
        with self._client() as client:
            return self._result(client.setup(config, odoo_moved=odoo_moved, **flat), timeout)

    def get_solution_status(self, solution_name: str) -> dict[str, Any]:
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
        with self._client() as client:
            return client.status(solution_name)

    def refresh_solution_discoveries(
        self, solution_name: str, *, full: bool = False, odoo_moved: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Read a solution's Odoo again and record the changes.

        Args:
            solution_name: the solution's name.
            full: read everything, even if nothing changed.
            odoo_moved: confirm that the stored discoveries are of the same Odoo under its former address.
            timeout: seconds to wait for this job; the service's default if None.

        Returns:
            The job's result, with the job's id as `job`.

        Raises:
            UsageError: an argument is not valid; nothing was enqueued.
            QueueUnreachable: Redis does not answer; nothing was enqueued.
            JobFailed: the job failed; `context["error"]` holds its error.
            JobCancelled: the job was cancelled.
            JobError: the job has not finished in time, or its worker is lost.
        """
        with self._client() as client:
            return self._result(client.refresh(solution_name, full=full, odoo_moved=odoo_moved), timeout)

    def migrate_solution_schema(
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
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Make a solution's tables match their definition, without confirmation; hazards must be allowed explicitly.

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
            timeout: seconds to wait for this job; the service's default if None.

        Returns:
            The job's result, with the job's id as `job`.

        Raises:
            RefusedError: FBS_ENABLE_MIGRATIONS is off, and `plan_only` is False.
            UsageError: an argument is not valid; nothing was enqueued.
            QueueUnreachable: Redis does not answer; nothing was enqueued.
            JobFailed: the job failed; `context["error"]` holds its error.
            JobCancelled: the job was cancelled.
            JobError: the job has not finished in time, or its worker is lost.
        """
        if not (plan_only or self._settings.fbs_enable_migrations):
            raise RefusedError(
                "Migrations are switched off here (FBS_ENABLE_MIGRATIONS, or enable_migrations of FBS_CONFIG).",
                hint="Only plan (plan_only, --plan), or switch them on.",
            )
        with self._client() as client:
            job = client.migrate(
                solution_name,
                plan_only=plan_only,
                fingerprint=fingerprint,
                allow=allow,
                renames=renames,
                restore=restore,
                mirror=mirror,
                unmirror=unmirror,
                undo=undo,
            )
            return self._result(job, timeout)

    def list_solutions(self) -> dict[str, Any]:
        """List the solutions with their status. Runs in this process; no worker is needed.

        Returns:
            `solutions` and the other fields of `fbs list --output-format json`.

        Raises:
            SettingsError: FBS_DATABASE_URL is not set.
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        with self._client() as client:
            return client.list()

    def drop_solution(
        self, solution_name: str, *, with_data: bool = False, dry_run: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Drop a solution, without confirmation: the tables created for it, and nothing else.

        Args:
            solution_name: the solution's name.
            with_data: drop business tables even if they hold rows.
            dry_run: only report the tables that would be dropped.
            timeout: seconds to wait for this job; the service's default if None.

        Returns:
            The job's result, with the job's id as `job`.

        Raises:
            UsageError: an argument is not valid; nothing was enqueued.
            QueueUnreachable: Redis does not answer; nothing was enqueued.
            JobFailed: the job failed; `context["error"]` holds its error.
            JobCancelled: the job was cancelled.
            JobError: the job has not finished in time, or its worker is lost.
        """
        with self._client() as client:
            return self._result(client.drop(solution_name, with_data=with_data, dry_run=dry_run), timeout)

    def wait_for(self, job: JobHandle, timeout: float | None) -> dict[str, Any]:
        """Wait for a job and return its result. A subclass may override it, e.g. to show the progress.

        Args:
            job: the job.
            timeout: seconds to wait at most; None for no limit.

        Raises:
            JobFailed: the job failed; `context["error"]` holds its error.
            JobCancelled: the job was cancelled.
            JobError: the job has not finished in time, or its worker is lost.
        """
        return job.wait(timeout)

    def _result(self, job: JobHandle, timeout: float | None) -> dict[str, Any]:
        try:
            return {"job": job.id, **self.wait_for(job, self._timeout if timeout is None else timeout)}
        except JobError as exc:
            exc.context["job"] = job.id
            raise

    @contextmanager
    def _client(self) -> Iterator[Client]:
        if self._shared is not None:
            yield self._shared
        else:
            with Client(settings=self._settings) as client:
                yield client
