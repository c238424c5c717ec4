"""Solutions, their databases and jobs, on connections that requests share; for the API and the pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import JobReader
from fbs_worker.ops.status import list_solutions, solution_status
from fbs_worker.solutions.databases import Databases
from fbs_worker.web.api.long_poll import JobWaiters
from fbs_worker.web.api.pool import ConnectionPools
from fbs_worker.web.api.single_flight import SingleFlight


class DatabaseResolver(Databases):
    """Look solutions up in the registry, and pool connections to their databases. Read-only, thread-safe.

    Args:
        settings: the home database, the encryption keys and Redis.

    Attributes:
        jobs: the read side of the job store.
        flights: answers that concurrent requests share.
        waiters: the requests that wait for jobs.

    Raises:
        SettingsError: FBS_REDIS_URL is not set.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.jobs = JobReader(settings.fbs_redis_url)
        self.flights = SingleFlight()
        self.waiters = JobWaiters(self.jobs)
        self._pools = ConnectionPools()

    def overview(self) -> dict[str, Any]:
        """All solutions with their status; see `list_solutions`."""
        return list_solutions(self.settings, databases=self, jobs=self.jobs)

    def status(self, name: str) -> dict[str, Any]:
        """A solution's status; see `solution_status`."""
        return solution_status(self.settings, name, databases=self, jobs=self.jobs)

    @contextmanager
    def connection(
        self, database: DatabaseConfig, *, seconds: float | None = None, read_only: bool = True
    ) -> Iterator[Connection]:
        """Borrow a pooled connection in autocommit; arguments and errors as for `Databases.connection`.

        Raises:
            DatabaseBusy: no connection became available in time.
        """
        with self._pools.use(self.resolved(database), seconds=seconds, read_only=read_only) as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._pools.close()
        self.jobs.close()
