"""A save under trouble: strange text, two at once, a cancel, a lost connection, many rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.model import ChangeReport, Discovery, DiscoveryType
from fbs_worker.catalogue.store import Catalogue, model_definitions
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseUnreachable,
    ForeignTableError,
    JobCancelled,
    OdooTimeout,
    SolutionConflict,
    UsageError,
)
from fbs_worker.core.postgres import Connection, connect
from tests.support.snapshots import DOMAIN, MODEL, SOURCE, WORKFLOW, ListedCatalogue, MadeSnapshot, model, thing
from tests.support.together import Meet, together

STRANGE = "q'\" \\ \\. \\N \t \r\n %s {x} ü \N{GRINNING FACE} ; DROP TABLE x; -- $$"


class Broken(MadeSnapshot):
    """A snapshot whose reading does something after its last row."""

    def __init__(self, *discoveries: Discovery, then: Any) -> None:
        super().__init__(*discoveries)
        self._then = then

    def __iter__(self) -> Iterator[Discovery]:
        yield from super().__iter__()
        self._then()


class Cancelling:
    """Progress that is cancelled at a step."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.steps: list[str] = []

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        self.steps.append(name)
        if name == self.at:
            raise JobCancelled("Cancelled.")

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Ignore the steps."""


def relations(config: DatabaseConfig) -> int:
    with closing(connect(config)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'fbs%'")
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.parametrize("prefix", ["fbs_", "_", "order_", "x" * 20])
def test_strange_text_comes_back_as_it_was(connection: Connection, prefix: str) -> None:
    catalogue = ListedCatalogue(connection, table_prefix=prefix)
    strange = thing(MODEL, STRANGE, version=None, meta={"title": STRANGE, STRANGE: [STRANGE]}, fields={STRANGE: {}})
    catalogue.save(MadeSnapshot(strange, thing(DiscoveryType.MODULE, STRANGE, version="1\t\\N'")))
    found, module = sorted(catalogue.rows(), key=lambda row: row.discovery_type)
    assert found.name == STRANGE
    assert found.metadata == strange.metadata
    assert found.schema_definition == strange.schema_definition
    assert module.version == "1\t\\N'"
    assert catalogue.save(MadeSnapshot(strange, thing(DiscoveryType.MODULE, STRANGE, version="1\t\\N'"))).unchanged == 2
    report = catalogue.save(MadeSnapshot(thing(MODEL, STRANGE, meta={"title": STRANGE}, fields={})))
    assert [change.version for change in report.changed] == ["2.0"]


def test_what_jsonb_cannot_hold_is_replaced(connection: Connection) -> None:
    catalogue = ListedCatalogue(connection)
    meta = {"title": "a\0b", "lone": "\ud800", "backslash": r"\u0000", "large": 2**70, "nan": float("nan")}
    catalogue.save(MadeSnapshot(thing(meta=meta)))
    (row,) = catalogue.rows()
    assert row.metadata["title"] == "a\N{REPLACEMENT CHARACTER}b"
    assert row.metadata["lone"] == "\N{REPLACEMENT CHARACTER}"
    assert row.metadata["backslash"] == r"\u0000"
    assert row.metadata["nan"] is None
    assert catalogue.save(MadeSnapshot(thing(meta=meta))).nothing_changed


def test_a_prefix_or_domain_that_is_none_is_refused(connection: Connection) -> None:
    with pytest.raises(UsageError, match="table_prefix"):
        Catalogue(connection, table_prefix='x"; --')
    with pytest.raises(UsageError, match="101"):
        Catalogue(connection).save(MadeSnapshot(domain="x" * 101))


def test_a_foreign_table_is_found_before_anything_is_read(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE fbs_discoveries (id INT)")
    with pytest.raises(ForeignTableError):
        Catalogue(connection).save(Broken(then=lambda: pytest.fail("read")))


OTHER = {**SOURCE, "url": "https://other.example.com"}


@pytest.mark.parametrize("source", [OTHER, {**SOURCE, "database": "test"}])
def test_another_odoo_is_refused_before_anything_is_read(connection: Connection, source: dict[str, str]) -> None:
    Catalogue(connection).save(MadeSnapshot(model("a")))
    other = Broken(then=lambda: pytest.fail("read"))
    other.source = source
    with pytest.raises(SolutionConflict, match="'rental'") as caught:
        Catalogue(connection).save(other)
    for place in (SOURCE, source):
        assert f"{place['url']} (database {place['database']})" in caught.value.message
    assert "--table-prefix" in caught.value.hint
    assert "--odoo-moved" in caught.value.hint
    assert [row.name for row in ListedCatalogue(connection).rows()] == ["sale.order"]
    assert Catalogue(connection).save(MadeSnapshot(model("a"))).unchanged == 1


def test_an_odoo_that_has_moved_goes_on(connection: Connection) -> None:
    catalogue = ListedCatalogue(connection)
    catalogue.save(MadeSnapshot(model("a"), model("b", name="gone")))
    for source in (OTHER, SOURCE):  # once with a change, once without
        for odoo_moved in (True, False):
            report = catalogue.save(MadeSnapshot(model("a"), source=source), odoo_moved=odoo_moved)
            assert report.unchanged == 1
        last = catalogue.last_snapshot(DOMAIN)
        assert last is not None
        assert last.source == source


def test_the_same_odoo_of_another_series_is_the_same(connection: Connection) -> None:
    Catalogue(connection).save(MadeSnapshot(model("a")))
    assert Catalogue(connection).save(MadeSnapshot(model("a"), source={**SOURCE, "series": "20.0"})).nothing_changed


def test_other_domains_types_and_prefixes(connection: Connection) -> None:
    Catalogue(connection).save(MadeSnapshot(types=[MODEL]))
    with pytest.raises(SolutionConflict):
        Catalogue(connection).save(MadeSnapshot(source=OTHER, types=[DiscoveryType.MODULE]))
    Catalogue(connection).save(MadeSnapshot(source=OTHER, domain="hr"))
    Catalogue(connection, table_prefix="other_").save(MadeSnapshot(source=OTHER))


def test_two_odoos_at_once_let_one_win(database: DatabaseConfig) -> None:
    def save(source: dict[str, str], meet: Meet) -> ChangeReport:
        with closing(connect(database)) as connection:
            snapshot = Broken(model("a"), then=meet)
            snapshot.source = source
            return Catalogue(connection).save(snapshot)

    outcomes = together(save, (SOURCE, OTHER))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ChangeReport", "SolutionConflict"]


def test_what_runs_within_a_save_is_part_of_it(connection: Connection, database: DatabaseConfig) -> None:
    reports: list[ChangeReport] = []

    def look(cursor: Cursor, report: ChangeReport) -> None:
        reports.append(report)
        assert model_definitions(cursor, "fbs_", DOMAIN, ["sale.order"]) == {
            "sale.order": {"fields": {"a": {"type": "char"}}}
        }

    def fail(cursor: Cursor, report: ChangeReport) -> None:
        raise OdooTimeout("Too slow.")

    with pytest.raises(OdooTimeout):
        Catalogue(connection).save(MadeSnapshot(model("a")), within=fail)
    assert relations(database) == 0
    report = Catalogue(connection).save(MadeSnapshot(model("a")), within=look)
    assert reports == [report]


def test_definitions_of_models(connection: Connection) -> None:
    with connection.cursor() as cursor:
        assert model_definitions(cursor, "fbs_", DOMAIN, ["a"]) == {}
    connection.rollback()
    Catalogue(connection).save(MadeSnapshot(model("x", name="a"), model("y", name="b"), thing(WORKFLOW, "c")))
    Catalogue(connection).save(MadeSnapshot(model("x", "z", name="a"), model("y", name="b"), thing(WORKFLOW, "c")))
    with connection.cursor() as cursor:
        found = model_definitions(cursor, "fbs_", DOMAIN, ["a", "c", "gone"])
        assert found == {"a": {"fields": {"x": {"type": "char"}, "z": {"type": "char"}}}}
        assert model_definitions(cursor, "fbs_", "hr", ["a"]) == {}
        assert model_definitions(cursor, "fbs_", DOMAIN, []) == {}
    connection.rollback()


@pytest.mark.parametrize("step", ["compare", "save"])
def test_a_cancelled_save_leaves_nothing(connection: Connection, database: DatabaseConfig, step: str) -> None:
    progress = Cancelling(step)
    with pytest.raises(JobCancelled):
        Catalogue(connection).save(MadeSnapshot(model("a")), progress=progress)
    assert progress.steps == ["compare", "save"][: 1 + (step == "save")]
    assert relations(database) == 0
    report = Catalogue(connection).save(MadeSnapshot(model("a")))  # the connection is fit for use
    assert report.counts == {"model": 1}


@pytest.mark.parametrize("error", [OdooTimeout("Too slow."), JobCancelled("No."), KeyboardInterrupt(), ValueError("x")])
def test_an_error_of_the_reading_comes_through_and_leaves_nothing(
    connection: Connection, database: DatabaseConfig, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Catalogue(connection).save(Broken(*(model("a", name=f"m{n}") for n in range(5000)), then=fail))
    assert caught.value is error
    assert relations(database) == 0


def test_a_connection_lost_while_reading_leaves_nothing(connection: Connection, database: DatabaseConfig) -> None:
    def terminate() -> None:
        with closing(connect(database)) as other, other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (connection.info.backend_pid,))

    with pytest.raises(DatabaseUnreachable) as caught:
        Catalogue(connection).save(Broken(*(model("a", name=f"m{n}") for n in range(5000)), then=terminate))
    assert caught.value.retryable
    assert relations(database) == 0
    with closing(connect(database)) as again:
        assert len(Catalogue(again).save(MadeSnapshot(model("a"))).added) == 1


def test_a_connection_lost_while_writing_leaves_what_was(connection: Connection, database: DatabaseConfig) -> None:
    class Terminating(Cancelling):
        def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
            if name == "save":
                with closing(connect(database)) as other, other, other.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (connection.info.backend_pid,))

    Catalogue(connection).save(MadeSnapshot(model("a"), model("a", name="gone")))
    with pytest.raises(DatabaseUnreachable):
        Catalogue(connection).save(MadeSnapshot(model("a", "b"), model("new")), progress=Terminating("save"))
    with closing(connect(database)) as again:
        assert [(row.name, row.version) for row in ListedCatalogue(again).rows(active=None)] == [
            ("sale.order", "1.0"),
            ("gone", "1.0"),
        ]


def test_two_saves_at_once_end_as_one_after_the_other(database: DatabaseConfig) -> None:
    def save(_number: int, meet: Meet) -> tuple[int, int]:
        with closing(connect(database)) as connection:
            report = Catalogue(connection).save(Broken(*(model("a", name=f"m{n}") for n in range(500)), then=meet))
        return len(report.added), report.unchanged

    assert sorted(together(save, range(2)), key=str) == [(0, 500), (500, 0)]
    with closing(connect(database)) as connection:
        assert len(ListedCatalogue(connection).rows(active=None)) == 500


def test_a_save_waits_only_so_long_for_another(database: DatabaseConfig, connection: Connection) -> None:
    Catalogue(connection).save(MadeSnapshot(model("a")))
    with closing(connect(database)) as other, other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"fbs:catalogue:fbs_:{DOMAIN}",))
        with pytest.raises(DatabaseBusy) as caught:
            Catalogue(connection, lock_timeout=0.05).save(MadeSnapshot(model("a")))
        assert caught.value.retryable
        assert Catalogue(connection, lock_timeout=0.05).save(MadeSnapshot(domain="hr")).nothing_changed


def test_a_reader_is_not_held_up_by_a_save(database: DatabaseConfig, connection: Connection) -> None:
    Catalogue(connection).save(MadeSnapshot(model("a")))
    seen: list[str] = []

    def look() -> None:
        with closing(connect(database)) as other:
            seen.extend(row.version for row in ListedCatalogue(other).rows())

    class Looking(Cancelling):
        def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
            look()

    Catalogue(connection).save(MadeSnapshot(model("b")), progress=Looking(""))
    look()
    assert seen == ["1.0", "1.0", "2.0"]


def test_a_version_of_someone_else_is_an_error_that_names_the_row(connection: Connection) -> None:
    Catalogue(connection).save(MadeSnapshot(model("a")))
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE fbs_discoveries SET version = 'final'")
    with pytest.raises(DatabaseError, match=r"'sale\.order' has a version") as caught:
        Catalogue(connection).save(MadeSnapshot(model("b")))
    assert "fbs_discoveries" in caught.value.hint


def test_it_works_on_a_connection_that_commits_by_itself(connection: Connection) -> None:
    connection.autocommit = True
    catalogue = ListedCatalogue(connection)
    catalogue.save(MadeSnapshot(model("a")))
    report = catalogue.save(MadeSnapshot(model("b")))
    assert len(report.changed) == 1
    assert catalogue.last_snapshot(DOMAIN) is not None
    with pytest.raises(JobCancelled):
        catalogue.save(MadeSnapshot(), progress=Cancelling("save"))
    assert len(catalogue.rows()) == 1


def test_many_rows_pass_through_without_staying(connection: Connection) -> None:
    count, length = 10_000, 4_800
    process, seen = psutil.Process(), []

    class Many(MadeSnapshot):
        def __iter__(self) -> Iterator[Discovery]:
            for number in range(count):
                if number % 1_000 == 0:
                    seen.append(process.memory_info().rss)
                label = "late" if number % 1000 == 0 else "label"
                yield Discovery(
                    discovery_type=MODEL,
                    domain=DOMAIN,
                    name=f"m{number}",
                    schema_definition={label: str(number).rjust(length, "x")},
                )
            self._ended = True

    catalogue = ListedCatalogue(connection)
    catalogue.save(MadeSnapshot())
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO fbs_discoveries (discovery_type, domain, name, schema_definition)
            SELECT 'model', %s, 'm' || n, jsonb_build_object('label', lpad(n::text, %s, 'x')) FROM generate_series(0, %s - 1) AS n
            """,
            (DOMAIN, length, count),
        )
    report = catalogue.save(Many())
    seen.append(process.memory_info().rss)
    assert (len(report.changed), report.unchanged) == (count // 1000, count - count // 1000)
    assert max(seen) - seen[0] < 20_000_000  # what passed through is 48 MB
