"""The home database and the solutions' databases, opened read-only and answered in bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.solutions.registry import Registry, SolutionRecord, home_database

CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 20.0
SIZE_SECONDS: Final = 10.0
"""How long a size is kept: the server looks at each of the database's files for it."""


class Databases:
    """Look solutions up in the registry, and connect to their databases. A connection per use; servers pool them.

    Args:
        settings: the home database and the encryption keys; the result of `effective_settings`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sizes: dict[str, tuple[float, int, str]] = {}

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
    def connection(
        self, database: DatabaseConfig, *, seconds: float = ANSWER_SECONDS, read_only: bool = True
    ) -> Iterator[Connection]:
        """Connect to a database for reading.

        Args:
            database: the database, with its password as the registry stores it; or `home`.
            seconds: how long everything after connecting may take.
            read_only: the transactions are read-only; a comparison with a definition makes temporary tables.

        Raises:
            SettingsError: a key of FBS_SECRET_KEYS is not valid.
            SecretError: the password cannot be decrypted.
            DatabaseError: the database rejects the connection or a query.
            DatabaseUnreachable: the database does not respond in time.
        """
        with bounded_connection(
            self.resolved(database), connect_seconds=CONNECT_SECONDS, seconds=seconds, read_only=read_only
        ) as connection:
            yield connection

    def size_and_version(self, connection: Connection, database: DatabaseConfig) -> tuple[int, str]:
        """Return a database's size in bytes and its server's version, read at most every `SIZE_SECONDS`.

        Args:
            connection: to the database, outside of a transaction.
            database: the database.

        Raises:
            DatabaseError: the database rejects the query.
            DatabaseUnreachable: the database does not respond in time.
        """
        place, now = database.address(), time.monotonic()
        at, size, version = self._sizes.get(place, (-SIZE_SECONDS, 0, ""))
        if now - at >= SIZE_SECONDS:
            with errors_translated(connection), connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_database_size(current_database()), current_setting('server_version')")
                ((size, version),) = cursor.fetchall()
            self._sizes[place] = now, size, version
        return size, version

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
