"""Searching a catalogue, by SQL and over HTTP, with the index of words and without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fbs_worker.catalogue.model import Discovery
from fbs_worker.catalogue.search import search, tsquery_of, words_of
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import UsageError
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.domains import load_domain
from fbs_worker.migration.model.plan import Hazard
from fbs_worker.migration.plan.planner import make_plan
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.schema import create
from fbs_worker.schema.definition import define
from fbs_worker.web.api.response_models import HitsAnswer
from tests.support.api_stage import SHOP, ApiStage
from tests.support.servers import fresh_database
from tests.support.snapshots import FEATURE, MODEL, MODULE, WORKFLOW, MadeSnapshot, thing


def described(name: str, title: str, /, **fields: Any) -> Discovery:
    """A model; a field is its label, or its label, type and relation."""
    definitions = {}
    for field, given in fields.items():
        label, kind, relation = (given, "char", None) if isinstance(given, str) else given
        definitions[field] = {"label": label, "type": kind} | ({"relation": relation} if relation else {})
    return thing(MODEL, name, meta={"title": title}, fields=definitions)


CATALOGUE = (
    described(
        "sale.order",
        "Sales Order",
        name="Order Reference",
        partner_id=("Customer", "many2one", "res.partner"),
        partner_invoice_id=("Invoice Address", "many2one", "res.partner"),
        date_order="Order Date",
        tz="Fuseau (été) l'heure",
    ),
    described("sale.order.line", "Sales Order Line", order_partner_id=("Customer", "many2one", "res.partner")),
    described("res.partner", "Contact", name="Name", x_100="100% of <it> \\ 'quoted' \"twice\""),
    thing(MODULE, "sale_management", version="19.0.1.0", meta={"title": "Sales"}),
    thing(WORKFLOW, "sale.order", meta={"title": "Sales Order"}, states=[]),
    thing(FEATURE, "sale.report pivot", meta={"title": "Sales Analysis"}, model="sale.report"),
)


@pytest.fixture
def connection(database: DatabaseConfig) -> Iterator[Connection]:
    with closing(connect(database)) as opened:
        Catalogue(opened).save(MadeSnapshot(*CATALOGUE))
        yield opened


@pytest.fixture(scope="module", params=["with the index", "without it"])
def either(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A catalogue that no test changes."""
    with fresh_database(postgres) as database, closing(connect(database)) as opened:
        Catalogue(opened).save(MadeSnapshot(*CATALOGUE))
        if request.param == "without it":
            with opened, opened.cursor() as cursor:
                cursor.execute("DROP INDEX fbs_discoveries_words_idx")
        yield opened


def rendered(hit: dict[str, Any]) -> str:
    return f"{hit['model']}/{hit['field']}" if hit["kind"] == "field" else f"{hit['kind']} {hit['name']}"


def found(connection: Connection, text: str, **asked: Any) -> list[str]:
    return [rendered(hit) for hit in search(connection, "fbs_", domain="rental", text=text, **asked).rows]


PARTNERS = ["sale.order/partner_id", "sale.order/partner_invoice_id", "sale.order.line/order_partner_id"]


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("partner", ["model res.partner", *PARTNERS]),
        ("sale ord", ["model sale.order", "workflow sale.order", "model sale.order.line"]),
        ("sale.order", ["model sale.order", "workflow sale.order", "model sale.order.line"]),
        ("SALE_MAN", ["module sale_management"]),
        ("analysis", ["bi_feature sale.report pivot"]),
        ("customer", ["sale.order/partner_id", "sale.order.line/order_partner_id"]),
        ("invoice part", ["sale.order/partner_invoice_id"]),
        ("line customer", ["sale.order.line/order_partner_id"]),
        ("artner", []),
        ("many2one", []),
        ("label", []),
        ("été", ["sale.order/tz"]),
        ("100 quoted twice it", ["res.partner/x_100"]),
        ("…", []),
        ("' | !*:& \\ % \0", []),
        ("", []),
    ],
)
def test_hits(either: Connection, text: str, hits: list[str]) -> None:
    answer = found(either, text)
    things = [hit for hit in answer if "/" not in hit]
    if text.startswith("sale ") or text == "sale.order":  # fields of those models have such words, too
        answer = things
    assert sorted(answer) == sorted(hits)
    assert answer == things + [hit for hit in answer if "/" in hit], "fields come last"


RANKED = ("sale.mass.cancel.orders", "sale.order", "sale.order.line", "sale_order_x.y", "a.sale.order")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sale ord", ["sale.order", "sale.order.line", "sale_order_x.y", "a.sale.order", "sale.mass.cancel.orders"]),
        ("Sale.Order.L", ["sale.order.line"]),
        ("order", ["a.sale.order", "sale.mass.cancel.orders", "sale.order", "sale.order.line", "sale_order_x.y"]),
        ("sale_order x y", ["sale_order_x.y"]),
        ("orders sale", ["sale.mass.cancel.orders"]),
    ],
)
def test_a_name_that_begins_with_the_text_comes_before_others(
    connection: Connection, text: str, names: list[str]
) -> None:
    Catalogue(connection).save(MadeSnapshot(*(described(name, "Order") for name in RANKED)))
    assert found(connection, text) == [f"model {name}" for name in names]
    (first,) = search(connection, "fbs_", domain="rental", text=text, limit=1).texts
    assert names[0] in first


