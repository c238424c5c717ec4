"""Replay transport: a read-only Odoo in memory, backed by a recording.

Supported methods, with the results of Odoo: `search`, `search_read`, `search_count`, `read`, `web_search_read`,
`read_group` and `formatted_read_group` (without grouping fields), `fields_get` and `ir.model.get_available_models`.
Without an order, rows are in recorded order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fbs_worker.connectors.base import ServerInfo
from fbs_worker.connectors.odoo_errors import CallContext, access_denied, model_missing, odoo_error
from fbs_worker.connectors.recording.domain_filter import RELATIONAL, TO_MANY, DomainError, fields_of, predicate
from fbs_worker.connectors.recording.file_format import read_recording
from fbs_worker.connectors.recording.rows import RecordedDatabase, RecordedRecord
from fbs_worker.core.errors import RecordingError

METHODS_SINCE: Final[Mapping[str, tuple[int, int]]] = {
    "get_available_models": (16, 0),
    "web_search_read": (17, 0),
    "formatted_read_group": (19, 0),
}
"""First series of methods that older ones lack, or (`web_search_read`) have with other arguments."""

_HINT_LIVE: Final = "Set ODOO_URL to a running Odoo."

_AGGREGATES: Final[Mapping[str, Callable[[list[Any]], Any]]] = {
    "max": lambda values: max(values, default=False),
    "min": lambda values: min(values, default=False),
    "sum": sum,
    "count": len,
    "count_distinct": lambda values: len(set(values)),
}


class RecordingTransport:
    """A `fbs_worker.connectors.base.Transport` that answers model calls from a recording.

    Args:
        path: the file of the recording.

    Raises:
        RecordingError: the recording is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        recording = read_recording(path)
        self._denied = recording.denied
        self._database = RecordedDatabase(recording)
        self._calls = 0
        major, _, minor = recording.series.partition(".")
        try:
            pair = (int(major), int(minor or 0))
        except ValueError:
            raise RecordingError(
                f"The recording {path} has no valid series of Odoo.", hint="Record it again with `fbs record FILE`."
            ) from None
        self._server = ServerInfo(
            series=recording.series, major=pair, url=f"recording:{path.name}", database=recording.database
        )

    @property
    def server(self) -> ServerInfo:
        """The recorded server."""
        return self._server

    @property
    def clock(self) -> str:
        """Always empty: a recording has no clock."""
        return ""

    @property
    def calls(self) -> int:
        """Number of model calls made."""
        return self._calls

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Answer a call by named arguments; see `fbs_worker.connectors.base.Transport.call`.

        Raises:
            OdooModelMissing: the recorded server has no such model, or its series no such method.
            OdooAccessDenied: the table was denied to the recording user.
            OdooCallFailed: an argument or the domain is not valid.
            RecordingError: the recording lacks the requested data, or the replay does not support the call.
        """
        self._calls += 1
        context = CallContext(url=self._server.url, database=self._server.database, model=model, method=method)
        if METHODS_SINCE.get(method, (0, 0)) > self._server.major:
            raise model_missing(context)
        self._database.check_known(model)
        answer = self._describing.get(method) or self._reading.get(method)
        if answer is None or (method == "get_available_models" and model != "ir.model"):
            message = f"This recording cannot answer {model}.{method}."
            raise RecordingError(message, hint=_HINT_LIVE, model=model, method=method)
        if method in self._reading and model in self._denied:
            raise access_denied(self._denied[model], context)
        parameters = arguments if ids is None else {"ids": ids, **arguments}
        try:
            inspect.signature(answer).bind(model, **parameters)
        except TypeError as exc:
            raise odoo_error("builtins.TypeError", str(exc), context) from None
        try:
            return answer(model, **parameters)
        except DomainError as exc:
            raise odoo_error("builtins.ValueError", str(exc), context) from None

    def close(self) -> None:
        """Do nothing: a recording has no connection."""

    @property
    def _describing(self) -> Mapping[str, Callable[..., Any]]:
        return {"fields_get": self._fields_get, "get_available_models": self._get_available_models}

    @property
    def _reading(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "search": self._search,
            "search_count": self._search_count,
            "search_read": self._search_read,
            "read": self._read,
            "web_search_read": self._web_search_read,
            "read_group": self._read_group,
            "formatted_read_group": self._formatted_read_group,
        }

    def _fields_get(
        self,
        model: str,
        *,
        allfields: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
        context: Mapping[str, Any] | None = None,  # noqa: ARG002  every method of Odoo takes it
    ) -> dict[str, dict[str, Any]]:
        described = self._database.fields(model)
        if not described:
            raise RecordingError(f"This recording has no description of the fields of {model}.", hint=_HINT_LIVE)
        return {
            name: {key: value for key, value in facts.items() if not attributes or key in attributes}
            for name, facts in described.items()
            if not allfields or name in allfields
        }

    def _get_available_models(
        self,
        _model: str,
        *,
        context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> list[dict[str, str]]:
        return self._database.available()

    def _search(
        self,
        model: str,
        *,
        domain: Sequence[Any] = (),
        offset: int = 0,
        limit: int | None = None,
        order: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[int]:
        return [record.id for record in _page(self._matching(model, domain, order, context), offset, limit)]

    def _search_count(
        self,
        model: str,
        *,
        domain: Sequence[Any] = (),
        limit: int | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> int:
        return len(_page(self._matching(model, domain, None, context), 0, limit))

    def _search_read(
        self,
        model: str,
        *,
        domain: Sequence[Any] = (),
        fields: Sequence[str] = (),
        offset: int = 0,
        limit: int | None = None,
        order: str | None = None,
        load: str | None = "_classic_read",
        context: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        records = _page(self._matching(model, domain, order, context), offset, limit)
        return self._values(model, records, fields, named=load == "_classic_read")

    def _read(
        self,
        model: str,
        *,
        ids: Sequence[int] = (),
        fields: Sequence[str] = (),
        load: str | None = "_classic_read",
        context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        records = self._database.rows(model).with_ids(ids)
        return self._values(model, records, fields, named=load == "_classic_read")

    def _web_search_read(
        self,
        model: str,
        *,
        domain: Sequence[Any],
        specification: Mapping[str, Mapping[str, Any]],
        offset: int = 0,
        limit: int | None = None,
        order: str | None = None,
        count_limit: int | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        records = self._matching(model, domain, order, context)
        length = min(len(records), count_limit) if count_limit else len(records)
        page = _page(records, offset, limit)
        return {"length": length, "records": [_nested(record, specification) for record in page]}

    def _formatted_read_group(
        self,
        model: str,
        *,
        domain: Sequence[Any],
        groupby: Sequence[str] = (),
        aggregates: Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        records = self._whole_group(model, domain, groupby, context)
        group: dict[str, Any] = {"__extra_domain": [[1, "=", 1]]}
        for aggregate in aggregates:
            group[aggregate] = len(records) if aggregate == "__count" else self._aggregate(model, records, aggregate)
        return [group]

    def _read_group(
        self,
        model: str,
        *,
        domain: Sequence[Any],
        fields: Sequence[str],
        groupby: Sequence[str] = (),
        lazy: bool = True,  # noqa: ARG002  irrelevant without grouping
        context: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        records = self._whole_group(model, domain, groupby, context)
        group: dict[str, Any] = {"__count": len(records), "__domain": list(domain) or [[1, "=", 1]]}
        for aggregate in fields:
            group[aggregate.partition(":")[0]] = self._aggregate(model, records, aggregate)
        return [group]

    def _whole_group(
        self, model: str, domain: Sequence[Any], groupby: Sequence[str], context: Mapping[str, Any] | None
    ) -> list[RecordedRecord]:
        if groupby:
            raise RecordingError("This recording cannot group by a field.", hint=_HINT_LIVE)
        return self._matching(model, domain, None, context)

    def _matching(
        self, model: str, domain: Sequence[Any], order: str | None, context: Mapping[str, Any] | None
    ) -> list[RecordedRecord]:
        rows = self._database.rows(model)
        holds = predicate(domain)
        records = [record for record in rows if holds(record)]
        if "active" in rows.columns and (context or {}).get("active_test", True) and "active" not in fields_of(domain):
            records = [record for record in records if record.value("active")]
        for key, descending in reversed(_orders(order or "")):
            records.sort(key=lambda record, key=key: _sort_key(record, key), reverse=descending)  # type: ignore[misc]
        return records

    def _aggregate(self, model: str, records: Iterable[RecordedRecord], aggregate: str) -> Any:
        field, _, function = aggregate.partition(":")
        self._database.rows(model).facts(field)
        if function not in _AGGREGATES:
            raise DomainError(f"Invalid aggregate {aggregate!r}")
        return _AGGREGATES[function]([value for record in records if (value := record.value(field)) is not False])

    def _values(
        self, model: str, records: Iterable[RecordedRecord], fields: Sequence[str], *, named: bool
    ) -> list[dict[str, Any]]:
        names = list(dict.fromkeys(fields)) if fields else list(self._database.rows(model).columns)
        kinds = {name: str(self._database.rows(model).facts(name)["type"]) for name in names}

        def read(record: RecordedRecord, name: str) -> Any:
            value = record.value(name)
            return [value, record.related_name(name)] if named and value and kinds[name] == "many2one" else value

        return [{"id": record.id, **{name: read(record, name) for name in names}} for record in records]


def _page(records: list[RecordedRecord], offset: int, limit: int | None) -> list[RecordedRecord]:
    return records[offset : offset + limit] if limit else records[offset:]


def _orders(order: str) -> list[tuple[str, bool]]:
    """Parse an order into pairs of field and whether it is descending."""
    pieces = [piece.split() for piece in order.split(",") if piece.strip()]
    if any(len(piece) > 2 or (len(piece) == 2 and piece[1].lower() not in ("asc", "desc")) for piece in pieces):
        raise DomainError(f"Invalid order {order!r}")
    return [(piece[0], len(piece) == 2 and piece[1].lower() == "desc") for piece in pieces]


def _sort_key(record: RecordedRecord, field: str) -> tuple[bool, Any]:
    """Sort as PostgreSQL does: unset values last, and first in descending order."""
    kind = record.kind(field)
    if kind in RELATIONAL:
        raise RecordingError(f"This recording cannot order by the relation {field}.", hint=_HINT_LIVE)
    value = record.value(field)
    return (True, 0) if value is False and kind != "boolean" else (False, value)


def _nested(record: RecordedRecord, specification: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A record in the form of `web_read` (`odoo/addons/web/models/models.py`)."""
    values: dict[str, Any] = {"id": record.id}
    for field, nested in specification.items():
        value = record.value(field)
        if nested.keys() - {"fields", "context"}:
            raise RecordingError("This recording cannot order or limit nested records.", hint=_HINT_LIVE)
        if "fields" not in nested or record.kind(field) not in RELATIONAL or not value:
            values[field] = value
            continue
        related = [_nested(other, nested["fields"]) for other in record.related(field, complete=True)]
        values[field] = related if record.kind(field) in TO_MANY else related[0]
    return values
