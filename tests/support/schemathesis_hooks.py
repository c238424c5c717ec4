"""Hooks of schemathesis: names of existing objects, and short waits."""

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
def map_query(context: Any, query: Any) -> Any:
    """Shorten waits."""
    waits = (query or {}).get("wait")
    if isinstance(waits, int) and not isinstance(waits, bool) and LONGEST_WAIT < waits <= 60:
        return {**query, "wait": LONGEST_WAIT}
    return query
