"""A fingerprint: questions to a server with the answers it gave when it was read.

A refresh asks the same questions again, at most four; equal answers mean that nothing changed. A question that
fails, or that another version of fbs-worker asked, counts as a change: then everything is read.

Odoo's dates have seconds and no more over RPC. A change in the very second of the newest one that was read would look
like no change; so a fingerprint whose newest date is not older than the read itself is not settled, and compares equal
to nothing: the next refresh reads once more.

What the questions see: a module installed, removed or upgraded (`ir.module.module.write_date` moves); a row added to
or taken from any table that is read (their counts); a model, field, selection value, view, automation, scheduled
action or server action changed by hand. What they do not see: a report or a dashboard renamed by hand, and a change
that began (Odoo dates a row by the start of its transaction) before the newest one read and was committed after the
read. `FBS_FULL_AFTER` bounds how long that can stay unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fbs_worker.connectors.reader import Reader, Row
from fbs_worker.connectors.tables import COUNTED, MODELS, MODULES, SERVER_ACTIONS, TABLES, VIEWS
from fbs_worker.core.errors import OdooError

VERSION: Final = 2
_FIELD_PATHS: Final = ("field_id.write_date", "field_id.selection_ids.write_date")
_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(slots=True)
class Newest:
    """The newest write date among rows that were read."""

    value: str = ""

    def see(self, rows: Iterable[Row]) -> None:
        """Take more rows into account."""
        for row in rows:
            date = row.get("write_date")
            # Odoo's dates are text of one width: they compare as they are
            if date and date > self.value:
                self.value = date

    @property
    def next_second(self) -> str:
        """The first second after it: answers carry no fractions of a second, the rows do."""
        if not self.value:
            return "1970-01-01 00:00:00"
        return (datetime.strptime(self.value, _FORMAT).replace(tzinfo=UTC) + timedelta(seconds=1)).strftime(_FORMAT)


@dataclass(slots=True)
class Fingerprint:
    """Collects the facts for a fingerprint while a server is read.

    Attributes:
        began: the server's time at its first answer; empty where it does not say.
        answers: the answers to those questions that ask for a whole table.
        structure: the newest date among the domain's models, fields and selection values.
        workflow: the newest date among automations, schedules and their actions.
        models: the domain's models.
        read_fields: fields and selection values were read, too: their dates count.
        columns: the columns of `ir.actions.server`, once automations and schedules were read: their dates count then.
    """

    began: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    structure: Newest = field(default_factory=Newest)
    workflow: Newest = field(default_factory=Newest)
    models: list[str] = field(default_factory=list)
    read_fields: bool = False
    columns: frozenset[str] = frozenset()

    def saw_table(self, name: str, rows: Sequence[Row]) -> None:
        """All rows of a table (`MODULES`, `VIEWS`) were read."""
        newest = Newest()
        newest.see(rows)
        last = max((row["id"] for row in rows), default=0)
        self.answers[name] = {"count": len(rows), "newest": newest.value, "last": last}

    def count(self, reader: Reader) -> None:
        """Ask how many rows each table has; before they are read, so that a row added meanwhile shows later."""
        self.answers["counts"] = _counts(reader, [("model", "in", list(COUNTED))])

    def told(self) -> dict[str, Any]:
        """The fingerprint, JSON-ready."""
        dates = [self.structure.value, self.workflow.value]
        dates += [answer["newest"] for name, answer in self.answers.items() if name != "counts"]
        return {
            "version": VERSION,
            "settled": not self.began or max(dates) < self.began,
            "answers": self.answers,
            "models": sorted(self.models),
            "structure_paths": ["write_date", *(_FIELD_PATHS if self.read_fields else ())],
            "structure_since": self.structure.next_second,
            "workflow_since": self.workflow.next_second,
            "workflow_columns": sorted(self.columns & {"base_automation_id", "ir_cron_ids"}),
        }


def unchanged(reader: Reader, told: Mapping[str, Any]) -> bool:
    """Ask a fingerprint's questions again; whether every answer is still the same.

    Raises:
        UnreachableError: the server does not answer; everything else that goes wrong counts as a change.
    """
    if told.get("version") != VERSION or not told["settled"]:
        return False
    answers: Mapping[str, Any] = told["answers"]
    try:
        if reader.aggregate(MODULES, []) != answers[MODULES]:
            return False
        if "counts" in answers and _counts(reader, _counts_domain(told)) != answers["counts"]:
            return False
        if VIEWS in answers and reader.aggregate(VIEWS, list(TABLES[VIEWS].domain)) != answers[VIEWS]:
            return False
        domain = _workflow_domain(told)
        if domain:
            newer = reader.transport.call(SERVER_ACTIONS, "search_count", domain=domain, context={"active_test": False})
            return not newer
    except OdooError:
        return False
    return True


def _counts(reader: Reader, domain: Sequence[Any]) -> dict[str, int]:
    rows = reader.transport.call(MODELS, "search_read", domain=list(domain), fields=["model", "count"])
    return {row["model"]: row["count"] for row in rows}


def _counts_domain(told: Mapping[str, Any]) -> list[Any]:
    """The counted tables, and besides them each model of ours that is newer than what was read: none, it is hoped."""
    since = told["structure_since"]
    paths = told["structure_paths"]
    newer: list[Any] = ["|"] * (len(paths) - 1) + [(path, ">=", since) for path in paths]
    return ["|", ("model", "in", list(COUNTED)), "&", ("model", "in", told["models"]), *newer]


def _workflow_domain(told: Mapping[str, Any]) -> list[Any]:
    """Server actions of automations and schedules that are newer, or whose automation or schedule is."""
    since = told["workflow_since"]
    terms: list[list[Any]] = []
    for column in told["workflow_columns"]:
        terms.append([(f"{column}.write_date", ">=", since)])
        terms.append(["&", (column, "!=", False), ("write_date", ">=", since)])
    return ["|"] * (len(terms) - 1) + [part for term in terms for part in term] if terms else []
