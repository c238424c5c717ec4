"""A set-up ends with the first copy of the records: enqueued by its task, followed by the command line."""

from __future__ import annotations

import itertools
import json
from typing import Any, cast

import pytest
import typer

from fbs_worker.cli import solutions
from fbs_worker.cli.output import OutputFormat
from fbs_worker.cli.run import Runner
from fbs_worker.client import in_process
from fbs_worker.core.errors import FBSError, OdooTimeout
from fbs_worker.core.settings import Settings
from fbs_worker.replication.state import Status
from fbs_worker.tasks import setup
from tests.unit.test_render_records import result as synced
from tests.unit.test_render_records import table

CONFIG = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "shop"}}
DONE: dict[str, Any] = {
    "solution": "shop",
    "created": [],
    "existing": [],
    "changed": True,
    "pending": [],
    "database": {"name": "shop", "user": "", "host": "localhost", "port": 5432},
    "mirrored": ["res.partner"],
    "refresh": None,
    "seconds": 1.0,
}
READ = {"source": {"url": "https://odoo.example.com"}}
RECORDED = {"source": {"url": "recording:odoo19.json.xz"}}


@pytest.mark.parametrize(
    ("given", "result", "is_copied"),
    [
        ({}, {"refresh": READ}, True),
        ({"sync": False}, {"refresh": READ}, False),
        ({}, {"refresh": READ, "mirrored": []}, False),
        ({}, {"refresh": None}, False),
        ({}, {"refresh": RECORDED}, False),
    ],
)
def test_the_task_has_the_records_copied(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], result: dict[str, Any], is_copied: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def copy(task: str, fields: dict[str, Any], **_options: Any) -> dict[str, Any]:
        asked.append((task, fields["solution_name"]))
        return synced()

    monkeypatch.setattr(setup, "set_up", lambda *_args, **_options: {**DONE, **result})
    monkeypatch.setattr(setup, "run_in_process", copy)
    done = in_process.run_in_process("fbs.setup", {**CONFIG, **given}, settings=Settings(fbs_redis_url=""))
    assert done["sync"] == (synced() if is_copied else None)
    assert asked == ([("fbs.sync", "shop")] if is_copied else [])


def test_a_failed_copy_does_not_hide_the_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In-process: what was set up stays set up."""

    def fail(*_args: Any, **_options: Any) -> dict[str, Any]:
        raise OdooTimeout("Odoo does not answer.", hint="Wait.")

    monkeypatch.setattr(setup, "set_up", lambda *_args, **_options: {**DONE, "refresh": READ})
    monkeypatch.setattr(setup, "run_in_process", fail)
    done = in_process.run_in_process("fbs.setup", CONFIG, settings=Settings(fbs_redis_url=""))
    assert done["sync"]["error"]["message"] == "Odoo does not answer."


class _Worker:
    """Stands in for the runner: the set-up is done, its copy ends as given."""

    settings = Settings()

    def __init__(self, ends: dict[str, Any] | FBSError, output_format: OutputFormat, *, is_here: bool) -> None:
        self.ends, self.output_format, self.is_here = ends, output_format, is_here

    def run(self, *_args: Any, **_options: Any) -> dict[str, Any]:
        if not self.is_here:
            return {**DONE, "job": "1", "sync": {"job": "2"}}
        return {**DONE, "sync": {"error": self.ends.to_dict()} if isinstance(self.ends, FBSError) else self.ends}

    def follow(self, job_id: str, **_options: Any) -> dict[str, Any]:
        if isinstance(self.ends, FBSError):
            raise self.ends
        return {"job": job_id, **self.ends}


@pytest.mark.parametrize(
    ("ends", "code", "shown"),
    [
        (synced(table()), 0, "1,200 read"),
        (synced(table(status=Status.REVIEW, reason="Too many.")), 4, "needs review: Too many."),
        (OdooTimeout("Odoo does not answer.", hint="Wait."), 3, "To go on: fbs sync shop"),
    ],
)
def test_the_command_follows_the_copy(
    capsys: pytest.CaptureFixture[str], ends: dict[str, Any] | FBSError, code: int, shown: str
) -> None:
    for output_format, is_here in itertools.product(OutputFormat, (False, True)):
        runner = cast("Runner", _Worker(ends, output_format, is_here=is_here))
        try:
            solutions.setup(runner, dict(CONFIG))
            ended = 0
        except typer.Exit as exc:
            ended = exc.exit_code
        output = capsys.readouterr()
        assert ended == code
        assert ("Odoo does not answer." in output.err) is isinstance(ends, FBSError)
        if output_format is OutputFormat.JSON:
            assert is_here or json.loads(output.out)["sync"]["job"] == "2"
        else:
            assert "The solution shop is set up" in output.out
            assert shown in output.out
