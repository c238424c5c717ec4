"""What the project says of itself holds."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted(
    path
    for folder in ("fbs_worker", "connectors", "tasks", "tests", "bench", "docs", "examples")
    for path in (ROOT / folder).rglob("*.py")
)


def test_constraints_name_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_]+", line)] == []
    assert lines == sorted(lines, key=str.lower)


def test_nothing_is_left_for_later() -> None:
    marks = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
    assert [str(path) for path in SOURCES if marks.search(path.read_text())] == []