def test_a_field_has_its_model(either: Connection) -> None:
    (hit,) = search(either, "fbs_", domain="rental", text="invoice address", kinds=["field"]).rows
    assert hit == {
        "kind": "field",
        "model": "sale.order",
        "field": "partner_invoice_id",
        "label": "Invoice Address",
        "type": "many2one",
        "relation": "res.partner",
    }


def test_kinds_are_chosen(either: Connection) -> None:
    assert found(either, "sale order", kinds=["workflow"]) == ["workflow sale.order"]
    assert found(either, "partner", kinds=["field"]) == [
        "sale.order/partner_id",
        "sale.order/partner_invoice_id",
        "sale.order.line/order_partner_id",
    ]
    with pytest.raises(UsageError, match="kind"):
        found(either, "partner", kinds=["menu"])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_follow_each_other(either: Connection, limit: int) -> None:
    whole = found(either, "order")
    assert len(whole) > 5
    got, cursor = [], ""
    for _ in range(20):
        part = search(either, "fbs_", domain="rental", text="order", limit=limit, cursor=cursor)
        assert len(part.texts) <= limit
        got += list(map(rendered, part.rows))
        if part.next is None:
            break
        cursor = part.next
    assert got == whole


def test_words_that_are_everywhere_take_several_pages(either: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fbs_worker.catalogue.search._MAX_MODELS", 1)
    got, cursor, pages = [], "", 0
    while True:
        part = search(either, "fbs_", domain="rental", text="partner", kinds=["field"], cursor=cursor)
        pages += 1
        got += list(map(rendered, part.rows))
        if part.next is None:
            break
        cursor = part.next
    assert (sorted(got), pages) == (sorted(PARTNERS), 4)


def test_inactive_rows_and_other_domains_are_not_found(connection: Connection) -> None:
    assert search(connection, "fbs_", domain="hr", text="partner").rows == []
    assert search(connection, "no_", domain="rental", text="partner").rows == []
    Catalogue(connection).save(MadeSnapshot(CATALOGUE[0]))
    assert found(connection, "contact") == []


@pytest.mark.parametrize("cursor", ["x", "MA", "W10", "WzEsMiwzXQ", "WyJhIiwtMSwiYiJd", "WyJhIix0cnVlLCJiIl0"])
def test_a_cursor_that_is_none_is_refused(either: Connection, cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        found(either, "partner", cursor=cursor)


@pytest.mark.parametrize("fields", [[], "text", {"a": 1, "b": ["label"]}, {"label": {"label": None}}, None])
def test_a_model_that_is_not_as_it_should_be_does_no_harm(connection: Connection, fields: Any) -> None:
    Catalogue(connection).save(MadeSnapshot(*CATALOGUE, thing(MODEL, "odd.partner", fields=fields)))
    assert "model odd.partner" in found(connection, "odd")
    assert found(connection, "odd partner", kinds=["field"]) == []


def test_long_and_many_words_do_no_harm(connection: Connection) -> None:
    many = {f"f_{number}": f"word{number} " + "x" * 100 for number in range(20_000)}
    Catalogue(connection).save(MadeSnapshot(described("big.model", "é" * 300_000, **many)))
    assert found(connection, "big", kinds=["model"]) == ["model big.model"]
    assert found(connection, " ".join(f"w{number}" for number in range(1000))) == []
    assert len(words_of("a b c d e f g h i j")) == 8
    assert tsquery_of("it's <a>") == "'it':* & 's':* & 'a':*"


def test_a_search_over_http(api_stage: ApiStage) -> None:
    answer = api_stage.asking.get(f"/api/v1/solutions/{SHOP}/search?text=employee+manager&kind=field&kind=model")
    assert answer.status_code == 200, answer.text
    hits = HitsAnswer.model_validate(answer.json())
    assert (hits.solution, hits.domain) == (SHOP, "hr")
    assert {hit.kind for hit in hits.hits} == {"field"}
    for query in ("", "?text=", "?text=a&kind=menu", "?text=a&limit=0", "?text=a&cursor=x"):
        assert api_stage.asking.get(f"/api/v1/solutions/{SHOP}/search/{query}").status_code == 422


def test_a_database_of_before_gets_the_index_by_a_migration(connection: Connection) -> None:
    definition = define(load_domain("rental"), table_prefix="fbs_", business_prefix="r_")
    with connection:
        create.create(connection, definition, owned=())
    owned = definition.table_names

    def plan() -> Any:
        with connection:
            return make_plan(
                connection, solution="s", definition=definition, last_applied={}, owned=owned, renames=(), restore=False
            )

    assert plan().empty
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP INDEX fbs_discoveries_words_idx")
    before = plan()
    assert [(step.table, step.hazards) for step in before.steps] == [
        ("fbs_discoveries", frozenset({Hazard.INDEX_BUILD}))
    ]
    assert "CONCURRENTLY" in before.steps[0].sql
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(before.steps[0].sql)
    connection.autocommit = False
    assert plan().empty
    assert found(connection, "invoice address") == ["sale.order/partner_invoice_id"]
