"""Records of the live Odoo are copied: equal to SQL on its own database, whatever is done there meanwhile.

The tests share one copy, and change the live Odoo, whose database is a copy as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from bench.records_equal import Comparison, report
from fbs_worker.connectors.base import Transport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.state import database_url
from fbs_worker.replication import table
from tests.live.conftest import LiveOdoo
from tests.support.mirrored import migrate, plan, set_up
from tests.support.servers import fresh_database
from tests.support.solutions import inline, rows, run

pytestmark = pytest.mark.live

PARTNER, CATEGORY, INDUSTRY, TAG, ORDER = (
    "res.partner",
    "res.partner.category",
    "res.partner.industry",
    "crm.tag",
    "sale.order",
)
VIEW, UNLOGGED, DIALOG, ROOT = "sale.report", "mail.followers", "sale.advance.payment.inv", "account.root"
TABLES = (PARTNER, CATEGORY, INDUSTRY, TAG, ORDER, "sale.order.line", "res.users", UNLOGGED)
GENERIC = {"domain": "generic", "include_modules": ["base", "sales_team"]}
AWKWARD = "\ttab\nline\\N \\ \r\u2028 \N{GRINNING FACE} 'quoted' \"\" %s {} \N{COMBINING ACUTE ACCENT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A solution with mirrored models.

    Attributes:
        settings: of its jobs.
        target: its database.
        odoo: Odoo's database.
        name: the solution's name; its tables begin with it.
    """

    settings: Settings
    target: DatabaseConfig
    odoo: str
    name: str

    def result(self, *models: str, swept: bool = False, **more: Any) -> dict[str, Any]:
        """Sync in this process; `swept`: deletions are looked for as well."""
        if swept:
            run(self.target, f"UPDATE fbs_replication SET swept_at = NULL WHERE solution_name = '{self.name}'")
        return inline("sync", {"solution_name": self.name, "models": list(models), **more}, self.settings)

    def sync(self, *models: str, **more: Any) -> dict[str, dict[str, Any]]:
        """The same; the states by model."""
        return {each["model"]: each for each in self.result(*models, **more)["tables"]}

    def rows(self, model: str, columns: str, *ids: int) -> list[tuple[Any, ...]]:
        """Columns of some rows, or of all, by id."""
        some = "WHERE odoo_id = ANY(%s)" if ids else ""
        values = ([*ids],) if ids else ()
        return rows(self.target, f"SELECT {columns} FROM {self.table(model)} {some} ORDER BY odoo_id", *values)

    def table(self, model: str) -> str:
        """The table of a model."""
        return f"{self.name}_{model.replace('.', '_')}"

    def rejected(self, model: str) -> dict[int, str]:
        """Reasons by id."""
        return dict(
            rows(
                self.target,
                "SELECT odoo_id, reason FROM fbs_rejected_records WHERE table_name = %s",
                self.table(model),
            )
        )

    def deleted(self, model: str) -> set[int]:
        """The ids that were deleted."""
        statement = "SELECT odoo_id FROM fbs_deleted_records WHERE table_name = %s"
        return {number for (number,) in rows(self.target, statement, self.table(model))}

    def check_equal(self, *models: str) -> None:
        """Each value is that of Odoo's database."""
        with closing(psycopg2.connect(self.odoo)) as odoo, closing(connect(self.target)) as ours:
            compared = Comparison(odoo, ours).compare({model: self.table(model) for model in models or TABLES})
        assert not [found for found in compared if found.differing], report(compared)
        assert sum(found.values for found in compared)


@pytest.fixture(scope="module")
def settings_copy(live: LiveOdoo, postgres: EmbeddedPostgres) -> Iterator[Settings]:
    with fresh_database(postgres) as home:
        yield Settings(
            odoo_url=live.url,
            odoo_db=live.db,
            odoo_user=live.user,
            odoo_api_key=SecretStr(live.api_key),  # a log-in by password takes Odoo a second
            fbs_database_url=database_url(home),
            fbs_secret_keys=SecretStr(Fernet.generate_key().decode()),
        )


