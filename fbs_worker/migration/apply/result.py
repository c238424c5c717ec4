"""What applying a plan is given besides it, and what it yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.migration.model.plan import Step


class Settle(Protocol):
    """Writes into the solution's own row what FBS has made by now."""

    def __call__(self, cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
        """Called in each transaction that changes tables, and at the end.

        Args:
            cursor: in that transaction: tables and row change together, or not at all.
            done: the steps that have run so far, those of this transaction included.
            finished: the plan is done.
        """


def settle_nothing(cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
    """There is no row to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a migration did.

    Attributes:
        run: its name in the rows of `schema_migrations`.
        executed: how many statements of the plan ran.
        kept: the tables that keep what was taken away.
        seconds: how long it took.
    """

    run: str
    executed: int
    kept: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"run": self.run, "executed": self.executed, "kept": list(self.kept), "seconds": self.seconds}
