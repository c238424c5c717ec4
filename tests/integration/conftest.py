"""What the tests of solutions ask for: databases that solutions live in, and settings to work with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fbs_worker.embedded import EmbeddedPostgres
from fbs_worker.settings import Settings
from fbs_worker.solution import DatabaseConfig
from tests.conftest import MakeSettings
from tests.support.solutions import ODOO, fresh_database


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """An empty database for a solution, beside the home database."""
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture
def other(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """One more."""
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture
def made(settings: MakeSettings) -> Settings:
    """Settings with the recorded Odoo, this test's home database, and `hr_` before business tables."""
    return settings(odoo_url=ODOO, fbs_business_prefix="hr_")
