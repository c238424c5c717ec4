"""Resolve solutions to their databases, and query those read-only; shared by the API and the pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.jobs.store import JobReader
from fbs_worker.solutions.registry import Registry, SolutionRecord, home_database
from fbs_worker.web.api.cache import ResponseCache
from fbs_worker.web.api.long_poll import JobWaiters
from fbs_worker.web.api.pool import ConnectionPools


class DatabaseResolver:
    """Look solutions up in the registry, and pool connections to their databases. Read-only, thread-safe.

    Args:
        settings: the home database, the encryption keys and Redis.

    Attributes:
        jobs: the read side of the job store.
        cache: responses that need one database.
        overview_cache: responses that need many databases.
        waiters: the requests that wait for jobs.

    Raises:
        SettingsError: FBS_REDIS_URL is not set.
    """

    def __init__(self, settings: Settings) -> None:
        self.jobs = JobReader(settings.fbs_redis_url)
        self.cache = ResponseCache(self.jobs.change_counter)
        self.overview_cache = ResponseCache(self.jobs.change_counter)  # own threads: unresponsive databases block them
        self.waiters = JobWaiters(self.jobs)
        self._settings = settings
        self._pools = ConnectionPools()

    def solution(self, name: str) -> SolutionRecord:
        """Return a solution's row of the registry.

        Args:
            name: the solution's name.

        Raises:
            SolutionNotFound: the registry has no solution of that name.
            SettingsError: FBS_DATABASE_URL is not set or not valid.
            SecretError: a key of FBS_SECRET_KEYS is not valid.
            DatabaseError: the home database rejects the query.
            DatabaseUnreachable: the home database does not respond.
        """
        with self.connection(self.home) as connection:
            return Registry(connection, table_prefix=self._settings.fbs_table_prefix, vault=self._vault).get(name)

    @cached_property
    def home(self) -> DatabaseConfig:
        """The home database.

        Raises:
            SettingsError: FBS_DATABASE_URL is not set or not valid.
        """
        return home_database(self._settings)

    @contextmanager
    def connection(self, database: DatabaseConfig) -> Iterator[Connection]:
        """Borrow a pooled connection for one query: autocommit, read-only, with a statement timeout.

        Args:
            database: the database, with its password as the registry stores it; or `home`.

        Raises:
            SecretError: the password cannot be decrypted.
            DatabaseBusy: no connection became available in time.
            DatabaseError: the database rejects the connection or the query.
            DatabaseUnreachable: the database does not respond in time.
        """
        with self._pools.use(database, self._decrypted) as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._pools.close()
        self.jobs.close()

    def _decrypted(self, database: DatabaseConfig) -> DatabaseConfig:
        return database.resolved(self._vault, allow_plain=database is self.__dict__.get("home"))

    @cached_property
    def _vault(self) -> Vault:
        return Vault.from_text(self._settings.fbs_secret_keys.get_secret_value())
