"""Pages of records from an Odoo of each series: calls, sizes, what fails, what vanishes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fbs_worker.connectors import records
from fbs_worker.connectors.records import FIRST_SIZE, GOAL_BYTES, LARGEST_SIZE, MAX_FAILURES, SMALLEST_SIZE, OdooRecords
from fbs_worker.core.errors import OdooAccessDenied, OdooBadAnswer, OdooCallFailed, OdooTimeout
from fbs_worker.replication.source import Page, Summary
from tests.support.odoo_records import UID, USERS, RecordsOdoo, model
from tests.support.waiting import PATIENCE

THING = "x.thing"
FIELDS = ["name", "parent_id", "write_date"]
DATE = "2026-11-29 10:00:00"

every_series = pytest.mark.parametrize("series", ["14.0", "15.0", "16.0", "18.0", "19.0"])


def made(series: str = "19.0", *, count: int = 0) -> RecordsOdoo:
    odoo = RecordsOdoo(series)
    odoo.models[THING] = model(name="char", parent_id="many2one", tag_ids="many2many")
    for number in range(1, count + 1):
        odoo.put(THING, number, name=f"thing {number}", parent_id=number - 1 or False, write_date=DATE)
    return odoo


def source_of(odoo: RecordsOdoo) -> OdooRecords:
    source = OdooRecords(odoo, lang="en_US", waiting=lambda: None)
    source.reader()
    odoo.log.clear()
    return source


def pages_of(odoo: RecordsOdoo, fields: list[str] = FIELDS, **more: Any) -> list[Page]:
    return [*source_of(odoo).pages(THING, fields, **more)]


def ids(pages: list[Page]) -> list[int]:
    return [record["id"] for page in pages for record in page.records]


def sizes(odoo: RecordsOdoo) -> list[int]:
    return [named["limit"] for _, _, named in odoo.log if named.get("fields") != ["id"] and "limit" in named]


@every_series
@pytest.mark.parametrize("ahead", [True, False])
def test_pages_in_the_order_of_ids(series: str, ahead: bool) -> None:
    odoo = made(series, count=2 * FIRST_SIZE)
    del odoo.models[THING].records[7]
    pages = pages_of(odoo, after=5, ahead=ahead)
    assert ids(pages) == [6, *range(8, 2 * FIRST_SIZE + 1)]
    assert pages[0].records[0] == {"id": 6, "name": "thing 6", "parent_id": 5, "write_date": DATE}
    assert [page.is_last for page in pages] == [False, True]
    assert [page.last_id for page in pages] == [FIRST_SIZE + 6, 2 * FIRST_SIZE]
    assert all(page.clock >= DATE for page in pages)
    expected = ["search", "read"] if series == "14.0" else ["search_read"]
    assert [method for _, method, _ in odoo.log] == 2 * expected
    for _, _, named in odoo.log:
        context = named["context"]
        assert context == {"active_test": False, "lang": "en_US", "tz": "UTC", "allowed_company_ids": [3, 1]}


@every_series
def test_links_are_read_by_read(series: str) -> None:
    """`search_read` of 19 drops `active_test`, and so hides archived linked records."""
    odoo = made(series, count=3)
    odoo.put(THING, 2, tag_ids=[5, 6])
    [page] = pages_of(odoo, ["tag_ids"], links=["tag_ids"])
    assert [record["tag_ids"] for record in page.records] == [[], [5, 6], []]
    assert [method for _, method, _ in odoo.log] == ["search", "read"]


@every_series
def test_what_was_written_in_the_second_of_the_high_water_is_read(series: str) -> None:
    """`>` finds the record that has just been seen before 19, and `=` does not; `>=` is right everywhere."""
    odoo = made(series, count=3)
    odoo.put(THING, 2, write_date="2026-11-29 10:00:01")

    def found(operator: str) -> list[int]:
        return ids(pages_of(odoo, domain=[("write_date", operator, "2026-11-29 10:00:01")]))

    assert found(">=") == [2]
    assert (found(">"), found("=")) == (([], [2]) if series == "19.0" else ([2], []))


@every_series
def test_counts_dates_and_what_there_is(series: str) -> None:
    odoo = made(series, count=5)
    odoo.put(THING, 4, write_date=False)
    source = source_of(odoo)
    assert source.summary(THING) == Summary(count=5, last_id=5)
    assert source.summary(THING, [("id", "<=", 3)]) == Summary(count=3, last_id=3)
    assert [
        (each.after, each.up_to, [*zip(each.ids, each.written, strict=True)])
        for each in source.dates(THING, bounds=[1, 4])
    ] == [
        (0, 1, [(1, DATE)]),
        (1, 4, [(2, DATE), (3, DATE), (4, None)]),
        (4, None, [(5, DATE)]),
    ]
    assert source.existing(THING, [1, 5, 6]) == {1, 5}
    assert len(odoo.log) == 6
    odoo.models[THING].records.clear()
    assert source.summary(THING) == Summary(count=0, last_id=0)
    assert [len(each.ids) for each in source.dates(THING, bounds=[])] == [0]
    assert ids(pages_of(odoo)) == []


@every_series
def test_who_reads(series: str) -> None:
    odoo = made(series)
    reader = OdooRecords(odoo, lang="fr_FR", waiting=lambda: None).reader()
    assert (reader.uid, reader.companies, reader.groups, reader.lang) == (UID, (3, 1), (4, 7), "fr_FR")
    assert [number for number, _ in reader.born] == [1, UID]
    groups = odoo._groups
    del odoo.models[USERS].fields[groups]  # a user who may not read them
    reader = OdooRecords(odoo, lang="fr_FR", waiting=lambda: None).reader()
    assert (reader.uid, reader.companies, reader.groups) == (UID, (3, 1), ())


@every_series
def test_a_record_that_fails_is_found_and_the_rest_is_read(series: str) -> None:
    odoo = made(series, count=FIRST_SIZE + 50)
    broken = odoo.models[THING].broken = {1, 137, 138, FIRST_SIZE + 50}
    pages = pages_of(odoo)
    assert ids(pages) == [number for number in odoo.models[THING].records if number not in broken]
    unreadable = [each for page in pages for each in page.unreadable]
    assert [each.id for each in unreadable] == sorted(broken)
    assert all(f"out of range: {each.id}" in each.reason for each in unreadable)
    assert [page.last_id for page in pages] == sorted(page.last_id for page in pages)
    assert len(odoo.log) < 250


def test_when_every_record_fails_it_is_not_the_records() -> None:
    odoo = made(count=100)
    odoo.models[THING].broken = set(range(1, 101))
    with pytest.raises(OdooCallFailed, match="out of range"):
        pages_of(odoo)
    assert len(odoo.log) < 15 * MAX_FAILURES


@every_series
def test_a_field_that_vanishes_in_the_middle_is_left_out(series: str) -> None:
    odoo = made(series, count=3 * FIRST_SIZE)
    seen: list[Page] = []
    for page in source_of(odoo).pages(THING, FIELDS, ahead=False):
        odoo.models[THING].fields.pop("name", None)
        seen.append(page)
    assert ids(seen) == [*odoo.models[THING].records]
    assert [page.left_out for page in seen] == [frozenset(), *[frozenset({"name"})] * (len(seen) - 1)]
    assert "name" in seen[0].records[0]
    assert all("name" not in record for page in seen[1:] for record in page.records)


def test_a_right_that_is_lost_in_the_middle_ends_the_pass() -> None:
    odoo = made(count=2 * FIRST_SIZE)
    pages = source_of(odoo).pages(THING, FIELDS, ahead=False)
    next(pages)

    def denied(_model: str, method: str, _named: dict[str, Any]) -> None:
        if method != "fields_get":
            raise OdooAccessDenied("not allowed")

    odoo.before = denied
    with pytest.raises(OdooAccessDenied):
        next(pages)


def test_a_call_waits_for_that_of_a_pass_that_was_broken_off() -> None:
    odoo = made(count=3 * FIRST_SIZE)
    source = source_of(odoo)
    begun, go_on, waited = threading.Event(), threading.Event(), threading.Event()
    running: list[str] = []

    def answer(_model: str, method: str, _named: dict[str, Any]) -> None:
        assert not running, f"{method} beside {running[0]}"
        running.append(method)
        if len(odoo.log) == 2:
            begun.set()
            assert go_on.wait(PATIENCE)
        running.clear()

    def waiting() -> None:
        if begun.is_set():
            waited.set()
            go_on.set()

    source._waiting = waiting
    odoo.before = answer
    pages = source.pages(THING, FIELDS)
    next(pages)
    assert begun.wait(PATIENCE)
    del pages
    assert source.existing(THING, [1, 2]) == {1, 2}
    assert waited.is_set()


def times_out_above(odoo: RecordsOdoo, most: int) -> None:
    def time_out(_model: str, _method: str, named: dict[str, Any]) -> None:
        if named.get("limit", 0) > most:
            raise OdooTimeout("no answer")

    odoo.before = time_out


def test_a_time_out_makes_pages_smaller() -> None:
    odoo = made(count=600)
    times_out_above(odoo, 300)
    assert ids(pages_of(odoo)) == [*range(1, 601)]
    assert sizes(odoo)[:2] == [FIRST_SIZE, FIRST_SIZE // 4]
    assert max(sizes(odoo)[1:]) <= LARGEST_SIZE
    times_out_above(odoo, SMALLEST_SIZE - 1)
    with pytest.raises(OdooTimeout):
        pages_of(odoo)
    assert sizes(odoo) == [FIRST_SIZE, FIRST_SIZE // 4, SMALLEST_SIZE]


@pytest.mark.parametrize(("what", "seconds", "size"), [("large", 0, 100_000), ("slow", 8, 0), ("quick", 0.001, 100)])
def test_pages_adapt(monkeypatch: pytest.MonkeyPatch, what: str, seconds: float, size: int) -> None:
    now = 0.0
    monkeypatch.setattr(records.time, "monotonic", lambda: now)  # type: ignore[attr-defined]
    odoo = made(count=9_000 if what == "quick" else 2_000)

    def cost(_model: str, _method: str, named: dict[str, Any]) -> None:
        nonlocal now
        now += seconds * named["limit"] / FIRST_SIZE
        odoo.held += size * named["limit"]

    source = source_of(odoo)
    odoo.before = cost
    assert ids([*source.pages(THING, FIELDS, ahead=False)]) == [*odoo.models[THING].records]
    first, *rest = sizes(odoo)
    assert first == FIRST_SIZE
    expected = {"large": {GOAL_BYTES // 100_000}, "slow": {250}, "quick": {2_500, LARGEST_SIZE}}
    assert {*rest} == expected[what]


@pytest.mark.parametrize("answer", ["text", {"id": 1}, [1], None])
def test_what_is_no_page(answer: Any) -> None:
    odoo = made(count=3)
    odoo._search_read = lambda *_, **__: answer  # type: ignore[method-assign]
    with pytest.raises(OdooBadAnswer):
        [*OdooRecords(odoo, lang="en_US", waiting=lambda: None).pages(THING, FIELDS, ahead=False)]


def test_the_ranges_of_a_sweep_do_not_add_up() -> None:
    """What a transport holds is limited; a large table has hundreds of ranges."""
    odoo = made(count=5)

    def held(*_: Any) -> None:
        odoo.held += 1_000

    odoo.before = held
    assert len([*source_of(odoo).dates(THING, bounds=[1, 2, 3])]) == 4
    assert odoo.held == 0


def test_ids_and_dates_that_do_not_fit_together() -> None:
    odoo = made(count=3)
    odoo._formatted_read_group = lambda *_, **__: [{"id:array_agg": [1, 2], "write_date:array_agg": [DATE]}]  # type: ignore[method-assign]
    with pytest.raises(OdooBadAnswer):
        [*source_of(odoo).dates(THING, bounds=[])]


@every_series
def test_what_is_deleted_between_two_calls_does_not_end_the_pass(series: str) -> None:
    odoo = made(series, count=2 * FIRST_SIZE)

    def delete(_: str, method: str, named: dict[str, Any]) -> None:
        if method == "read":
            odoo.models[THING].records.pop(named["ids"][-1], None)

    odoo.before = delete
    found = ids(pages_of(odoo, ["tag_ids"], links=["tag_ids"]))
    assert len(found) == len(odoo.models[THING].records)
    assert found[-1] >= 2 * FIRST_SIZE - 1
