"""Recorded rows with the interface of Odoo's records: field values, field types, relations between tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from fbs_worker.connectors.recording.domain_filter import DomainError
from fbs_worker.connectors.recording.file_format import RecordedTable, Recording
from fbs_worker.connectors.tables import DESCRIBED, FIELDS, MODELS, TABLES
from fbs_worker.core.errors import RecordingError

RELATIONAL: Final = frozenset({"many2one", "one2many", "many2many"})
HINT_LIVE: Final = "Set ODOO_URL to a running Odoo, or record that Odoo again with `fbs record FILE`."


class Database:
    """All tables of a recording.

    Args:
        recording: the recording.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._tables: dict[str, Table] = {}

    def table(self, model: str) -> Table:
        """The rows of a model.

        Raises:
            RecordingError: the recording does not have them.
        """
        if model not in self._tables:
            if model not in self.recording.tables:
                raise RecordingError(f"This recording has no rows of {model}.", hint=HINT_LIVE)
            self._tables[model] = Table(self, model, self.recording.tables[model])
        return self._tables[model]

    def count(self, model: str) -> int:
        """The number of recorded rows of a model."""
        return len(self.recording.tables[model].rows) if model in self.recording.tables else 0

    def fields(self, model: str) -> Mapping[str, Mapping[str, Any]]:
        """Result of `fields_get`: the recorded one, else derived from the rows of `ir.model.fields`."""
        return self.recording.fields.get(model) or self._described.get(model, {})

    def available(self) -> list[dict[str, str]]:
        """Result of `get_available_models`: the recorded one, else all recorded models that are not transient."""
        if self.recording.available or not self.count(MODELS):
            return [dict(entry) for entry in self.recording.available]
        models = [record for record in self.table(MODELS).records if not record.value("transient")]
        return [{"model": record.value("model"), "display_name": record.value("name")} for record in models]

    @cached_property
    def models(self) -> frozenset[str]:
        """All models of the recorded server, as far as they are known."""
        recording = self.recording
        named = [entry["model"] for entry in recording.available]
        if self.count(MODELS):
            named += [record.value("model") for record in self.table(MODELS).records]
        return frozenset({*recording.tables, *recording.fields, *recording.denied, *named})

    @cached_property
    def _described(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        described: dict[str, dict[str, dict[str, Any]]] = {}
        if self.count(FIELDS):
            table = self.table(FIELDS)
            attributes = {column: name for column, name in DESCRIBED.items() if column in table.columns}
            for record in table.records:
                facts = {name: value for column, name in attributes.items() if (value := record.value(column))}
                described.setdefault(record.value("model"), {})[record.value("name")] = facts
        return described


class Table:
    """The rows of one model, in recorded order.

    Args:
        database: the recording's tables.
        model: the model.
        recorded: its rows.
    """

    def __init__(self, database: Database, model: str, recorded: RecordedTable) -> None:
        self.database = database
        self.model = model
        self.columns = {name: index for index, name in enumerate(recorded.columns)}
        self.records = [Record(self, row) for row in recorded.rows]
        self._inverses: dict[str, dict[int, list[int]]] = {}

    @cached_property
    def by_id(self) -> Mapping[int, Record]:
        """The rows by id."""
        return {record.id: record for record in self.records}

    def facts(self, field: str) -> Mapping[str, Any]:
        """The attributes of a field; empty where the recording does not describe it."""
        return self.database.fields(self.model).get(field, {})

    def values(self, field: str, records: Sequence[Record]) -> list[Any]:
        """The values of a field in some of the rows; see `Record.value`."""
        index = self.columns.get(field)
        return [record.value(field) if index is None else _own(record.row[index]) for record in records]

    def referring(self, field: str, number: int) -> list[int]:
        """The ids of the rows whose many2one `field` is the id `number`."""
        if field not in self._inverses:
            inverse = self._inverses[field] = {}
            for record in self.records:
                inverse.setdefault(record.value(field), []).append(record.id)
        return self._inverses[field].get(number, [])


class Record:
    """One row.

    Args:
        table: the table of the row.
        row: its values.
    """

    __slots__ = ("row", "table")

    def __init__(self, table: Table, row: Sequence[Any]) -> None:
        self.table = table
        self.row = row

    @property
    def id(self) -> int:
        """The record's id."""
        number: int = self.row[self.table.columns["id"]]
        return number

    @property
    def name(self) -> str:
        """The display name."""
        named = self.value("name") if "name" in self.table.columns else ""
        return named or f"{self.table.model},{self.id}"

    def value(self, field: str) -> Any:
        """The value of a field: an id or False for a many2one, a list of ids for a one2many or many2many.

        Raises:
            DomainError: the recorded server has no such field.
            RecordingError: the server has the field, but the recording lacks its values.
        """
        index = self.table.columns.get(field)
        return self._computed(field) if index is None else _own(self.row[index])

    def related(self, field: str, *, complete: bool = False) -> list[Record]:
        """The recorded rows that a relational field refers to.

        Args:
            field: the field.
            complete: require all of them.

        Returns:
            The rows, in the order of the ids.

        Raises:
            DomainError: the field is no relation.
            RecordingError: the recording lacks the table, or one of the rows and `complete` is set.
        """
        value, facts = self.value(field), self.table.facts(field)
        if facts.get("type") not in RELATIONAL:
            raise DomainError(f"The field {field!r} of {self.table.model} is no relation")
        ids = value if isinstance(value, list) else [value] if value else []
        if not ids:
            return []
        comodel = self.table.database.table(facts.get("relation", ""))
        rows = [comodel.by_id[number] for number in ids if number in comodel.by_id]
        if complete and len(rows) < len(ids):
            raise RecordingError(
                f"This recording lacks rows of {comodel.model} that {self.table.model} refers to.", hint=HINT_LIVE
            )
        return rows

    def _computed(self, field: str) -> Any:
        table, facts = self.table, self.table.facts(field)
        if facts.get("type") == "one2many" and facts.get("relation_field"):
            return [*table.database.table(facts.get("relation", "")).referring(facts["relation_field"], self.id)]
        if field == "display_name":
            return self.name
        if (known := TABLES.get(table.model)) and field in (*known.columns, *known.optional, *known.recorded) and facts:
            return [] if facts.get("type") in {"one2many", "many2many"} else False  # recorded by an earlier version
        if (table.model, field) == (MODELS, "count"):
            return table.database.count(self.value("model"))
        if table.database.fields(table.model) and not facts:
            raise DomainError(f"Invalid field {field!r} on {table.model!r}")
        raise RecordingError(f"This recording has no {field} of {table.model}.", hint=HINT_LIVE)


def _own(value: Any) -> Any:
    """A recorded value as the caller may change it."""
    return False if value is None else [*value] if isinstance(value, list) else value
