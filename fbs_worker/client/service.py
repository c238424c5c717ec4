"""Everything that can be done with solutions, as calls that return when it is done.

    service = IntegrationService()
    service.setup_solution({"solution_name": "fayvad_rentals", "domain": "rental", "database_config": {…}})
    service.get_solution_status(solution_name="fayvad_rentals")["overall_status"]

The work is done by workers: each call enqueues a job and waits for its end. For applications that have better to do
meanwhile there is `Client`, which gives the job itself. Importing this module is light.
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
"""How long a job is waited for where nothing else is said: without a worker it would be for ever."""


def process_settings() -> Settings:
    """This process's settings, what they lack taken from a stack that `fbs up` keeps running.

    Raises:
        SettingsError: one is not valid.
    """
    from fbs_worker.core.settings import get_settings
    from fbs_worker.ops.local.state import effective_settings

    return effective_settings(get_settings())


class IntegrationService:
    """Does what is asked and waits until it is done.

    A call connects when it needs to and leaves nothing open; within `with IntegrationService() as service:` the calls
    share a connection. Threads may share one. Every error is an FBSError; one of a job has the job's id in
    `context["job"]`, and JobFailed what the job failed with in `context["error"]`.

    Args:
        settings: what to work with; this process's own if None (in a Django project those of FBS_CONFIG).
        timeout: seconds that a job is waited for; None for as long as it takes. The job goes on afterwards.

    Raises:
        SettingsError: a setting is not valid.
    """

    _source: ClassVar[Callable[[], Settings]] = staticmethod(process_settings)

    def __init__(self, settings: Settings | None = None, *, timeout: float | None = WAIT_SECONDS) -> None:
        self._settings = type(self)._source() if settings is None else settings  # noqa: SLF001 -- its own
        self._timeout = timeout
        self._shared: Client | None = None

    @classmethod
    def set_settings_source(cls, source: Callable[[], Settings]) -> None:
        """Say where services take their settings from that are given none: for frameworks that have a place for them.

        Args:
            source: called for each of them.
        """
        cls._source = staticmethod(source)

    def __enter__(self) -> Self:
        self._shared = Client(settings=self._settings)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
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
        """Discover what an Odoo can do for a domain.

        Args:
            domain: see `Client.discover`, and the same for the others.
            database_config: where the discoveries go; None to keep them nowhere.
            table_prefix: see there.
            discovery_types: see there.
            full: see there.
            odoo: see there.
            odoo_moved: see there.
            timeout: seconds to wait for this job, in place of the service's.

        Returns:
            The job's result, with its id as `job`.

        Raises:
            UsageError, SecretError, QueueUnreachable: nothing was enqueued; see `Client.discover`.
            JobFailed, JobCancelled, JobError: what became of the job; see `JobHandle.wait`.
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
        """Set a solution up. Setting up again what is set up changes nothing.

        Args:
            config: the dictionary of a solution; see `Client.setup`, and the same for the others.
            odoo_moved: see there.
            timeout: seconds to wait for this job, in place of the service's.
            **flat: see there.

        Returns:
            The job's result, with its id as `job`.

        Raises:
            UsageError, SecretError, QueueUnreachable: nothing was enqueued; see `Client.setup`.
            JobFailed, JobCancelled, JobError: what became of the job; see `JobHandle.wait`.
        """
        with self._client() as client:
            return self._result(client.setup(config, odoo_moved=odoo_moved, **flat), timeout)

    def get_solution_status(self, solution_name: str) -> dict[str, Any]:
        """How a solution is, asked here and now; no worker is needed.

        Args:
            solution_name: the solution's name.

        Returns:
            `overall_status` and all that `fbs status --output-format json` tells.

        Raises:
            SolutionNotFound: there is none of that name.
            SettingsError: no home database is set.
            DatabaseError, DatabaseUnreachable: of the home database.
        """
        with self._client() as client:
            return client.status(solution_name)

    def refresh_solution_discoveries(
        self, solution_name: str, *, full: bool = False, odoo_moved: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Read a solution's Odoo again and record what changed.

        Args:
            solution_name: see `Client.refresh`, and the same for the others.
            full: see there.
            odoo_moved: see there.
            timeout: seconds to wait for this job, in place of the service's.

        Returns:
            The job's result, with its id as `job`.

        Raises:
            UsageError, QueueUnreachable: nothing was enqueued; see `Client.refresh`.
            JobFailed, JobCancelled, JobError: what became of the job; see `JobHandle.wait`.
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
        """Make a solution's tables match their definition. Nobody is asked; what is dangerous wants to be allowed.

        Args:
            solution_name: see `Client.migrate`, and the same for the others.
            plan_only: only tell what would be done.
            fingerprint: see there.
            allow: see there.
            renames: see there.
            restore: see there.
            mirror: see there.
            unmirror: see there.
            undo: see there.
            timeout: seconds to wait for this job, in place of the service's.

        Returns:
            The job's result, with its id as `job`.

        Raises:
            RefusedError: migrations are switched off here, and it is not only to be planned.
            UsageError, QueueUnreachable: nothing was enqueued; see `Client.migrate`.
            JobFailed, JobCancelled, JobError: what became of the job; see `JobHandle.wait`.
        """
        if not (plan_only or self._settings.fbs_enable_migrations):
            raise RefusedError(
                "Migrations are switched off here (FBS_ENABLE_MIGRATIONS, or enable_migrations of FBS_CONFIG).",
                hint="Plan it only (plan_only, --plan), or switch them on.",
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
        """All solutions and how each is, asked here and now; no worker is needed.

        Returns:
            `solutions` and all that `fbs list --output-format json` tells.

        Raises:
            SettingsError: no home database is set.
            DatabaseError, DatabaseUnreachable: of the home database.
        """
        with self._client() as client:
            return client.list()

    def drop_solution(
        self, solution_name: str, *, with_data: bool = False, dry_run: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Take a solution away: the tables that were made for it, and nothing else. Nobody is asked.

        Args:
            solution_name: see `Client.drop`, and the same for the others.
            with_data: business tables go though they hold rows.
            dry_run: only tell what would be done.
            timeout: seconds to wait for this job, in place of the service's.

        Returns:
            The job's result, with its id as `job`.

        Raises:
            UsageError, QueueUnreachable: nothing was enqueued; see `Client.drop`.
            JobFailed, JobCancelled, JobError: what became of the job; see `JobHandle.wait`.
        """
        with self._client() as client:
            return self._result(client.drop(solution_name, with_data=with_data, dry_run=dry_run), timeout)

    def wait_for(self, job: JobHandle, timeout: float | None) -> dict[str, Any]:
        """Wait for a job's end. A subclass may wait in another way, e.g. show how it goes on.

        Args:
            job: the job.
            timeout: seconds to wait at most; None for as long as it takes.

        Returns:
            Its result.

        Raises:
            JobFailed, JobCancelled, JobError: what became of the job; see `JobHandle.wait`.
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
