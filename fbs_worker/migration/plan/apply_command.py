"""The command line that applies a plan."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def apply_command(result: Mapping[str, Any], *, options: Sequence[str] = ()) -> str:
    """The command line that applies a plan.

    Args:
        result: what a job with `plan_only` yielded.
        options: those that the plan was made with.
    """
    allow = [word for hazard in result["needs"] for word in ("--allow", hazard)]
    undo = ["--undo"] if result["undoes"] else []
    words = ["fbs", "migrate", "--solution-name", result["solution"], *undo, "--apply", result["fingerprint"]]
    return shlex.join([*words, *options, *allow])
