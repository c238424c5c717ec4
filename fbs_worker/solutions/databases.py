"""The home database and the solutions' databases, opened read-only and answered in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.postgres import Connection
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.solutions.registry import Registry, SolutionRecord, home_database

CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 20.0


class Databases:
    """Look solutions up in the registry, and connect to their databases. A connection per use; servers pool them.

    Args:
        settings: the home database and the encryption keys; the result of `effective_settings`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def home(self) -> DatabaseConfig:
        """The home database.

        Raises:
            SettingsError: FBS_DATABASE_URL is not set or not valid.
        """
        return home_database(self.settings)

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
        with self.registry() as registry:
            return registry.get(name)

    @contextmanager
    def registry(self, *, seconds: float = ANSWER_SECONDS) -> Iterator[Registry]:
        """The registry of the home database; arguments and errors as for `connection`."""
        with self.connection(self.home, seconds=seconds) as connection:
            yield Registry(connection, table_prefix=self.settings.fbs_table_prefix, vault=self.vault)

    @contextmanager
    def connection(self, database: DatabaseConfig, *, seconds: float = ANSWER_SECONDS) -> Iterator[Connection]:
        """Connect to a database for reading.

        Args:
            database: the database, with its password as the registry stores it; or `home`.
            seconds: how long everything after connecting may take.

        Raises:
            SettingsError: a key of FBS_SECRET_KEYS is not valid.
            SecretError: the password cannot be decrypted.
            DatabaseError: the database rejects the connection or a query.
            DatabaseUnreachable: the database does not respond in time.
        """
        with bounded_connection(
            self.resolved(database), connect_seconds=CONNECT_SECONDS, seconds=seconds
        ) as connection:
            yield connection

    def resolved(self, database: DatabaseConfig) -> DatabaseConfig:
        """Return a database with its password decrypted; only that of the home database may be plain.

        Raises:
            SecretError: the password cannot be decrypted.
        """
        return database.resolved(self.vault, allow_plain=database is self.__dict__.get("home"))

    @cached_property
    def vault(self) -> Vault:
        """Decrypts the passwords.

        Raises:
            SecretError: a key of FBS_SECRET_KEYS is not valid.
        """
        return Vault.from_text(self.settings.fbs_secret_keys.get_secret_value())