@pytest.fixture(scope="module")
def copy(live: LiveOdoo, postgres: EmbeddedPostgres, settings_copy: Settings, editor: Transport) -> Iterator[Copy]:
    """The administrator's copy; some records stay for all tests: who finds none of a table's may have lost a right."""
    create(editor, TAG, name=unique("stays"))
    create(editor, CATEGORY, name=unique("stays"))
    order(editor)
    with fresh_database(postgres) as target:
        copy = Copy(settings=settings_copy, target=target, odoo=live.dsn, name="all")
        mirrored = [*TABLES, VIEW, DIALOG, ROOT]
        more = {**GENERIC, "business_prefix": "all_", "mirror": mirrored}
        set_up(target, settings_copy, "all", refresh_discoveries=True, **more)
        copy.sync()
        yield copy


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a few records are not small."""
    monkeypatch.setattr(table, "SMALL", -1)
    monkeypatch.setattr(table, "CONFIRM_SECONDS", 0.1)


@pytest.fixture(autouse=True)
def same_reader(copy: Copy) -> None:
    """What another test changed about the administrator is no loss of rights here."""
    run(
        copy.target,
        "UPDATE fbs_replication SET source = '{}', status = 'ok', reason = '', swept_at = NULL"
        f" WHERE solution_name = '{copy.name}'",
    )


def create(editor: Transport, model: str, **values: Any) -> int:
    [number] = editor.call(model, "create", vals_list=[values])
    return int(number)


def unique(name: str) -> str:
    return f"{name} {secrets.token_hex(4)}"


def tag(editor: Transport, **values: Any) -> int:
    return create(editor, TAG, name=unique("tag"), **values)


def execute(live: LiveOdoo, *statements: str) -> None:
    """Change Odoo's database, past its own foreign keys."""
    with closing(psycopg2.connect(live.dsn)) as connection, connection, connection.cursor() as cursor:
        for statement in ("SET LOCAL session_replication_role = replica", *statements):
            cursor.execute(statement)


def test_the_first_copy_equals_odoo_s_database(copy: Copy) -> None:
    states = copy.sync(*TABLES)
    assert {each["status"] for each in states.values()} == {"ok"}
    assert sum(each["rejected"] for each in states.values()) == 0
    copy.check_equal()
    result = copy.result(*TABLES, verify=True)
    assert (result["differs"], result["read"] > 0, result["written"], result["deleted"]) == ([], True, 0, 0)


@pytest.mark.parametrize("protocol", ["web session", "/jsonrpc", "JSON-2"])
def test_every_way_to_odoo_reads_the_same(copy: Copy, live: LiveOdoo, editor: Transport, protocol: str) -> None:
    copy.sync(TAG, PARTNER, ORDER, CATEGORY)
    create(editor, PARTNER, name=unique("way"), comment=AWKWARD, category_id=[[0, 0, {"name": unique("of")}]])
    ways: dict[str, dict[str, Any]] = {
        "web session": {"odoo_api_key": SecretStr(""), "odoo_password": SecretStr(live.password)},
        "/jsonrpc": {"odoo_protocol": "odoorpc"},
        "JSON-2": {},
    }
    settings = copy.settings.model_copy(update=ways[protocol])
    request = {"solution_name": "all", "models": [TAG, PARTNER, ORDER, CATEGORY], "full": True, "verify": True}
    result = inline("sync", request, settings)
    assert (result["differs"], result["needs_review"], result["failed"]) == ([], [], [])
    copy.check_equal(TAG, PARTNER, ORDER, CATEGORY)


