"""What callers name: solutions, and databases."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import SecretStr

from fbs_worker.core.settings import Settings
from fbs_worker.solutions.records import SolutionRecord
from fbs_worker.solutions.requests import with_defaults
from fbs_worker.web.api.databases import Places
from fbs_worker.web.api.host_allowlist import check_database
from fbs_worker.web.api.request_models import SOLUTION_NAME, DatabaseBody

SolutionPath = Annotated[
    str, Path(pattern=SOLUTION_NAME, max_length=100, description="the solution's name", examples=["fayvad_rentals"])
]


async def solution_of(places: Places, name: str, *, mark: str | None = None) -> SolutionRecord:
    """What the address book says of a solution; kept for a moment, as long as no job changes anything.

    Args:
        places: knows it.
        name: the solution's name.
        mark: as for `Fresh.get`.

    Raises:
        SolutionNotFound: there is none of that name.
        DatabaseError, DatabaseUnreachable: of the home database.
    """
    return await places.fresh.get(("solution", name), lambda: places.solution(name), mark=mark)


def checked_database(body: DatabaseBody, settings: Settings) -> dict[str, Any]:
    """A database that a caller names, as a client takes it, its host one that callers may name.

    Args:
        body: what the caller sent.
        settings: where what is missing comes from, and which hosts are allowed.

    Raises:
        HostRefused: the host is not one of those, or not for that password.
        UsageError: something else is not valid.
    """
    given = body.model_dump(exclude_none=True)
    if isinstance(given.get("password"), SecretStr):
        given["password"] = given["password"].get_secret_value()
    return {**given, "host": check_database(with_defaults(given, settings), settings)}
