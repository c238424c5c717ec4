"""What the faults strike: a stage with workers that may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.held_odoo import HeldOdoo
from tests.support.servers import redis_database
from tests.support.solutions import RECORDING
from tests.support.stage import Stage


@pytest.fixture(scope="session")
def odoo() -> Iterator[HeldOdoo]:
    """An Odoo that can be held."""
    with HeldOdoo(RecordingTransport(RECORDING)) as server:
        yield server


@pytest.fixture(scope="module")
def stage(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, odoo: HeldOdoo, run_folder: Path) -> Iterator[Stage]:
    """The stage of a module's tests; a worker that a test leaves running is the next one's."""
    with redis_database(redis_server.url) as url:
        stage = Stage(postgres=postgres, redis_url=url, odoo=odoo, folder=run_folder)
        try:
            yield stage
        finally:
            stage.close()
