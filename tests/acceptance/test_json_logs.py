"""A real worker at DEBUG: every line is a JSON object, with the job's fields where there is one, and no secrets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from fbs_worker.client.client import Client
from fbs_worker.core.errors import JobFailed
from fbs_worker.ops.local.programs import Program
from tests.conftest import MakeSettings
from tests.support.processes import environment
from tests.support.solutions import few_models
from tests.support.waiting import PATIENCE, until

SECRET = "vErY-secret-9"


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_worker_logs_json_and_no_secret(settings: MakeSettings, tmp_path: Path) -> None:
    mine = settings(odoo_url=f"recording:{few_models()}", odoo_password=SECRET, fbs_log_format="json")
    log = tmp_path / "worker.log"
    plain = {"name": "nowhere", "user": "x", "password": SECRET}
    with (
        Program.start("worker", "--concurrency=1", "--loglevel=DEBUG", settings=mine, log=log),
        Client(settings=mine) as client,
    ):
        with Celery("other", broker=mine.fbs_redis_url, set_as_current=False) as other:
            unknown = {"database_config": plain, "odoo": {"api_key": SECRET}}
            other.send_task("fbs.no_such_task", kwargs=unknown, queue="fbs.schema")
            config = {"solution_name": "plain", "domain": "hr", "database_config": plain}
            other.send_task("fbs.setup", kwargs={"config": config}, queue="fbs.schema")
        job = client.refresh("unknown")
        with pytest.raises(JobFailed):
            job.wait(PATIENCE)
        until_logged(log, "fbs.no_such_task")
        until_logged(log, "fbs.setup")
    reported = lines(log)
    assert SECRET not in log.read_text()
    assert {"time", "level", "logger", "process", "message"} <= set.intersection(*(set(line) for line in reported))
    assert "DEBUG" in {line["level"] for line in reported}
    assert any("no_such_task" in line["message"] and "***" in line["message"] for line in reported)
    [failed] = [
        line for line in reported if line["logger"] == "fbs_worker.jobs.worker.task" and job.id in line["message"]
    ]
    assert (failed["job"], failed["action"], failed["solution"]) == (job.id, "refresh", "unknown")
    of_celery = [line for line in reported if line["logger"].startswith("celery.") and line.get("job") == job.id]
    assert {line["action"] for line in of_celery} == {"refresh"}
    assert "worker: Warm shutdown (MainProcess)" in {line["message"] for line in reported}


def until_logged(log: Path, words: str) -> None:
    until(lambda: words in log.read_text(), log.read_text)


def test_a_worker_that_celery_starts_logs_json_too(settings: MakeSettings, tmp_path: Path) -> None:
    mine = settings(fbs_log_format="json")
    log = tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "-A",
        "fbs_worker.jobs.app",
        "worker",
        "--pool=solo",
        "-lINFO",
    ]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            command, env=environment(mine), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until_logged(log, "ready.")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    assert any(line["message"].endswith("ready.") for line in lines(log))
