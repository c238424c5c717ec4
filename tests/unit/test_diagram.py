"""Pictures of tables: what they show, and that both kinds are well-formed whatever is in them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbs_worker.schema.differ import Change, ChangeKind, Difference, compare
from fbs_worker.schema.inspector import InspectedKey, InspectedSchema, InspectedTable
from fbs_worker.schema.model import (
    FOREIGN,
    NOT_ENFORCED_SINCE,
    PRIMARY,
    ColumnSchema,
    KeySchema,
    Schema,
    TableSchema,
    possible_schema,
)
from fbs_worker.solutions.diagram.mermaid import mermaid
from fbs_worker.solutions.diagram.model import (
    Diagram,
    DiagramColumn,
    DiagramLink,
    DiagramTable,
    Mark,
    build_diagram,
    short,
)
from fbs_worker.solutions.diagram.svg import svg

ENTITY = re.compile(r'    "[^"%\\\r\n]+" \{')
ATTRIBUTE = re.compile(
    r'        [A-Za-z_][A-Za-z0-9_()\[\]-]* [A-Za-z_][A-Za-z0-9_()\[\]-]*( (PK|FK|UK)(, (PK|FK|UK))*)?( "[^"\r\n]*")?'
)
LINK = re.compile(r'    "[^"%\\\r\n]+" (\|\||\|o)--o\{ "[^"%\\\r\n]+" : "[^"%\\\r\n]*"')


def columns(**types: str) -> dict[str, ColumnSchema]:
    return {"id": ColumnSchema(type="integer", not_null=True), **{n: ColumnSchema(type=t) for n, t in types.items()}}


def foreign(column: str, target: str) -> KeySchema:
    return KeySchema(kind=FOREIGN, columns=(column,), target=(target, ("id",)))


def link(column: str) -> KeySchema:
    return replace(foreign(column, "t"), enforced=False)


KEY = KeySchema(kind=PRIMARY, columns=("id",))


def found_as(schema: Schema) -> InspectedSchema:
    tables = {
        name: InspectedTable(
            columns=table.columns,
            keys=tuple(InspectedKey(schema=key, oid=number) for number, key in enumerate(table.keys)),
        )
        for name, table in schema.items()
    }
    return InspectedSchema(tables=tables)


def pictured(before: Schema, after: Schema, *, applied: Schema | None = None, **more: Any) -> Diagram:
    there = found_as(before)
    difference = compare(after, applied or before, there, owned=before.keys())
    return build_diagram("shop", desired=after, actual=there, difference=difference, **more)


def table(diagram: Diagram, name: str) -> DiagramTable:
    return next(one for one in diagram.tables if one.name == name)


def column(diagram: Diagram, of: str, name: str) -> DiagramColumn:
    return next(one for one in table(diagram, of).columns if one.name == name)


BEFORE = {
    "tenant": TableSchema(columns=columns(name="character varying(50)"), keys=(KEY,)),
    "lease": TableSchema(columns=columns(tenant_id="integer", note="text"), keys=(KEY, foreign("tenant_id", "tenant"))),
    "old": TableSchema(columns=columns(), keys=(KEY,)),
}
AFTER = {
    "tenant": TableSchema(columns=columns(name="text"), keys=(KEY,)),
    "lease": TableSchema(
        columns=columns(tenant_id="integer", since="date"), keys=(KEY, foreign("tenant_id", "tenant"))
    ),
    "payment": TableSchema(columns=columns(lease_id="integer"), keys=(KEY, foreign("lease_id", "lease"))),
}


def test_pending_changes_are_marked() -> None:
    diagram = pictured(BEFORE, AFTER, mirrored=["lease"])
    assert [one.name for one in diagram.tables] == ["lease", "old", "payment", "tenant"]
    assert {one.name: one.mark for one in diagram.tables if one.mark} == {"old": Mark.GONE, "payment": Mark.NEW}
    assert table(diagram, "lease").mirrored
    assert column(diagram, "tenant", "name").mark is Mark.CHANGED
    assert (column(diagram, "tenant", "name").type, column(diagram, "tenant", "name").becomes) == (
        "varchar(50)",
        "text",
    )
    assert column(diagram, "lease", "since").mark is Mark.NEW
    assert column(diagram, "lease", "note").mark is Mark.GONE
    assert column(diagram, "lease", "tenant_id").flags == ("FK",)
    assert column(diagram, "payment", "id").flags == ("PK",)
    links = {(link.source, link.target): link.mark for link in diagram.links}
    assert links == {("lease", "tenant"): Mark.NONE, ("payment", "lease"): Mark.NEW}
    drawn = svg(diagram)
    for words in ("varchar(50) → text", "+ payment (new)", "- old (goes)", "~ name"):
        assert words in drawn
    assert "changed by hand" not in drawn


@pytest.mark.parametrize("version", [150000, NOT_ENFORCED_SINCE])
def test_links_are_drawn_without_enforced_keys(version: int) -> None:
    """Those of before, of a new column and of a new table; where this PostgreSQL has no such keys too."""
    loose = {
        name: TableSchema(columns=columns(a="integer", b="integer"), keys=(KEY, *(link(one) for one in links)))
        for name, links in {"t": ("a", "b"), "new": ("a",)}.items()
    }
    after = possible_schema(loose, version)
    before = {"t": TableSchema(columns=columns(a="integer"), keys=(KEY, foreign("a", "t")))}
    diagram = pictured(before, after, written=loose)
    assert {(one.source, *one.columns): (one.mark, one.enforced) for one in diagram.links} == {
        ("t", "a"): (Mark.CHANGED, True),
        ("t", "b"): (Mark.NEW, False),
        ("new", "a"): (Mark.NEW, False),
    }
    diagram = pictured(after, after, written=loose)
    assert {(link.mark, link.enforced, link.required) for link in diagram.links} == {(Mark.NONE, False, False)}
    assert len(diagram.links) == 3
    assert column(diagram, "t", "b").flags == (("FK",) if version == NOT_ENFORCED_SINCE else ("→",))
    assert "t.b references t, not enforced" in svg(diagram)
    assert ATTRIBUTE.fullmatch(next(line for line in mermaid(diagram).splitlines() if line.startswith(" " * 8)))


def test_what_was_changed_by_hand_is_marked_so() -> None:
    by_hand = {**BEFORE, "tenant": TableSchema(columns={"id": BEFORE["tenant"].columns["id"]}, keys=(KEY,))}
    by_hand["lease"] = replace(BEFORE["lease"], keys=(KEY,))
    diagram = pictured(by_hand, BEFORE, applied=BEFORE)
    assert column(diagram, "tenant", "name").mark is Mark.DRIFT
    assert [link.mark for link in diagram.links] == [Mark.DRIFT]
    assert diagram.marks == [Mark.DRIFT]


def test_what_users_added_is_there_and_not_marked() -> None:
    mine = {**BEFORE, "tenant": TableSchema(columns=columns(name="character varying(50)", mine="text"), keys=(KEY,))}
    diagram = pictured(mine, BEFORE, applied=BEFORE)
    assert column(diagram, "tenant", "mine").mark is Mark.NONE
    assert diagram.marks == []
    assert "<svg" in svg(diagram)


def test_a_name_conflict_is_marked() -> None:
    difference = Difference(
        changes=(Change(kind=ChangeKind.CREATE_TABLE, table="lease"),), blocked={"tenant": "a view"}
    )
    diagram = build_diagram("shop", desired=AFTER, actual=InspectedSchema(), difference=difference)
    assert table(diagram, "tenant").mark is Mark.DRIFT
    assert "a view" in table(diagram, "tenant").difference


@pytest.mark.parametrize(
    ("kind", "people_write"),
    [
        ("character varying(50)", "varchar(50)"),
        ("timestamp without time zone", "timestamp"),
        ("character varying[]", "varchar[]"),
        ("double precision", "double"),
        ("integer", "integer"),
    ],
)
def test_types_are_short(kind: str, people_write: str) -> None:
    assert short(kind) == people_write


def test_a_circle_and_a_table_that_refers_to_itself_end() -> None:
    links = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")]
    diagram = Diagram(
        title="round",
        tables=tuple(DiagramTable(name=name) for name in "abcd"),
        links=tuple(DiagramLink(source=one, columns=("x",), target=other) for one, other in links),
    )
    assert svg(diagram).count("marker-end") == 4


def test_boxes_do_not_overlap() -> None:
    many = tuple(DiagramColumn(name=f"column_{number}", type="integer") for number in range(30))
    names = [f"t{number}" for number in range(60)]
    links = [
        DiagramLink(source=name, columns=("column_1",), target=names[number // 7])
        for number, name in enumerate(names[20:])
    ]
    diagram = Diagram(
        title="big", tables=tuple(DiagramTable(name=name, columns=many) for name in names), links=tuple(links)
    )
    tree = ElementTree.fromstring(svg(diagram))
    frames = [one for one in tree.iter("{http://www.w3.org/2000/svg}rect") if one.get("rx") == "5"]
    boxes = [tuple(float(one.get(part, "")) for part in ("x", "y", "width", "height")) for one in frames]
    assert len(boxes) == 60
    for number, (x, y, width, height) in enumerate(boxes):
        for x2, y2, width2, height2 in boxes[number + 1 :]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
    assert "… 12 more columns" in svg(diagram)


WORDS = st.text(min_size=1, max_size=12)
COLUMNS = st.builds(
    DiagramColumn,
    name=WORDS,
    type=WORDS,
    becomes=st.one_of(st.just(""), WORDS),
    flags=st.lists(st.sampled_from(["PK", "FK", "UK", "→"]), unique=True).map(tuple),
    mark=st.sampled_from(Mark),
    difference=WORDS,
)


@st.composite
def pictures(draw: st.DrawFn) -> Diagram:
    names = draw(st.lists(WORDS, unique=True, min_size=1, max_size=6))
    tables = [
        DiagramTable(
            name=name,
            columns=tuple(draw(st.lists(COLUMNS, max_size=4))),
            mirrored=draw(st.booleans()),
            mark=draw(st.sampled_from(Mark)),
            difference=draw(WORDS),
        )
        for name in names
    ]
    link = st.builds(
        DiagramLink,
        source=st.sampled_from(names),
        target=st.sampled_from(names),
        columns=st.lists(WORDS, min_size=1, max_size=2).map(tuple),
        required=st.booleans(),
        mark=st.sampled_from(Mark),
    )
    return Diagram(title=draw(WORDS), tables=tuple(tables), links=tuple(draw(st.lists(link, max_size=6))))


@settings(max_examples=60)
@given(pictures())
def test_whatever_the_names_are_both_are_well_formed(diagram: Diagram) -> None:
    tree = ElementTree.fromstring(svg(diagram))
    assert tree.tag.endswith("svg")
    lines = mermaid(diagram).splitlines()
    assert lines[0] == lines[2] == "---"
    assert lines[3] == "erDiagram"
    for line in lines[4:]:
        known = ENTITY.fullmatch(line) or ATTRIBUTE.fullmatch(line) or LINK.fullmatch(line)
        assert known or line == "    }" or line.startswith("    %% "), line
