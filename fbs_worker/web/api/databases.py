"""Where solutions are and how to ask their databases; the API and the pages share it. Threads may share it, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.jobs.store import JobReader
from fbs_worker.solutions.records import SolutionRecord
from fbs_worker.solutions.registry import AddressBook, home_database
from fbs_worker.web.api.cache import Fresh
from fbs_worker.web.api.long_poll import Waiting
from fbs_worker.web.api.pool import Connections


class Places:
    """The solutions, and connections to databases. All of it only reads.

    Args:
        settings: the home database, the keys and Redis.

    Attributes:
        jobs: the records of jobs.
        fresh: answers from one database that are kept for a moment.
        overviews: answers from many databases.
        waiting: who waits for jobs.

    Raises:
        SettingsError: no Redis is set.
    """

    def __init__(self, settings: Settings) -> None:
        self.jobs = JobReader(settings.fbs_redis_url)
        self.fresh = Fresh(self.jobs.change_counter)
        self.overviews = Fresh(
            self.jobs.change_counter
        )  # with threads of its own: databases that hang hold them for long
        self.waiting = Waiting(self.jobs)
        self._settings = settings
        self._connections = Connections()

    def solution(self, name: str) -> SolutionRecord:
        """What the address book says of a solution.

        Args:
            name: the solution's name.

        Raises:
            SolutionNotFound: there is none of that name.
            SettingsError: no home database is set.
            SecretError: a key is not one.
            DatabaseError, DatabaseUnreachable: of the home database.
        """
        with self.connection(self.home) as connection:
            return AddressBook(connection, table_prefix=self._settings.fbs_table_prefix, vault=self._vault).get(name)

    @cached_property
    def home(self) -> DatabaseConfig:
        """The home database.

        Raises:
            SettingsError: none is set.
        """
        return home_database(self._settings)

    @contextmanager
    def connection(self, database: DatabaseConfig) -> Iterator[Connection]:
        """A connection for one question, in autocommit; it can only read, and it ends in time.

        Args:
            database: which one, its password as a solution keeps it; or `home`.

        Raises:
            SecretError: its password cannot be opened.
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with self._connections.use(database, self._opened) as connection:
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self._connections.close()
        self.jobs.close()

    def _opened(self, database: DatabaseConfig) -> DatabaseConfig:
        return database.resolved(self._vault, allow_plain=database is self.__dict__.get("home"))

    @cached_property
    def _vault(self) -> Vault:
        return Vault.from_text(self._settings.fbs_secret_keys.get_secret_value())
