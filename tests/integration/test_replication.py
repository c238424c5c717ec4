"""One mirrored table against an Odoo in memory: first copy, changes, sweep, deletions, rights, values, kills."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from psycopg2 import sql

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import OdooServerError, SyncPaused
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.progress import NullProgress
from fbs_worker.domains import load_domain
from fbs_worker.replication import table as table_module
from fbs_worker.replication.state import Phase, Status, TableState
from fbs_worker.replication.table import Options, TableSync
from fbs_worker.replication.target import LinkTable, Target, targets
from fbs_worker.schema.create import create
from fbs_worker.schema.definition import define
from tests.support.memory_records import MemoryOdoo

PARTNER: Final = "res.partner"
TAG: Final = "res.partner.category"

DEFINITIONS: Final[dict[str, dict[str, Any]]] = {
    PARTNER: {
        "fields": {
            "name": {"type": "char", "stored": True, "label": "Name"},
            "active": {"type": "boolean", "stored": True},
            "color": {"type": "integer", "stored": True},
            "credit": {"type": "float", "stored": True},
            "date": {"type": "date", "stored": True},
            "code": {"type": "char", "stored": True, "size": 5},
            "lang": {"type": "selection", "stored": True},
            "info": {"type": "json", "stored": True},
            "image": {"type": "binary", "stored": True},
            "level": {"type": "integer", "stored": True, "required": True},
            "parent_id": {"type": "many2one", "stored": True, "relation": PARTNER},
            "category_id": {"type": "many2many", "stored": True, "relation": TAG},
            "write_date": {"type": "datetime", "stored": True},
            "create_date": {"type": "datetime", "stored": True},
        }
    },
    TAG: {
        "fields": {
            "name": {"type": "char", "stored": True},
            "partner_ids": {"type": "many2many", "stored": True, "relation": PARTNER},
            "write_date": {"type": "datetime", "stored": True},
        }
    },
}
EMPTY: Final[dict[str, Any]] = {
    "name": "n",
    "active": True,
    "color": 0,
    "credit": 0.0,
    "date": False,
    "code": False,
    "lang": False,
    "info": False,
    "level": 1,
    "parent_id": False,
    "category_id": [],
}


class Mirror:
    """The mirrored tables of a database, and the Odoo in memory."""

    def __init__(self, connection: Connection, database: DatabaseConfig) -> None:
        self.connection = connection
        self.database = database
        self.odoo = MemoryOdoo()
        self.odoo.models = {PARTNER: {}, TAG: {}}
        self.options = Options(run="1")
        definition = define(load_domain("generic"), table_prefix="fbs_", business_prefix="", mirrored=DEFINITIONS)
        create(connection, definition, owned=())
        connection.commit()
        self.targets = targets(DEFINITIONS, dict(definition.mirrored), transient=(), binary=False)
        self.with_files = targets(DEFINITIONS, dict(definition.mirrored), transient=(), binary=True)

    def person(self, number: int, **values: Any) -> None:
        at = values.pop("at", None)
        before = self.odoo.models[PARTNER].get(number, EMPTY)
        self.odoo.put(PARTNER, number, at=at, **{**before, **values})

    def sync(self, model: str = PARTNER, *, connection: Connection | None = None, **options: Any) -> TableState:
        return self.table(model, connection=connection, **options).run()

    def table(self, model: str = PARTNER, *, connection: Connection | None = None, **options: Any) -> TableSync:
        incoming = [link for target in self.targets.values() for link in target.links if link.relation == model]
        return TableSync(
            source=self.odoo,
            reader=self.odoo.reader(),
            connection=connection or self.connection,
            target=self.targets[model],
            incoming=incoming,
            solution="shop",
            table_prefix="fbs_",
            options=replace(self.options, **options),
            progress=NullProgress(),
        )

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with transaction(self.connection) as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def rows(self, *columns: str) -> dict[int, Any]:
        names = sql.SQL(", ").join(map(sql.Identifier, columns or ("name",)))
        with transaction(self.connection) as cursor:
            cursor.execute(sql.SQL("SELECT odoo_id, {} FROM res_partner ORDER BY 1").format(names))
            return {row[0]: row[1] if len(row) == 2 else row[1:] for row in cursor.fetchall()}

    def rejected(self) -> dict[int, tuple[str, str]]:
        return {
            number: (name, reason)
            for number, name, reason in self.query("SELECT odoo_id, field, reason FROM fbs_rejected_records")
        }

    def many(self, count: int) -> None:
        """So many records that the table is not read whole each time."""
        self.odoo.page_size = 1_000
        for number in range(1, count + 1):
            self.person(number, name=f"p{number}")
        self.odoo.pass_time(hours=1)


@pytest.fixture
def mirror(database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(table_module, "CONFIRM_SECONDS", 0.0)
    with closing(connect(database)) as connection:
        yield Mirror(connection, database)


@pytest.fixture
def big(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """Tables that are never read whole."""
    monkeypatch.setattr(table_module, "SMALL", -1)
    return mirror


def test_the_first_copy_has_every_record(mirror: Mirror) -> None:
    for number in range(1, 11):
        mirror.person(number, name=f"p{number}")
    state = mirror.sync()
    assert (state.status, state.phase, state.row_count) == (Status.OK, Phase.STEADY, 10)
    assert mirror.rows() == {number: f"p{number}" for number in range(1, 11)}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_records(big: Mirror, count: int) -> None:
    for number in range(1, count + 1):
        big.person(number)
    assert big.sync().row_count == big.sync().row_count == count


def test_no_change_is_one_call(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.asked.clear()
    state = big.sync()
    assert [method for method, _ in big.odoo.asked] == ["reader", "search_read"]
    assert state.last_run["kind"] == "changes"


def test_changes_and_new_records_are_read(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.pass_time(hours=2)
    big.person(3, name="other")
    big.person(11, name="new")
    state = big.sync()
    assert (state.last_run["updated"], state.last_run["inserted"]) == (1, 1)
    assert (big.rows()[3], big.rows()[11]) == ("other", "new")
    assert big.sync().last_run["updated"] == 0


def test_two_writes_in_one_second(big: Mirror) -> None:
    big.many(10)
    at = big.odoo.now
    big.person(3, name="first", at=at)
    big.sync()
    big.person(3, name="second", at=at)
    big.sync()
    assert big.rows()[3] == "second"


@pytest.mark.parametrize("number", [5, 500])
def test_what_a_long_transaction_commits_late_is_found_by_the_sweep(big: Mirror, number: int) -> None:
    """It began before the reader passed it, by id and by date, and commits much later."""
    big.many(10)
    began = big.odoo.now
    big.person(20)
    big.sync()
    big.odoo.pass_time(hours=3)
    big.person(21)
    big.sync()
    big.person(number, name="late", at=began)
    state = big.sync(sweep_every=0)
    assert big.rows()[number] == "late"
    assert state.status is Status.OK


def test_what_is_written_during_the_first_copy_is_read(big: Mirror) -> None:
    big.odoo.page_size = 3
    for number in range(1, 10):
        big.person(number)

    def change(_: str, page: int) -> None:
        if page == 2:
            big.person(1, name="meanwhile")
            big.odoo.delete(PARTNER, 2)
            big.person(30, name="made meanwhile")
            big.odoo.on_page = None

    big.odoo.on_page = change
    big.sync()
    assert (big.rows()[1], big.rows()[30]) == ("meanwhile", "made meanwhile")
    assert 2 not in big.rows()


def test_deletions_leave_a_note(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.delete(PARTNER, 4, 7)
    state = big.sync(sweep_every=0, keep_deleted=True)
    assert (state.last_run["deleted"], sorted(big.rows())) == (2, [1, 2, 3, 5, 6, 8, 9, 10])
    kept = big.query("SELECT table_name, odoo_id, record->>'name' FROM fbs_deleted_records ORDER BY 2")
    assert kept == [("res_partner", 4, "p4"), ("res_partner", 7, "p7")]


def test_a_record_that_is_back_at_the_second_look_stays(big: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    big.many(10)
    big.sync()
    record = big.odoo.models[PARTNER].pop(4)
    monkeypatch.setattr("time.sleep", lambda _: big.odoo.models[PARTNER].update({4: record}))
    assert big.sync(sweep_every=0).last_run["deleted"] == 0
    assert 4 in big.rows()


def test_deleted_and_made_again(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.delete(PARTNER, 4)
    big.sync(sweep_every=0)
    big.person(4, name="again")
    assert big.sync(sweep_every=0).row_count == 10
    assert big.rows()[4] == "again"


def test_a_small_table_is_read_whole(mirror: Mirror) -> None:
    mirror.many(10)
    mirror.sync()
    mirror.odoo.silently(PARTNER, 3, name="by SQL")
    mirror.odoo.delete(PARTNER, 4)
    state = mirror.sync()
    assert state.last_run["kind"] == "whole"
    assert mirror.rows()[3] == "by SQL"
    assert 4 not in mirror.rows()


@pytest.mark.parametrize("found", [0, 50])
def test_many_deletions_are_not_believed(big: Mirror, found: int) -> None:
    big.many(300)
    big.sync()
    big.odoo.hidden[PARTNER] = set(range(found + 1, 301))
    state = big.sync(sweep_every=0)
    assert (state.status, len(big.rows())) == (Status.REVIEW, 300)
    assert f"--allow-delete {300 - found}" in state.reason
    assert big.sync(sweep_every=0, allow_delete=10).status is Status.REVIEW
    assert big.sync().status is Status.REVIEW
    state = big.sync(allow_delete=300 - found)
    assert (state.status, len(big.rows())) == (Status.OK, found)


@pytest.mark.parametrize("change", [{"groups": ()}, {"companies": (2,)}, {"uid": 7}])
def test_other_rights_delete_nothing(big: Mirror, change: dict[str, Any]) -> None:
    big.many(10)
    big.sync()
    for name, value in change.items():
        setattr(big.odoo, name, value)
    assert big.sync(sweep_every=0).status is Status.OK  # it sees the same records
    setattr(big.odoo, *next(iter({"groups": (9,)}.items())))
    big.odoo.hidden[PARTNER] = {1}
    state = big.sync(sweep_every=0)
    assert (state.status, len(big.rows())) == (Status.REVIEW, 10)
    assert "rights" in state.reason
    big.odoo.hidden.clear()
    assert big.sync(sweep_every=0).status is Status.OK


def test_a_model_that_may_not_be_read(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.hidden[PARTNER] = {0}
    state = big.sync()
    assert (state.status, len(big.rows())) == (Status.REVIEW, 10)
    big.odoo.hidden.clear()
    big.person(3, name="after")
    assert big.sync().status is Status.OK
    assert big.rows()[3] == "after"


def test_a_model_that_is_gone(big: Mirror) -> None:
    big.many(10)
    big.sync()
    kept = big.odoo.models.pop(PARTNER)
    state = big.sync()
    assert (state.status, len(big.rows())) == (Status.STOPPED, 10)
    big.odoo.models[PARTNER] = kept
    assert big.sync().status is Status.OK


def test_another_database_behind_the_address(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.born = ((1, "2025-05-05 00:00:00"), (2, "2025-05-05 00:00:00"))
    big.odoo.models[PARTNER] = {}
    state = big.sync(sweep_every=0)
    assert (state.status, len(big.rows())) == (Status.STOPPED, 10)
    assert "--full" in state.reason
    assert big.sync(full=True).status is Status.REVIEW
    assert len(big.rows()) == 10


def test_the_clocks_of_worker_and_database_do_not_matter(big: Mirror) -> None:
    big.odoo.now += timedelta(days=400)
    big.many(10)
    big.sync()
    big.odoo.pass_time(minutes=30)
    big.person(3, name="later")
    big.sync()
    assert big.rows()[3] == "later"


def test_values_as_they_are(mirror: Mirror) -> None:
    text = "tab\t line\n back\\slash \\N \u2028 😀 \r end"
    mirror.person(1, name=text, color=-5, credit=1e30, date="44-03-15", lang="xx_unknown", info={"a": [1, None]})
    mirror.person(2, name="", active=False, color=0, credit=float("nan"), info=False, level=0)
    mirror.person(3, name=False, credit=12345678901234567890.0, parent_id=99, info=[])
    mirror.sync()
    assert mirror.rows("name", "active", "color", "lang", "info", "parent_id", "level") == {
        1: (text, True, -5, "xx_unknown", {"a": [1, None]}, None, 1),
        2: ("", False, 0, None, None, None, 0),
        3: (None, True, 0, None, [], 99, 1),
    }
    found = mirror.query("SELECT credit::text, date::text FROM res_partner ORDER BY odoo_id")
    assert found == [("1" + "0" * 30, "0044-03-15"), ("NaN", None), ("12345678901234567000", None)]
    assert mirror.sync(verify=True).last_run["verified"] == {"equal": True}


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        ({"date": "10000-01-01x"}, "", "invalid input syntax"),
        ({"code": "longer than five"}, "", "too long"),
        ({"color": 2**40}, "color", "too large"),
        ({"color": "text"}, "color", "no integer"),
        ({"name": "a\0b"}, "name", "NUL"),
        ({"name": "\ud800"}, "name", "surrogate"),
        ({"level": False}, "level", "NOT NULL"),
        ({"category_id": "x"}, "category_id", "list of ids"),
    ],
)
def test_a_value_that_does_not_fit_rejects_its_row_alone(
    mirror: Mirror, values: dict[str, Any], name: str, reason: str
) -> None:
    mirror.odoo.page_size = 10
    for number in range(1, 8):
        mirror.person(number)
    mirror.person(4, **values)
    state = mirror.sync()
    assert (state.status, state.rejected, sorted(mirror.rows())) == (Status.OK, 1, [1, 2, 3, 5, 6, 7])
    assert mirror.rejected()[4][0] == name
    assert reason in mirror.rejected()[4][1]
    verified = mirror.sync(verify=True).last_run["verified"]
    assert not verified["equal"]
    assert "1 records are rejected" in verified["difference"]
    mirror.person(4, **EMPTY)
    assert mirror.sync().rejected == 0
    assert sorted(mirror.rows()) == list(range(1, 8))


def test_many_rejected_rows_and_a_check_of_the_user(mirror: Mirror) -> None:
    mirror.odoo.page_size = 100
    mirror.query("ALTER TABLE res_partner ADD CONSTRAINT mine CHECK (color < 50)")
    for number in range(1, 101):
        mirror.person(number, color=number, category_id=[number], info={"n": number})
    state = mirror.sync()
    assert (state.rejected, state.row_count) == (51, 49)
    assert "mine" in mirror.rejected()[50][1]
    assert mirror.query("SELECT count(*) FROM res_partner__category_id") == [(49,)]
    assert mirror.rows("info")[7] == {"n": 7}
    mirror.person(7, color=8)
    assert mirror.sync().last_run["updated"] == 1
    mirror.query("ALTER TABLE res_partner DROP CONSTRAINT mine")
    assert mirror.sync(full=True).rejected == 0


def test_rejected_records_are_not_read_by_each_sweep(big: Mirror) -> None:
    big.many(10)
    big.person(4, color=2**40)
    big.sync()
    big.odoo.pass_time(hours=1)
    big.sync()
    assert big.sync(sweep_every=0).last_run["read"] == 0


def test_a_record_that_odoo_cannot_answer(mirror: Mirror) -> None:
    for number in range(1, 6):
        mirror.person(number)
    mirror.odoo.broken = {3: "ValueError: year 10000 is out of range"}
    mirror.sync()
    assert sorted(mirror.rows()) == [1, 2, 4, 5]
    assert "year 10000" in mirror.rejected()[3][1]


def test_links_are_those_of_the_records(mirror: Mirror) -> None:
    for number in (1, 2, 3):
        mirror.odoo.put(TAG, number, name="t", partner_ids=[])
    mirror.person(1, category_id=[1, 2])
    mirror.person(2, category_id=[3])
    for model in (PARTNER, TAG):
        mirror.sync(model)
    links = "SELECT from_id, to_id FROM res_partner__category_id ORDER BY 1, 2"
    assert mirror.query(links) == [(1, 1), (1, 2), (2, 3)]
    mirror.person(1, category_id=[2, 3])
    mirror.person(2, category_id=[])
    mirror.sync()
    assert mirror.query(links) == [(1, 2), (1, 3)]
    mirror.odoo.delete(TAG, 2)
    mirror.sync(TAG)
    assert mirror.query(links) == [(1, 3)]
    mirror.odoo.silently(PARTNER, 1, category_id=[3])
    assert mirror.sync(verify=True).last_run["verified"]["equal"] is True


def test_what_does_not_move_the_date_comes_with_everything(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.pass_time(hours=1)
    big.odoo.silently(PARTNER, 3, name="by SQL", category_id=[1])
    assert big.sync().last_run["updated"] == 0
    verified = big.sync(verify=True).last_run["verified"]
    assert verified == {"equal": False, "difference": "record 3 field name: by SQL in Odoo, p3 in the table"}
    assert big.sync(full=True).last_run["updated"] == 1
    assert big.sync(verify=True).last_run["verified"] == {"equal": True}
    assert big.query("SELECT * FROM res_partner__category_id") == [(3, 1)]


def test_everything_is_read_again_when_it_is_due(big: Mirror) -> None:
    big.many(10)
    big.sync()
    assert "full" not in big.sync(full_every=0).last_run["kind"]
    big.query("UPDATE fbs_replication SET read_whole_at = NOW() - interval '2 days'")
    assert "full" not in big.sync(full_every=0).last_run["kind"]
    assert "full" in big.sync().last_run["kind"]
    assert "full" not in big.sync().last_run["kind"]


def test_a_new_column_is_filled_by_its_field_alone(big: Mirror) -> None:
    big.many(10)
    whole = big.targets[PARTNER]
    big.targets[PARTNER] = whole.without(["color", "category_id"])
    big.sync()
    for number in range(1, 11):
        big.odoo.silently(PARTNER, number, color=number, category_id=[1])
    big.targets[PARTNER] = whole
    state = big.sync()
    assert "new fields" in state.last_run["kind"]
    assert big.rows("color") == {number: number for number in range(1, 11)}
    assert big.query("SELECT count(*) FROM res_partner__category_id") == [(10,)]
    assert "new fields" not in big.sync().last_run["kind"]


def test_a_field_that_goes_is_left_out_at_once(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.gone_fields = {"color"}
    big.odoo.pass_time(hours=1)
    big.person(3, name="after")
    state = big.sync()
    assert (state.status, state.last_run["left_out"], big.rows()[3]) == (Status.OK, ["color"], "after")
    big.odoo.gone_fields = set()
    big.odoo.silently(PARTNER, 5, color=55)
    big.sync()
    assert big.rows("color")[5] == 55


def test_a_column_that_a_migration_takes_away_meanwhile(big: Mirror, database: DatabaseConfig) -> None:
    for number in range(1, 10):
        big.person(number)

    def migrate(_: str, page: int) -> None:
        if page == 1:
            big.odoo.on_page = None
            with closing(connect(database)) as other, other, other.cursor() as cursor:
                cursor.execute("ALTER TABLE res_partner DROP COLUMN color; DROP TABLE res_partner__category_id")

    big.odoo.on_page = migrate
    assert big.sync().row_count == 9


def test_a_table_that_is_not_there_yet(mirror: Mirror) -> None:
    mirror.query("DROP TABLE res_partner CASCADE")
    state = mirror.sync()
    assert state.status is Status.STOPPED
    assert "fbs migrate shop" in state.reason


def test_dialogs_are_not_copied(mirror: Mirror) -> None:
    mirror.targets[PARTNER] = replace(mirror.targets[PARTNER], is_transient=True)
    assert mirror.sync().status is Status.STOPPED


def test_a_view_is_replaced_as_a_whole(mirror: Mirror) -> None:
    mirror.targets[PARTNER] = mirror.targets[PARTNER].without(["write_date"])
    for number in range(1, 301):
        mirror.person(number)
    mirror.odoo.page_size = 1_000
    mirror.sync()
    mirror.odoo.models[PARTNER] = {number: mirror.odoo.models[PARTNER][number] for number in range(1, 11)}
    state = mirror.sync()
    assert (state.status, sorted(mirror.rows())) == (Status.OK, list(range(1, 11)))


def test_columns_triggers_and_indexes_of_the_user_stay(mirror: Mirror) -> None:
    mirror.query(
        "ALTER TABLE res_partner ADD COLUMN mine TEXT; CREATE INDEX mine ON res_partner (mine);"
        " CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.mine := ''seen''; RETURN NEW; END';"
        " CREATE TRIGGER mark BEFORE INSERT ON res_partner FOR EACH ROW EXECUTE FUNCTION mark()"
    )
    mirror.person(1)
    mirror.sync()
    mirror.query("UPDATE res_partner SET mine = 'own'")
    mirror.person(1, name="other")
    mirror.sync()
    assert mirror.rows("name", "mine") == {1: ("other", "own")}


def test_the_row_numbers_are_not_used_up(mirror: Mirror) -> None:
    mirror.many(20)
    for _ in range(5):
        mirror.sync(full=True)
    mirror.person(21)
    mirror.sync()
    assert mirror.query("SELECT max(id) FROM res_partner") == [(21,)]


@pytest.mark.parametrize("page", range(5))
def test_a_sync_that_breaks_off_goes_on(big: Mirror, page: int) -> None:
    """In whatever page: what was read is saved with where it stands."""
    for number in range(1, 15):
        big.person(number, category_id=[number])
    for _ in range(2):
        big.odoo.on_page = _failing_at(page)
        with pytest.raises(OdooServerError):
            big.sync()
        rows = big.query("SELECT count(*) FROM res_partner")[0][0]
        big.odoo.on_page = None
    assert rows == min(14, 3 * page * 2) or page == 0
    big.odoo.asked.clear()
    state = big.sync()
    assert (state.status, state.row_count) == (Status.OK, 14)
    assert big.query("SELECT count(*), count(DISTINCT from_id) FROM res_partner__category_id") == [(14, 14)]


def test_changes_that_break_off_go_on_with_the_same_high_water(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.pass_time(hours=1)
    big.odoo.page_size = 3
    for number in range(1, 11):
        big.person(number, name="changed")
    big.odoo.on_page = _failing_at(2)
    with pytest.raises(OdooServerError):
        big.sync()
    big.odoo.on_page = None
    big.odoo.pass_time(hours=1)
    big.person(1, name="again")
    big.sync()
    big.sync()
    assert big.rows() == {1: "again", **dict.fromkeys(range(2, 11), "changed")}


def test_a_job_whose_time_is_over_pauses(big: Mirror) -> None:
    for number in range(1, 15):
        big.person(number)
    with pytest.raises(SyncPaused):
        big.sync(deadline=0.0)
    assert len(big.rows()) == 3
    big.sync()
    assert len(big.rows()) == 14


def test_a_large_first_copy_in_ranges(big: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "PART_ROWS", 10)
    for number in range(1, 41):
        big.person(number * 10, name=f"p{number}")
    table = big.table(parts=True)
    parts = table.plan()
    assert parts == [0, 1, 2, 3]
    with closing(connect(big.database)) as other:
        for part in (3, 1):
            big.table(parts=True, connection=other).copy_part(part)
    assert big.table(parts=True).plan() == [0, 2]
    big.table(parts=True).copy_part(0)
    assert len(big.rows()) == 30
    state = big.sync(parts=True)
    assert (state.status, state.row_count, state.position) == (Status.OK, 40, {})
    assert big.rows() == {number * 10: f"p{number}" for number in range(1, 41)}


def test_a_table_that_another_session_holds(big: Mirror, database: DatabaseConfig) -> None:
    """The page waits for the lock, and is written then."""
    big.many(5)
    with closing(connect(database)) as other:
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE res_partner IN SHARE MODE")
        big.odoo.on_page = lambda _, page: other.commit() if page == 0 else None
        assert big.sync().row_count == 5


def _failing_at(page: int) -> Callable[[str, int], None]:
    def fail(_: str, number: int) -> None:
        if number == page:
            raise OdooServerError("The server answered 502 Bad Gateway.")

    return fail


def test_targets_know_their_links() -> None:
    found = targets(DEFINITIONS, {PARTNER: "p", TAG: "t"}, transient={TAG}, binary=False)
    assert found[PARTNER].links == (LinkTable(field="category_id", table="p__category_id", relation=TAG),)
    assert found[TAG].is_transient
    assert isinstance(found[PARTNER], Target)


def test_a_table_that_was_emptied_or_made_anew_is_copied_again(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.query("TRUNCATE res_partner, res_partner__category_id, res_partner_category__partner_ids")
    assert big.sync().last_run["inserted"] == 10


def test_another_language_or_company_is_read_by_the_fields_that_depend_on_it(big: Mirror) -> None:
    big.many(10)
    depends = {"name": ("translated",), "color": ("company",)}
    target = big.targets[PARTNER]
    columns = tuple(replace(each, depends=depends.get(each.field, ())) for each in target.columns)
    big.targets[PARTNER] = replace(target, columns=columns)
    big.sync()
    for number in range(1, 11):
        big.odoo.silently(PARTNER, number, name="Deutsch", color=5)
    big.odoo.companies = (2, 1)
    assert big.sync().last_run["kind"] == "changes, new fields"
    assert (big.rows()[1], big.rows("color")[1]) == ("p1", 5)


def test_everything_goes_on_where_it_stopped(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.page_size = 3
    big.odoo.pass_time(hours=1)
    for number in (2, 9):
        big.odoo.silently(PARTNER, number, name="by SQL")
    seen: list[int] = []

    def fail(_: str, page: int) -> None:
        seen.append(page)
        if len(seen) == 4:
            raise OdooServerError("The server answered 502 Bad Gateway.")

    big.odoo.on_page = fail
    with pytest.raises(OdooServerError):
        big.sync(full=True)
    assert (big.rows()[2], big.rows()[9]) == ("by SQL", "p9")
    big.odoo.on_page = None
    big.odoo.silently(PARTNER, 1, name="behind it")
    state = big.sync()
    assert (big.rows()[9], big.rows()[1]) == ("by SQL", "p1")
    assert state.last_run["kind"] == "full, changes, sweep"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("run", "last"), [("broken off", "p2"), ("asked later", "behind it")])
def test_everything_that_is_asked_for_is_as_it_was_then(big: Mirror, first: bool, run: str, last: str) -> None:
    big.many(10)
    big.odoo.page_size = 3
    if not first:
        big.sync()
        big.odoo.pass_time(hours=1)
    big.odoo.on_page = _failing_at(2)
    with pytest.raises(OdooServerError):
        big.sync(full=True, run="broken off")
    big.odoo.on_page = None
    big.odoo.silently(PARTNER, 2, name="behind it")
    big.sync(full=True, run=run)
    assert big.rows()[2] == last


@pytest.mark.parametrize("small", [-1, 500])
def test_a_rejected_record_that_is_deleted_is_forgotten(
    mirror: Mirror, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "SMALL", small)
    mirror.many(10)
    mirror.person(4, color=2**40)
    assert mirror.sync().rejected == 1
    mirror.odoo.delete(PARTNER, 4)
    assert mirror.sync(sweep_every=0).rejected == 0


def test_files_are_read_by_their_checksum(big: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fbs_worker.replication.files.BYTES_PER_CALL", 10)
    big.many(10)
    big.targets = big.with_files
    for number in range(1, 6):
        big.odoo.silently(PARTNER, number, image=base64.b64encode(b"file %d" % number).decode())
        _attach(big.odoo, number, checksum=f"c{number}", size=6)
    state = big.sync()
    assert (state.status, state.last_run["kind"]) == (Status.OK, "copy, changes, sweep, files")
    assert {number: bytes(value) for number, value in big.rows("image").items() if value} == {
        number: b"file %d" % number for number in range(1, 6)
    }
    big.odoo.asked.clear()
    assert big.sync(sweep_every=0).last_run["updated"] == 0
    assert [model for method, model in big.odoo.asked if method == "search_read"] == [PARTNER, "ir.attachment"]
    big.odoo.silently(PARTNER, 2, image=base64.b64encode(b"other").decode())
    _attach(big.odoo, 2, checksum="other", size=5)
    big.odoo.delete("ir.attachment", 3)
    big.odoo.delete(PARTNER, 4)
    assert big.sync(sweep_every=0).last_run["updated"] == 2
    assert {number: bytes(value) for number, value in big.rows("image").items() if value} == {
        1: b"file 1",
        2: b"other",
        5: b"file 5",
    }
    known = big.query("SELECT odoo_id, checksum FROM fbs_file_checksums ORDER BY 1")
    assert known == [(1, "c1"), (2, "other"), (5, "c5")]


def _attach(odoo: MemoryOdoo, number: int, *, checksum: str, size: int) -> None:
    values: dict[str, Any] = {
        "res_model": PARTNER,
        "res_field": "image",
        "res_id": number,
        "checksum": checksum,
        "file_size": size,
    }
    odoo.put("ir.attachment", number, **values)


def test_a_page_that_is_not_saved_does_not_count(big: Mirror) -> None:
    big.many(10)
    big.sync()
    big.odoo.pass_time(hours=1)
    big.odoo.page_size = 3
    for number in range(1, 11):
        big.person(number, name="changed")
    big.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.odoo_id = 8 THEN RAISE 'not now' USING ERRCODE = 'raise_exception'; END IF; RETURN NEW; END$$;"
        " CREATE TRIGGER refuse BEFORE UPDATE ON res_partner FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    state = big.sync()
    assert (state.status, "not now" in state.reason) == (Status.FAILED, True)
    big.query("DROP TRIGGER refuse ON res_partner")
    big.odoo.pass_time(hours=1)
    assert big.sync().status is Status.OK
    assert set(big.rows().values()) == {"changed"}


def test_a_server_that_fails_is_noted_and_tried_again(big: Mirror) -> None:
    big.many(10)
    big.odoo.on_page = _failing_at(0)
    with pytest.raises(OdooServerError):
        big.sync(run="7")
    (status, reason, last_run), *_ = big.query("SELECT status, reason, last_run FROM fbs_replication")
    assert (status, last_run) == ("failed", {})
    assert "502" in reason
    big.odoo.on_page = None
    assert big.sync(run="7").status is Status.OK
