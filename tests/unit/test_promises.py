"""What the project says of itself holds."""

from __future__ import annotations

import ast
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
ABOVE = {
    "fbs_worker": {"fbs_worker.connectors", "fbs_worker.tasks"},
    "connectors": {"fbs_worker.tasks"},
    "tasks": set(),
}
"""What the packages of the repository's top level may not import."""


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{name.upper()}`" in README
    assert Settings.model_fields[name].description


def test_every_command_is_in_the_readme() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    missing = [name for name in commands if not re.search(rf"fbs {name}\b|`{name}`", README)]
    assert not missing


@pytest.mark.parametrize("package", sorted(ABOVE))
def test_imports_run_one_way(package: str) -> None:
    upward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _imported(node)
        if any(name == above or name.startswith(f"{above}.") for above in ABOVE[package])
    ]
    assert not upward


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_files_have_one_responsibility_each() -> None:
    long = {
        str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_constraints_name_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_]+", line)] == []
    assert lines == sorted(lines, key=str.lower)


def test_nothing_is_left_for_later() -> None:
    marks = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
    assert [str(path) for path in SOURCES if marks.search(path.read_text())] == []
