"""Replay transport: a read-only Odoo in memory, backed by a recording.

Calls are answered from the recorded rows, not from recorded answers: a recording answers calls that the connector did
not make when it was written, for any domain, page size and series.

Supported methods, with the results of Odoo: `search`, `search_read`, `search_count`, `read`, `web_search_read`,
`read_group` and `formatted_read_group` (maxima of a whole domain), `fields_get` and `ir.model.get_available_models`.
Without an order, rows are in recorded order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fbs_worker.connectors.base import ServerInfo, parse_series
from fbs_worker.connectors.odoo_errors import CallContext, access_denied, model_missing, odoo_error
from fbs_worker.connectors.recording.domain_filter import DomainError, fields_of, predicate
from fbs_worker.connectors.recording.file_format import HINT_AGAIN, read_recording
from fbs_worker.connectors.recording.rows import HINT_LIVE, RELATIONAL, Database, Record
from fbs_worker.core.errors import OdooModelMissing, RecordingError

METHODS_SINCE: Final[Mapping[str, tuple[int, int]]] = {
    "get_available_models": (16, 0),
    "web_search_read": (17, 0),
    "formatted_read_group": (19, 0),
}
"""First series of methods that older ones lack, or (`web_search_read`) have with other arguments."""

_Context = Mapping[str, Any] | None


def read_database(path: Path) -> Database:
    """The tables of a recording.

    Args:
        path: the file.

    Raises:
        RecordingError: the recording is missing or damaged.
    """
    return Database(read_recording(path))


class RecordingTransport:
    """A `fbs_worker.connectors.base.Transport` that answers model calls from a recording.

    Args:
        path: the file of the recording.

    Attributes:
        server: the recorded server.
        uid: always 0: a recording has no login.
        clock: always empty: a recording has no clock.
        calls: number of model calls made.

    Raises:
        RecordingError: the recording is missing or damaged.
    """

    uid = 0
    clock = ""
    waits = ""
    held = 0

    def __init__(self, path: Path) -> None:
        self._database = read_database(path)
        recording = self._database.recording
        try:
            series, major = parse_series(recording.series)
        except ValueError:
            raise RecordingError(f"The recording {path} has no valid series of Odoo.", hint=HINT_AGAIN) from None
        self.server = ServerInfo(series=series, major=major, url=f"recording:{path.name}", database=recording.database)
        self.calls = 0
        self._denied = recording.denied
        self._describing: Mapping[str, Callable[..., Any]] = {
            "fields_get": self._fields_get,
            "get_available_models": self._get_available_models,
        }
        self._reading: Mapping[str, Callable[..., Any]] = {
            "search": self._search,
            "search_count": self._search_count,
            "search_read": self._search_read,
            "read": self._read,
            "web_search_read": self._web_search_read,
            "read_group": self._read_group,
            "formatted_read_group": self._formatted_read_group,
        }

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Answer a call by named arguments; see `fbs_worker.connectors.base.Transport.call`.

        Raises:
            OdooModelMissing: the recorded server has no such model, or its series no such method.
            OdooAccessDenied: the table was denied to the recording user.
            OdooCallFailed: an argument or the domain is not valid.
            RecordingError: the recording lacks the requested data, or the replay does not support the call.
        """
        self.calls += 1
        context = CallContext(url=self.server.url, database=self.server.database, model=model, method=method)
        if METHODS_SINCE.get(method, (0, 0)) > self.server.major:
            raise model_missing(context)
        if model not in self._database.models:
            hint = "The model belongs to a module that was not installed, or to another version of Odoo."
            raise OdooModelMissing(f"This recording has no model {model}.", hint=hint, model=model)
        answer = self._describing.get(method) or self._reading.get(method)
        if answer is None:
            message = f"This recording cannot answer {model}.{method}."
            raise RecordingError(message, hint=HINT_LIVE, model=model, method=method)
        if method in self._reading and model in self._denied:
            raise access_denied(self._denied[model], context)
        parameters = arguments if ids is None else {"ids": ids, **arguments}
        try:
            return answer(model, **parameters)
        except (DomainError, TypeError) as exc:  # TypeError: an unknown argument
            raise odoo_error(f"builtins.{type(exc).__name__}", str(exc), context) from None

    def close(self) -> None:
        """Do nothing: a recording has no connection."""

    def _fields_get(
        self,
        model: str,
        *,
        allfields: Sequence[str] = (),
        attributes: Sequence[str] = (),
        context: _Context = None,  # noqa: ARG002  every method of Odoo takes it
    ) -> dict[str, dict[str, Any]]:
        described = self._database.fields(model)
        if not described:
            raise RecordingError(f"This recording has no description of the fields of {model}.", hint=HINT_LIVE)
        return {
            name: {key: value for key, value in facts.items() if not attributes or key in attributes}
            for name, facts in described.items()
            if not allfields or name in allfields
        }

    def _get_available_models(self, _model: str, *, context: _Context = None) -> list[dict[str, str]]:  # noqa: ARG002
        return self._database.available()

    def _search(self, model: str, **search: Any) -> list[int]:
        return [record.id for record in self._found(model, **search)]

    def _search_count(self, model: str, **search: Any) -> int:
        return len(self._found(model, **search))

    def _search_read(
        self, model: str, *, fields: Sequence[str] = (), load: str | None = "_classic_read", **search: Any
    ) -> list[dict[str, Any]]:
        return self._values(model, self._found(model, **search), fields, named=load == "_classic_read")

    def _read(
        self,
        model: str,
        *,
        ids: Sequence[int],
        fields: Sequence[str] = (),
        load: str | None = "_classic_read",
        context: _Context = None,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        by_id = self._database.table(model).by_id
        records = [by_id[number] for number in ids if number in by_id]
        return self._values(model, records, fields, named=load == "_classic_read")

    def _web_search_read(
        self,
        model: str,
        *,
        specification: Mapping[str, Mapping[str, Any]],
        offset: int = 0,
        limit: int | None = None,
        **search: Any,
    ) -> dict[str, Any]:
        records = self._found(model, **search)
        page = _page(records, offset, limit)
        return {"length": len(records), "records": [_nested(record, specification) for record in page]}

    def _formatted_read_group(
        self, model: str, *, groupby: Sequence[str] = (), aggregates: Sequence[str] = (), **search: Any
    ) -> list[dict[str, Any]]:
        records = self._whole_group(model, groupby, **search)
        counted = {"__count": len(records)} if "__count" in aggregates else {}
        maxima = {name: _maximum(records, name) for name in aggregates if name != "__count"}
        return [{"__extra_domain": [[1, "=", 1]], **counted, **maxima}]

    def _read_group(
        self,
        model: str,
        *,
        domain: Sequence[Any],
        fields: Sequence[str],
        groupby: Sequence[str] = (),
        lazy: bool = True,  # noqa: ARG002  irrelevant without grouping
        **search: Any,
    ) -> list[dict[str, Any]]:
        records = self._whole_group(model, groupby, domain=domain, **search)
        maxima = {name.partition(":")[0]: _maximum(records, name) for name in fields}
        return [{"__count": len(records), "__domain": list(domain) or [[1, "=", 1]], **maxima}]

    def _whole_group(self, model: str, groupby: Sequence[str], **search: Any) -> list[Record]:
        if groupby:
            raise RecordingError("This recording cannot group by a field.", hint=HINT_LIVE)
        return self._found(model, **search)

    def _found(
        self,
        model: str,
        *,
        domain: Sequence[Any] = (),
        offset: int = 0,
        limit: int | None = None,
        order: str | None = None,
        context: _Context = None,
    ) -> list[Record]:
        table, holds = self._database.table(model), predicate(domain)
        records = [record for record in table.records if holds(record)]
        if "active" in table.columns and (context or {}).get("active_test", True) and "active" not in fields_of(domain):
            records = [record for record in records if record.value("active")]
        for field, descending in reversed(_orders(order or "")):
            if table.facts(field).get("type") in RELATIONAL:
                raise RecordingError(f"This recording cannot order by the relation {field}.", hint=HINT_LIVE)
            # as PostgreSQL does: unset values last, and first in descending order
            records.sort(key=lambda record, field=field: _unset_last(record.value(field)), reverse=descending)  # type: ignore[misc]
        return _page(records, offset, limit)

    def _values(
        self, model: str, records: Sequence[Record], fields: Sequence[str], *, named: bool
    ) -> list[dict[str, Any]]:
        table = self._database.table(model)
        names = dict.fromkeys(["id", *(fields or table.columns)])
        columns = [
            [_pair(record, name) for record in records]
            if named and table.facts(name).get("type") == "many2one"
            else table.values(name, records)
            for name in names
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _page(records: list[Record], offset: int, limit: int | None) -> list[Record]:
    return records[offset : offset + limit] if limit else records[offset:]


def _orders(order: str) -> list[tuple[str, bool]]:
    """Parse an order into pairs of field and whether it is descending."""
    pairs = [piece.strip().partition(" ") for piece in order.split(",") if piece.strip()]
    if any(direction.strip().lower() not in ("", "asc", "desc") for _, _, direction in pairs):
        raise DomainError(f"Invalid order {order!r}")
    return [(field, direction.strip().lower() == "desc") for field, _, direction in pairs]


def _unset_last(value: Any) -> tuple[bool, Any]:
    return (True, 0) if value is False else (False, value)


def _maximum(records: Iterable[Record], aggregate: str) -> Any:
    field, _, function = aggregate.partition(":")
    if function != "max":
        raise DomainError(f"Unsupported aggregate {aggregate!r}")
    return max((value for record in records if (value := record.value(field)) is not False), default=False)


def _pair(record: Record, field: str) -> Any:
    """A many2one with display name, as `search_read` gives it."""
    number = record.value(field)
    if not number:
        return number
    relation = record.table.facts(field).get("relation", "")
    related = record.related(field) if record.table.database.count(relation) else []
    return [number, related[0].name if related else f"{relation},{number}"]


def _nested(record: Record, specification: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A record in the form of `web_read` (`odoo/addons/web/models/models.py`)."""
    values: dict[str, Any] = {"id": record.id}
    for field, nested in specification.items():
        value = values[field] = record.value(field)
        if value and "fields" in nested:
            related = [_nested(other, nested["fields"]) for other in record.related(field, complete=True)]
            values[field] = related if isinstance(value, list) else related[0]
    return values
