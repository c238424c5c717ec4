"""What the project says of itself holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from fbs_worker.cli.app import app
from fbs_worker.core.settings import Settings

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
SOURCES = sorted(
    path for folder in ("fbs_worker", "connectors", "tasks", "tests", "bench") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{name.upper()}`" in README
    assert Settings.model_fields[name].description


def test_every_command_is_in_the_readme() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    missing = [name for name in commands if not re.search(rf"fbs {name}\b|`{name}`", README)]
    assert not missing


def test_constraints_name_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_]+", line)] == []
    assert lines == sorted(lines, key=str.lower)


def test_nothing_is_left_for_later() -> None:
    marks = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
    assert [str(path) for path in SOURCES if marks.search(path.read_text())] == []
