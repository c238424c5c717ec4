"""The console script: help, mistakes, servers that are away, and a discovery in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import psycopg2
import pytest

from fbs_worker.core.database_config import DatabaseConfig
from tests.acceptance.conftest import CommandLine

COMMANDS = [
    *("discover", "record", "jobs", "odoo"),
    *("setup", "status", "list", "refresh", "drop", "migrate", "diagram", "schedule", "rotate-keys"),
    *("demo", "up", "down", "worker", "beat", "flower", "api", "health", "metrics"),
    *("domains", "new-key", "new-token", "version"),
]


def test_the_help_names_every_command_and_each_has_a_help(fbs: CommandLine) -> None:
    output = fbs("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in output
    assert "FBS_DATABASE_NAME" in fbs("discover", "--help").stdout
    assert "cancel" in fbs("jobs", "--help").stdout


def test_a_shell_completes_commands_and_options(fbs: CommandLine) -> None:
    assert "complete -o default -F _fbs_completion fbs" in fbs("--show-completion", "bash", SHELL="/bin/bash").stdout
    completed = fbs(_FBS_COMPLETE="complete_bash", COMP_WORDS="fbs refresh --f", COMP_CWORD="2")
    assert completed.stdout.split() == ["--full"]


def test_the_version(fbs: CommandLine) -> None:
    assert fbs("--version").stdout == fbs("version").stdout
    assert fbs("version").stdout.startswith("fbs-worker ")


def test_a_module_run_is_the_same(fbs: CommandLine) -> None:
    output = subprocess.run(
        [sys.executable, "-m", "fbs_worker.cli", "domains"],
        env=fbs.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout == fbs("domains").stdout
    assert "rental" in output.stdout


@pytest.mark.parametrize("arguments", [["frobnicate"], ["discover"], ["jobs", "show"], ["discover", "--domain", "no"]])
def test_wrong_usage(fbs: CommandLine, arguments: list[str]) -> None:
    output = fbs(*arguments, code=2)
    assert output.stdout == ""
    assert [line.partition(":")[0] for line in output.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(
    "arguments", [["jobs", "list"], ["discover", "--domain", "rental"], ["worker"], ["up"], ["jobs", "cancel", "x"]]
)
def test_an_unreachable_redis_has_a_hint(fbs: CommandLine, arguments: list[str]) -> None:
    output = fbs(*arguments, code=3, FBS_REDIS_URL="redis://:top-secret@127.0.0.1:1/0")
    error, hint = output.stderr.splitlines()[-2:]
    assert error == "error: Redis at 127.0.0.1:1 does not answer."
    assert "`fbs up`" in hint
    assert "top-secret" not in output.stdout + output.stderr
    assert fbs.left_running() == ""


def test_an_unreachable_odoo_is_named(fbs: CommandLine) -> None:
    output = fbs(
        *("discover", "--domain", "rental", "--inline"),
        code=3,
        ODOO_URL="http://127.0.0.1:1",
        ODOO_DB="x",
        ODOO_USER="me",
        ODOO_PASSWORD="top-secret",
    )
    assert "127.0.0.1:1" in output.stderr
    assert "top-secret" not in output.stdout + output.stderr


@pytest.mark.parametrize("command", ["up", "demo"])
def test_an_unusable_home_is_an_error(fbs: CommandLine, command: str) -> None:
    error, hint = fbs(command, code=2, FBS_HOME="/proc/nope").stderr.splitlines()[-2:]
    assert error.startswith("error: The folder /proc/nope")
    assert error.endswith("(FBS_HOME) cannot be used: No such file or directory.")
    assert hint == "hint: Set FBS_HOME to a folder that you can write to."


def test_a_discovery_without_a_database_is_printed(fbs: CommandLine, recording: str) -> None:
    output = fbs("discover", "--domain", "rental", "--inline", ODOO_URL=recording)
    assert "Modules (" in output.stdout
    assert "Nothing was saved" in output.stdout
    assert "Discovering rental: " in output.stderr


def test_with_json_stdout_is_json_alone(fbs: CommandLine, recording: str) -> None:
    arguments = ("discover", "--domain", "hr", "--inline", "--output-format", "json", "--discovery-type", "model")
    output = fbs(*arguments, ODOO_URL=recording)
    result = json.loads(output.stdout)
    assert output.stderr == ""
    assert result["domain"] == "hr"
    assert list(result["found"]) == ["model"]
    assert result["counts"]["model"] == len(result["found"]["model"]) > 0


def test_an_error_as_json(fbs: CommandLine) -> None:
    output = fbs("discover", "--domain", "hr", "--inline", "--output-format", "json", code=2)
    assert json.loads(output.stdout)["error"]["code"] == "settings"
    assert output.stderr.startswith("error: ODOO_URL is not set.")


def test_a_discovery_is_saved_and_the_second_finds_no_change(
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


def test_a_missing_database_has_a_hint(fbs: CommandLine, recording: str, database: DatabaseConfig) -> None:
    place = ("--database-name", "no_such", "--database-host", database.host, "--database-user", database.user)
    output = fbs("discover", "--domain", "rental", "--inline", *place, code=1, ODOO_URL=recording)
    assert "has no database 'no_such'" in output.stderr
    assert "CREATE DATABASE no_such" in output.stderr


def test_a_terminal_shows_a_bar_and_tables(fbs: CommandLine, recording: str) -> None:
    fbs = replace(fbs, in_full=True)
    shown = fbs.at_terminal("discover", "--domain", "rental", "--inline", ODOO_URL=recording)
    assert "━" in shown
    assert "Discovering rental" in shown
    assert "────" in shown
    assert "\x1b[?25h" in shown, "the cursor is shown again"
