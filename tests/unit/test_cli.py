"""The command line's own manners: errors, exit codes, output for people, pipes and programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import typer

from fbs_worker.cli import misc
from fbs_worker.cli.app import app, run
from fbs_worker.cli.demo import demo_settings
from fbs_worker.cli.display import LineDisplay, open_display
from fbs_worker.cli.output import OutputFormat, Table, plain_lines
from fbs_worker.errors import OdooUnreachable
from fbs_worker.settings import Settings


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["nope"], 2, "No such command 'nope'."),
        (["discover"], 2, "Missing option '--domain'"),
        (["discover", "--domain", "nope", "--inline"], 2, "There is no domain 'nope'."),
        (["discover", "--domain", "hr", "--inline", "--no-wait"], 2, "--inline and --no-wait exclude each other."),
        (["discover", "--domain", "hr", "--inline"], 2, "No Odoo server is set."),
        (["discover", "--domain", "hr", "--inline", "--database-host", "h"], 2, "database_config.name is missing."),
        (["discover", "--domain", "hr"], 2, "No Redis is set."),
        (["discover", "--domain", "hr", "--discovery-type", "x"], 2, "Invalid value for '--discovery-type'"),
        (["jobs", "show"], 2, "Missing argument 'ID'."),
        (["worker"], 2, "No Redis is set."),
        (["record", "x", "--odoo", "nope"], 2, "No Odoo connection is called 'nope'"),
    ],
)
def test_a_mistake_is_told_in_two_lines(
    arguments: list[str], code: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    first, second = told.err.splitlines()[-2:]
    assert first.startswith(f"error: {error}")
    assert second.startswith("hint: ")


def test_a_setting_that_is_not_valid_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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
            told = {"--help", "--version"} & set(option.opts) or getattr(option, "hidden", False)
            if option.param_type_name == "option" and not told and not option.envvar:
                missing.append(f"{path} {option.opts[0]}")

    look(command, "fbs")
    assert missing == []


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


def test_a_bug_is_called_a_bug_and_debug_shows_the_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misc, "print_blocks", fail(ValueError("oops\nand more")))
    assert run(["domains"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: this is a bug in fbs-worker: ValueError (oops and more).",
        "hint: run it again with --debug and report what it prints.",
    ]
    assert run(["domains", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misc, "print_blocks", fail(KeyboardInterrupt()))
    assert run(["domains"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def test_an_error_as_json_is_on_stdout_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    error = OdooUnreachable("No connection.", hint="Start it.", address="h:1")
    monkeypatch.setattr("fbs_worker.cli.discover._inline", fail(error))
    assert run(["discover", "--domain", "hr", "--inline", "--output-format", "json"]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["code"] == "odoo_unreachable"
    assert told.err == "error: No connection.\nhint: Start it.\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "import sys; from fbs_worker.cli import main; sys.argv = ['fbs', 'domains']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from fbs_worker.cli.app import app;"
        "print(sorted({'celery', 'kombu', 'psycopg2', 'redis', 'pydantic', 'lxml', 'odoorpc'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_table_in_a_pipe_is_aligned_and_whole() -> None:
    table = Table(title="T", columns=("a", "long heading"), rows=[("x" * 200, "y"), ("z", "")], footnote="more")
    assert list(plain_lines(table)) == ["T:", f"  a{' ' * 199}  long heading", f"  {'x' * 200}  y", "  z", "  more"]


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
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "Discovering hr: modules",
        "Discovering hr: fields (1,200): in pages",
        "by the way",
    ]


def test_the_demo_never_touches_the_servers_and_the_folder_of_others(tmp_path: Path) -> None:
    settings = Settings(
        fbs_home=tmp_path, fbs_redis_url="redis://h:1/0", fbs_database_url="postgresql://h/d", odoo_db="mine"
    )
    told = demo_settings(settings)
    assert told.home() == tmp_path / "demo"
    assert told.fbs_redis_url == told.fbs_database_url == told.odoo_db == ""
    assert told.odoo_url.startswith("recording:/")
    assert demo_settings(Settings(odoo_url="http://h:8069", odoo_db="mine")).odoo_db == "mine"
