"""The rows of a recording, looked at as Odoo's records are: values, types, and ways from one table to another."""

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
"""Columns of `ir.model.fields`, and what `fields_get` calls them."""
_HINT_RECORD: Final = "Record the Odoo anew with `fbs record FILE`, or ask a running Odoo."


class RecordedDatabase:
    """All tables of a recording.

    Args:
        recording: what was recorded.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._tables: dict[str, RecordedRows] = {}

    def rows(self, model: str) -> RecordedRows:
        """The rows of a model.

        Raises:
            RecordingError: the recorded server has the model, but its rows were not recorded.
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
        """Whether rows of that model were recorded."""
        return model in self.recording.tables

    def check_known(self, model: str) -> None:
        """Make sure that the recorded server has a model.

        Raises:
            OdooModelMissing: it has not.
        """
        if model not in self._known:
            raise OdooModelMissing(
                f"This recording has no model {model}.",
                hint="The model belongs to a module that was not installed, or to another version of Odoo.",
                model=model,
            )

    def available(self) -> list[dict[str, str]]:
        """What `get_available_models` says: recorded as such, else every lasting model that was recorded."""
        recorded = self.recording.available
        if recorded or not self.has_rows(_MODELS):
            return [dict(entry) for entry in recorded]
        return [
            {"model": record.value("model"), "display_name": record.value("name")}
            for record in self.rows(_MODELS)
            if not record.value("transient")
        ]

    def fields(self, model: str) -> Mapping[str, Mapping[str, Any]]:
        """What `fields_get` says of a model: recorded as such, else made of its rows in `ir.model.fields`."""
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
        found = {column: name for column, name in _DESCRIBING.items() if column in rows.columns}
        described: dict[str, dict[str, dict[str, Any]]] = {}
        for record in rows:
            facts = {name: value for column, name in found.items() if (value := record.raw(column)) is not False}
            described.setdefault(record.raw("model"), {})[record.raw("name")] = facts
        return described


class RecordedRows:
    """The rows of one model, in the order in which they were recorded."""

    def __init__(self, database: RecordedDatabase, model: str, table: RecordedTable) -> None:
        self.database = database
        self.model = model
        self.columns: Mapping[str, int] = {name: place for place, name in enumerate(table.columns)}
        self._rows = table.rows
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._inverses: dict[str, dict[int, list[int]]] = {}

    def __iter__(self) -> Iterator[RecordedRecord]:
        return (RecordedRecord(self, row) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def with_ids(self, ids: Iterable[int]) -> list[RecordedRecord]:
        """The recorded rows of some ids, in the order of the ids."""
        return [RecordedRecord(self, self._by_id[number]) for number in ids if number in self._by_id]

    def leading_to(self, field: str, number: int) -> list[int]:
        """The ids of the rows whose many2one `field` is `number`."""
        if field not in self._inverses:
            found: dict[int, list[int]] = {}
            for record in self:
                found.setdefault(record.value(field), []).append(record.id)
            self._inverses[field] = found
        return self._inverses[field].get(number, [])

    def facts(self, field: str) -> Mapping[str, Any]:
        """Type and relation of a field that the rows have a value for.

        Raises:
            DomainError: the recorded server has no such field.
            RecordingError: it has, but its values were not recorded.
        """
        if field not in self._facts:
            self._facts[field] = self._find_facts(field)
        return self._facts[field]

    def _find_facts(self, field: str) -> Mapping[str, Any]:
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
        place = self.columns["id"]
        return {row[place]: row for row in self._rows}


class RecordedRecord:
    """One row, as `domain_filter.Record` says."""

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
        """What stands in a column, as it was recorded."""
        return self._row[self.rows.columns[column]]

    def kind(self, field: str) -> str:
        """The field's type."""
        return str(self.rows.facts(field)["type"])

    def value(self, field: str) -> Any:
        """The field's value: a many2one is an id or False, a one2many or many2many a list of ids."""
        place = self.rows.columns.get(field)
        if place is None or (field == "count" and self.rows.model == _MODELS):
            return self._computed(field)
        found = self._row[place]
        if found is None:
            return False
        if not isinstance(found, list | tuple):
            return found
        kind = self.kind(field)
        return found[0] if kind == "many2one" else list(found)

    def related(self, field: str, *, complete: bool = False) -> list[RecordedRecord]:
        """The recorded rows that a relational field leads to.

        Args:
            field: which field.
            complete: each of them must have been recorded.

        Raises:
            RecordingError: one was not, or none of their table were.
        """
        value = self.value(field)
        ids = value if self.kind(field) in TO_MANY else [value] if value else []
        found = self._comodel(field).with_ids(ids) if ids else []
        if complete and len(found) < len(ids):
            raise RecordingError(
                f"This recording lacks rows of {self.comodel(field)} that {self.rows.model} leads to.",
                hint=_HINT_RECORD,
            )
        return found

    def related_name(self, field: str) -> str:
        """The display name of what a many2one leads to."""
        found = self.raw(field)
        if isinstance(found, list | tuple):
            return str(found[1])
        relation = str(self.rows.facts(field).get("relation", ""))
        records = self._comodel(field).with_ids([found]) if self.rows.database.has_rows(relation) else []
        return str(records[0].value("display_name")) if records else f"{relation},{found}"

    def comodel(self, field: str) -> str:
        """The model that a relational field leads to.

        Raises:
            RecordingError: the recording does not say.
        """
        relation = self.rows.facts(field).get("relation")
        if not relation:
            raise RecordingError(
                f"This recording does not say where {field} of {self.rows.model} leads.", hint=_HINT_RECORD
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
        return self._comodel(field).leading_to(str(facts["relation_field"]), self.id)
