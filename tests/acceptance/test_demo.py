"""`fbs demo`: the main job with everything that it needs, and nothing left running, however it ends."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.conftest import CommandLine
from tests.support.waiting import until


def test_the_second_demo_finds_no_change_and_leaves_nothing_running(fbs: CommandLine) -> None:
    first = fbs("demo")
    assert "reading the recording of an Odoo 19" in first.stderr
    assert "Discovering rental: " in first.stderr
    assert "Found:" in first.stdout
    assert "Added (" in first.stdout
    assert fbs.left_running() == ""

    second = fbs("demo")
    assert "Nothing changed since the last discovery" in second.stdout
    assert "Added (" not in second.stdout
    assert fbs.left_running() == ""
    assert (fbs.home / "demo").stat().st_mode & 0o007 == 0
    assert "superuser" not in (fbs.home / "demo" / "worker.log").read_text()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("with_signal", "after", "code"),
    [
        (signal.SIGINT, "Starting PostgreSQL", 130),
        (signal.SIGINT, "Starting the worker", 130),
        (signal.SIGINT, "Discovering rental: ", 130),
        (signal.SIGTERM, "Starting the worker", 143),
    ],
)
def test_an_interrupted_demo_stops_what_it_started(
    fbs: CommandLine, with_signal: signal.Signals, after: str, code: int
) -> None:
    running = fbs.start("demo")
    output = fbs.interrupt(running, after=after, with_signal=with_signal)
    assert running.process.returncode == code, output
    assert "Traceback" not in output
    assert fbs.left_running() == ""


@pytest.mark.faults
def test_a_demo_that_fails_stops_what_it_started(fbs: CommandLine) -> None:
    odoo = {"ODOO_URL": "http://127.0.0.1:1", "ODOO_DB": "x", "ODOO_USER": "me", "ODOO_PASSWORD": "p"}
    output = fbs("demo", code=3, FBS_MAX_RETRIES="0", **odoo)
    assert "127.0.0.1:1" in output.stderr
    assert fbs.left_running() == ""


def test_an_unknown_domain_starts_nothing(fbs: CommandLine) -> None:
    output = fbs("demo", "--domain", "nope", code=2)
    assert output.stderr.startswith("error: There is no domain 'nope'.")
    assert not (fbs.home / "demo").exists()


@pytest.mark.faults
def test_the_next_demo_stops_the_leftovers_of_a_killed_one(fbs: CommandLine) -> None:
    running = fbs.start("demo")
    fbs.interrupt(running, after="Discovering rental: ", with_signal=signal.SIGKILL)
    assert running.process.returncode == -signal.SIGKILL
    assert fbs.left_running() != ""
    fbs("demo", "--domain", "hr")
    until(lambda: fbs.left_running() == "", fbs.left_running)


@pytest.mark.faults
def test_a_second_demo_in_the_same_folder_is_rejected(fbs: CommandLine) -> None:
    first = fbs.start("demo")
    for line in first.output:
        if line.startswith("Starting Redis"):
            break
    assert "Another demo runs in this folder." in fbs("demo", code=4).stderr
    output = first.rest()
    assert first.process.returncode == 0, output
