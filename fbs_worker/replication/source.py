"""Where records come from: the interface that `fbs_worker.connectors.records` implements."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads: what decides which records and values Odoo answers.

    Attributes:
        uid: the Odoo user's id.
        companies: ids of the user's companies; the first is the one of company-dependent values.
        groups: ids of the user's groups; empty where they cannot be read.
        lang: the language of translated values.
        url: the server.
        database: its database.
        born: when the first users of the database were created, by id: another database differs.
    """

    uid: int
    companies: tuple[int, ...]
    groups: tuple[int, ...]
    lang: str
    url: str
    database: str
    born: tuple[tuple[int, str], ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(
            uid=int(values["uid"]),
            companies=tuple(map(int, values["companies"])),
            groups=tuple(map(int, values["groups"])),
            lang=str(values["lang"]),
            url=str(values["url"]),
            database=str(values["database"]),
            born=tuple((int(number), str(date)) for number, date in values["born"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as the state stores it, JSON-ready."""
        values = {name: getattr(self, name) for name in self.__slots__}
        born = [list(each) for each in self.born]
        return {**values, "companies": list(self.companies), "groups": list(self.groups), "born": born}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A record that Odoo cannot answer.

    Attributes:
        id: its id.
        reason: Odoo's error, one line.
    """

    id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Records in the order of their ids.

    Attributes:
        records: field → value, with `id`.
        last_id: everything up to it has been read.
        unreadable: records up to it that Odoo cannot answer.
        left_out: fields that the user may not read, or that are gone.
        clock: the server's time at this answer, as `RecordSource.clock`.
        is_last: nothing follows.
    """

    records: Sequence[Record]
    last_id: int
    unreadable: Sequence[Unreadable] = field(default=())
    left_out: frozenset[str] = frozenset()
    clock: str = ""
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Of the records of a model, archived or not.

    Attributes:
        count: their number.
        last_id: the highest id; 0 without records.
    """

    count: int
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """Ids of a range and their write dates.

    Attributes:
        after: the range begins after this id.
        up_to: it ends with this id; None: no end.
        ids: all ids in it, in any order.
        written: their write dates, in whole seconds; empty: none.
    """

    after: int
    up_to: int | None
    ids: Sequence[int]
    written: Sequence[str | None]


class RecordSource(Protocol):
    """Reads the records of one Odoo as one user, one call at a time. All calls raise what `Transport.call` raises."""

    @property
    def clock(self) -> str:
        """The server's time at its last answer, UTC in Odoo's format; empty where unknown."""

    @property
    def calls(self) -> int:
        """The number of calls made."""

    def reader(self, known: Reader | None = None) -> Reader:
        """Find out who reads, if that is not known; sets the companies of all further calls."""

    def readable(self, model: str) -> frozenset[str]:
        """The fields of a model that this user may read."""

    def summary(self, model: str, domain: Sequence[Any] = ()) -> Summary:
        """Count the records of a domain."""

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
        """Read records in the order of their ids.

        Args:
            model: the model's technical name.
            fields: stored fields, without `id`; those that the user may not read any more are left out.
            domain: a filter.
            after: begin after this id.
            ahead: read the next page while the caller has one.
            links: which of the fields are many2many.
        """

    def dates(self, model: str, *, bounds: Sequence[int]) -> Iterator[Dates]:
        """All ids and write dates, range by range; the next one is read while the caller has one.

        Args:
            model: the model's technical name.
            bounds: where a range ends and the next one begins, ascending; the last one has no end.
        """

    def existing(self, model: str, ids: Sequence[int]) -> set[int]:
        """Which of some records there are."""
