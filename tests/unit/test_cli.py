"""The command line: errors, exit codes, output on terminals, in pipes and as JSON."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer

from fbs_worker.cli import misc
from fbs_worker.cli.app import app, exit_code, run
from fbs_worker.cli.demo import demo_settings
from fbs_worker.cli.display import LineDisplay, open_display
from fbs_worker.cli.options import request_values
from fbs_worker.cli.output import OutputFormat, Table, _numbers, note, plain_lines, print_blocks, print_json, say
from fbs_worker.core.errors import (
    FBSError,
    JobFailed,
    OdooLoginRefused,
    OdooUnreachable,
    SettingsError,
    TablesNotEmpty,
    UsageError,
)
from fbs_worker.core.settings import Settings
from fbs_worker.solutions.requests import SetupRequest
from tests.support.solutions import RECORDING


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["nope"], 2, "No such command 'nope'."),
        (["discover"], 2, "Missing option '--domain'"),
        (["discover", "--domain", "nope", "--inline"], 2, "There is no domain 'nope'."),
        (["discover", "--domain", "hr", "--inline", "--no-wait"], 2, "--inline and --no-wait exclude each other."),
        (["discover", "--domain", "hr", "--inline"], 2, "ODOO_URL is not set."),
        (["discover", "--domain", "hr", "--inline", "--database-host", "h"], 2, "database_config.name is missing."),
        (["discover", "--domain", "hr"], 2, "FBS_REDIS_URL is not set."),
        (["discover", "--domain", "hr", "--discovery-type", "x"], 2, "Invalid value for '--discovery-type'"),
        (["jobs", "show"], 2, "Missing argument 'ID'."),
        (["worker"], 2, "FBS_REDIS_URL is not set."),
        (["record", "x", "--odoo", "nope"], 2, "No Odoo connection is called 'nope'"),
        (["setup", "--domain", "hr"], 2, "Missing option '--solution-name'"),
        (["setup", "--domain", "hr", "--solution-name", "x"], 2, "database_config.name is missing."),
        (
            ["setup", "--domain", "nope", "--solution-name", "x", "--database-name", "d"],
            2,
            "There is no domain 'nope'.",
        ),
        (["status"], 2, "No solution is named."),
        (["status", "a", "--solution-name", "b"], 2, "Two solutions are named: 'a' and 'b'."),
        (["status", "a"], 2, "No home database is set"),
        (["list"], 2, "No home database is set"),
        (["refresh", "a"], 2, "FBS_REDIS_URL is not set."),
        (["refresh", "a", "--inline", "--no-wait"], 2, "--inline and --no-wait exclude each other."),
        (["drop", "a"], 4, "Dropping 'a' needs a confirmation, and there is no terminal to ask at."),
        (["drop", "a", "--yes"], 2, "FBS_REDIS_URL is not set."),
        (["rotate-keys"], 2, "FBS_SECRET_KEYS is not set: secrets cannot be encrypted or decrypted."),
    ],
)
def test_a_usage_error_has_two_lines(
    arguments: list[str], code: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    first, second = output.err.splitlines()[-2:]
    assert first.startswith(f"error: {error}")
    assert second.startswith("hint: ")


@pytest.mark.parametrize("prefix", ['x"; DROP TABLE', "1x", "x" * 21, "Ä", "a-b"])
@pytest.mark.parametrize("option", ["--table-prefix", "--business-prefix"])
def test_an_invalid_prefix_is_rejected_before_connecting(
    option: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--database-name", "d", "--database-host", "host.invalid")
    assert run(["setup", "--solution-name", "x", "--domain", "hr", *place, option, prefix, "--inline"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {option.strip('-').replace('-', '_')} is not valid")
    assert option in hint


@pytest.mark.parametrize("way", [["--output-format", "json"], ["--output-format=json"], []])
def test_a_usage_error_as_json(
    way: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not way:
        monkeypatch.setenv("FBS_OUTPUT_FORMAT", "json")
    assert run(["setup", *way]) == 2
    output = capsys.readouterr()
    assert json.loads(output.out)["error"]["code"] == "usage"
    assert output.err.startswith("error: Missing option")


@pytest.mark.parametrize(
    ("kind", "code"), [(OdooUnreachable, 3), (TablesNotEmpty, 4), (SettingsError, 2), (OdooLoginRefused, 1)]
)
def test_a_failed_job_has_the_exit_code_of_its_error(kind: type[FBSError], code: int) -> None:
    error = kind("No.", hint="Do.").to_dict()
    assert exit_code(JobFailed("No.", hint="Do.", error=error)) == code
    assert exit_code(kind("No.")) == code


def test_a_password_is_read_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"database_name": "d", "database_user": None, "database_password": "-"}
    monkeypatch.setattr(sys, "stdin", io.StringIO("p w\r\nmore"))
    assert request_values(SetupRequest, given) == {"database_config": {"name": "d", "password": "p w"}}
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(UsageError, match="no password to read"):
        request_values(SetupRequest, given)
    assert request_values(SetupRequest, dict.fromkeys(given)) == {}


def test_an_invalid_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_PAGE_SIZE", "many")
    assert run(["jobs", "list"]) == 2
    assert capsys.readouterr().err.startswith("error: The setting FBS_PAGE_SIZE is not valid")


def test_every_option_has_an_environment_twin() -> None:
    command = typer.main.get_command(app)
    missing = []

    def look(node: object, path: str) -> None:
        for name, child in getattr(node, "commands", {}).items():
            look(child, f"{path} {name}")
        for option in getattr(node, "params", []):
            exempt = {"--help", "--version", "--install-completion", "--show-completion"} & set(option.opts) or getattr(
                option, "hidden", False
            )
            if option.param_type_name == "option" and not exempt and not option.envvar:
                missing.append(f"{path} {option.opts[0]}")

    look(command, "fbs")
    assert missing == []


def test_the_help_truncates_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["setup", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("--refresh-discoveries / --no-refresh-discoveries", "FBS_DATABASE_PASSWORD", "FBS_ODOO_CONNECTION"):
        assert name in shown
    assert run(["--help"]) == 0
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


@pytest.mark.parametrize("arguments", [[], ["jobs"]])
def test_without_arguments_the_help_is_shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("Usage: fbs")
    assert "error:" not in output.err


def test_an_option_may_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FBS_DOMAIN", "nope")
    assert run(["discover", "--inline"]) == 2
    assert "There is no domain 'nope'" in capsys.readouterr().err


def fail(exc: BaseException) -> object:
    def failing(*_: object, **__: object) -> NoReturn:
        raise exc

    return failing


def test_an_internal_error_is_a_bug_and_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misc, "print_result", fail(ValueError("oops\nand more")))
    assert run(["domains"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: This is a bug in fbs-worker: ValueError (oops and more).",
        "hint: Run it again with --debug and report the output.",
    ]
    assert run(["domains", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misc, "print_result", fail(KeyboardInterrupt()))
    assert run(["domains"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def test_an_error_as_json_is_on_stdout_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    error = OdooUnreachable("No connection.", hint="Start it.", address="h:1")
    monkeypatch.setattr("fbs_worker.client.in_process.run_in_process", fail(error))
    assert run(["discover", "--domain", "hr", "--inline", "--output-format", "json"]) == 3
    output = capsys.readouterr()
    assert json.loads(output.out)["error"]["code"] == "odoo_unreachable"
    assert output.err == "error: No connection.\nhint: Start it.\n"


def test_a_closed_pipe_is_no_error() -> None:
    code = "import sys; from fbs_worker.cli import main; sys.argv = ['fbs', 'domains']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "not_needed"),
    [
        ("--help", {"celery", "kombu", "psycopg2", "redis", "pydantic", "sqlalchemy", "lxml", "odoorpc"}),
        ("jobs list", {"celery", "kombu", "psycopg2", "sqlalchemy", "lxml", "odoorpc"}),
    ],
)
def test_a_command_imports_no_heavy_library_that_it_does_not_need(
    arguments: str, not_needed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FBS_REDIS_URL", "redis://127.0.0.1:1/0")
    code = f"import sys; from fbs_worker.cli.app import run; run(sys.argv[1:]); assert not {not_needed} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, *arguments.split()], check=True, timeout=60)


def test_a_table_in_a_pipe_is_aligned_and_whole() -> None:
    table = Table(title="T", columns=("a", "long heading"), rows=[("x" * 200, "y"), ("z", "")], footnote="more")
    assert list(plain_lines(table)) == ["T:", f"  a{' ' * 199}  long heading", f"  {'x' * 200}  y", "  z", "  more"]


def test_the_direction_of_text_is_shown_as_an_escape(capsys: pytest.CaptureFixture[str]) -> None:
    hidden = "a\u202e\u2066\u200f\u061cb"
    say(hidden)
    note(hidden)
    print_json({"label": hidden})
    shown = capsys.readouterr()
    assert shown.out.count(r"a\u202e\u2066\u200f\u061cb") == 2
    assert r"\u202e" in shown.err
    assert json.loads(shown.out.partition("\n")[2]) == {"label": hidden}


def test_control_characters_cannot_break_a_table() -> None:
    table = Table(title="T", columns=("a", "b"), rows=[("two\nlines\x1b[31m", "x"), ("日本", "e\u0301"), ("", "y")])
    assert list(plain_lines(table))[1:] == [
        "  a              b",
        "  two lines[31m  x",
        "  日本           e\u0301",
        "                 y",
    ]


@pytest.mark.parametrize(
    ("cells", "right"),
    [(["1,000", "-"], True), (["16 kB", "9.2 MB"], True), (["19.0.1.4"], False), (["-"], False), (["1", "x"], False)],
)
def test_counts_and_sizes_are_right_aligned(cells: list[str], right: bool) -> None:
    assert _numbers(Table(title="T", columns=("a",), rows=[[cell] for cell in cells]), 0) == right


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_table_on_a_terminal_fits_and_loses_nothing(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    job = "d0e1dd8d-ff9f-4060-a57e-89582b788ebb"
    rows = [(job, "discover", "X" * 100, "1,000")]
    print_blocks([Table(title="Jobs", columns=("id", "action", "for", "rows"), rows=rows, whole=("id",)), "end"])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    assert "".join(lines).count("X") == 100
    assert (job in "\n".join(lines)) == (width >= 80)


def test_progress_in_a_pipe_is_a_line_per_step(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display("Discovering hr") as display:
        assert isinstance(display, LineDisplay)
        display.step("modules")
        display.advance()
        display.step("fields", total=1200, message="in pages")
        display.at(3, 1200)
        display.say("by the way")
    with open_display("Discovering hr", OutputFormat.JSON) as display:
        display.step("modules")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "Discovering hr: modules",
        "Discovering hr: fields (1,200): in pages",
        "by the way",
    ]


def test_the_demo_has_servers_and_a_folder_of_its_own(tmp_path: Path) -> None:
    settings = Settings(
        fbs_home=tmp_path, fbs_redis_url="redis://h:1/0", fbs_database_url="postgresql://h/d", odoo_db="mine"
    )
    own = demo_settings(settings)
    assert own.home() == tmp_path / "demo"
    assert own.fbs_redis_url == own.fbs_database_url == own.odoo_db == ""
    assert own.odoo_url.startswith("recording:/")
    assert own.fbs_redis_port == own.fbs_postgres_port == 0
    assert demo_settings(Settings(odoo_url="http://h:8069", odoo_db="mine")).odoo_db == "mine"


def test_a_domain_shows_its_modules_and_why_each_is_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODOO_URL", f"recording:{RECORDING}")
    assert run(["domains", "show", "hr", "--include-module", "crm", "--output-format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["selector"]["names"][-1] == "crm"
    why = {module["name"]: module["why"] for module in shown["modules"]}
    assert (why["crm"], why["hr_fleet"], why["fleet"]) == ("name crm", "name hr_*", "category Human Resources*")
    assert why["web"].startswith("dependency of ")


def test_a_domain_without_an_odoo_shows_its_criteria(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["domains", "show", "hr"]) == 0
    shown = capsys.readouterr().out
    assert "Human Resources*" in shown
    assert "Set ODOO_URL" in shown
