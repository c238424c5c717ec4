"""The blocking service: validation before anything is enqueued, waiting, and its imports."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from typing import Any

import pytest

import fbs_worker
from fbs_worker.client.client import Client, JobHandle
from fbs_worker.client.service import WAIT_SECONDS, IntegrationService, process_settings
from fbs_worker.core.errors import (
    FBSError,
    JobError,
    JobFailed,
    QueueUnreachable,
    RefusedError,
    SecretError,
    SettingsError,
    UsageError,
)
from fbs_worker.core.settings import Settings

NOWHERE = Settings(fbs_redis_url="redis://127.0.0.1:1/0")  # a closed port
CONFIG = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "x", "password": "env:X"}}


def test_the_package_exports_the_service_and_stays_cheap_to_import() -> None:
    assert fbs_worker.IntegrationService is IntegrationService
    heavy = (
        "celery",
        "kombu",
        "redis",
        "pydantic",
        "sqlalchemy",
        "psycopg2",
        "django",
        "fbs_worker.connectors",
        "fbs_worker.tasks",
    )
    code = (
        "import sys\nfrom fbs_worker import IntegrationService\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("method", "given", "error"),
    [
        ("discover", {"domain": "nowhere"}, UsageError),
        ("discover", {"domain": "hr"}, QueueUnreachable),
        ("setup_solution", {}, UsageError),
        ("setup_solution", {"config": {**CONFIG, "more": 1}}, UsageError),
        ("setup_solution", {**CONFIG, "database_config": {"name": "x", "password": "plain"}}, SecretError),
        ("refresh_solution_discoveries", {"solution_name": 'shop"'}, UsageError),
        ("refresh_solution_discoveries", {"solution_name": "shop", "full": 1}, UsageError),
        ("migrate_solution_schema", {"solution_name": "shop", "allow": ["ANYTHING"]}, UsageError),
        ("drop_solution", {"solution_name": ""}, UsageError),
        ("get_solution_status", {"solution_name": "shop"}, SettingsError),
        ("list_solutions", {}, SettingsError),
    ],
)
def test_invalid_arguments_are_rejected_at_once(method: str, given: dict[str, Any], error: type[FBSError]) -> None:
    with pytest.raises(error) as caught:
        getattr(IntegrationService(NOWHERE), method)(**given)
    assert caught.value.hint
    assert "plain" not in str(caught.value)


def test_migrations_that_are_switched_off_here_are_refused_here() -> None:
    service = IntegrationService(NOWHERE.model_copy(update={"fbs_enable_migrations": False}))
    with pytest.raises(RefusedError, match="switched off"):
        service.migrate_solution_schema(solution_name="shop")
    with pytest.raises(QueueUnreachable):  # a plan changes nothing
        service.migrate_solution_schema(solution_name="shop", plan_only=True)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("discover", "discover"),
        ("refresh_solution_discoveries", "refresh"),
        ("migrate_solution_schema", "migrate"),
        ("setup_solution", "setup"),
        ("drop_solution", "drop"),
    ],
)
def test_it_takes_what_the_client_takes(ours: str, theirs: str) -> None:
    parameters = dict(inspect.signature(getattr(IntegrationService, ours)).parameters)
    assert parameters.pop("timeout").default is None
    assert parameters == dict(inspect.signature(getattr(Client, theirs)).parameters)


class _Job(JobHandle):
    """A job handle that records the time-out of each wait."""

    def __init__(self, error: JobError | None = None) -> None:
        self._id = "one"
        self._error = error
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        self.waited.append(timeout)
        if self._error is not None:
            raise self._error
        return {"done": True}


def test_how_long_it_waits() -> None:
    job = _Job()
    assert IntegrationService(NOWHERE)._result(job, None) == {"job": "one", "done": True}
    IntegrationService(NOWHERE, timeout=7)._result(job, None)
    IntegrationService(NOWHERE, timeout=7)._result(job, 3)
    IntegrationService(NOWHERE, timeout=None)._result(job, None)
    assert job.waited == [WAIT_SECONDS, 7, 3, None]


def test_an_error_has_the_job_id() -> None:
    with pytest.raises(JobFailed) as caught:
        IntegrationService(NOWHERE)._result(_Job(JobFailed("It failed.", error={"code": "odoo"})), None)
    assert caught.value.context == {"error": {"code": "odoo"}, "job": "one"}


def test_where_its_settings_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FBS_HOME", str(tmp_path))
    monkeypatch.setenv("FBS_TABLE_PREFIX", "of_the_environment_")
    assert IntegrationService()._settings.fbs_table_prefix == "of_the_environment_"
    IntegrationService.set_settings_source(lambda: NOWHERE)
    try:
        assert IntegrationService()._settings is NOWHERE
    finally:
        IntegrationService.set_settings_source(process_settings)
    assert IntegrationService(NOWHERE)._settings is NOWHERE
