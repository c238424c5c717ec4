"""Hooks of schemathesis: names of existing objects, short waits, and who may answer 503."""

from __future__ import annotations

import os
from typing import Any, Final

import schemathesis

LONGEST_WAIT: Final = 1
SOLUTION: Final = "FBS_TEST_SOLUTION"
JOB: Final = "FBS_TEST_JOB"

_THERE: Final = {"name": SOLUTION, "job_id": JOB}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Use an existing object in every second request, except to delete it."""
    if context.operation.method.lower() == "delete":
        return path_parameters
    for name, variable in _THERE.items():
        given = (path_parameters or {}).get(name)
        if isinstance(given, str) and len(given) % 2:
            path_parameters = {**path_parameters, name: os.environ[variable]}
    return path_parameters


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Shorten waits, in each phase."""
    waits = str((case.query or {}).get("wait"))
    if waits.isascii() and waits.isdecimal() and LONGEST_WAIT < int(waits) <= 60:
        case.query = {**case.query, "wait": LONGEST_WAIT}


@schemathesis.check
def only_a_failed_job_answers_503(ctx: Any, response: Any, case: Any) -> None:
    """Where `schemathesis.toml` allows a 503, it is because the job that was waited for has found no database."""
    if response.status_code == 503:
        assert (response.json()["job"] or {}).get("state") == "failed", response.text
