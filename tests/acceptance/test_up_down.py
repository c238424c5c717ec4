"""`fbs up` and `fbs down`: a stack that other commands find, and that goes again without a trace."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis

from fbs_worker.core.sockets import LOOPBACK, free_port, listening
from fbs_worker.ops.local.processes import ProcessRef
from fbs_worker.ops.local.state import find_stack, read_stack
from tests.acceptance.conftest import SCRIPT, CommandLine
from tests.support.waiting import until


def test_a_round_trip(fbs: CommandLine, recording: str) -> None:
    fbs = replace(fbs, in_full=True)
    started = fbs("up", ODOO_URL=recording)
    assert started.stdout.count("started") == 6
    password = (fbs.home / "flower.password").read_text().strip()
    place, api = re.findall(r"http://127\.0\.0\.1:\d+", started.stdout)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(place)
    token = b64encode(f"fbs:{password}".encode()).decode()
    with urllib.request.urlopen(urllib.request.Request(place, headers={"Authorization": f"Basic {token}"})) as page:
        assert f'href="{api}"' in page.read().decode()
    with urllib.request.urlopen(f"{api}/") as page:
        assert f"href='{place}'" in page.read().decode()
    with urllib.request.urlopen(f"{api}/api/v1/health/") as answer:
        assert json.load(answer)["health"] == "fine"
    assert "The API and the web UI accept every user of this machine" in started.stdout
    assert f"Odoo of the worker: {recording}" in started.stdout
    info = find_stack(fbs.home)
    assert info is not None
    running = fbs.left_running()
    for secret in (info.redis_url.split(":")[2].partition("@")[0], info.secret_keys, password):
        assert len(secret) > 20
        assert secret not in running + started.stdout + started.stderr
    assert (fbs.home / "stack.json").stat().st_mode & 0o777 == 0o600
    assert (fbs.home / "secret.key").stat().st_mode & 0o777 == 0o600

    again = fbs("up", ODOO_URL=recording)
    assert again.stdout.count("already running") == 6
    assert "settings of its start" not in again.stderr
    other = fbs("up", "--output-format", "json", ODOO_URL="http://other.example")
    assert "settings of its start" in other.stderr
    assert json.loads(other.stdout)["odoo"] == recording

    output = fbs("discover", "--domain", "rental", "--database-name", "fbs", "--output-format", "json")
    result = json.loads(output.stdout)
    assert result["report"]["added"]
    shown = fbs("jobs", "show", result["job"]).stdout
    assert "succeeded" in shown
    assert "Added (" in shown
    assert result["job"][:8] in fbs("jobs", "list").stdout
    assert [job["state"] for job in json.loads(fbs("jobs", "list", "--output-format", "json").stdout)] == ["succeeded"]
    assert "has already ended" in fbs("jobs", "cancel", result["job"]).stdout
    assert "Added (" in fbs("jobs", "watch", result["job"]).stdout

    assert fbs("down").stderr.startswith("Stopped the API, the dashboard, beat, the worker, Redis, PostgreSQL.")
    assert fbs.left_running() == ""
    assert find_stack(fbs.home) is None
    assert "Nothing is running" in fbs("down").stdout
    assert fbs("jobs", "list", code=2).stderr.startswith("error: FBS_REDIS_URL is not set.")

    fbs("up", "--no-beat", "--no-flower", "--no-api", ODOO_URL=recording)
    assert result["job"][:8] in fbs("jobs", "list").stdout, "the queue's records outlive the stack"
    output = fbs("discover", "--domain", "rental", "--database-name", "fbs")
    assert "Nothing changed since the last discovery" in output.stdout
    fbs("down")
    assert fbs.left_running() == ""


@pytest.mark.faults
def test_other_programs_find_the_servers_again(fbs: CommandLine) -> None:
    fbs = replace(fbs, ports={})
    arguments = ("up", "--no-beat", "--no-flower", "--no-api")
    ports: dict[str, Any]
    error, hint = fbs("env", code=3).stderr.splitlines()
    assert error == f"error: Nothing is running in {fbs.home}."
    assert hint == "hint: Start it: fbs up"
    ports = {"FBS_POSTGRES_PORT": str(free_port()), "FBS_REDIS_PORT": str(free_port())}
    fbs(*arguments, **ports)
    found = json.loads(fbs("env", "--output-format", "json").stdout)
    variables = found["variables"]
    assert [urlsplit(variables[f"FBS_{name}_URL"]).port for name in ("DATABASE", "REDIS")] == [
        *map(int, ports.values())
    ]
    see_servers(variables)
    url = variables["FBS_DATABASE_URL"]
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(url.replace(variables["PGPASSWORD"], "wrong"))
    script = f'eval "$({SCRIPT} env)"; echo "$PGPORT" "$FBS_REDIS_URL"; {SCRIPT} {" ".join(arguments)}'
    said = subprocess.run(
        ["bash", "-euc", script], env=fbs.environment, cwd=fbs.home, capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith(f"{ports['FBS_POSTGRES_PORT']} {variables['FBS_REDIS_URL']}\n")
    assert said.stdout.count("already running") == 3
    assert "settings of its start" not in said.stderr
    assert "psql" in found["paste"]

    fbs("down")
    fbs(*arguments)
    assert json.loads(fbs("env", "--output-format", "json").stdout) == found, "they come back where they were"
    see_servers(variables)
    fbs("down")
    with listening(LOOPBACK, int(ports["FBS_REDIS_PORT"])):
        for settings in ({}, ports):
            refused = fbs(*arguments, code=2, **settings)
            error, hint = refused.stderr.splitlines()
            assert f"Port {ports['FBS_REDIS_PORT']} of 127.0.0.1, that Redis " in error
            other = re.fullmatch(r"hint: Set FBS_REDIS_PORT to another one, e.g. (\d+), which is free.", hint)
            assert other
            assert fbs.left_running() == ""
            free = other[1]
    fbs(*arguments, FBS_REDIS_PORT=free)
    assert f":{free}/0" in fbs("env").stdout
    fbs("down")


def see_servers(variables: dict[str, str]) -> None:
    with closing(psycopg2.connect(variables["FBS_DATABASE_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == ("fbs",)
    with redis.Redis.from_url(variables["FBS_REDIS_URL"]) as client:
        assert client.ping()


@pytest.mark.faults
def test_up_repairs_a_stack_with_a_dead_part(fbs: CommandLine) -> None:
    fbs("up", "--no-flower", "--no-api")
    before = find_stack(fbs.home)
    assert before is not None
    server = before.service("redis")
    assert server is not None
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)
    assert server.process.wait(10)
    assert find_stack(fbs.home) is None
    fbs("up", "--no-flower", "--no-api")
    after = find_stack(fbs.home)
    assert after is not None
    assert after.redis_url != before.redis_url
    for name in ("worker", "beat"):
        assert after.service(name) != before.service(name)
    assert fbs("jobs", "list").stdout == "There are no jobs.\n"

    setup = ("setup", "--solution-name", "demo", "--domain", "rental", "--database-name", "fbs")
    error, hint = fbs(*setup, code=2, ODOO_URL="http://odoo.example").stderr.splitlines()[-2:]
    assert error == "error: ODOO_URL is not set."
    assert "The worker has the settings of its start" in hint
    assert fbs("list").stdout == "There are no solutions. Set one up: fbs setup\n"
    fbs("down")
    assert fbs.left_running() == ""


@pytest.mark.faults
def test_in_the_foreground_it_runs_until_a_signal(fbs: CommandLine) -> None:
    running = fbs.start("up", "--foreground", "--no-flower", "--no-api")
    output = fbs.interrupt(running, after="Ctrl-C stops everything.", with_signal=signal.SIGINT)
    assert running.process.returncode == 130, output
    assert "Stopped beat, the worker, Redis, PostgreSQL." in output
    assert fbs.left_running() == ""


@pytest.mark.faults
def test_a_job_without_a_worker_prints_a_hint_and_continues_after_ctrl_c(
    fbs: CommandLine, redis_url: str, recording: str
) -> None:
    running = fbs.start("discover", "--domain", "rental", FBS_REDIS_URL=redis_url, ODOO_URL=recording)
    output = fbs.interrupt(running, after="No worker has started the job yet.", with_signal=signal.SIGINT)
    assert running.process.returncode == 130
    assert "The job continues. Follow it: fbs jobs watch " in output
    (job,) = json.loads(fbs("jobs", "list", "--output-format", "json", FBS_REDIS_URL=redis_url).stdout)
    assert job["state"] == "queued"
    output = fbs("jobs", "cancel", job["id"], FBS_REDIS_URL=redis_url).stdout
    assert output == f"Job {job['id']} is cancelled.\n"


def test_enqueue_without_waiting_prints_the_id(fbs: CommandLine, redis_url: str) -> None:
    arguments = ("discover", "--domain", "rental", "--no-wait", "--output-format", "json")
    job = json.loads(fbs(*arguments, FBS_REDIS_URL=redis_url).stdout)["job"]
    record = json.loads(fbs("jobs", "show", job, "--output-format", "json", FBS_REDIS_URL=redis_url).stdout)
    assert record["state"] == "queued"
    assert record["domain"] == "rental"


@pytest.mark.faults
@pytest.mark.parametrize("foreground", [False, True], ids=["background", "foreground"])
def test_what_ended_is_started_again(fbs: CommandLine, foreground: bool) -> None:
    arguments = ("up", "--no-beat", "--no-flower", "--no-api")
    running = None
    if foreground:
        running = fbs.start(*arguments, "--foreground")
        until(lambda: find_stack(fbs.home) is not None)
    else:
        fbs(*arguments)
    worker = process_of(fbs, "worker")
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.wait(10)
    assert "is not set" not in health_of(fbs)
    assert fbs("jobs", "list").stdout == "There are no jobs.\n"
    assert fbs("list").stdout.startswith("There are no solutions.")
    until(lambda: process_of(fbs, "worker").alive, seconds=30)
    assert process_of(fbs, "worker") != worker
    until(lambda: health_of(fbs) == "", seconds=30)

    server = process_of(fbs, "redis")
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10)
    until(lambda: find_stack(fbs.home) is not None and process_of(fbs, "redis") != server, seconds=60)
    until(lambda: health_of(fbs) == "", seconds=30)
    if running is None:
        said = (fbs.home / "supervisor.log").read_text()
        fbs("down")
    else:
        said = fbs.interrupt(running, after="redis is started again", with_signal=signal.SIGINT)
    for name in ("worker", "redis"):
        assert f"{name} has ended and is started again in 1 s" in said
    until(lambda: fbs.left_running() == "", fbs.left_running)  # the pool of the killed worker notices it


def health_of(fbs: CommandLine) -> str:
    """What `fbs health` says where something fails."""
    try:
        fbs("health", "--timeout", "1")
    except AssertionError as exc:
        return str(exc)
    return ""


def process_of(fbs: CommandLine, name: str) -> ProcessRef:
    info = read_stack(fbs.home)
    assert info is not None
    service = info.service(name)
    return service.process if service and service.process else ProcessRef(pid=2**22 + 1, started=0)
