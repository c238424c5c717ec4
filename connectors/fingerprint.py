"""Change detection: a fingerprint of an Odoo server, compared by a refresh instead of a full read.

A fingerprint holds the results of at most four cheap queries; of five on Odoo 14 to 18 with automation rules, which one
query cannot find together with scheduled actions. A refresh repeats them; equal results mean no change. A failed query,
another language of labels, or a fingerprint of another format version, counts as a change and leads to a full read.

Over RPC, Odoo's dates have a resolution of one second. A change within the second of the newest date would go
undetected; so a fingerprint whose newest date is not older than the read is inconclusive and equals nothing: the next
refresh reads in full.

Detected: modules installed, removed or upgraded (`ir.module.module.write_date` changes); rows added to or deleted from
any table that is read (row counts); models, fields, selection values, views, automations, scheduled actions and server
actions changed by hand. Not detected: reports and dashboards renamed by hand, and changes that began (Odoo dates a row
by the start of its transaction) before the newest date and were committed after the read. `FBS_FULL_AFTER` bounds the
age of undetected changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fbs_worker.connectors.reader import Reader, Row
from fbs_worker.connectors.tables import COUNTED, MODELS, MODULES, SERVER_ACTIONS, TABLES, VIEWS
from fbs_worker.core.errors import OdooError

VERSION: Final = 3
_FIELD_PATHS: Final = ("field_id.write_date", "field_id.selection_ids.write_date")
_FORMAT: Final = "%Y-%m-%d %H:%M:%S"

_CONCLUSIVE: Final = "settled"
"""Key of stored fingerprints: whether the newest date is older than the read."""


@dataclass(slots=True)
class Newest:
    """The newest write date of the rows read so far."""

    value: str = ""

    def add(self, rows: Iterable[Row]) -> None:
        """Take further rows into account."""
        for row in rows:
            date = row.get("write_date")
            # Odoo's dates are text of fixed width and compare as such
            if date and date > self.value:
                self.value = date

    @property
    def next_second(self) -> str:
        """The following second: RPC truncates the fractions of a second that the rows have."""
        if not self.value:
            return "1970-01-01 00:00:00"
        return (datetime.strptime(self.value, _FORMAT).replace(tzinfo=UTC) + timedelta(seconds=1)).strftime(_FORMAT)


@dataclass(slots=True)
class Fingerprint:
    """Collects the facts of a fingerprint during a read.

    Attributes:
        selection: the domain's criteria for modules.
        began: the server's time at its first response; empty where unknown.
        lang: the language of labels.
        answers: the results of the queries on whole tables.
        structure: the newest date of the domain's models, fields and selection values.
        workflow: the newest date of automations, schedules and their actions.
        models: the domain's models.
        read_fields: whether fields and selection values were read, so that their dates count.
        watched: relations to follow, by table, to find changed automations, scheduled actions and their actions; empty
            where they were not read.
    """

    selection: Mapping[str, Any] = field(default_factory=dict)
    began: str = ""
    lang: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    structure: Newest = field(default_factory=Newest)
    workflow: Newest = field(default_factory=Newest)
    models: list[str] = field(default_factory=list)
    read_fields: bool = False
    watched: dict[str, list[str]] = field(default_factory=dict)

    def add_table(self, name: str, rows: Sequence[Row]) -> None:
        """Record a table (`MODULES`, `VIEWS`) from all of its rows."""
        newest = Newest()
        newest.add(rows)
        last = max((row["id"] for row in rows), default=0)
        self.answers[name] = {"count": len(rows), "newest": newest.value, "last": last}

    def count(self, reader: Reader) -> None:
        """Record the row counts, before the tables are read: a row added meanwhile is detected later."""
        self.answers["counts"] = _counts(reader, [("model", "in", list(COUNTED))])

    def to_dict(self) -> dict[str, Any]:
        """The fingerprint, JSON-ready."""
        dates = [self.structure.value, self.workflow.value]
        dates += [answer["newest"] for name, answer in self.answers.items() if name != "counts"]
        return {
            "version": VERSION,
            _CONCLUSIVE: not self.began or max(dates) < self.began,
            "selection": self.selection,
            "lang": self.lang,
            "answers": self.answers,
            "models": sorted(self.models),
            "structure_paths": ["write_date", *(_FIELD_PATHS if self.read_fields else ())],
            "structure_since": self.structure.next_second,
            "workflow_since": self.workflow.next_second,
            "workflow_tables": self.watched,
        }


def unchanged(reader: Reader, fingerprint: Mapping[str, Any]) -> bool:
    """Repeat the queries of a fingerprint and compare the results.

    Args:
        reader: reads the server.
        fingerprint: result of `Fingerprint.to_dict`.

    Returns:
        True if all results are equal; any error of Odoo counts as a change.

    Raises:
        UnreachableError: the server does not answer.
    """
    if fingerprint.get("version") != VERSION or not fingerprint[_CONCLUSIVE] or fingerprint["lang"] != reader.lang:
        return False
    answers: Mapping[str, Any] = fingerprint["answers"]
    try:
        if reader.aggregate(MODULES, []) != answers[MODULES]:
            return False
        if "counts" in answers and _counts(reader, _counts_domain(fingerprint)) != answers["counts"]:
            return False
        if VIEWS in answers and reader.aggregate(VIEWS, list(TABLES[VIEWS].domain)) != answers[VIEWS]:
            return False
        for model, relations in fingerprint["workflow_tables"].items():
            domain = _workflow_domain(model, relations, fingerprint["workflow_since"])
            if reader.exists(model, domain):
                return False
    except OdooError:
        return False
    return True


def _counts(reader: Reader, domain: Sequence[Any]) -> dict[str, int]:
    rows = reader.transport.call(MODELS, "search_read", domain=list(domain), fields=["model", "count"])
    return {row["model"]: row["count"] for row in rows}


def _counts_domain(fingerprint: Mapping[str, Any]) -> list[Any]:
    """The counted tables, and any model of the domain newer than the read, which makes the results differ."""
    since = fingerprint["structure_since"]
    paths = fingerprint["structure_paths"]
    newer: list[Any] = ["|"] * (len(paths) - 1) + [(path, ">=", since) for path in paths]
    return ["|", ("model", "in", list(COUNTED)), "&", ("model", "in", fingerprint["models"]), *newer]


def _workflow_domain(model: str, relations: Sequence[str], since: str) -> list[Any]:
    """Rows that are newer, or refer to newer ones; of the server actions only those of automations and schedules."""
    terms: list[list[Any]] = [[(f"{relation}.write_date", ">=", since)] for relation in relations]
    if model == SERVER_ACTIONS:
        terms += (["&", (relation, "!=", False), ("write_date", ">=", since)] for relation in relations)
    else:
        terms.append([("write_date", ">=", since)])
    return ["|"] * (len(terms) - 1) + [part for term in terms for part in term]