@pytest.mark.parametrize(("minutes", "found"), [(0, "changes"), (20, "sweep")])
def test_a_transaction_that_commits_after_it_was_passed(
    copy: Copy, live: LiveOdoo, editor: Transport, minutes: int, found: str
) -> None:
    old = tag(editor, color=1)
    copy.sync(TAG)
    began = f"(NOW() AT TIME ZONE 'UTC' - INTERVAL '{minutes} minutes')"
    with closing(psycopg2.connect(live.dsn)) as late, late.cursor() as cursor:
        cursor.execute(
            "INSERT INTO crm_tag (name, color, create_date, write_date, create_uid, write_uid)"
            f" VALUES (jsonb_build_object('en_US', %s), 7, {began}, {began}, 2, 2) RETURNING id",
            (unique("late"),),
        )
        [(number,)] = cursor.fetchall()
        cursor.execute(f"UPDATE crm_tag SET color = 8, write_date = {began} WHERE id = %s", (old,))
        later = tag(editor, color=9)
        assert later > number
        copy.sync(TAG, swept=True)
        assert copy.rows(TAG, "odoo_id, color", old, number, later) == [(old, 1), (later, 9)]
        late.commit()
    copy.sync(TAG)
    expected = sorted([(old, 8), (number, 7), (later, 9)])
    assert (copy.rows(TAG, "odoo_id, color", old, number, later) == expected) is (found == "changes")
    copy.sync(TAG, swept=True)
    assert copy.rows(TAG, "odoo_id, color", old, number, later) == expected
    copy.check_equal(TAG)


def test_two_writes_in_a_second(copy: Copy, live: LiveOdoo, editor: Transport) -> None:
    number = tag(editor)
    second = "date_trunc('second', NOW() AT TIME ZONE 'UTC')"
    for color, part in ((5, 1), (6, 9)):
        moved = second if part == 1 else "date_trunc('second', write_date)"
        execute(
            live,
            f"UPDATE crm_tag SET color = {color}, write_date = {moved} + INTERVAL '0.{part} s' WHERE id = {number}",
        )
        copy.sync(TAG)
        assert copy.rows(TAG, "color", number) == [(color,)]


def test_deletions_by_the_orm_and_by_sql(copy: Copy, live: LiveOdoo, editor: Transport) -> None:
    one, other, kept = (tag(editor) for _ in range(3))
    copy.sync(TAG)
    assert len(copy.rows(TAG, "1", one, other, kept)) == 3
    editor.call(TAG, "unlink", ids=[one])
    execute(live, f"DELETE FROM crm_tag WHERE id = {other}")
    copy.sync(TAG)
    state = copy.sync(TAG, swept=True)[TAG]
    assert (state["status"], state["last_run"]["deleted"]) == ("ok", 2)
    assert copy.rows(TAG, "odoo_id", one, other, kept) == [(kept,)]
    assert copy.deleted(TAG) >= {one, other}
    copy.check_equal(TAG)


def test_archived_records_stay_with_their_flag(copy: Copy, editor: Transport) -> None:
    number = create(editor, PARTNER, name=unique("archived"))
    copy.sync(PARTNER)
    editor.call(PARTNER, "write", ids=[number], vals={"active": False})
    copy.sync(PARTNER, swept=True)
    assert copy.rows(PARTNER, "active", number) == [(False,)]
    hidden = create(editor, PARTNER, name=unique("archived"), active=False)
    copy.sync(PARTNER)
    assert copy.rows(PARTNER, "active", hidden) == [(False,)]


def links(copy: Copy, field: str, number: int) -> list[int]:
    found = rows(
        copy.target,
        f"SELECT to_id FROM {copy.table(PARTNER)}__{field} WHERE from_id = %s ORDER BY 1",
        number,
    )
    return [to for (to,) in found]


def test_links_from_either_side(copy: Copy, editor: Transport) -> None:
    categories = [create(editor, CATEGORY, name=unique("category")) for _ in range(3)]
    one, two, three = categories
    number = create(editor, PARTNER, name=unique("linked"), category_id=[[6, 0, [one, two]]])
    copy.sync(PARTNER, CATEGORY)
    assert links(copy, "category_id", number) == [one, two]
    editor.call(CATEGORY, "write", ids=[three], vals={"partner_ids": [[4, number]]})
    editor.call(CATEGORY, "write", ids=[one], vals={"partner_ids": [[3, number]]})
    editor.call(CATEGORY, "write", ids=[two], vals={"active": False})
    copy.sync(PARTNER, CATEGORY, full=True)
    assert links(copy, "category_id", number) == [two, three]
    copy.check_equal(PARTNER, CATEGORY)
    editor.call(PARTNER, "write", ids=[number], vals={"category_id": [[3, three]]})
    copy.sync(PARTNER)
    assert links(copy, "category_id", number) == [two]
    copy.check_equal(PARTNER)


