"""Records in memory: a `RecordSource` that behaves as Odoo does, with transactions that commit late and rights that go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fbs_worker.core.errors import OdooAccessDenied, OdooModelMissing
from fbs_worker.replication.source import Dates, Page, Reader, Summary, Unreadable

BEGAN = datetime(2026, 3, 1, 12, 0, 0)  # noqa: DTZ001 -- Odoo's dates have no zone


@dataclass
class MemoryOdoo:
    """Models with their records, and a clock that every answer moves by a second.

    Attributes:
        models: model → id → field → value; relations are ids, empty values false, as RPC has them.
        hidden: model → ids that the user may not see.
        gone_fields: fields that the user may not read, or that are gone.
        broken: ids that Odoo cannot answer, with the error.
        page_size: records of a page.
        on_page: called before each page is answered, with the model and the number of pages before.
        asked: the methods that were called, with their model.
    """

    models: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    hidden: dict[str, set[int]] = field(default_factory=dict)
    gone_fields: set[str] = field(default_factory=set)
    broken: dict[int, str] = field(default_factory=dict)
    uid: int = 2
    groups: tuple[int, ...] = (1,)
    companies: tuple[int, ...] = (1,)
    born: tuple[tuple[int, str], ...] = ((1, "2026-01-01 00:00:00"), (2, "2026-01-01 00:00:05"))
    page_size: int = 3
    on_page: Callable[[str, int], None] | None = None
    now: datetime = BEGAN
    asked: list[tuple[str, str]] = field(default_factory=list)
    clock: str = ""

    @property
    def calls(self) -> int:
        """The number of calls made."""
        return len(self.asked)

    def put(self, model: str, number: int, *, at: datetime | None = None, **values: Any) -> None:
        """Create or write a record; `at` is the beginning of its transaction."""
        before = self.models.setdefault(model, {}).get(number, {})
        moved = {**values, "write_date": _text(at or self.now)}
        self.models[model][number] = {"create_date": _text(at or self.now), **before, **moved, "id": number}

    def silently(self, model: str, number: int, **values: Any) -> None:
        """Write a record without moving its date, as SQL does and many writes of the other side."""
        self.models[model][number].update(values)

    def delete(self, model: str, *numbers: int) -> None:
        """Delete records."""
        for number in numbers:
            del self.models[model][number]

    def pass_time(self, **span: float) -> None:
        """Move the clock, by arguments of timedelta."""
        self.now += timedelta(**span)

    def reader(self, known: Reader | None = None) -> Reader:
        """Who reads."""
        if known is not None:
            return known
        self._answer("reader", "")
        return Reader(
            uid=self.uid,
            companies=self.companies,
            groups=self.groups,
            lang="en_US",
            url="http://odoo.example",
            database="odoo",
            born=self.born,
        )

    def readable(self, model: str) -> frozenset[str]:
        """The fields that may be read."""
        self._answer("fields_get", model)
        records = self._records(model)
        return frozenset(name for record in records.values() for name in record) - self.gone_fields

    def summary(self, model: str, domain: Sequence[Any] = ()) -> Summary:
        """Count records."""
        self._answer("summary", model)
        found = self._matching(model, domain)
        return Summary(count=len(found), last_id=max((record["id"] for record in found), default=0))

    def dates(self, model: str, *, bounds: Sequence[int]) -> Iterator[Dates]:
        """Ids and write dates."""
        for after, up_to in zip([0, *bounds], [*bounds, None], strict=True):
            self._answer("dates", model)
            found = self._matching(model, [("id", ">", after), *([("id", "<=", up_to)] if up_to is not None else [])])
            ids, written = [record["id"] for record in found], [record["write_date"] for record in found]
            yield Dates(after=after, up_to=up_to, ids=ids, written=written)

    def existing(self, model: str, ids: Sequence[int]) -> set[int]:
        """Which records there are."""
        self._answer("search", model)
        return {record["id"] for record in self._matching(model, [("id", "in", ids)])}

    def pages(
        self,
        model: str,
        fields: Sequence[str],
        *,
        domain: Sequence[Any] = (),
        after: int = 0,
        ahead: bool = True,
        links: Collection[str] = (),
    ) -> Iterator[Page]:
        """Pages of records."""
        number = 0
        while True:
            if self.on_page is not None:
                self.on_page(model, number)
            number += 1
            self._answer("search_read", model)
            found = self._matching(model, [("id", ">", after), *domain])[: self.page_size]
            after = found[-1]["id"] if found else after
            left_out = frozenset(fields) & self.gone_fields
            names = ["id", *(name for name in fields if name not in left_out)]
            is_last = len(found) < self.page_size
            yield Page(
                records=[{name: row[name] for name in names} for row in found if row["id"] not in self.broken],
                last_id=after,
                unreadable=[
                    Unreadable(id=row["id"], reason=self.broken[row["id"]]) for row in found if row["id"] in self.broken
                ],
                left_out=left_out,
                clock=self.clock,
                is_last=is_last,
            )
            if is_last:
                return

    def _answer(self, method: str, model: str) -> None:
        self.asked.append((method, model))
        self.clock = _text(self.now)
        self.now += timedelta(seconds=1)

    def _records(self, model: str) -> dict[int, dict[str, Any]]:
        if model not in self.models:
            raise OdooModelMissing(f"This Odoo has no model {model}.")
        if self.hidden.get(model) == {0}:
            raise OdooAccessDenied(f"The Odoo user may not call {model}.search_read.")
        return self.models[model]

    def _matching(self, model: str, domain: Sequence[Any]) -> list[dict[str, Any]]:
        """The records of a domain in the order of their ids. Dates compare as in Odoo 14: `>=` and `<=` of text."""
        found = [
            record
            for number, record in sorted(self._records(model).items())
            if number not in self.hidden.get(model, ())
        ]
        for name, operator, value in domain:
            found = [record for record in found if _holds(record[name], operator, value)]
        return found


def _holds(value: Any, operator: str, other: Any) -> bool:
    match operator:
        case ">":
            return bool(value > other)
        case ">=":
            return bool(value and value >= other)
        case "<=":
            return bool(value <= other)
        case "=":
            return bool(value == other)
        case _:
            return value in other


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S")
