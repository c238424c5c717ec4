"""Bulk reads of Odoo's tables: all rows of a table in as few calls as its size allows.

Pages go by the last id seen (not by offset), so that a row that is added or deleted between two pages neither repeats
nor hides another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.tables import FIELDS, MODELS, TABLES, Table
from fbs_worker.core.errors import OdooModelMissing

Row = dict[str, Any]

NESTED_READS_SINCE: Final = (17, 0)
"""`web_search_read` takes a nested `specification` from this series on."""
PLAIN_RELATIONS_SINCE: Final = (16, 0)
"""`search_read` hands `load=''` on to `read` from this series on (a many2one is then its id, without the display name,
which costs Odoo most of the time of such a read: 29 against 196 ms for 3,054 selection values)."""
FORMATTED_GROUPS_SINCE: Final = (19, 0)
"""`formatted_read_group` takes `read_group`'s place from this series on."""


class Reader:
    """Reads tables through a transport.

    Args:
        transport: the open transport; used by one thread at a time.
        page_size: rows per call.
        lang: the language of labels.
    """

    def __init__(self, transport: Transport, *, page_size: int, lang: str) -> None:
        self.transport = transport
        self.page_size = page_size
        self.lang = lang
        self._columns: dict[str, frozenset[str]] = {}

    @property
    def major(self) -> tuple[int, int]:
        """The server's series as a pair that compares."""
        return self.transport.server.major

    def probe(self, models: Collection[str]) -> None:
        """Learn in one call which columns some tables have, and which of the tables exist."""
        rows = self.transport.call(
            FIELDS,
            "search_read",
            domain=[("model", "in", sorted(models))],
            fields=["model", "name"],
            **self._plain(),
        )
        found: dict[str, set[str]] = {model: set() for model in models}
        for row in rows:
            found[row["model"]].add(row["name"])
        self._columns.update({model: frozenset(names) for model, names in found.items()})

    def columns(self, model: str) -> frozenset[str]:
        """The columns of a table; none where the server has no such table.

        Raises:
            OdooAccessDenied: the user may not even ask.
        """
        if model not in self._columns:
            try:
                described = self.transport.call(model, "fields_get", attributes=["type"])
            except OdooModelMissing:
                described = {}
            self._columns[model] = frozenset(described)
        return self._columns[model]

    def table(self, model: str, *, domain: Sequence[Any] = ()) -> list[Row]:
        """All rows of one of `TABLES`, with its relations read along where it has any.

        Args:
            model: which table.
            domain: which of its rows, besides the table's own domain.
        """
        table = TABLES[model]
        wanted = [*table.domain, *domain]
        columns = [*table.columns, *self._optional(table)]
        context = {"active_test": False} if table.archived else {}
        if table.relations and self.major >= NESTED_READS_SINCE:
            specification: dict[str, Any] = {column: {} for column in columns}
            for column, further in table.relations.items():
                if column in specification:
                    specification[column] = {"fields": {name: {} for name in further}}
            return self.nested(model, specification, domain=wanted, context=context)
        return [row for page in self.pages(model, wanted, columns, context=context) for row in page]

    def pages(
        self, model: str, domain: Sequence[Any], columns: Sequence[str], *, context: Mapping[str, Any] | None = None
    ) -> Iterator[list[Row]]:
        """The rows of a domain, page by page, by id."""
        last = 0
        while True:
            after = [("id", ">", last)] if last else []
            page: list[Row] = self.transport.call(
                model,
                "search_read",
                domain=[*after, *domain],
                fields=list(columns),
                order="id",
                limit=self.page_size,
                **self._plain(),
                **self._context(context),
            )
            yield page
            if len(page) < self.page_size:
                return
            last = page[-1]["id"]

    def nested(
        self,
        model: str,
        specification: Mapping[str, Any],
        *,
        domain: Sequence[Any] = (),
        context: Mapping[str, Any] | None = None,
    ) -> list[Row]:
        """The rows of a domain with rows of related tables inside (Odoo 17 and later)."""
        rows: list[Row] = []
        while True:
            after = [("id", ">", rows[-1]["id"])] if rows else []
            answer = self.transport.call(
                model,
                "web_search_read",
                domain=[*after, *domain],
                specification=specification,
                order="id",
                limit=self.page_size,
                **self._context(context),
            )
            rows.extend(answer["records"])
            if len(answer["records"]) < self.page_size:
                return rows

    def fields_by_model(self, models: Sequence[str]) -> Iterator[list[tuple[str, list[Row]]]]:
        """The fields of some models, page by page; a model is never split between two pages.

        Args:
            models: names of models.

        Yields:
            Pairs of a model's name and the rows of its fields. A model without a field is left out.
        """
        table = TABLES[FIELDS]
        columns = [*table.columns, *self._optional(table)]
        remaining = set(models)
        partial: str | None = None
        held: list[Row] = []
        while remaining:
            page: list[Row] = self.transport.call(
                FIELDS,
                "search_read",
                domain=self._fields_after(remaining, partial, held),
                fields=columns,
                order="model, id",
                limit=self.page_size,
                **self._plain(),
                **self._context(None),
            )
            held.extend(page)
            whole = len(page) < self.page_size
            grouped = _by_model(held)
            if whole:
                remaining.clear()
                held = []
            else:
                partial = next(reversed(grouped))
                held = grouped.pop(partial)
                remaining.difference_update(grouped)
            if grouped:
                yield list(grouped.items())

    def available_models(self) -> list[dict[str, str]]:
        """The models that the user may read, each with `model` and `display_name`, sorted by model."""
        found = self.transport.call(MODELS, "get_available_models", **self._context(None))
        return sorted(found, key=lambda entry: str(entry["model"]))

    def described(self, model: str, attributes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What `fields_get` says of a model, by field."""
        found: dict[str, dict[str, Any]] = self.transport.call(
            model, "fields_get", attributes=list(attributes), **self._context(None)
        )
        return found

    def aggregate(self, model: str, domain: Sequence[Any]) -> dict[str, Any]:
        """How many rows a domain has, the newest write date and the highest id, in one call."""
        if self.major >= FORMATTED_GROUPS_SINCE:
            found = self.transport.call(
                model,
                "formatted_read_group",
                domain=list(domain),
                groupby=[],
                aggregates=["__count", "write_date:max", "id:max"],
            )
            row = found[0] if found else {}
            newest, last = row.get("write_date:max"), row.get("id:max")
        else:
            found = self.transport.call(
                model, "read_group", domain=list(domain), fields=["write_date:max", "id:max"], groupby=[], lazy=False
            )
            row = found[0] if found else {}
            newest, last = row.get("write_date"), row.get("id")
        return {"count": row.get("__count", 0), "newest": newest or "", "last": last or 0}

    def _optional(self, table: Table) -> list[str]:
        return [column for column in table.optional if column in self.columns(table.model)] if table.optional else []

    def _plain(self) -> dict[str, Any]:
        return {"load": ""} if self.major >= PLAIN_RELATIONS_SINCE else {}

    def _context(self, context: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"context": {"lang": self.lang, **(context or {})}}

    @staticmethod
    def _fields_after(remaining: set[str], partial: str | None, held: Sequence[Row]) -> list[Any]:
        if partial is None:
            return [("model", "in", sorted(remaining))]
        rest = sorted(remaining - {partial})
        return ["|", ("model", "in", rest), "&", ("model", "=", partial), ("id", ">", held[-1]["id"])]


def _by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["model"], []).append(row)
    return grouped


def related_id(value: Any) -> int | None:
    """The id of a many2one, however it was read: an id, `[id, name]`, `{"id": …}`, or false."""
    if isinstance(value, Mapping):
        value = value.get("id")
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    return value if isinstance(value, int) and value is not False else None
