"""What is asked of a migration: the same checks wherever it is asked, and what travels of it."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.migration.model.plan import Hazard
from fbs_worker.solutions.requests import MigrateRequest

PRINT = "0123456789abcdef"


def test_what_travels_is_what_was_asked() -> None:
    request = MigrateRequest.parse(
        settings=Settings(),
        solution_name="shop",
        fingerprint=PRINT,
        allow=["deletes_data", "DRIFT", "DRIFT"],
        renames="lease.notes=remarks",  # one by itself is a list, too
        restore=True,
        mirror=["sale.order", "res.users"],
        unmirror=("hr.job",),
    )
    assert request.allow == (Hazard.DELETES_DATA, Hazard.DRIFT)
    assert request.renames == ("lease.notes=remarks",)
    assert request.mirror == ("res.users", "sale.order")
    assert MigrateRequest.from_message(request.to_message(Settings()), settings=Settings()) == request


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"solution_name": "a b"}, "solution_name is not valid"),
        ({"plan_only": 1}, "plan_only is not a boolean"),
        ({"fingerprint": "short"}, "fingerprint is not valid: it has 16 hexadecimal digits"),
        ({"fingerprint": 7}, "fingerprint is not a string"),
        ({"allow": ["NOTHING"]}, "Unknown hazard"),
        ({"allow": 7}, "allow is not a list"),
        ({"renames": ["lease.notes"]}, "does not have the form table.old=new"),
        ({"renames": ["notes=remarks"]}, "does not have the form table.old=new"),
        ({"renames": [7]}, "renames is not a list"),
        ({"mirror": ["Sale Order"]}, "mirror is not valid: use names such as sale.order"),
        ({"mirror": ["hr.job"], "unmirror": ["hr.job"]}, "is in both mirror and unmirror"),
        ({"plan_only": True, "fingerprint": PRINT}, "exclude each other"),
        ({"undo": True}, "needs the fingerprint"),
        ({"undo": True, "plan_only": True, "restore": True}, "accepts no other change"),
        ({"undo": True, "fingerprint": PRINT, "renames": ["a.b=c"]}, "accepts no other change"),
    ],
)
def test_invalid_parameters_are_rejected(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        MigrateRequest(**{"solution_name": "shop", **given})
    assert words in caught.value.message
    assert caught.value.hint
