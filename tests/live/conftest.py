"""The real Odoo 19 that `live-odoo start` describes in FBS_LIVE_… variables; `make test-live` sets them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from bench.live import CANNOT_DOWNLOAD, SCRIPT
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

    @property
    def dsn(self) -> str:
        """How psycopg2 reaches its database."""
        return f"host={self.sql_host} user=odoo dbname={self.db}"

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
    return _live_odoo(os.environ)


def _live_odoo(values: Mapping[str, str]) -> LiveOdoo:
    return LiveOdoo(**{name: values[f"FBS_LIVE_{name.upper()}"] for name in LiveOdoo.__dataclass_fields__})


@pytest.fixture(scope="session")
def others(live: LiveOdoo) -> LiveOdoo:
    """A second Odoo beside the live one, with modules of other authors; `live-odoo stop` ends both."""
    started = subprocess.run([str(SCRIPT), "others"], stdout=subprocess.PIPE, text=True, check=False)
    if started.returncode == CANNOT_DOWNLOAD:
        pytest.skip("NO MODULES OF OTHER AUTHORS: the packages of tests/live/others.txt cannot be downloaded here")
    started.check_returncode()
    return _live_odoo(dict(line.split("=", 1) for line in started.stdout.splitlines()))


@pytest.fixture(scope="session")
def transport(live: LiveOdoo) -> Iterator[Transport]:
    """A transport as the administrator."""
    opened = open_transport(live.connection())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
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
    connection = psycopg2.connect(live.dsn)
    connection.autocommit = True

    def ask(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    yield ask
    connection.close()
