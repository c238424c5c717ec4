"""Jobs that wait for an Odoo: for a slot of the limiter, or for the circuit breaker to close. A real worker and queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import redis
from pydantic import SecretStr

from fbs_worker.client.client import Client
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import JobCancelled
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import JobState
from fbs_worker.ops.local.embedded import EmbeddedRedis
from tests.support.job_worker import job_worker
from tests.support.limiters import PASSWORD, fail, key, limiters, taken
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_server import OdooServer
from tests.support.servers import redis_database
from tests.support.solutions import RECORDING
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.faults

FAILURES: Final = 2


@pytest.fixture(scope="module")
def odoo() -> Iterator[OdooServer]:
    with OdooServer(RecordingTransport(RECORDING)) as server:
        yield server


@pytest.fixture(scope="module")
def client(odoo: OdooServer, redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[Client]:
    """A client of a worker that may make one call at a time."""
    with redis_database(redis_server.url) as url:
        settings = Settings(
            odoo_url=odoo.url,
            odoo_db=odoo.database,
            odoo_user="admin",
            odoo_password=SecretStr(PASSWORD),
            fbs_redis_url=url,
            fbs_odoo_max_calls=1,
            fbs_odoo_max_failures=FAILURES,
            fbs_odoo_pause=2.5,
            fbs_max_retries=FAILURES,
        )
        with job_worker(settings, log=run_folder / "throttled-worker.log"), Client(settings=settings) as client:
            yield client


@pytest.fixture(autouse=True)
def closed_circuit(client: Client, odoo: OdooServer) -> None:
    """Close the circuit breaker between tests."""
    with redis.Redis.from_url(client._settings.fbs_redis_url) as raw:
        raw.delete(key("breaker", odoo.url))


def test_a_job_that_waits_for_a_slot_can_be_cancelled(client: Client, odoo: OdooServer) -> None:
    asked = odoo.requests
    with limiters(client._settings.fbs_redis_url) as limiter, taken(limiter(odoo.url)):
        job = client.discover(domain="hr")
        until(lambda: job.status().step == "connect")
        began = time.monotonic()
        job.cancel()
        with pytest.raises(JobCancelled):
            job.wait(PATIENCE)
        assert time.monotonic() - began < 5
    assert odoo.requests == asked


def test_a_job_waits_for_an_odoo_that_keeps_failing_and_then_runs(client: Client, odoo: OdooServer) -> None:
    with limiters(client._settings.fbs_redis_url) as limiter:
        for _ in range(FAILURES):
            fail(limiter(odoo.url, max_failures=FAILURES, pause=6))
    asked = odoo.requests
    job = client.discover(domain="hr")
    until(lambda: job.status().state is JobState.RETRYING)
    assert odoo.requests == asked, "the server was called while the circuit was open"
    assert "circuit open" in job.status().message
    assert job.wait(PATIENCE)["calls"] <= 12


def test_a_job_fails_once_its_own_attempts_are_used_up(client: Client, odoo: OdooServer) -> None:
    odoo.misbehave(Misbehaviour.BAD_GATEWAY)
    try:
        job = client.discover(domain="hr")
        until(lambda: job.status().state.finished)
    finally:
        odoo.behave()
    record = job.status()
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error["code"] == "odoo_server_error"
    assert record.attempts > FAILURES + 1, "none of them was spent waiting"
