"""Errors as problem details."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fbs_worker.core import errors as core
from fbs_worker.core.errors import FBSError
from fbs_worker.ops.health import Unhealthy
from fbs_worker.web.api import errors as http
from fbs_worker.web.api.problems import (
    STATUS,
    Problem,
    error_class,
    error_from_dict,
    problem_response,
    problem_responses,
    status_of,
    title_of,
)


def kinds(kind: type[FBSError] = FBSError) -> Iterator[type[FBSError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("fbs_worker"):
            yield from kinds(child)


KINDS = sorted(set(kinds()), key=lambda kind: kind.__name__)
CONTEXT: dict[str, Any] = {"scope": "write", "retry_after": 2.4}

EXPECTED = {
    core.FBSError: 500,
    core.UsageError: 422,
    core.SolutionNotFound: 404,
    core.OdooConnectionNotFound: 404,
    core.TableNotFound: 404,
    core.SyncPaused: 503,
    core.SettingsError: 422,
    core.SecretError: 422,
    core.UnreachableError: 503,
    core.OdooUnreachable: 503,
    core.OdooTimeout: 503,
    core.OdooCircuitOpen: 503,
    core.DatabaseUnreachable: 503,
    core.DatabaseHostUnknown: 503,
    core.DatabaseTLSFailed: 503,
    core.QueueUnreachable: 503,
    core.OdooError: 502,
    core.OdooLoginRefused: 502,
    core.OdooDatabaseMissing: 502,
    core.OdooAccessDenied: 502,
    core.OdooModelMissing: 502,
    core.OdooCallFailed: 502,
    core.OdooServerError: 502,
    core.OdooBadAnswer: 502,
    core.OdooAnswerCutShort: 502,
    core.RecordingError: 502,
    core.DatabaseError: 502,
    core.DatabaseBusy: 503,
    core.DatabaseLoginRefused: 409,
    core.DatabaseMissing: 409,
    core.DatabaseRightsMissing: 409,
    core.RefusedError: 409,
    core.ForeignTableError: 409,
    core.SolutionConflict: 409,
    core.OdooConnectionConflict: 409,
    core.TablesNotEmpty: 409,
    core.JobError: 500,
    core.JobNotFound: 404,
    core.JobFailed: 500,
    core.JobCancelled: 409,
    core.InternalError: 500,
    Unhealthy: 503,
    http.NotAuthenticated: 401,
    http.ScopeMissing: 403,
    http.CrossSite: 403,
    http.NotLocal: 403,
    core.HostRefused: 403,
    http.RouteNotFound: 404,
    http.MethodNotAllowed: 405,
    http.BodyTooLarge: 413,
    http.MediaTypeWrong: 415,
    http.TooManyRequests: 429,
    http.TooBusy: 503,
    http.IdempotencyMismatch: 422,
    http.IdempotencyInProgress: 409,
}


def test_each_error_has_an_explicit_status() -> None:
    named = {
        kind
        for module in (core, http)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, FBSError)
    }
    assert named <= set(EXPECTED)
    assert {kind: status_of(kind("x", **CONTEXT)) for kind in EXPECTED} == EXPECTED
    assert set(STATUS) <= set(EXPECTED)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_error_becomes_a_problem(kind: type[FBSError]) -> None:
    error = kind("Something is wrong.", hint="Do something.", **CONTEXT)
    answer = problem_response(error, instance="/api/v1/x y/ü")
    result = json.loads(bytes(answer.body))
    problem = Problem.model_validate(result)
    assert answer.media_type == "application/problem+json"
    assert answer.status_code == problem.status
    assert 400 <= problem.status < 600
    assert (problem.detail, problem.hint) == ("Something is wrong.", "Do something.")
    assert problem.code == kind.code
    assert problem.type == f"urn:fbs-worker:error:{kind.code}"
    assert problem.title
    assert "\n" not in problem.title
    assert problem.retryable is kind.retryable
    assert problem.instance == "/api/v1/x%20y/%C3%BC"
    assert ("retry-after" in answer.headers) is (problem.status in {429, 503})
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_reconstructed_from_a_jobs_record(kind: type[FBSError]) -> None:
    error = kind("Something is wrong.", hint="Do something.", **CONTEXT)
    again = error_from_dict(error.to_dict())
    assert type(again) is error_class(kind.code)
    assert again.to_dict() == error.to_dict()


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in KINDS]
    assert sorted(codes) == sorted(set(codes))


def test_an_unknown_code_becomes_an_internal_error() -> None:
    assert type(error_from_dict({"code": "from the future", "message": "x"})) is core.InternalError
    assert error_from_dict({"code": "usage", "context": {"message": "x", "hint": "y", "field": "z"}}).context == {
        "field": "z"
    }


def test_retry_after() -> None:
    assert problem_response(http.TooManyRequests("x", retry_after=0.2), instance="/").headers["retry-after"] == "1"
    assert problem_response(core.OdooCircuitOpen("x", retry_after=12.1), instance="/").headers["retry-after"] == "13"
    assert problem_response(core.QueueUnreachable("x"), instance="/").headers["retry-after"] == "5"


def test_www_authenticate() -> None:
    def challenge(error: FBSError) -> str:
        return problem_response(error, instance="/").headers["www-authenticate"]

    assert challenge(http.NotAuthenticated("x")) == 'Bearer realm="fbs-worker"'
    assert 'error="invalid_token"' in challenge(http.NotAuthenticated("x", given=True))
    assert 'error="insufficient_scope", scope="write"' in challenge(http.ScopeMissing("x", scope="write"))


def test_the_instance_is_quoted() -> None:
    answer = problem_response(core.UsageError("x"), instance='/"<script>\r\nX: y')
    assert json.loads(bytes(answer.body))["instance"] == "/%22%3Cscript%3E%0D%0AX:%20y"


def test_documented_responses_have_an_example_of_each_error() -> None:
    result = problem_responses(core.SolutionNotFound, core.JobNotFound, core.DatabaseUnreachable)
    assert list(result) == [404, 503]
    content = result[404]["content"]["application/problem+json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert list(content["examples"]) == ["job_not_found", "solution_not_found"]
    for example in content["examples"].values():
        assert Problem.model_validate(example["value"]).status == 404


def test_a_title_is_one_line() -> None:
    assert title_of(core.SolutionNotFound) == "No solution has that name"
