"""Bulk reads of Odoo's tables: all rows in as few calls as the page size allows.

Keyset pagination by id, not by offset: rows added or deleted between two pages neither repeat nor hide others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.tables import DESCRIBED, FIELDS, MODELS, REPORTS, TABLES, Table
from fbs_worker.core.errors import OdooBadAnswer, OdooModelMissing

Row = dict[str, Any]

MAX_ROWS: Final = 500_000
"""Maximum number of rows that are kept of one table; large tables are read page by page."""

NESTED_READS_SINCE: Final = (17, 0)
"""First series whose `web_search_read` accepts a nested `specification`."""
PLAIN_RELATIONS_SINCE: Final = (15, 0)
"""First series whose `search_read` passes `load=''` to `read`: a many2one is then its id without the display name,
whose computation takes most of the time (29 against 196 ms for 3,054 selection values)."""
SOURCE_LANGUAGE: Final = "en_US"
"""The language of untranslated names: every Odoo has it."""
FORMATTED_GROUPS_SINCE: Final = (19, 0)
"""First series with `formatted_read_group` instead of `read_group`."""


class Reader:
    """Reads tables through a transport.

    Args:
        transport: the open transport; used by one thread at a time.
        page_size: maximum rows per call.
        lang: language of labels.

    Attributes:
        left_out: columns that this user may not read in any table.
    """

    def __init__(self, transport: Transport, *, page_size: int, lang: str) -> None:
        self.transport = transport
        self.page_size = page_size
        self.lang = lang
        self.left_out: frozenset[str] = frozenset()
        self._columns: dict[str, frozenset[str]] = {}

    @property
    def major(self) -> tuple[int, int]:
        """The server's series as a comparable pair."""
        return self.transport.server.major

    def probe(
        self, models: Collection[str], *, columns: Sequence[str] = ("model", "name"), also: Sequence[Any] = ()
    ) -> Iterator[list[Row]]:
        """Read together the columns of several tables, and which of the tables exist; and further fields.

        Args:
            models: the tables' models.
            columns: columns of `ir.model.fields` to read.
            also: a criterion for further fields.

        Yields:
            Pages of the rows of `ir.model.fields`; the columns of the tables are known after the last one.
        """
        named = ("model", "in", sorted(models))
        known: dict[str, set[str]] = {model: set() for model in models}
        for page in self.pages(FIELDS, ["|", named, *also] if also else [named], columns):
            for row in page:
                if row["model"] in known:
                    known[row["model"]].add(row["name"])
            yield page
        self._columns.update({model: frozenset(names) for model, names in known.items()})

    def columns(self, model: str) -> frozenset[str]:
        """The columns of a table; empty where the server has no such table.

        Raises:
            OdooAccessDenied: the user may not read the table's description.
        """
        if model not in self._columns:
            try:
                described = self.transport.call(model, "fields_get", attributes=["type"])
            except OdooModelMissing:
                described = {}
            self._columns[model] = frozenset(described)
        return self._columns[model]

    def table(self, model: str, *, domain: Sequence[Any] = ()) -> list[Row]:
        """Read all rows of one of `TABLES`, with its relations nested where the server supports it.

        Args:
            model: the table's model.
            domain: filter in addition to the table's own domain.

        Returns:
            The rows.
        """
        table = TABLES[model]
        criteria = [*table.domain, *domain]
        columns = self._readable(table)
        context: dict[str, Any] = {"active_test": False} if table.archived else {}
        context |= {"lang": SOURCE_LANGUAGE} if table.untranslated else {}
        if table.relations and self.major >= NESTED_READS_SINCE:
            specification: dict[str, Any] = {column: {} for column in columns}
            for column, further in table.relations.items():
                if column in specification:
                    specification[column] = {"fields": {name: {} for name in further}}
            return self.nested(model, specification, domain=criteria, context=context)
        rows: list[Row] = []
        for page in self.pages(model, criteria, columns, context=context):
            self._check(model, page, before=len(rows))
            rows.extend(page)
        return rows

    def pages(
        self, model: str, domain: Sequence[Any], columns: Sequence[str], *, context: Mapping[str, Any] | None = None
    ) -> Iterator[list[Row]]:
        """Read the rows of a domain, page by page, ordered by id."""
        last = 0
        while True:
            after = [("id", ">", last)] if last else []
            page = self.transport.call(
                model,
                "search_read",
                domain=[*after, *domain],
                fields=list(columns),
                order="id",
                limit=self.page_size,
                **self._plain(),
                **self._context(context),
            )
            last = self._check(model, page, after=last)
            yield page
            if len(page) < self.page_size:
                return

    def nested(
        self,
        model: str,
        specification: Mapping[str, Any],
        *,
        domain: Sequence[Any] = (),
        context: Mapping[str, Any] | None = None,
    ) -> list[Row]:
        """Read the rows of a domain with nested rows of related tables (Odoo 17 and later)."""
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
            page: Any = answer.get("records") if isinstance(answer, dict) else None
            self._check(model, page, after=rows[-1]["id"] if rows else 0, before=len(rows))
            rows.extend(page)
            if len(page) < self.page_size:
                return rows

    def fields_by_model(self, models: Sequence[str]) -> Iterator[list[tuple[str, list[Row]]]]:
        """Read the fields of models, page by page; the fields of one model are never split between two pages.

        Args:
            models: names of models.

        Yields:
            Pages: pairs of a model's name and the rows of its fields. The last page has the models without fields:
            Odoo 15 and later have no rows of the fields of some abstract models.
        """
        columns = self._readable(TABLES[FIELDS])
        remaining = set(models)
        partial: str | None = None
        carried: list[Row] = []
        while remaining:
            page = self.transport.call(
                FIELDS,
                "search_read",
                domain=self._fields_after(remaining, partial, carried),
                fields=columns,
                order="model, id",
                limit=self.page_size,
                **self._plain(),
                **self._context(None),
            )
            self._check(FIELDS, page, before=len(carried))
            carried.extend(page)
            is_last = len(page) < self.page_size
            by_model = grouped(carried, "model")
            if is_last:
                by_model |= {model: [] for model in sorted(remaining - by_model.keys())}
                remaining.clear()
                carried = []
            else:
                partial = next(reversed(by_model))
                carried = by_model.pop(partial)
                remaining.difference_update(by_model)
            if by_model:
                yield list(by_model.items())

    def available_models(self) -> list[dict[str, str]]:
        """The models that the user may read, each with `model` and `display_name`, sorted by model."""
        available = self.transport.call(MODELS, "get_available_models", **self._context(None))
        return sorted(available, key=lambda entry: str(entry["model"]))

    def reported_models(self) -> list[dict[str, str]]:
        """The models of printed reports, as `available_models`."""
        models = {row["model"] for row in self.table(REPORTS) if row.get("model")}
        return [{"model": model, "display_name": ""} for model in sorted(models)]

    def described(self, model: str) -> dict[str, dict[str, Any]]:
        """Describe a model by `fields_get`: attributes by field."""
        attributes = [*DESCRIBED.values(), "selection"]
        described: dict[str, dict[str, Any]] = self.transport.call(
            model, "fields_get", attributes=attributes, **self._context(None)
        )
        return described

    def digits(self, model: str) -> dict[str, Any]:
        """Precision and scale of a model's float fields, by field; `ir.model.fields` does not have them."""
        described = self.transport.call(model, "fields_get", attributes=["digits"], **self._context(None))
        return {name: facts["digits"] for name, facts in described.items() if facts.get("digits")}

    def aggregate(self, model: str, domain: Sequence[Any]) -> dict[str, Any]:
        """Count the rows of a domain, with the newest write date and the highest id, in one call."""
        if self.major >= FORMATTED_GROUPS_SINCE:
            groups = self.transport.call(
                model,
                "formatted_read_group",
                domain=list(domain),
                groupby=[],
                aggregates=["__count", "write_date:max", "id:max"],
            )
            row = groups[0] if groups else {}
            newest, last = row.get("write_date:max"), row.get("id:max")
        else:
            groups = self.transport.call(
                model, "read_group", domain=list(domain), fields=["write_date:max", "id:max"], groupby=[], lazy=False
            )
            row = groups[0] if groups else {}
            newest, last = row.get("write_date"), row.get("id")
        return {"count": row.get("__count", 0), "newest": newest or "", "last": last or 0}

    def exists(self, model: str, domain: Sequence[Any]) -> bool:
        """Whether a domain has a row, archived or not. (`search_count` names its domain otherwise up to Odoo 15.)"""
        context = {"active_test": False}
        ask: dict[str, Any] = {"domain": list(domain), "fields": ["write_date"], "limit": 1, "context": context}
        return bool(self.transport.call(model, "search_read", **ask))

    def _check(self, model: str, page: Any, *, after: int = 0, before: int = 0) -> int:
        """Check that a page has rows, no more than were requested, that go on after the one before; the last id.

        Raises:
            OdooBadAnswer: it is not such a page, or the table has no end.
        """
        valid = isinstance(page, list) and len(page) <= self.page_size and before < MAX_ROWS
        ids = [row.get("id") if isinstance(row, dict) else None for row in page[-1:]] if valid else [None]
        last = ids[0] if ids else after + 1
        if not isinstance(last, int) or last <= after:
            raise OdooBadAnswer(
                f"The rows of {model} are not as Odoo sends them.",
                hint="Check that ODOO_URL is your Odoo, and proxies between this host and Odoo.",
            )
        return last

    def _readable(self, table: Table) -> list[str]:
        optional = [column for column in table.optional if column in self.columns(table.model)]
        return [column for column in (*table.columns, *optional) if column not in self.left_out]

    def _plain(self) -> dict[str, Any]:
        return {"load": ""} if self.major >= PLAIN_RELATIONS_SINCE else {}

    def _context(self, context: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"context": {"lang": self.lang, **(context or {})}}

    @staticmethod
    def _fields_after(remaining: set[str], partial: str | None, carried: Sequence[Row]) -> list[Any]:
        if partial is None:
            return [("model", "in", sorted(remaining))]
        others = sorted(remaining - {partial})
        return ["|", ("model", "in", others), "&", ("model", "=", partial), ("id", ">", carried[-1]["id"])]


def grouped(rows: Sequence[Row], column: str) -> dict[str, list[Row]]:
    """Group rows by a text column, in the order of its first values."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get(column) or "", []).append(row)
    return groups


def related_id(value: Any) -> int | None:
    """The id of a many2one in any of its forms: an id, `[id, name]`, `{"id": …}`, or false."""
    if isinstance(value, Mapping):
        value = value.get("id")
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    return value if isinstance(value, int) and value is not False else None
