"""The real Odoo 19 that `live-odoo start` describes in FBS_LIVE_… variables; `make test-live` sets them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from tests.conftest import MakeSettings
from tests.support.servers import fresh_database

Sql = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOdoo:
    """Where the live Odoo is, and how to get in."""

    url: str
    db: str
    user: str
    password: str
    api_key: str
    sql_host: str

    def connection(self, **changes: Any) -> OdooConnection:
        """Return the administrator's settings, by password if not given otherwise."""
        return OdooConnection(
            **{"url": self.url, "db": self.db, "user": self.user, "password": self.password, **changes}
        )


@pytest.fixture(scope="session")
def live() -> LiveOdoo:
    """The live Odoo; without one, the tests that need it are skipped, and say so."""
    if "FBS_LIVE_URL" not in os.environ:
        pytest.skip("NO LIVE ODOO: FBS_LIVE_URL is not set; `make test-live` starts one and sets it")
    return LiveOdoo(**{name: os.environ[f"FBS_LIVE_{name.upper()}"] for name in LiveOdoo.__dataclass_fields__})


@pytest.fixture(scope="session")
def transport(live: LiveOdoo) -> Iterator[Transport]:
    """A transport as the administrator."""
    opened = open_transport(live.connection())
    yield opened
    opened.close()


@pytest.fixture
def editor(live: LiveOdoo) -> Iterator[Transport]:
    """Makes changes as the administrator; by JSON-2, which takes the arguments of `create` by name."""
    opened = open_transport(live.connection(password="", api_key=live.api_key, timeout=300))
    yield opened
    opened.close()


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """An empty database for a solution, beside the home database."""
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture
def settings_live(live: LiveOdoo, settings: MakeSettings) -> Settings:
    """Settings with the live Odoo and this test's home database."""
    return settings(odoo_url=live.url, odoo_db=live.db, odoo_user=live.user, odoo_password=live.password)


@pytest.fixture(scope="session")
def sql(live: LiveOdoo) -> Iterator[Sql]:
    """Asks Odoo's own database."""
    connection = psycopg2.connect(host=live.sql_host, user="odoo", dbname=live.db)
    connection.autocommit = True

    def ask(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    yield ask
    connection.close()
