"""What every transport must do alike: suites, inherited by a test class per place where there are transports.

A class that inherits gives a fixture `way`; its tests hold on a real Odoo 19 as well as on the recording of
`small_odoo`, so they ask only for what both have.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from fbs_worker.connectors.base import Transport
from fbs_worker.core.errors import (
    FBSError,
    OdooAccessDenied,
    OdooCallFailed,
    OdooDatabaseMissing,
    OdooLoginRefused,
    OdooModelMissing,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to reach one Odoo.

    Attributes:
        open: makes a transport; `db` and `secret` (the password or the key) can be given otherwise.
        open_denied: makes one of a user who may not read `ir.ui.view`; None where there is none.
        secrets: what no error may show.
    """

    open: Callable[..., Transport]
    open_denied: Callable[[], Transport] | None
    secrets: tuple[str, ...]


def check_error(error: FBSError, secrets: tuple[str, ...]) -> None:
    """An error says what is wrong and what to do, in one line each; no secret is in its chain."""
    assert error.message
    assert error.hint
    assert "\n" not in error.message + error.hint
    assert len(error.message) < 400
    for said in (error.message, error.hint, str(error.to_dict())):
        assert "Traceback" not in said
        assert ".s.PGSQL" not in said
    chain: BaseException | None = error
    while chain is not None:
        result = f"{chain!s} {chain!r} {vars(chain)}"
        for secret in secrets:
            assert secret not in result, f"{type(chain).__name__} shows a secret"
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    shown = "".join(traceback.format_exception(error))
    for secret in secrets:
        assert secret not in shown


def raised(expected: type[FBSError], way: Way, act: Callable[[], Any]) -> FBSError:
    """The error that an act raises, of exactly that class, checked."""
    with pytest.raises(FBSError) as caught:
        act()
    assert type(caught.value) is expected, caught.value.to_dict()
    check_error(caught.value, way.secrets)
    return caught.value


