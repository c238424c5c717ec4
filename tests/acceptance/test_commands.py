"""The console script: help, mistakes, servers that are away, and a discovery in one process."""

from __future__ import annotations

import json
import subprocess
import sys

import psycopg2
import pytest

from fbs_worker.core.database_config import DatabaseConfig
from tests.acceptance.conftest import CommandLine

COMMANDS = [
    *("discover", "record", "jobs"),
    *("setup", "status", "list", "refresh", "drop", "migrate", "diagram", "schedule", "rotate-keys"),
    *("demo", "up", "down", "worker", "beat", "flower", "api", "health", "metrics"),
    *("domains", "new-key", "new-token", "version"),
]


def test_the_help_names_every_command_and_each_has_a_help(fbs: CommandLine) -> None:
    told = fbs("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in told
    assert "FBS_DATABASE_NAME" in fbs("discover", "--help").stdout
    assert "cancel" in fbs("jobs", "--help").stdout


def test_the_version(fbs: CommandLine) -> None:
    assert fbs("--version").stdout == fbs("version").stdout
    assert fbs("version").stdout.startswith("fbs-worker ")


def test_a_module_run_is_the_same(fbs: CommandLine) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "fbs_worker.cli", "domains"],
        env=fbs.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == fbs("domains").stdout
    assert "rental" in told.stdout


@pytest.mark.parametrize("arguments", [["frobnicate"], ["discover"], ["jobs", "show"], ["discover", "--domain", "no"]])
def test_wrong_usage(fbs: CommandLine, arguments: list[str]) -> None:
    told = fbs(*arguments, code=2)
    assert told.stdout == ""
    assert [line.partition(":")[0] for line in told.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(
    "arguments", [["jobs", "list"], ["discover", "--domain", "rental"], ["worker"], ["up"], ["jobs", "cancel", "x"]]
)
def test_a_redis_that_is_away_is_named_with_how_to_start_one(fbs: CommandLine, arguments: list[str]) -> None:
    told = fbs(*arguments, code=3, FBS_REDIS_URL="redis://:top-secret@127.0.0.1:1/0")
    error, hint = told.stderr.splitlines()[-2:]
    assert error == "error: Redis at 127.0.0.1:1 does not answer."
    assert "`fbs up`" in hint
    assert "top-secret" not in told.stdout + told.stderr
    assert fbs.left_running() == ""


def test_an_odoo_that_is_away_is_named(fbs: CommandLine) -> None:
    told = fbs(
        *("discover", "--domain", "rental", "--inline"),
        code=3,
        ODOO_URL="http://127.0.0.1:1",
        ODOO_DB="x",
        ODOO_USER="me",
        ODOO_PASSWORD="top-secret",
    )
    assert "127.0.0.1:1" in told.stderr
    assert "top-secret" not in told.stdout + told.stderr


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_home_that_cannot_be_made_is_told(fbs: CommandLine, command: str) -> None:
    error, hint = fbs(command, code=2, FBS_HOME="/proc/nope").stderr.splitlines()[-2:]
    assert error.startswith("error: The folder /proc/nope")
    assert error.endswith("(FBS_HOME) cannot be used: No such file or directory.")
    assert hint == "hint: Set FBS_HOME to a folder of yours."


def test_a_discovery_without_a_database_tells_what_it_found(fbs: CommandLine, recording: str) -> None:
    told = fbs("discover", "--domain", "rental", "--inline", ODOO_URL=recording)
    assert "Modules (" in told.stdout
    assert "Nothing was saved" in told.stdout
    assert "Discovering rental: " in told.stderr


def test_with_json_stdout_is_json_alone(fbs: CommandLine, recording: str) -> None:
    arguments = ("discover", "--domain", "hr", "--inline", "--output-format", "json", "--discovery-type", "model")
    told = fbs(*arguments, ODOO_URL=recording)
    result = json.loads(told.stdout)
    assert told.stderr == ""
    assert result["domain"] == "hr"
    assert list(result["found"]) == ["model"]
    assert result["counts"]["model"] == len(result["found"]["model"]) > 0


def test_an_error_as_json(fbs: CommandLine) -> None:
    told = fbs("discover", "--domain", "hr", "--inline", "--output-format", "json", code=2)
    assert json.loads(told.stdout)["error"]["code"] == "settings"
    assert told.stderr.startswith("error: ODOO_URL is not set.")


def test_a_discovery_is_kept_in_a_database_and_the_second_finds_nothing_new(
    fbs: CommandLine, recording: str, database: DatabaseConfig
) -> None:
    place = ("--database-name", database.name, "--database-host", database.host, "--database-user", database.user)
    first = fbs("discover", "--domain", "rental", "--inline", *place, ODOO_URL=recording)
    assert "Added (" in first.stdout
    again = fbs("discover", "--domain", "rental", "--inline", "--full", *place, ODOO_URL=recording)
    assert "Nothing changed since the last discovery." in again.stdout
    connection = psycopg2.connect(host=database.host, user=database.user, dbname=database.name)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM fbs_discoveries WHERE domain = 'rental' AND is_active")
            (kept,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    assert f"{kept:,}" in first.stdout.partition("Added (")[2]


def test_a_database_that_is_missing_is_told_with_how_to_make_it(
    fbs: CommandLine, recording: str, database: DatabaseConfig
) -> None:
    place = ("--database-name", "no_such", "--database-host", database.host, "--database-user", database.user)
    told = fbs("discover", "--domain", "rental", "--inline", *place, code=1, ODOO_URL=recording)
    assert "has no database 'no_such'" in told.stderr
    assert "CREATE DATABASE no_such" in told.stderr


def test_a_person_at_a_terminal_sees_a_bar_and_tables(fbs: CommandLine, recording: str) -> None:
    shown = fbs.at_terminal("discover", "--domain", "rental", "--inline", ODOO_URL=recording)
    assert "━" in shown
    assert "Discovering rental" in shown
    assert "────" in shown
    assert "\x1b[?25h" in shown, "the cursor is shown again"
