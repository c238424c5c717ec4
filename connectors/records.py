"""Pages of records: the values of stored fields, as one Odoo user gets them.

The context of every call is explicit: archived records too, the language and the companies, UTC. Relations come as
ids (`load=''`): that is faster, and the default hides a many2one to a record that is gone. Odoo 14 takes `load` in
`read` alone: there a page is two calls. Pages adapt to the time and the size of the answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.prefetch import Prefetcher
from fbs_worker.connectors.reader import FORMATTED_GROUPS_SINCE, PLAIN_RELATIONS_SINCE
from fbs_worker.core.errors import OdooAccessDenied, OdooBadAnswer, OdooCallFailed, OdooError, OdooTimeout
from fbs_worker.replication.source import Dates, Page, Reader, Record, Summary, Unreadable

FIRST_SIZE: Final = 1_000
"""Records of the first page."""
LARGEST_SIZE: Final = 5_000
"""Records of the largest page: 20,000 records of 50 fields cost Odoo 105 to 145 MB, 5,000 about 11 to 45."""
SMALLEST_SIZE: Final = 200
"""Records below which a slow answer makes a page no smaller."""
GOAL_SECONDS: Final = 2.0
"""A page that took longer is followed by a smaller one."""
GOAL_BYTES: Final = 4_000_000
"""A page that was larger is followed by a smaller one: up to three are in memory, parsed, which takes much more."""
SLOW: Final = 3
"""A small page that takes so many times as long as it should is followed by a pause, as long as it took."""
MAX_REST: Final = 30.0
"""The longest pause, in seconds."""
MAX_FAILURES: Final = 20
"""So many single records that fail one after the other are not the fault of the records."""
_POLL_SECONDS: Final = 0.25

_log = logging.getLogger(__name__)

_USERS: Final = "res.users"
_KNOWN_USERS: Final = 5
_DOMAIN_NAMED_SINCE: Final = (16, 0)
"""First series whose `search` and `search_count` call their domain `domain`, not `args`."""
_GROUPS_RENAMED_SINCE: Final = (19, 0)


class OdooRecords:
    """A `fbs_worker.replication.source.RecordSource` over a transport.

    Args:
        transport: the open transport; the caller closes it.
        lang: the language of translated values.
        waiting: called several times a second while a page, or the end of another call, is awaited; its exceptions end
            the wait.
    """

    def __init__(self, transport: Transport, *, lang: str, waiting: Callable[[], None]) -> None:
        self._transport = transport
        self._waiting = waiting
        self._turn = threading.Lock()
        self._context: dict[str, Any] = {"active_test": False, "lang": lang, "tz": "UTC"}

    @property
    def clock(self) -> str:
        """The server's time at its last answer."""
        return self._transport.clock

    @property
    def calls(self) -> int:
        """The number of calls made."""
        return self._transport.calls

    def reader(self, known: Reader | None = None) -> Reader:
        """Find out who reads; see `RecordSource.reader`.

        Raises:
            FBSError: a call failed; see `Transport.call`.
        """
        if known is not None:
            self._context["allowed_company_ids"] = list(known.companies)
            return known
        uid = self._transport.uid or int(self._call(_USERS, "context_get").get("uid") or 0)
        groups = "group_ids" if self._major >= _GROUPS_RENAMED_SINCE else "groups_id"
        ask: dict[str, Any] = {"domain": ["|", ("id", "=", uid), ("id", "<=", 10)], "order": "id"}
        try:
            users = self._call(
                _USERS, "search_read", fields=["company_id", "company_ids", "create_date", groups], **ask
            )
        except OdooError:
            users = self._call(_USERS, "search_read", fields=["company_id", "company_ids", "create_date"], **ask)
        own: Record = next((user for user in users if user["id"] == uid), {})
        first = _id(own.get("company_id"))
        companies = [first] if first else []
        companies += [each for each in sorted(own.get("company_ids") or ()) if each != first]
        self._context["allowed_company_ids"] = companies
        return Reader(
            uid=uid,
            companies=tuple(companies),
            groups=tuple(sorted(own.get(groups) or ())),
            lang=self._context["lang"],
            url=self._transport.server.url,
            database=self._transport.server.database,
            born=tuple((user["id"], str(user["create_date"] or "")) for user in users[:_KNOWN_USERS]),
        )

    def readable(self, model: str) -> frozenset[str]:
        """The fields of a model that this user may read.

        Raises:
            FBSError: the call failed; see `Transport.call`.
        """
        return frozenset(self._call(model, "fields_get", attributes=["type"]))

    def summary(self, model: str, domain: Sequence[Any] = ()) -> Summary:
        """Count the records of a domain, in one call.

        Raises:
            FBSError: the call failed; see `Transport.call`.
        """
        group = self._group(model, domain, {"last": "max"})
        return Summary(count=int(group["count"] or 0), last_id=int(group["last"] or 0))

    def dates(self, model: str, *, bounds: Sequence[int]) -> Iterator[Dates]:
        """All ids and write dates, one call a range; see `RecordSource.dates`.

        Raises:
            FBSError: a call failed; see `Transport.call`.
        """
        ranges = (self._dates(model, *ends) for ends in zip([0, *bounds], [*bounds, None], strict=True))
        return iter(Prefetcher(ranges, depth=1, waiting=self._waiting))

    def existing(self, model: str, ids: Sequence[int]) -> set[int]:
        """Which of some records there are, in one call.

        Raises:
            FBSError: the call failed; see `Transport.call`.
        """
        return set(self._search(model, [("id", "in", list(ids))]))

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
        """Read records in the order of their ids; see `RecordSource.pages`.

        Raises:
            FBSError: a call failed; see `Transport.call`.
        """
        pages = _Pages(self, model, fields, domain=domain, after=after, links=links).read()
        return iter(Prefetcher(pages, depth=1, waiting=self._waiting)) if ahead else pages

    def read(
        self, model: str, fields: Sequence[str], domain: Sequence[Any], limit: int, *, has_links: bool = False
    ) -> tuple[list[Record], int, bool]:
        """Read the first records of a domain in the order of their ids.

        Args:
            model: the model's technical name.
            fields: the fields.
            domain: a filter.
            limit: the most records.
            has_links: there are many2many fields: `search_read` of Odoo 19 drops `active_test` before it reads, and
                hides archived records of theirs.

        Returns:
            The records; the id up to which there are no others, 0 without any; and whether nothing follows. A record
            that is deleted between two calls is not among them.

        Raises:
            FBSError: a call failed; see `Transport.call`.
        """
        if self._major >= PLAIN_RELATIONS_SINCE and not has_links:
            ask: dict[str, Any] = {"domain": list(domain), "fields": list(fields), "limit": limit}
            ask |= {"order": "id", "load": ""}
            rows = self._call(model, "search_read", **ask)
            ids: list[int] = [row["id"] for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        else:
            ids = self._search(model, domain, limit=limit, order="id")
            rows = self._call(model, "read", ids=ids, fields=list(fields), load="") if ids else []
        if not isinstance(rows, list) or len(rows) > limit or not all(isinstance(row, dict) for row in rows[-1:]):
            raise OdooBadAnswer(
                f"The records of {model} are not as Odoo sends them.",
                hint="Check ODOO_URL, and proxies between this host and Odoo.",
            )
        rows.sort(key=itemgetter("id"))
        return rows, max(ids, default=0), len(ids) < limit

    def taken(self) -> int:
        """The size of the answers since the last time, in bytes; the transport need not keep account of them."""
        size, self._transport.held = self._transport.held, 0
        return size

    def rest(self, seconds: float) -> None:
        """Leave a slow server alone for a while."""
        _log.info("%s is slow: waiting %.0f s before the next page", self._transport.server.url, seconds)
        time.sleep(seconds)

    def _dates(self, model: str, after: int, up_to: int | None) -> Dates:
        domain = [("id", ">", after), *([("id", "<=", up_to)] if up_to is not None else [])]
        group = self._group(model, domain, {"ids": "array_agg", "dates": "array_agg"})
        self.taken()  # the caller drops it before the next but one: a large table has hundreds of ranges
        dates = Dates(after=after, up_to=up_to, ids=group["ids"] or [], written=group["dates"] or [])
        if len(dates.ids) != len(dates.written):
            raise OdooBadAnswer(f"The ids and dates of {model} do not fit together.", hint="Check Odoo's log.")
        return dates

    @property
    def _major(self) -> tuple[int, int]:
        return self._transport.server.major

    def _search(self, model: str, domain: Sequence[Any], **ask: Any) -> list[int]:
        name = "domain" if self._major >= _DOMAIN_NAMED_SINCE else "args"
        found: list[int] = self._call(model, "search", **{name: list(domain)}, **ask)
        return found

    def _group(self, model: str, domain: Sequence[Any], aggregates: dict[str, str]) -> dict[str, Any]:
        """Aggregate the records of a domain; `dates` is of write_date, everything else of id."""
        of = {name: "write_date" if name == "dates" else "id" for name in aggregates}
        if self._major >= FORMATTED_GROUPS_SINCE:
            asked = ["__count", *(f"{of[name]}:{how}" for name, how in aggregates.items())]
            groups = self._call(model, "formatted_read_group", domain=list(domain), groupby=[], aggregates=asked)
            group = groups[0] if groups else {}
            found = {name: group.get(f"{of[name]}:{how}") for name, how in aggregates.items()}
        else:
            asked = [f"{name}:{how}({of[name]})" for name, how in aggregates.items()]
            groups = self._call(model, "read_group", domain=list(domain), fields=asked, groupby=[], lazy=False)
            group = groups[0] if groups else {}
            found = {name: group.get(name) for name in aggregates}
        return {"count": group.get("__count"), **found}

    def _call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        # a pass that reads ahead, or that was broken off, may still wait for an answer on this connection in its thread
        while not self._turn.acquire(timeout=_POLL_SECONDS):
            self._waiting()
        try:
            return self._transport.call(model, method, ids=ids, context=self._context, **arguments)
        finally:
            self._turn.release()


class _Pages:
    """The pages of one pass: adapts their size, leaves out fields that are gone, and finds records that fail."""

    def __init__(
        self,
        source: OdooRecords,
        model: str,
        fields: Sequence[str],
        *,
        domain: Sequence[Any],
        after: int,
        links: Collection[str],
    ) -> None:
        self._source = source
        self._model = model
        self._fields = list(fields)
        self._left_out: frozenset[str] = frozenset()
        self._links = frozenset(links)
        self._domain = list(domain)
        self._last = after
        self._size = FIRST_SIZE
        self._failures = 0
        self._checked = -1

    def read(self) -> Iterator[Page]:
        while True:
            page = self._next()
            self._last = page.last_id
            yield page
            if page.is_last:
                return

    def _next(self) -> Page:
        limit = self._size
        while True:
            began = time.monotonic()
            self._source.taken()
            try:
                rows, last, is_last = self._rows(self._fields, limit)
            except OdooTimeout:
                if limit <= SMALLEST_SIZE:
                    raise
                limit = self._size = max(SMALLEST_SIZE, limit // 4)
                continue
            except (OdooAccessDenied, OdooCallFailed) as exc:
                if self._checked != self._last:
                    self._checked = self._last
                    if self._leave_out():
                        continue
                    limit = min(limit, len(self._rows(["id"], limit)[0]))  # if that fails, it is not the records' fault
                if isinstance(exc, OdooAccessDenied):
                    raise
                if limit > 1:
                    limit //= 2
                    continue
                return self._unreadable(exc)
            self._failures = 0
            self._adapt(time.monotonic() - began, self._source.taken(), len(rows))
            return Page(
                records=rows,
                last_id=last or self._last,
                left_out=self._left_out,
                clock=self._source.clock,
                is_last=is_last,
            )

    def _rows(self, fields: Sequence[str], limit: int) -> tuple[list[Record], int, bool]:
        domain = [("id", ">", self._last), *self._domain]
        has_links = not self._links.isdisjoint(fields)
        return self._source.read(self._model, fields, domain, limit, has_links=has_links)

    def _leave_out(self) -> bool:
        """Leave out fields that the user may not read any more, or that are gone; whether there are any."""
        readable = self._source.readable(self._model)
        gone = {name for name in self._fields if name not in readable}
        self._fields = [name for name in self._fields if name not in gone]
        self._left_out |= gone
        return bool(gone)

    def _unreadable(self, exc: OdooCallFailed) -> Page:
        """The page of a record that fails by itself."""
        self._failures += 1
        rows, _, _ = self._rows(["id"], 1)
        if not rows or self._failures > MAX_FAILURES:
            raise exc
        number = int(rows[0]["id"])
        return Page(records=[], last_id=number, unreadable=[Unreadable(id=number, reason=exc.message)])

    def _adapt(self, seconds: float, size: int, count: int) -> None:
        """Change the size of the next page towards what takes `GOAL_SECONDS` and `GOAL_BYTES`."""
        if not count:
            return
        if seconds > SLOW * GOAL_SECONDS and count <= SMALLEST_SIZE:
            self._source.rest(min(seconds, MAX_REST))
        fits = count / max(seconds / GOAL_SECONDS, size / GOAL_BYTES, 0.001)
        smallest = max(1, min(SMALLEST_SIZE, int(count * GOAL_BYTES / max(size, 1))))
        self._size = int(min(LARGEST_SIZE, max(smallest, min(fits, 2.5 * max(count, FIRST_SIZE)))))


def _id(value: Any) -> int:
    """The id of a many2one, as an id or `[id, name]`; 0 without one."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, int) else 0