def test_the_linked_record_is_deleted(copy: Copy, editor: Transport) -> None:
    """Its column becomes NULL, and its link goes; neither moves a date."""
    industry = create(editor, INDUSTRY, name=unique("industry"))
    category = create(editor, CATEGORY, name=unique("category"))
    number = create(editor, PARTNER, name=unique("linked"), industry_id=industry, category_id=[[6, 0, [category]]])
    copy.sync(PARTNER, CATEGORY, INDUSTRY)
    assert copy.rows(PARTNER, "industry_id", number) == [(industry,)]
    editor.call(INDUSTRY, "unlink", ids=[industry])
    editor.call(CATEGORY, "unlink", ids=[category])
    copy.sync(INDUSTRY, CATEGORY, swept=True)  # not the model that refers to them
    copy.sync(PARTNER, CATEGORY, INDUSTRY, swept=True)
    assert copy.rows(PARTNER, "industry_id", number) == [(None,)]
    assert links(copy, "category_id", number) == []
    copy.check_equal(PARTNER, CATEGORY, INDUSTRY)


@pytest.fixture
def reader(copy: Copy, editor: Transport) -> tuple[Copy, int]:
    """A copy by a user who sees all orders and a second company, and that user's id."""
    name = f"r{secrets.token_hex(3)}"
    company = create(editor, "res.company", name=unique("company"))
    group = external(editor, "sales_team.group_sale_salesman_all_leads")
    login = unique("reader")
    user = create(
        editor,
        "res.users",
        name=login,
        login=login,
        password=login,
        group_ids=[[4, group], [4, external(editor, "base.group_partner_manager")]],
        company_id=1,
        company_ids=[[6, 0, [1, company]]],
    )
    create(editor, PARTNER, name=unique("of the company"), company_id=company)
    partner = create(editor, PARTNER, name=unique("customer"))
    for owner in (2, 2, 2, 2, user):
        create(editor, ORDER, partner_id=partner, user_id=owner)
    who = {"odoo_api_key": SecretStr(""), "odoo_user": login, "odoo_password": SecretStr(login)}
    settings = copy.settings.model_copy(update=who)
    more = {**GENERIC, "business_prefix": f"{name}_", "mirror": [PARTNER, ORDER]}
    set_up(copy.target, settings, name, **more)
    made = Copy(settings=settings, target=copy.target, odoo=copy.odoo, name=name)
    states = made.sync()
    assert {each["status"] for each in states.values()} == {"ok"}
    return made, user


def external(editor: Transport, name: str) -> int:
    module, _, short = name.partition(".")
    domain = [("module", "=", module), ("name", "=", short)]
    [found] = editor.call("ir.model.data", "search_read", domain=domain, fields=["res_id"])
    return int(found["res_id"])


def test_a_group_taken_from_the_reader(reader: tuple[Copy, int], editor: Transport) -> None:
    made, user = reader
    before = made.rows(ORDER, "odoo_id")
    assert len(before) >= 5
    all_orders, own = (external(editor, f"sales_team.group_sale_salesman{end}") for end in ("_all_leads", ""))
    editor.call("res.users", "write", ids=[user], vals={"group_ids": [[3, all_orders], [4, own]]})
    for _ in range(2):
        state = made.sync(ORDER, swept=True)[ORDER]
        assert state["status"] == "needs review"
        assert "--allow-delete" in state["reason"]
        assert made.rows(ORDER, "odoo_id") == before
    gone = len(before) - 1
    assert f"{gone} of" in state["reason"]
    assert made.sync(ORDER, allow_delete=gone - 1)[ORDER]["status"] == "needs review"
    assert made.rows(ORDER, "odoo_id") == before
    state = made.sync(ORDER, allow_delete=gone)[ORDER]
    assert (state["status"], state["last_run"]["deleted"]) == ("ok", gone)
    assert len(made.rows(ORDER, "odoo_id")) == 1
    editor.call("res.users", "write", ids=[user], vals={"group_ids": [[4, all_orders]]})
    assert made.sync(ORDER, swept=True)[ORDER]["status"] == "ok"
    assert made.rows(ORDER, "odoo_id") == before


