"""A password does not show in Redis, results, logs, output, Flower or either database."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from fbs_worker.client.client import Client
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import JobFailed, SecretError
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.jobs.app import make_app, redacted_kwargs
from fbs_worker.ops.local.embedded.wheels import postgres_binaries
from fbs_worker.ops.local.programs import Program, settings_environment
from tests.conftest import MakeSettings, StartWorker
from tests.support import preloaded
from tests.support.dashboard import dashboard
from tests.support.processes import ROOT
from tests.support.redis_contents import everything_in
from tests.support.solutions import PASSWORD, config_of, few_models, rows
from tests.support.waiting import PATIENCE, until

IN_BASE_64 = [base64.b64encode(b"x" * place + PASSWORD.encode()).decode()[4:-4] for place in range(3)]
"""How the password looks in base 64, at each of the three places where it may begin."""


@pytest.fixture
def made(settings: MakeSettings) -> Settings:
    return settings(odoo_url=f"recording:{few_models()}", fbs_max_retries=1)


@pytest.fixture
def worker(made: Settings, start_worker: StartWorker) -> Program:
    return start_worker(made)


def found_in(text: str) -> bool:
    return any(part in text for part in (PASSWORD, *IN_BASE_64))


def test_it_would_be_found() -> None:
    assert found_in(f"postgresql://me:{PASSWORD}@host/db")
    for place in range(6):
        assert found_in(base64.b64encode(b"?" * place + PASSWORD.encode() + b"?" * place).decode())
    assert not found_in("sealed:" + base64.b64encode(b"another text that is about as long").decode())


def redis_text(url: str) -> str:
    with closing(redis.Redis.from_url(url)) as raw:
        return b"\n".join(everything_in(raw)).decode(errors="replace")


def dump(database: DatabaseConfig) -> str:
    place = ["-h", database.host, "-p", str(database.port), "-U", database.user, database.name]
    ended = subprocess.run(
        [postgres_binaries() / "pg_dump", *place], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def fbs(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ODOO_", "FBS_"))}
    return preloaded.run(arguments, env={**inherited, **settings_environment(settings), **environment}, cwd=ROOT)


def test_a_password_is_nowhere(
    made: Settings, start_worker: StartWorker, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    config = config_of(target, business_prefix="hr_")
    wrong = config_of(target, "wrong")
    wrong["database_config"] |= {"host": "127.0.0.1", "port": "1"}
    missing = config_of(target.model_copy(update={"name": "not_there"}), "missing")
    reported = []
    with Client(settings=made) as client:
        jobs = [client.setup(config), client.setup(wrong), client.setup(missing)]
        waiting = redis_text(made.fbs_redis_url)
        worker = start_worker(made)
        until(lambda: jobs[1].status().state == "retrying")
        retrying = redis_text(made.fbs_redis_url)
        until(lambda: all(job.status().state.finished for job in jobs))
        reported += [json.dumps(job.status().to_dict()) for job in jobs]
        reported += [repr(list(job.follow())) for job in jobs]
        reported.append(repr(jobs[0].wait(1)))
        for job in jobs[1:]:
            with pytest.raises(JobFailed) as caught:
                job.wait(1)
            reported.append(repr(caught.value) + str(caught.value.to_dict()))
        again = client.setup(config, odoo="nowhere")  # fails in the worker before it connects
        until(lambda: again.status().state.finished)
        reported.append(json.dumps(again.status().to_dict()))
        reported += [json.dumps(client.status("shop"), default=str), json.dumps(client.list(), default=str)]
        reported.append(json.dumps(client.refresh("shop").wait(PATIENCE)))
    in_redis = redis_text(made.fbs_redis_url)
    dumps = [dump(database), dump(target)]
    assert all("sealed:" in text for text in (waiting, retrying, *dumps))  # it has looked where it would be
    keys = made.fbs_secret_keys.get_secret_value()
    for text in (*reported, waiting, retrying, in_redis, *dumps, worker.log.read_text()):
        assert not found_in(text)
        assert keys not in text


def test_the_command_line_does_not_show_it(
    made: Settings, worker: Program, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    place = config_of(target)["database_config"]
    options = ["--solution-name=shop", "--domain=hr", "--business-prefix=hr_", "--no-refresh-discoveries"]
    options += [f"--database-{name}={place[name]}" for name in ("name", "user", "host", "port")]
    for given in ((), ("--output-format=json",), ("--inline", "--output-format=json"), ("--debug",)):
        globals_first = [option for option in given if option == "--debug"]
        rest = [option for option in given if option != "--debug"]
        ended = fbs(made, *globals_first, "setup", *options, *rest, FBS_DATABASE_PASSWORD=PASSWORD)
        assert ended.returncode == 0, ended.stderr
        assert not found_in(ended.stdout + ended.stderr)
    failing = ["setup", *options, "--database-host=127.0.0.1", "--database-port=1"]
    for given in (("--inline",), ()):
        ended = fbs(made, "--debug", *failing, *given, FBS_DATABASE_PASSWORD=PASSWORD)
        assert ended.returncode != 0
        assert ended.stderr
        assert not found_in(ended.stdout + ended.stderr)
    for command in (("status", "shop"), ("list",), ("jobs", "list"), ("drop", "shop", "--dry-run")):
        ended = fbs(made, *command, "--output-format=json")
        assert ended.returncode == 0, ended.stderr
        assert not found_in(ended.stdout + ended.stderr)
    assert not found_in(worker.log.read_text() + redis_text(made.fbs_redis_url))


def test_the_dashboard_does_not_show_it(
    made: Settings, worker: Program, target: DatabaseConfig, tmp_path: Path
) -> None:
    config = config_of(target, business_prefix="hr_", refresh_discoveries=False)
    wrong = config_of(target, "wrong")
    wrong["database_config"] |= {"host": "127.0.0.1", "port": "1"}
    log = tmp_path / "flower.log"
    with dashboard(made, log=log) as board, Client(settings=made) as client:
        flat = client.setup(config)
        sealed = client.setup(config_of(target, "other", business_prefix="b_", refresh_discoveries=False))
        retried = client.setup(wrong)
        flat.wait(PATIENCE)
        sealed.wait(PATIENCE)
        until(lambda: board.state(retried.id) == "FAILURE")
        vault = Vault.from_text(made.fbs_secret_keys.get_secret_value())
        nested = {**config, "database_config": {**config["database_config"], "password": vault.encrypt(PASSWORD)}}
        plain = {"config": {**config, "solution_name": "refused"}}
        with make_app(made) as app:
            sent = app.send_task("fbs.setup", kwargs={"config": nested})
        with Celery(broker=made.fbs_redis_url, set_as_current=False) as other:  # which hides nothing
            other.conf.task_send_sent_event = True
            foreign = [other.send_task("fbs.setup", kwargs=kwargs, queue="fbs.schema") for kwargs in (plain, nested)]
            late = other.send_task("fbs.setup", kwargs=plain, queue="fbs.schema", countdown=PATIENCE)
        jobs = (flat, sealed, retried, sent, *foreign, late)
        expected = ["SUCCESS", "FAILURE", "SUCCESS", "RECEIVED"]
        until(lambda: [board.state(task.id) for task in (sent, *foreign, late)] == expected)
        name = board.tasks()[flat.id]["worker"]
        pages = [
            board.get(path) for path in ("/", "/workers?json=1", "/tasks", "/broker", "/metrics", f"/worker/{name}")
        ]
        pages += [board.get(path) for path in ("/api/tasks", "/api/workers", "/api/task/types", "/api/queues/length")]
        for job in jobs:
            pages += [board.get(f"{path}/{job.id}") for path in ("/task", "/api/task/info", "/api/task/result")]
        assert late.id in board.get(f"/worker/{name}")  # it waits there, with its arguments
        assert "'password': ***" in board.tasks()[sent.id]["kwargs"]
        assert "shop" in board.get(f"/task/{flat.id}")
    saved = [path.read_bytes().decode(errors="replace") for path in (made.home() / "flower").glob("history*")]
    assert saved
    for page in (*pages, log.read_text(), *saved):
        assert not found_in(page)
        assert re.search(r"sealed:[^*]", page) is None
        assert made.fbs_secret_keys.get_secret_value() not in page


def raw(client: Client, kwargs: dict[str, Any]) -> dict[str, Any]:
    job = client._enqueue("fbs.setup", kwargs)
    with pytest.raises(JobFailed, match="plain password") as caught:
        job.wait(PATIENCE)
    return dict(caught.value.context["error"])


def test_a_plain_password_in_a_raw_message_is_refused(made: Settings, worker: Program, target: DatabaseConfig) -> None:
    config = config_of(target)
    with Client(settings=made) as client:
        for error in (raw(client, config), raw(client, {"config": config})):
            assert error["code"] == SecretError.code
            assert not found_in(str(error))
    assert rows(target, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]
    assert not found_in(worker.log.read_text())


def test_what_a_message_shows_of_its_arguments() -> None:
    config = {"solution_name": "shop", "database_config": {"name": "x", "password": PASSWORD}}
    assert PASSWORD not in str(redacted_kwargs(config)) + str(redacted_kwargs({"config": config})) + str(
        redacted_kwargs({"config": [config]})
    )
    assert redacted_kwargs({"config": config})["config"]["database_config"] == {"name": "x", "password": "***"}
