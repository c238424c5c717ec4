"""Cross-references of the catalogue, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fbs_worker.catalogue.model import Discovery
from fbs_worker.catalogue.references import MAX_REFERENCES, Named, Reference, References
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.postgres import Connection
from tests.support.snapshots import DOMAIN, FEATURE, MODEL, MODULE, WORKFLOW, MadeSnapshot, thing

ODD = 'a "model" \\ of $.* ? (@ == 1)'


@pytest.fixture
def references(connection: Connection) -> References:
    return References(connection, "fbs_", DOMAIN)


def save(connection: Connection, *discoveries: Discovery) -> None:
    Catalogue(connection).save(MadeSnapshot(*discoveries))


def related(name: str, **fields: str) -> Discovery:
    """A model with fields that refer to other models."""
    definitions: dict[str, Any] = {
        field: {"type": "many2one", "relation": model, "label": field.title()} for field, model in fields.items()
    }
    return thing(MODEL, name, fields={**definitions, "name": {"type": "char"}})


def graph(name: str, model: str) -> Discovery:
    """A BI feature that shows a model."""
    return replace(thing(FEATURE, name), schema_definition={"kind": "graph", "model": model})


def test_what_refers_to_a_model(connection: Connection, references: References) -> None:
    save(connection, related("sale.order", partner="res.partner", user="res.users"), related("b", x="res.partner"))
    assert references.referring("res.partner") == [
        Reference(model="b", field="x", label="X", type="many2one"),
        Reference(model="sale.order", field="partner", label="Partner", type="many2one"),
    ]
    assert references.referring("res.users")[0].field == "user"
    assert references.referring("char") == []


@pytest.mark.parametrize("name", [ODD, "x'y", "a.b", "%s %(model)s", "é"])
def test_any_name_is_quoted(connection: Connection, references: References, name: str) -> None:
    save(connection, related("sale.order", other=name))
    assert [reference.field for reference in references.referring(name)] == ["other"]
    assert references.known([name, "sale.order"], MODEL) == {("model", "sale.order")}


@pytest.mark.parametrize("name", ["", "\0", "\ud800"])
def test_names_that_nothing_can_have(connection: Connection, references: References, name: str) -> None:
    save(connection, related("sale.order"))
    assert not references.referring(name)
    assert not references.features(name)
    assert not references.models_of(name)
    assert not references.known([name], MODEL)


def test_what_is_gone_refers_to_nothing(connection: Connection, references: References) -> None:
    save(connection, related("a", x="c"), related("b", x="c"))
    save(connection, related("a", x="c"))
    assert [reference.model for reference in references.referring("c")] == ["a"]
    assert references.known(["a", "b"], MODEL) == {("model", "a")}


def test_models_without_fields_are_skipped(connection: Connection, references: References) -> None:
    save(connection, thing(MODEL, "a"), thing(MODEL, "b", fields=["relation"]), thing(MODEL, "c", fields={"x": "y"}))
    assert references.referring("y") == []


def test_results_are_limited(connection: Connection, references: References) -> None:
    save(connection, related("a", **{f"field_{number:04}": "b" for number in range(MAX_REFERENCES + 1)}))
    assert len(references.referring("b")) == MAX_REFERENCES


def test_features_of_a_model_and_models_of_a_module(connection: Connection, references: References) -> None:
    save(
        connection,
        graph("sale.graph", "sale.order"),
        graph("other.graph", "other"),
        thing(MODEL, "sale.order", meta={"defined_by": "sale", "extended_by": ["delivery"]}),
        thing(MODEL, "other", meta={"defined_by": "other"}),
        thing(WORKFLOW, "sale.order"),
        thing(MODULE, "sale", version="19.0"),
    )
    assert references.features("sale.order") == [Named(name="sale.graph", title="Order", kind="graph")]
    assert references.models_of("sale") == [Named(name="sale.order", title="Order", kind="defines")]
    assert references.models_of("delivery") == [Named(name="sale.order", title="Order", kind="extends")]
    assert references.known(["sale.order", "sale"], MODEL, WORKFLOW) == {
        ("model", "sale.order"),
        ("workflow", "sale.order"),
    }


def test_without_a_catalogue_there_is_nothing(references: References) -> None:
    assert not references.referring("a")
    assert not references.known(["a"], MODEL)
    assert not references.features("a")
    assert not references.models_of("a")