def test_the_right_to_a_whole_model_is_lost_and_comes_back(reader: tuple[Copy, int], editor: Transport) -> None:
    made, user = reader
    before = made.rows(ORDER, "odoo_id")
    group = external(editor, "base.group_user")
    groups = editor.call("res.users", "read", ids=[user], fields=["group_ids"])[0]["group_ids"]
    editor.call("res.users", "write", ids=[user], vals={"group_ids": [[6, 0, [group]]]})
    state = made.sync(ORDER)[ORDER]
    assert state["status"] == "needs review"
    assert made.rows(ORDER, "odoo_id") == before
    editor.call("res.users", "write", ids=[user], vals={"group_ids": [[6, 0, groups]]})
    assert made.sync(ORDER)[ORDER]["status"] == "ok"
    assert made.rows(ORDER, "odoo_id") == before


def test_a_company_taken_from_the_reader(reader: tuple[Copy, int], editor: Transport) -> None:
    made, user = reader
    before = made.rows(PARTNER, "odoo_id")
    editor.call("res.users", "write", ids=[user], vals={"company_ids": [[6, 0, [1]]]})
    state = made.sync(PARTNER, swept=True)[PARTNER]
    assert state["status"] == "needs review"
    assert "rights" in state["reason"]
    assert made.rows(PARTNER, "odoo_id") == before


def test_a_many2one_to_nothing(copy: Copy, live: LiveOdoo, editor: Transport) -> None:
    number = create(editor, PARTNER, name=unique("dangling"))
    execute(live, f"UPDATE res_partner SET industry_id = 987654, parent_id = id WHERE id = {number}")
    copy.sync(PARTNER, full=True)
    assert copy.rows(PARTNER, "industry_id, parent_id", number) == [(987_654, number)]
    copy.check_equal(PARTNER)
    execute(live, f"UPDATE res_partner SET industry_id = NULL, parent_id = NULL WHERE id = {number}")
    copy.sync(PARTNER, full=True)


def test_awkward_text(copy: Copy, editor: Transport) -> None:
    number = create(editor, PARTNER, name=AWKWARD, ref="\\N", city="", street="\\")
    copy.sync(PARTNER)
    copy.check_equal(PARTNER)
    [(name, ref, city)] = copy.rows(PARTNER, "name, ref, city", number)
    assert (name, ref, city or "") == (AWKWARD, "\\N", "")


def order(editor: Transport) -> int:
    return create(editor, ORDER, partner_id=create(editor, PARTNER, name=unique("customer")))


@pytest.fixture
def odd(live: LiveOdoo, editor: Transport) -> Iterator[int]:
    """An order that gets odd values, and goes: even Odoo cannot read some."""
    number = order(editor)
    yield number
    execute(live, f"DELETE FROM sale_order WHERE id = {number}")


