"""Recorded rows with the interface of Odoo's records: field values, field types, relations between tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from fbs_worker.connectors.recording.domain_filter import TO_MANY, DomainError
from fbs_worker.connectors.recording.file_format import RecordedTable, Recording
from fbs_worker.core.errors import OdooModelMissing, RecordingError

_MODELS: Final = "ir.model"
_FIELDS: Final = "ir.model.fields"
_DESCRIBING: Final = {
    "ttype": "type",
    "field_description": "string",
    **{
        name: name
        for name in (
            "relation",
            "relation_field",
            "required",
            "readonly",
            "store",
            "size",
            "translate",
            "currency_field",
        )
    },
}
"""Columns of `ir.model.fields`, and the attributes of `fields_get` for them."""
_HINT_RECORD: Final = "Record the Odoo again with `fbs record FILE`, or set ODOO_URL to a running Odoo."


class RecordedDatabase:
    """All tables of a recording.

    Args:
        recording: the recording.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._tables: dict[str, RecordedRows] = {}

    def rows(self, model: str) -> RecordedRows:
        """The rows of a model.

        Raises:
            RecordingError: the recording has the model, but not its rows.
            OdooModelMissing: the recorded server has no such model.
        """
        if model not in self._tables:
            table = self.recording.tables.get(model)
            if table is None:
                self.check_known(model)
                raise RecordingError(f"This recording has no rows of {model}.", hint=_HINT_RECORD)
            self._tables[model] = RecordedRows(self, model, table)
        return self._tables[model]

    def has_rows(self, model: str) -> bool:
        """Whether the recording has rows of a model."""
        return model in self.recording.tables

    def check_known(self, model: str) -> None:
        """Check that the recorded server has a model.

        Raises:
            OdooModelMissing: the server has no such model.
        """
        if model not in self._known:
            raise OdooModelMissing(
                f"This recording has no model {model}.",
                hint="The model belongs to a module that was not installed, or to another version of Odoo.",
                model=model,
            )

    def available(self) -> list[dict[str, str]]:
        """Result of `get_available_models`: the recorded one, else all recorded models that are not transient."""
        recorded = self.recording.available
        if recorded or not self.has_rows(_MODELS):
            return [dict(entry) for entry in recorded]
        return [
            {"model": record.value("model"), "display_name": record.value("name")}
            for record in self.rows(_MODELS)
            if not record.value("transient")
        ]

    def fields(self, model: str) -> Mapping[str, Mapping[str, Any]]:
        """Result of `fields_get`: the recorded one, else derived from the rows of `ir.model.fields`."""
        return self.recording.fields.get(model) or self._described.get(model, {})

    @cached_property
    def _known(self) -> frozenset[str]:
        recording = self.recording
        named = {entry["model"] for entry in recording.available}
        if self.has_rows(_MODELS):
            named.update(record.value("model") for record in self.rows(_MODELS))
        return frozenset({*recording.tables, *recording.fields, *recording.denied, *named})

    @cached_property
    def _described(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        if not self.has_rows(_FIELDS):
            return {}
        rows = self.rows(_FIELDS)
        attributes = {column: name for column, name in _DESCRIBING.items() if column in rows.columns}
        described: dict[str, dict[str, dict[str, Any]]] = {}
        for record in rows:
            facts = {name: value for column, name in attributes.items() if (value := record.raw(column)) is not False}
            described.setdefault(record.raw("model"), {})[record.raw("name")] = facts
        return described


class RecordedRows:
    """The rows of one model, in recorded order."""

    def __init__(self, database: RecordedDatabase, model: str, table: RecordedTable) -> None:
        self.database = database
        self.model = model
        self.columns: Mapping[str, int] = {name: index for index, name in enumerate(table.columns)}
        self._rows = table.rows
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._inverses: dict[str, dict[int, list[int]]] = {}

    def __iter__(self) -> Iterator[RecordedRecord]:
        return (RecordedRecord(self, row) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def with_ids(self, ids: Iterable[int]) -> list[RecordedRecord]:
        """The recorded rows with given ids, in the order of the ids."""
        return [RecordedRecord(self, self._by_id[number]) for number in ids if number in self._by_id]

    def referring_to(self, field: str, number: int) -> list[int]:
        """The ids of the rows whose many2one `field` is the id `number`."""
        if field not in self._inverses:
            inverse: dict[int, list[int]] = {}
            for record in self:
                inverse.setdefault(record.value(field), []).append(record.id)
            self._inverses[field] = inverse
        return self._inverses[field].get(number, [])

    def facts(self, field: str) -> Mapping[str, Any]:
        """Type and relation of a recorded or computed field.

        Raises:
            DomainError: the recorded server has no such field.
            RecordingError: the server has the field, but the recording lacks its values.
        """
        if field not in self._facts:
            self._facts[field] = self._look_up_facts(field)
        return self._facts[field]

    def _look_up_facts(self, field: str) -> Mapping[str, Any]:
        described = self.database.fields(self.model)
        facts = described.get(field, {})
        if field in self.columns:
            return facts or {"type": "integer" if field == "id" else "char"}
        if facts.get("type") == "one2many" and facts.get("relation_field"):
            return facts
        if field == "display_name" or (self.model, field) == (_MODELS, "count"):
            return {"type": "char" if field == "display_name" else "integer"}
        if described and not facts:
            raise DomainError(f"Invalid field '{field}' on '{self.model}'")
        raise RecordingError(f"This recording has no {field} of {self.model}.", hint=_HINT_RECORD)

    @cached_property
    def _by_id(self) -> Mapping[int, Sequence[Any]]:
        index = self.columns["id"]
        return {row[index]: row for row in self._rows}


class RecordedRecord:
    """One row, as `domain_filter.Record`."""

    __slots__ = ("_row", "rows")

    def __init__(self, rows: RecordedRows, row: Sequence[Any]) -> None:
        self.rows = rows
        self._row = row

    @property
    def id(self) -> int:
        """The record's id."""
        number: int = self._row[self.rows.columns["id"]]
        return number

    def raw(self, column: str) -> Any:
        """The recorded value of a column, unconverted."""
        return self._row[self.rows.columns[column]]

    def kind(self, field: str) -> str:
        """The type of a field."""
        return str(self.rows.facts(field)["type"])

    def value(self, field: str) -> Any:
        """The value of a field: an id or False for a many2one, a list of ids for a one2many or many2many."""
        index = self.rows.columns.get(field)
        if index is None or (field == "count" and self.rows.model == _MODELS):
            return self._computed(field)
        value = self._row[index]
        if value is None:
            return False
        if not isinstance(value, list | tuple):
            return value
        return value[0] if self.kind(field) == "many2one" else list(value)

    def related(self, field: str, *, complete: bool = False) -> list[RecordedRecord]:
        """The recorded rows that a relational field refers to.

        Args:
            field: the field.
            complete: require all of them.

        Returns:
            The rows, in the order of the ids.

        Raises:
            RecordingError: the recording lacks the table, or one of the rows and `complete` is set.
        """
        value = self.value(field)
        ids = value if self.kind(field) in TO_MANY else [value] if value else []
        rows = self._comodel(field).with_ids(ids) if ids else []
        if complete and len(rows) < len(ids):
            raise RecordingError(
                f"This recording lacks rows of {self.comodel(field)} that {self.rows.model} refers to.",
                hint=_HINT_RECORD,
            )
        return rows

    def related_name(self, field: str) -> str:
        """The display name of the record that a many2one refers to."""
        value = self.raw(field)
        if isinstance(value, list | tuple):
            return str(value[1])
        relation = str(self.rows.facts(field).get("relation", ""))
        records = self._comodel(field).with_ids([value]) if self.rows.database.has_rows(relation) else []
        return str(records[0].value("display_name")) if records else f"{relation},{value}"

    def comodel(self, field: str) -> str:
        """The model that a relational field refers to.

        Raises:
            RecordingError: the recording lacks the field's relation.
        """
        relation = self.rows.facts(field).get("relation")
        if not relation:
            raise RecordingError(
                f"This recording lacks the relation of {field} of {self.rows.model}.", hint=_HINT_RECORD
            )
        return str(relation)

    def _comodel(self, field: str) -> RecordedRows:
        return self.rows.database.rows(self.comodel(field))

    def _computed(self, field: str) -> Any:
        facts = self.rows.facts(field)
        if field == "display_name":
            name = self.value("name") if "name" in self.rows.columns else ""
            return name or f"{self.rows.model},{self.id}"
        if field == "count":
            database, model = self.rows.database, self.raw("model")
            return len(database.rows(model)) if database.has_rows(model) else 0
        return self._comodel(field).referring_to(str(facts["relation_field"]), self.id)
