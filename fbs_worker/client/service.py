"""Blocking service for solutions: each call enqueues a job and waits for its result.

    service = IntegrationService()
    service.setup_solution({"solution_name": "fayvad_rentals", "domain": "rental", "database_config": {…}})
    service.get_solution_status(solution_name="fayvad_rentals")["overall_status"]

Workers run the jobs. `Client` has the same operations without waiting: it returns the job's handle. Importing this
module is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from fbs_worker.client.client import Client, DiscoverFields, MigrateFields, SyncFields
from fbs_worker.core.errors import JobError, RefusedError

if TYPE_CHECKING:
    from fbs_worker.client.handle import JobHandle
    from fbs_worker.core.settings import Settings
    from fbs_worker.solutions.requests import Request

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

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._settings

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

    def discover(self, *, timeout: float | None = None, **fields: Unpack[DiscoverFields]) -> dict[str, Any]:
        """Discover an Odoo for a domain: as `Client.discover`, and wait as `run` does."""
        from fbs_worker.solutions.requests import DiscoverRequest

        return self.run(DiscoverRequest.parse(fields, settings=self._settings), timeout=timeout)

    def setup_solution(
        self, config: Mapping[str, Any] | None = None, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Set a solution up: as `Client.setup`, and wait as `run` does. The set-up is idempotent."""
        from fbs_worker.solutions.requests import SetupRequest

        return self.run(SetupRequest.parse(config, settings=self._settings, **fields), timeout=timeout)

    def get_solution_status(self, solution_name: str) -> dict[str, Any]:
        """Return the status of a solution, as `Client.status` does."""
        with self._client() as client:
            return client.status(solution_name)

    def refresh_solution_discoveries(
        self, solution_name: str, *, full: bool = False, odoo_moved: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Read a solution's Odoo again and record the changes: as `Client.refresh`, and wait as `run` does."""
        from fbs_worker.solutions.requests import RefreshRequest

        request = RefreshRequest(solution_name=solution_name, full=full, odoo_moved=odoo_moved)
        return self.run(request, timeout=timeout)

    def migrate_solution_schema(
        self, solution_name: str, *, timeout: float | None = None, **fields: Unpack[MigrateFields]
    ) -> dict[str, Any]:
        """Make a solution's tables match their definition: as `Client.migrate`, and wait as `run` does.

        It does not ask for confirmation; hazards must be allowed explicitly.
        """
        from fbs_worker.solutions.requests import MigrateRequest

        request = MigrateRequest.parse(fields, settings=self._settings, solution_name=solution_name)
        return self.run(request, timeout=timeout)

    def sync(self, solution_name: str, *, timeout: float | None = None, **fields: Unpack[SyncFields]) -> dict[str, Any]:
        """Copy the records of a solution's mirrored models: as `Client.sync`, and wait as `run` does."""
        from fbs_worker.solutions.requests import SyncRequest

        request = SyncRequest.parse(fields, settings=self._settings, solution_name=solution_name)
        return self.run(request, timeout=timeout)

    def records(self, solution_name: str) -> Sequence[dict[str, Any]]:
        """Return where the copy of each mirrored model stands, as `Client.records` does."""
        with self._client() as client:
            return client.records(solution_name)

    def list_solutions(self) -> dict[str, Any]:
        """List the solutions with their status, as `Client.list` does."""
        with self._client() as client:
            return client.list()

    def drop_solution(
        self, solution_name: str, *, with_data: bool = False, dry_run: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Drop a solution, without confirmation: as `Client.drop`, and wait as `run` does."""
        from fbs_worker.solutions.requests import DropRequest

        request = DropRequest(solution_name=solution_name, with_data=with_data, dry_run=dry_run)
        return self.run(request, timeout=timeout)

    def run(self, request: Request, *, timeout: float | None = None) -> dict[str, Any]:
        """Enqueue a job and wait for its result.

        Args:
            request: what it is to do, made by the `parse` of its class.
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
            RefusedError: FBS_ENABLE_MIGRATIONS is off, and the request is for a migration, not only for its plan.
        """
        from fbs_worker.solutions.requests import MigrateRequest

        if isinstance(request, MigrateRequest) and not (request.plan_only or self._settings.fbs_enable_migrations):
            raise RefusedError(
                "Migrations are switched off here (FBS_ENABLE_MIGRATIONS, or enable_migrations of FBS_CONFIG).",
                hint="Only plan (plan_only, --plan), or switch them on.",
            )
        with self._client() as client:
            client.check_known(request)
            return self._result(client.enqueue(request), timeout)

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