@pytest.mark.parametrize("value", ["'NaN'", "1e30", "-1e-30", "1e300", "12345678901234567890"])
def test_numbers_at_the_edge(copy: Copy, live: LiveOdoo, editor: Transport, odd: int, value: str) -> None:
    """Odoo's doubles are our NUMERIC: what is no number of JSON arrives as well, or is rejected by itself."""
    plain = order(editor)
    execute(live, f"UPDATE sale_order SET prepayment_percent = {value} WHERE id = {odd}")
    state = copy.sync(ORDER, swept=True)[ORDER]
    assert state["status"] == "ok"
    assert len(copy.rows(ORDER, "1", plain)) == 1
    if odd not in copy.rejected(ORDER):
        assert copy.rows(ORDER, f"prepayment_percent = {value}::float8", odd) == [(True,)]
        copy.check_equal(ORDER)
    execute(live, f"UPDATE sale_order SET prepayment_percent = 0 WHERE id = {odd}")
    copy.sync(ORDER, full=True)
    assert not copy.rejected(ORDER)
    copy.check_equal(ORDER)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("0044-03-15 10:00:00", "0044-03-15 10:00:00"),
        ("9999-12-31 23:59:59", "9999-12-31 23:59:59"),
        ("infinity", "9999-12-31 23:59:59"),
        ("10000-01-01 00:00:00", None),
        ("0044-03-15 10:00:00 BC", None),
    ],
)
def test_dates_at_the_edge(
    copy: Copy, live: LiveOdoo, editor: Transport, odd: int, date: str, expected: str | None
) -> None:
    plain = order(editor)
    execute(live, f"UPDATE sale_order SET commitment_date = '{date}' WHERE id = {odd}")
    for more in ({}, {"full": True}):
        state = copy.sync(ORDER, **more)[ORDER]
        assert (state["status"], state["rejected"]) == ("ok", int(expected is None))
        assert len(copy.rows(ORDER, "1", plain)) == 1
        found = copy.rows(ORDER, "to_char(commitment_date, 'YYYY-MM-DD HH24:MI:SS')", odd)
        assert found == ([] if expected is None else [(expected,)])
    if expected is None:
        assert "year" in copy.rejected(ORDER)[odd]
        assert copy.result(ORDER, verify=True)["differs"] == [ORDER]
    execute(live, f"UPDATE sale_order SET commitment_date = NULL WHERE id = {odd}")
    assert copy.sync(ORDER, full=True)[ORDER]["rejected"] == 0
    copy.check_equal(ORDER)


@pytest.mark.parametrize("was_there", [True, False], ids=["with a row", "without a row"])
def test_a_record_that_is_unreadable_and_then_deleted(copy: Copy, live: LiveOdoo, odd: int, was_there: bool) -> None:
    if was_there:
        copy.sync(ORDER)
    execute(live, f"UPDATE sale_order SET commitment_date = '10000-01-01', reference = 'x' WHERE id = {odd}")
    copy.sync(ORDER, full=True)
    assert copy.rows(ORDER, "reference", odd) == ([(None,)] if was_there else [])  # it keeps what it had
    assert odd in copy.rejected(ORDER)
    execute(live, f"DELETE FROM sale_order WHERE id = {odd}")
    copy.sync(ORDER, swept=True)
    assert copy.rows(ORDER, "1", odd) == []
    assert odd not in copy.rejected(ORDER)


def test_models_of_other_kinds(copy: Copy, live: LiveOdoo, editor: Transport) -> None:
    partner = create(editor, PARTNER, name=unique("followed"))
    create(editor, ORDER, partner_id=partner, order_line=[[0, 0, {"name": "x", "display_type": "line_note"}]])
    states = copy.sync(VIEW, UNLOGGED, DIALOG, ROOT)
    assert states[UNLOGGED]["status"] == states[VIEW]["status"] == "ok", states
    copy.check_equal(UNLOGGED)
    assert states[VIEW]["rows"] == editor.call(VIEW, "search_count", domain=[])
    execute(live, f"DELETE FROM mail_followers WHERE res_model = '{PARTNER}' AND res_id = {partner}")
    copy.sync(VIEW, UNLOGGED)
    copy.check_equal(UNLOGGED)
    assert states[DIALOG]["status"] == "stopped"
    assert "transient" in states[DIALOG]["reason"]
    assert states[ROOT]["status"] in ("failed", "stopped")
    assert states[ROOT]["reason"]


