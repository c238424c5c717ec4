"""`fbs schedule`: what people read, what programs read, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from fbs_worker.cli.app import run
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.programs import settings_environment
from tests.conftest import MakeSettings
from tests.integration.test_schedules import stored
from tests.support.made_solutions import MadeSolutions


@pytest.fixture
def made(
    settings: MakeSettings, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MadeSolutions]:
    """A solution, and an environment that leads to it."""
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        for name, value in settings_environment(solutions.settings).items():
            monkeypatch.setenv(name, value)
        solutions.solution()
        yield solutions


def test_a_schedule_is_set_listed_and_removed(made: MadeSolutions, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schedule", "set", "fayvad", "--every", "6h"]) == 0
    first, note = capsys.readouterr().out.splitlines()
    assert first.startswith("Schedule of fayvad: every 6h; next at 20")
    assert "`fbs beat`" in note
    assert run(["schedule", "set", "fayvad", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin"]) == 0
    assert "0 3 * * * (Europe/Berlin)" in capsys.readouterr().out
    assert run(["schedule", "list"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0] == "Schedules:"
    assert output[1].split("  ")[1:2] == ["solution"]
    assert "fayvad    0 3 * * * (Europe/Berlin)  20" in output[2]
    assert run(["schedule", "list", "--output-format", "json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["schedules"]
    assert (one["solution"], one["schedule"]["timezone"], one["last_run"]) == ("fayvad", "Europe/Berlin", None)
    assert run(["schedule", "pause", "fayvad"]) == 0
    assert capsys.readouterr().out == "Schedule of fayvad: 0 3 * * * (Europe/Berlin), paused.\n"
    assert run(["schedule", "resume", "fayvad"]) == 0
    assert "(Europe/Berlin); next at" in capsys.readouterr().out
    assert run(["schedule", "set", "fayvad", "--sync-every", "5m"]) == 0
    assert capsys.readouterr().out.startswith("Schedule of the syncs of fayvad: every 5m; next at 20")
    assert run(["schedule", "list"]) == 0
    assert "fayvad    every 5m  20" in capsys.readouterr().out.partition("Syncs:")[2]
    assert run(["schedule", "remove", "fayvad", "--only", "sync"]) == 0
    assert capsys.readouterr().out == "The schedule of the syncs of fayvad is removed.\n"
    assert run(["schedule", "remove", "--solution-name", "fayvad"]) == 0
    assert capsys.readouterr().out == "The schedule of fayvad is removed.\n"
    assert run(["schedule", "remove", "fayvad"]) == 0
    assert capsys.readouterr().out == "fayvad had no schedule of its own.\n"
    assert run(["schedule", "list"]) == 0
    assert "never" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["set", "fayvad"], "A schedule is either an interval or a cron expression."),
        (
            ["set", "fayvad", "--every", "6h", "--cron", "0 3 * * *"],
            "A schedule is either an interval or a cron expression.",
        ),
        (["set", "fayvad", "--every", "5 apples"], "'5 apples' is not an interval."),
        (["set", "fayvad", "--every", "1s"], "'1s' is too short"),
        (["set", "fayvad", "--cron", "0 0 3 * * *"], "A cron expression has five fields, '0 0 3 * * *' has 6."),
        (["set", "fayvad", "--cron", "0 25 * * *"], "'0 25 * * *' is not a cron expression: bad hour."),
        (
            ["set", "fayvad", "--every", "1h", "--timezone", "UTC"],
            "A time zone is possible only with a cron expression.",
        ),
        (["set", "fayvad", "--cron", "0 3 * * *", "--timezone", "Mars"], "There is no time zone 'Mars'."),
        (["set", "unknown", "--every", "6h"], "There is no solution 'unknown'."),
        (["set", "fayvad", "--sync-every", "1s"], "'1s' is too short"),
        (["set", "fayvad", "--sync-every", "5m", "--timezone", "UTC"], "A schedule is either an interval"),
        (["pause", "fayvad", "--only", "moon"], "There is no kind of schedule 'moon'."),
        (["remove", "unknown"], "There is no solution 'unknown'."),
        (["set", "--every", "6h"], "No solution is named."),
    ],
)
def test_a_mistake_is_two_lines_and_changes_nothing(
    made: MadeSolutions, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    assert run(["schedule", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    first, second = output.err.splitlines()
    assert first.startswith(f"error: {error}")
    assert second.startswith("hint: ")
    assert stored(made.home) is None


def test_without_solutions(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings_environment(settings()).items():
        monkeypatch.setenv(name, value)
    assert run(["schedule", "list"]) == 0
    assert capsys.readouterr().out == "There are no solutions. Set one up: fbs setup\n"
