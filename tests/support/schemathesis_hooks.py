"""Hooks of schemathesis: names of existing objects, short waits, and who may answer 503."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import schemathesis
from pydantic import TypeAdapter

from fbs_worker.core.identifiers import SolutionName
from fbs_worker.web.api.request_models import JOB_ID

LONGEST_WAIT: Final = 1
SOLUTION: Final = "FBS_TEST_SOLUTION"
JOB: Final = "FBS_TEST_JOB"

_THERE: Final = {"name": SOLUTION, "job_id": JOB}
_VALID: Final[Mapping[str, Callable[[str], object]]] = {
    "name": TypeAdapter(SolutionName).validate_python,
    "job_id": re.compile(JOB_ID).search,
}
"""A name that must be rejected stays: what takes its place would be accepted."""


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Use an existing object in every second request, except to delete it."""
    if context.operation.method.lower() == "delete":
        return path_parameters
    for name, variable in _THERE.items():
        given = (path_parameters or {}).get(name)
        if isinstance(given, str) and len(given) % 2 and _is_valid(name, given):
            path_parameters = {**path_parameters, name: os.environ[variable]}
    return path_parameters


def _is_valid(name: str, given: str) -> bool:
    try:
        return bool(_VALID[name](given))
    except ValueError:
        return False


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