def test_an_unknown_language_is_said(copy: Copy) -> None:
    before = copy.rows(TAG, "odoo_id, name")
    settings = copy.settings.model_copy(update={"odoo_lang": "xx_XX"})
    try:
        result = inline("sync", {"solution_name": "all", "models": [TAG], "full": True}, settings)
        [state] = result["tables"]
        words = state["reason"]
        assert state["status"] == "failed"
    except FBSError as exc:
        words = f"{exc.message} {exc.hint}"
    assert "xx_XX" in words
    assert copy.rows(TAG, "odoo_id, name") == before
    assert copy.sync(TAG)[TAG]["status"] == "ok"


def test_another_language_is_read_anew(copy: Copy, editor: Transport) -> None:
    languages = editor.call("res.lang", "search", domain=[("code", "=", "fr_FR")], context={"active_test": False})
    editor.call("res.lang", "write", ids=languages, vals={"active": True})
    number = tag(editor)
    copy.sync(TAG)
    [(english,)] = copy.rows(TAG, "name", number)
    french = unique("étiquette")
    editor.call(TAG, "write", ids=[number], vals={"name": french}, context={"lang": "fr_FR"})
    for lang, name in (("fr_FR", french), ("en_US", english)):
        settings = copy.settings.model_copy(update={"odoo_lang": lang})
        [state] = inline("sync", {"solution_name": "all", "models": [TAG]}, settings)["tables"]
        assert state["status"] == "ok"
        assert copy.rows(TAG, "name", number) == [(name,)]
    copy.check_equal(TAG)


def test_values_of_a_company_are_those_of_the_reader(reader: tuple[Copy, int], editor: Transport) -> None:
    made, user = reader
    [companies] = editor.call("res.users", "read", ids=[user], fields=["company_ids"])
    first, second = sorted(companies["company_ids"])
    number = create(editor, PARTNER, name=unique("of companies"))
    for company in (first, second):
        context = {"allowed_company_ids": [company]}
        editor.call(PARTNER, "write", ids=[number], vals={"barcode": f"{number} of {company}"}, context=context)
    for company in (first, second, first):
        editor.call("res.users", "write", ids=[user], vals={"company_id": company})
        assert made.sync(PARTNER, swept=True)[PARTNER]["status"] == "ok"
        assert made.rows(PARTNER, "barcode", number) == [(f"{number} of {company}",)]


def migrated(copy: Copy) -> list[str]:
    """Refresh, and bring the tables up to date; the kinds of the steps."""
    inline("refresh", {"solution_name": copy.name}, copy.settings)
    report = plan(copy.settings, name=copy.name)
    migrate(copy.settings, name=copy.name, fingerprint=report["fingerprint"], allow=report["needs"])
    return [step["kind"] for step in report["steps"]]


def test_a_field_comes_and_goes(copy: Copy, live: LiveOdoo, editor: Transport) -> None:
    copy.sync(TAG)
    [model] = editor.call("ir.model", "search", domain=[("model", "=", TAG)])
    field = {"name": "x_came", "model_id": model, "ttype": "char", "field_description": "Came", "state": "manual"}
    created = editor.call("ir.model.fields", "create", vals_list=[field])
    number = tag(editor, x_came="since then")
    execute(live, f"UPDATE crm_tag SET write_date = write_date - INTERVAL '1 day' WHERE id = {number}")
    assert copy.sync(TAG, swept=True)[TAG]["status"] == "ok"  # the column is not there yet
    assert "add_column" in migrated(copy)
    state = copy.sync(TAG)[TAG]
    assert (state["status"], "new fields" in state["last_run"]["kind"]) == ("ok", True)
    assert copy.rows(TAG, "x_came", number) == [("since then",)]
    copy.check_equal(TAG)
    editor.call("ir.model.fields", "unlink", ids=created)
    other = tag(editor)
    assert copy.sync(TAG)[TAG]["status"] == "ok"  # it is left out at once
    assert copy.rows(TAG, "x_came", number, other) == [("since then",), (None,)]
    assert migrated(copy)
    assert copy.sync(TAG, full=True)[TAG]["status"] == "ok"
    copy.check_equal(TAG)