class TransportContract:
    """The suite."""

    @pytest.fixture
    def transport(self, way: Way) -> Any:
        opened = way.open()
        yield opened
        opened.close()

    def test_is_a_transport_that_knows_its_server(self, way: Way, transport: Transport) -> None:
        assert isinstance(transport, Transport)
        assert transport.server.database
        assert transport.server.major == tuple(int(part) for part in transport.server.series.split("."))
        for secret in way.secrets:
            assert secret not in f"{transport!r} {transport.server!r}"

    def test_counts_its_model_calls_only(self, transport: Transport) -> None:
        assert transport.calls == 0
        transport.call("ir.model", "search_count", domain=[])
        transport.call("ir.model", "search_count", domain=[])
        assert transport.calls == 2

    def test_closes_more_than_once(self, transport: Transport) -> None:
        transport.call("ir.model", "search_count", domain=[])
        transport.close()
        transport.close()

    def test_searches_and_reads(self, transport: Transport) -> None:
        rows = transport.call(
            "ir.model",
            "search_read",
            domain=[("model", "in", ["res.partner", "ir.model"])],
            fields=["model", "transient"],
            order="model desc",
            load="",
            context={"lang": "en_US"},
        )
        assert [{**row, "id": 0} for row in rows] == [
            {"id": 0, "model": "res.partner", "transient": False},
            {"id": 0, "model": "ir.model", "transient": False},
        ]
        assert transport.call("ir.model", "search_count", domain=[("model", "=", "ir.model")]) == 1
        again = transport.call("ir.model", "read", ids=[rows[0]["id"]], fields=["model"])
        assert again == [{"id": rows[0]["id"], "model": "res.partner"}]

    def test_gives_relations_as_odoo_does(self, transport: Transport) -> None:
        ask: dict[str, Any] = {"domain": [("name", "=", "sale")], "fields": ["category_id"]}
        [named] = transport.call("ir.module.module", "search_read", **ask)
        [plain] = transport.call("ir.module.module", "search_read", **ask, load="")
        assert named["category_id"][0] == plain["category_id"]
        assert isinstance(named["category_id"][1], str)

    def test_reads_related_rows_along(self, transport: Transport) -> None:
        found = transport.call(
            "ir.module.module",
            "web_search_read",
            domain=[("name", "in", ["sale", "base"])],
            specification={
                "name": {},
                "category_id": {"fields": {"name": {}}},
                "dependencies_id": {"fields": {"name": {}}},
            },
            order="name desc",
        )
        assert found["length"] == 2
        sale, base = found["records"]
        assert sale["category_id"].keys() == {"id", "name"}
        assert "account" in str(sale["dependencies_id"]) or "sales_team" in str(sale["dependencies_id"])
        assert base["name"] == "base"
        assert base["dependencies_id"] == []

    def test_aggregates(self, transport: Transport) -> None:
        [row] = transport.call(
            "ir.model",
            "formatted_read_group",
            domain=[],
            groupby=[],
            aggregates=["__count", "write_date:max", "id:max"],
        )
        assert row["__count"] == transport.call("ir.model", "search_count", domain=[])
        assert len(row["write_date:max"]) == len("2026-01-01 00:00:00")
        [nothing] = transport.call(
            "ir.model", "formatted_read_group", domain=[("id", "=", 0)], aggregates=["__count", "id:max"]
        )
        assert (nothing["__count"], nothing["id:max"]) == (0, False)

    def test_leaves_archived_rows_out_unless_asked(self, transport: Transport) -> None:
        shown = transport.call("ir.ui.view", "search_count", domain=[])
        every = transport.call("ir.ui.view", "search_count", domain=[], context={"active_test": False})
        archived = transport.call("ir.ui.view", "search_count", domain=[("active", "=", False)])
        assert every == shown + archived
        assert archived > 0

    def test_describes_fields(self, transport: Transport) -> None:
        result = transport.call("ir.model", "fields_get", allfields=["model"], attributes=["type"])
        assert result == {"model": {"type": "char"}}

    def test_lists_available_models(self, transport: Transport) -> None:
        listed = transport.call("ir.model", "get_available_models")
        assert {"model": "res.partner", "display_name": "Contact"} in listed

    def test_refuses_an_unknown_model(self, way: Way, transport: Transport) -> None:
        raised(OdooModelMissing, way, lambda: transport.call("no.model", "search_count", domain=[]))

    def test_refuses_an_unknown_field(self, way: Way, transport: Transport) -> None:
        error = raised(
            OdooCallFailed, way, lambda: transport.call("ir.model", "search_read", domain=[], fields=["no_field"])
        )
        assert "no_field" in error.message
        raised(OdooCallFailed, way, lambda: transport.call("ir.model", "search", domain=[("no_field", "=", 1)]))

    def test_refuses_a_malformed_domain(self, way: Way, transport: Transport) -> None:
        raised(OdooCallFailed, way, lambda: transport.call("ir.model", "search", domain=["|", ("id", "=", 1)]))

    def test_refuses_an_unknown_argument(self, way: Way, transport: Transport) -> None:
        raised(OdooCallFailed, way, lambda: transport.call("ir.model", "search_count", domain=[], bogus=1))


class RightsContract:
    """What a user meets who may not read everything."""

    def test_names_the_groups_that_may_read(self, way: Way) -> None:
        assert way.open_denied is not None
        transport = way.open_denied()
        try:
            error = raised(OdooAccessDenied, way, lambda: transport.call("ir.ui.view", "search_count", domain=[]))
            assert "Role / Administrator" in error.context["groups"]
            assert "Role / Administrator" in error.hint
            assert transport.call("ir.ui.view", "fields_get", allfields=["name"], attributes=["type"])
        finally:
            transport.close()


class LoginContract:
    """What only a transport with a server behind it meets."""

    def test_refuses_an_unknown_method(self, way: Way) -> None:
        raised(OdooModelMissing, way, lambda: _call(way.open(), "no_method"))

    def test_refuses_a_private_method(self, way: Way) -> None:
        raised(OdooAccessDenied, way, lambda: _call(way.open(), "_private"))

    def test_refuses_a_wrong_secret(self, way: Way) -> None:
        error = raised(OdooLoginRefused, way, lambda: _call(way.open(secret="no-such-secret")))
        assert not error.retryable
        assert "no-such-secret" not in str(error.to_dict())

    def test_refuses_an_unknown_database(self, way: Way) -> None:
        error = raised(OdooDatabaseMissing, way, lambda: _call(way.open(db="no_such_db")))
        assert "no_such_db" in error.message


def _call(transport: Transport, method: str = "search_count") -> Any:
    try:
        return transport.call("ir.model", method)
    finally:
        transport.close()
