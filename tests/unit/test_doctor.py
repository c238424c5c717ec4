"""What the facts of a check mean."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker._version import __version__
from fbs_worker.jobs.workers import WorkerHeartbeat
from fbs_worker.ops.doctor import Finding, Level, _clock, _of_check, _postgres, _redis, _workers
from fbs_worker.ops.health import Check, Health, HealthReport

REDIS: dict[str, Any] = {"append_only": True, "maxmemory": 0, "used_memory": 100, "clock_offset": 0.1}
POSTGRES: dict[str, Any] = {"version": "18.1", "is_standby": False, "grants": [], "clock_offset": -0.2}
WORKER: dict[str, Any] = {"name": "a@b", "queues": (), "slots": 2, "running": 1, "taken": 0, "version": __version__}


def troubles(findings: list[Finding]) -> list[tuple[str, str]]:
    assert all(each.hint for each in findings if each.level is not Level.OK)
    return [(each.level.value, each.detail) for each in findings if each.level is not Level.OK]


@pytest.mark.parametrize(
    ("facts", "trouble"),
    [
        ({}, []),
        ({"append_only": False}, [("warning", "it does not append to a file: a crash loses jobs")]),
        ({"maxmemory": 110}, [("warning", "its memory is nearly full")]),
        ({"clock_offset": 7.25}, [("warning", "7.2 s ahead")]),
    ],
)
def test_redis(facts: dict[str, Any], trouble: list[tuple[str, str]]) -> None:
    assert troubles(list(_redis({**REDIS, **facts}))) == trouble


def test_a_redis_that_reports_nothing_is_no_trouble() -> None:
    assert list(_redis({})) == []


@pytest.mark.parametrize(
    ("facts", "trouble"),
    [
        ({}, []),
        ({"version": "13.2"}, [("warning", "PostgreSQL 13.2 is old")]),
        ({"is_standby": True}, [("error", "it is a standby: nothing can be written")]),
        ({"grants": ["GRANT …;"]}, [("error", "the role lacks rights to create tables")]),
        ({"clock_offset": -61.0}, [("warning", "61.0 s behind")]),
    ],
)
def test_postgres(facts: dict[str, Any], trouble: list[tuple[str, str]]) -> None:
    assert troubles(list(_postgres({**POSTGRES, **facts}))) == trouble


@pytest.mark.parametrize(
    ("facts", "trouble"),
    [
        ({}, []),
        ({"version": ""}, []),
        ({"version": "0.0.9"}, [("warning", f"it runs version 0.0.9, this is {__version__}")]),
        ({"clock_offset": 9.0}, [("warning", "9.0 s ahead")]),
    ],
)
def test_workers(facts: dict[str, Any], trouble: list[tuple[str, str]]) -> None:
    report = HealthReport(checks=(), workers=(WorkerHeartbeat(**{**WORKER, **facts}),))
    assert troubles(list(_workers(report))) == trouble


@pytest.mark.parametrize(
    ("health", "hint", "level"),
    [
        (Health.FINE, "", Level.OK),
        (Health.FINE, "Set maxmemory-policy.", Level.WARNING),
        (Health.BUSY, "", Level.WARNING),
        (Health.UNKNOWN, "", Level.WARNING),
        (Health.FAILED, "Start it.", Level.ERROR),
    ],
)
def test_a_check_of_health(health: Health, hint: str, level: Level) -> None:
    check = Check(name="redis", health=health, detail="d", hint=hint, facts={"version": "8"})
    assert _of_check(check) == Finding(name="redis", level=level, detail="version 8, d", hint=hint)
    assert _clock("x", 1.0).level is Level.OK
