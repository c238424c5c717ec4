"""The API's routes of solutions, with a real worker, PostgreSQL and Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.web.api.response_models import JobAnswer, SolutionsAnswer, StatusAnswer
from tests.support.api_stage import SHOP, ApiStage
from tests.support.solutions import PASSWORD, entries, rows, tables_of
from tests.support.waiting import PATIENCE


@pytest.fixture
def stage(api_stage: ApiStage) -> ApiStage:
    return api_stage


@pytest.fixture
def fresh_shop(stage: ApiStage, target: DatabaseConfig) -> Iterator[dict[str, Any]]:
    """The configuration of a solution in an empty database; whatever comes of it is taken away."""
    config = {
        "solution_name": f"made_{target.name}",
        "domain": "hr",
        "database_config": {**stage.place(target), "password": PASSWORD, "port": str(target.port)},
        "business_prefix": "x_",
        "refresh_discoveries": False,
    }
    yield config
    if config["solution_name"] in entries(DatabaseConfig.from_url(stage.settings.fbs_database_url)):
        stage.client.drop(str(config["solution_name"]), with_data=True).wait(PATIENCE)


def ended(stage: ApiStage, job_id: str) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while True:
        job: dict[str, Any] = stage.asking.get(f"/api/v1/jobs/{job_id}/").json()["job"]
        if job["finished_at"]:
            return job
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_list_and_a_status_match_the_client(stage: ApiStage) -> None:
    listed = stage.asking.get("/api/v1/solutions/")
    assert listed.status_code == 200
    assert listed.headers["cache-control"] == "no-store"
    assert SHOP in {one.solution for one in SolutionsAnswer.model_validate(listed.json()).solutions}
    status = stage.asking.get(f"/api/v1/solutions/{SHOP}/status").json()
    StatusAnswer.model_validate(status)
    assert status["overall_status"] == "active"
    report = stage.client.status(SHOP)
    assert {**status, "database": None, "tables": None} == {**report, "database": None, "tables": None}
    assert PASSWORD not in listed.text + str(status)


def test_a_solution_is_set_up_migrated_and_dropped(stage: ApiStage, fresh_shop: dict[str, Any]) -> None:
    name, place = fresh_shop["solution_name"], DatabaseConfig.parse(fresh_shop["database_config"])
    asked = stage.asking.post("/api/v1/solutions/setup/", json=fresh_shop)
    assert asked.status_code == 202, asked.text
    report = JobAnswer.model_validate(asked.json())
    assert asked.headers["location"] == report.links.self == f"/api/v1/jobs/{report.job.id}/"
    assert ended(stage, report.job.id)["state"] == "succeeded"
    assert "x_employee" in tables_of(place)
    assert PASSWORD not in asked.text

    planned = stage.asking.post(f"/api/v1/solutions/{name}/migrate/?wait=60", json={"plan": True})
    assert (planned.status_code, planned.json()["job"]["result"]["steps"]) == (200, [])

    kept = stage.asking.delete(f"/api/v1/solutions/{name}/?wait=60&dry_run=true")
    assert kept.status_code == 200, kept.text
    assert "x_employee" in tables_of(place)
    gone = stage.asking.delete(f"/api/v1/solutions/{name}?wait=60")
    assert gone.status_code == 200, gone.text
    assert "x_employee" not in tables_of(place)
    assert stage.asking.get(f"/api/v1/solutions/{name}/status/").status_code == 404


def test_what_a_job_fails_with_is_the_answer(stage: ApiStage, fresh_shop: dict[str, Any]) -> None:
    fresh_shop["database_config"]["name"] = "there_is_no_such_database"
    answer = stage.asking.post("/api/v1/solutions/setup/?wait=60", json=fresh_shop)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    report = answer.json()
    assert report["code"] == report["job"]["error"]["code"] == "database_missing"
    assert answer.headers["location"] == f"/api/v1/jobs/{report['job']['id']}/"
    assert PASSWORD not in answer.text


def test_rows_are_in_the_way_of_a_drop(stage: ApiStage, fresh_shop: dict[str, Any]) -> None:
    name = fresh_shop["solution_name"]
    assert stage.asking.post("/api/v1/solutions/setup/?wait=60", json=fresh_shop).status_code == 200
    place = DatabaseConfig.parse(fresh_shop["database_config"])
    rows(place, "INSERT INTO x_department (name) VALUES ('one') RETURNING id; COMMIT; SELECT 1")
    refused = stage.asking.delete(f"/api/v1/solutions/{name}/?wait=60")
    assert (refused.status_code, refused.json()["code"]) == (409, "rows_in_the_way")
    dropped = stage.asking.delete(f"/api/v1/solutions/{name}/?wait=60&with_data=true")
    assert dropped.status_code == 200
    assert stage.asking.post(f"/api/v1/solutions/{name}/migrate/").json()["code"] == "solution_not_found"


def test_the_same_key_gives_the_same_job(stage: ApiStage) -> None:
    headers = {"Idempotency-Key": f"plan-{time.time_ns()}"}
    first, again = (
        stage.asking.post(f"/api/v1/solutions/{SHOP}/migrate/{wait}", json={"plan": True}, headers=headers)
        for wait in ("?wait=60", "")
    )
    assert (first.status_code, again.status_code) == (200, 202)
    assert first.json()["job"]["id"] == again.json()["job"]["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = stage.asking.post(f"/api/v1/solutions/{SHOP}/migrate/", json={}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"solution_name": "no blank"}, "usage"),
        ({"domain": "nowhere"}, "usage"),
        ({"more": 1}, "usage"),
        ({"table_prefix": "Fbs"}, "usage"),
        ({"refresh_discoveries": "yes"}, "usage"),
        ({"database_config": {"name": "x", "port": 70000, "password": "s3cret"}}, "usage"),
        ({"database_config": {"name": "x", "password": {"a": "s3cret"}}}, "usage"),
        ({"database_config": {"password": "s3cret"}}, "usage"),
        ({"database_config": {"name": "x", "host": "169.254.169.254", "password": "s3cret"}}, "host_refused"),
        ({"database_config": {"name": "x", "host": "192.0.2.7", "password": "s3cret"}}, "host_refused"),
        ({"database_config": {"name": "x", "port": 22, "password": "s3cret"}}, "host_refused"),
        ({"database_config": {"name": "x", "password": "env:FBS_SECRET_KEYS"}}, "secret"),
        ({"database_config": {"name": "x", "password": "file:/proc/self/environ"}}, "secret"),
        ({"database_config": {"name": "x", "password": "file:/etc/passwd"}}, "secret"),
        ({"database_config": {"name": "x", "password": "file:/etc/no-such"}}, "secret"),
        ({"database_config": {"name": "x", "password": "a\0s3cret"}}, "usage"),
        ({"database_config": {"name": "x", "password": "\ud800s3cret"}}, "usage"),
        ({"mirror": ["\udfff"]}, "usage"),
        ({"\0": {"\ud800": 1}}, "usage"),
    ],
    ids=str,
)
def test_what_is_not_valid_is_refused(
    stage: ApiStage, fresh_shop: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    before = len(stage.client.jobs(1_000))
    body = json.dumps({**fresh_shop, **change})  # in ASCII: a lone surrogate is an escape
    headers = {"Content-Type": "application/json"}
    answer = stage.asking.post("/api/v1/solutions/setup/", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403 if code == "host_refused" else 422, code)
    assert answer.json()["hint"]
    assert "s3cret" not in answer.text
    assert len(stage.client.jobs(1_000)) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "status/"),
        ("GET", "discoveries/"),
        ("GET", "search/?text=a"),
        ("POST", "discoveries/"),
        ("POST", "migrate/"),
        ("DELETE", ""),
    ],
)
def test_an_unknown_solution_is_not_found(stage: ApiStage, method: str, path: str) -> None:
    before = len(stage.client.jobs(1_000))
    body = {"json": {"action": "refresh"}} if path == "discoveries/" and method == "POST" else {}
    answer = stage.asking.ask(method, f"/api/v1/solutions/missing/{path}", **body)
    assert (answer.status_code, answer.json()["code"]) == (404, "solution_not_found")
    assert len(stage.client.jobs(1_000)) == before


def test_answers_are_void_once_a_job_changes_its_state(stage: ApiStage, fresh_shop: dict[str, Any]) -> None:
    def names() -> set[str]:
        return {one["solution"] for one in stage.asking.get("/api/v1/solutions/").json()["solutions"]}

    for _ in range(2):
        assert fresh_shop["solution_name"] not in names()
    stage.client.setup(fresh_shop).wait(PATIENCE)
    assert fresh_shop["solution_name"] in names()
    stage.client.drop(fresh_shop["solution_name"]).wait(PATIENCE)
    assert fresh_shop["solution_name"] not in names()
