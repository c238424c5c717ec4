"""Pictures of tables: what they show, and that both kinds are well-formed whatever is in them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbs_worker.migration.diagram.mermaid import mermaid
from fbs_worker.migration.diagram.model import (
    Mark,
    Picture,
    PicturedColumn,
    PicturedLink,
    PicturedTable,
    picture_of,
    short,
)
from fbs_worker.migration.diagram.svg import svg
from fbs_worker.migration.diff.changes import Change, Difference, What
from fbs_worker.migration.diff.differ import compare
from fbs_worker.migration.inspect.inspector import Found, FoundKey, FoundTable
from fbs_worker.migration.model.schema import FOREIGN, PRIMARY, ColumnShape, KeyShape, Shape, TableShape

ENTITY = re.compile(r'    "[^"%\\\r\n]+" \{')
ATTRIBUTE = re.compile(
    r'        [A-Za-z_][A-Za-z0-9_()\[\]-]* [A-Za-z_][A-Za-z0-9_()\[\]-]*( (PK|FK|UK)(, (PK|FK|UK))*)?( "[^"\r\n]*")?'
)
LINK = re.compile(r'    "[^"%\\\r\n]+" (\|\||\|o)--o\{ "[^"%\\\r\n]+" : "[^"%\\\r\n]*"')


def columns(**types: str) -> dict[str, ColumnShape]:
    return {"id": ColumnShape(type="integer", not_null=True), **{n: ColumnShape(type=t) for n, t in types.items()}}


def foreign(column: str, target: str) -> KeyShape:
    return KeyShape(kind=FOREIGN, columns=(column,), target=(target, ("id",)))


KEY = KeyShape(kind=PRIMARY, columns=("id",))


def found_as(shape: Shape) -> Found:
    tables = {
        name: FoundTable(
            columns=table.columns,
            keys=tuple(FoundKey(shape=key, oid=number) for number, key in enumerate(table.keys)),
        )
        for name, table in shape.items()
    }
    return Found(tables=tables)


def pictured(before: Shape, after: Shape, *, made: Shape | None = None, **more: Any) -> Picture:
    there = found_as(before)
    difference = compare(after, made or before, there, owned=before.keys())
    return picture_of("shop", wanted=after, found=there, difference=difference, **more)


def table(picture: Picture, name: str) -> PicturedTable:
    return next(one for one in picture.tables if one.name == name)


def column(picture: Picture, of: str, name: str) -> PicturedColumn:
    return next(one for one in table(picture, of).columns if one.name == name)


BEFORE = {
    "tenant": TableShape(columns=columns(name="character varying(50)"), keys=(KEY,)),
    "lease": TableShape(columns=columns(tenant_id="integer", note="text"), keys=(KEY, foreign("tenant_id", "tenant"))),
    "old": TableShape(columns=columns(), keys=(KEY,)),
}
AFTER = {
    "tenant": TableShape(columns=columns(name="text"), keys=(KEY,)),
    "lease": TableShape(columns=columns(tenant_id="integer", since="date"), keys=(KEY, foreign("tenant_id", "tenant"))),
    "payment": TableShape(columns=columns(lease_id="integer"), keys=(KEY, foreign("lease_id", "lease"))),
}


def test_pending_changes_are_marked() -> None:
    picture = pictured(BEFORE, AFTER, mirrored=["lease"])
    assert [one.name for one in picture.tables] == ["lease", "old", "payment", "tenant"]
    assert {one.name: one.mark for one in picture.tables if one.mark} == {"old": Mark.GONE, "payment": Mark.NEW}
    assert table(picture, "lease").mirrored
    assert column(picture, "tenant", "name").mark is Mark.CHANGED
    assert (column(picture, "tenant", "name").type, column(picture, "tenant", "name").becomes) == (
        "varchar(50)",
        "text",
    )
    assert column(picture, "lease", "since").mark is Mark.NEW
    assert column(picture, "lease", "note").mark is Mark.GONE
    assert column(picture, "lease", "tenant_id").flags == ("FK",)
    assert column(picture, "payment", "id").flags == ("PK",)
    links = {(link.source, link.target): link.mark for link in picture.links}
    assert links == {("lease", "tenant"): Mark.NONE, ("payment", "lease"): Mark.NEW}
    drawn = svg(picture)
    for words in ("varchar(50) → text", "+ payment (new)", "- old (goes)", "~ name"):
        assert words in drawn
    assert "changed by hand" not in drawn


def test_what_was_changed_by_hand_is_marked_so() -> None:
    by_hand = {**BEFORE, "tenant": TableShape(columns={"id": BEFORE["tenant"].columns["id"]}, keys=(KEY,))}
    by_hand["lease"] = replace(BEFORE["lease"], keys=(KEY,))
    picture = pictured(by_hand, BEFORE, made=BEFORE)
    assert column(picture, "tenant", "name").mark is Mark.DRIFT
    assert [link.mark for link in picture.links] == [Mark.DRIFT]
    assert picture.marks == [Mark.DRIFT]


def test_what_users_added_is_there_and_not_marked() -> None:
    mine = {**BEFORE, "tenant": TableShape(columns=columns(name="character varying(50)", mine="text"), keys=(KEY,))}
    picture = pictured(mine, BEFORE, made=BEFORE)
    assert column(picture, "tenant", "mine").mark is Mark.NONE
    assert picture.marks == []
    assert "<svg" in svg(picture)


def test_a_foreign_table_in_the_way_is_marked() -> None:
    difference = Difference(changes=(Change(what=What.CREATE_TABLE, table="lease"),), blocked={"tenant": "a view"})
    picture = picture_of("shop", wanted=AFTER, found=Found(), difference=difference)
    assert table(picture, "tenant").mark is Mark.DRIFT
    assert "a view" in table(picture, "tenant").told


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
    picture = Picture(
        title="round",
        tables=tuple(PicturedTable(name=name) for name in "abcd"),
        links=tuple(PicturedLink(source=one, columns=("x",), target=other) for one, other in links),
    )
    assert svg(picture).count("marker-end") == 4


def test_boxes_do_not_overlap() -> None:
    many = tuple(PicturedColumn(name=f"column_{number}", type="integer") for number in range(30))
    names = [f"t{number}" for number in range(60)]
    links = [
        PicturedLink(source=name, columns=("column_1",), target=names[number // 7])
        for number, name in enumerate(names[20:])
    ]
    picture = Picture(
        title="big", tables=tuple(PicturedTable(name=name, columns=many) for name in names), links=tuple(links)
    )
    tree = ElementTree.fromstring(svg(picture))
    frames = [one for one in tree.iter("{http://www.w3.org/2000/svg}rect") if one.get("rx") == "5"]
    boxes = [tuple(float(one.get(part, "")) for part in ("x", "y", "width", "height")) for one in frames]
    assert len(boxes) == 60
    for number, (x, y, width, height) in enumerate(boxes):
        for x2, y2, width2, height2 in boxes[number + 1 :]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
    assert "… 12 more columns" in svg(picture)


WORDS = st.text(min_size=1, max_size=12)
COLUMNS = st.builds(
    PicturedColumn,
    name=WORDS,
    type=WORDS,
    becomes=st.one_of(st.just(""), WORDS),
    flags=st.lists(st.sampled_from(["PK", "FK", "UK"]), unique=True).map(tuple),
    mark=st.sampled_from(Mark),
    told=WORDS,
)


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    names = draw(st.lists(WORDS, unique=True, min_size=1, max_size=6))
    tables = [
        PicturedTable(
            name=name,
            columns=tuple(draw(st.lists(COLUMNS, max_size=4))),
            mirrored=draw(st.booleans()),
            mark=draw(st.sampled_from(Mark)),
            told=draw(WORDS),
        )
        for name in names
    ]
    link = st.builds(
        PicturedLink,
        source=st.sampled_from(names),
        target=st.sampled_from(names),
        columns=st.lists(WORDS, min_size=1, max_size=2).map(tuple),
        required=st.booleans(),
        mark=st.sampled_from(Mark),
    )
    return Picture(title=draw(WORDS), tables=tuple(tables), links=tuple(draw(st.lists(link, max_size=6))))


@settings(max_examples=60)
@given(pictures())
def test_whatever_the_names_are_both_are_well_formed(picture: Picture) -> None:
    tree = ElementTree.fromstring(svg(picture))
    assert tree.tag.endswith("svg")
    lines = mermaid(picture).splitlines()
    assert lines[0] == lines[2] == "---"
    assert lines[3] == "erDiagram"
    for line in lines[4:]:
        known = ENTITY.fullmatch(line) or ATTRIBUTE.fullmatch(line) or LINK.fullmatch(line)
        assert known or line == "    }" or line.startswith("    %% "), line
