"""State diagrams in SVG."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from fbs_worker.web.pages.workflow import read_workflow
from fbs_worker.web.pages.workflow_svg import workflow_svg
from tests.unit.test_pages_workflow import ORDER

NASTY = "<script>alert('x')</script>&\"\x00\x1b]]>"


def drawn(definition: dict[str, Any], title: str = "States") -> ElementTree.Element:
    return ElementTree.fromstring(workflow_svg(read_workflow(definition), title=title))


def classes(picture: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [one for one in picture.iter() if name in one.get("class", "").split()]


def words(picture: ElementTree.Element, name: str) -> list[str]:
    return [one.text or "" for one in classes(picture, name)]


def many(count: int, *, back: bool = True) -> dict[str, Any]:
    """A chain of states, each with a button to the next one, and one back to the first."""
    states = [{"value": f"s{number}x", "label": f"State s{number}x", "shown": True} for number in range(count)]
    forth = [
        {"button": f"action_s{number + 1}x", "label": f"Go s{number + 1}x", "kind": "object", "from": [f"s{number}x"]}
        for number in range(count - 1)
    ]
    reset = {"button": "set_s0x", "label": "Set s0x", "kind": "object", "from": [f"s{n}x" for n in range(1, count)]}
    return {"states": states, "transitions": [*forth, *([reset] if back else [])]}


def test_a_sales_order() -> None:
    picture = drawn(ORDER, "States of sale.order")
    assert picture.get("aria-label") == "States of sale.order"
    assert words(picture, "name") == ["Quotation", "Quotation Sent", "Sales Order", "Cancelled", "In every state"]
    assert words(picture, "value") == ["draft", "sent", "sale", "cancel", "1 button"]
    assert sorted(words(picture, "label")) == sorted(
        ["Cancel", "Confirm", "Print", "Cancel", "Confirm", "Cancel", "Set to Quotation", "Preview"]
    )
    assert len(classes(picture, "rail")) == 2  # to Cancelled, to Quotation
    assert len(classes(picture, "known")) == 4
    assert len(classes(picture, "open")) == 4
    assert len(classes(picture, "begin")) == 1
    result = [title.text for title in picture.iter("title")]
    assert "Cancel (action_cancel): leads to Cancelled (derived from its name)" in result
    assert "Quotation (draft): the first state, shown in the status bar" in result


def test_states_have_distinct_classes() -> None:
    picture = drawn(ORDER)
    kinds = [box.get("class") for box in classes(picture, "state")]
    assert kinds == ["state shown first", "state shown", "state shown", "state", "state every"]
    locked = {"states": [{"value": "active"}, {"value": "revoked"}, {"value": "expired"}],
              "transitions": [{"button": "revoke", "label": "Revoke", "from": ["active"]}]}  # fmt: skip
    assert [box.get("class") for box in classes(drawn(locked), "state")] == [
        "state first",
        "state final",
        "state unconnected",
    ]


def boxes_of(picture: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    found = []
    for box in classes(picture, "box"):
        x, y, width, height = (float(box.get(name, "")) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    return found


@pytest.mark.parametrize("count", [2, 3, 10, 25])
def test_nothing_overlaps(count: int) -> None:
    picture = drawn(many(count))
    boxes = boxes_of(picture)
    assert len(boxes) == count
    for number, (_, top, _, bottom) in enumerate(boxes):
        assert top < bottom
        assert number == 0 or top > boxes[number - 1][3]
    labels = [(float(one.get("x", "")), float(one.get("y", ""))) for one in classes(picture, "label")]
    assert len(set(labels)) == len(labels)
    assert all(x > right for x, _ in labels for _, _, right, _ in boxes)
    ys = sorted(y for _, y in labels)
    assert all(after - before >= 20 for before, after in pairwise(ys))


def test_everything_is_inside_the_view_box() -> None:
    picture = drawn({**many(12), "transitions": [*many(12)["transitions"], *ORDER["transitions"]]})
    width, height = (float(picture.get(name, "")) for name in ("width", "height"))
    for path in picture.iter("path"):
        numbers = [float(one) for one in re.findall(r"(?<=[MHQ ])\d+\.\d", path.get("d", ""))]
        assert all(0 <= number <= max(width, height) for number in numbers)
    assert all(right <= width and bottom <= height for _, _, right, bottom in boxes_of(picture))


def test_overlapping_rails_have_separate_lanes() -> None:
    crossing = {
        "states": [{"value": value, "label": value} for value in ("aaa", "bbb", "ccc", "ddd")],
        "transitions": [
            {"button": "to_ccc", "label": "ccc", "from": ["aaa"]},
            {"button": "to_ddd", "label": "ddd", "from": ["bbb"]},
        ],
    }
    picture = drawn(crossing)
    bends = [rail.findall(".//path")[0].get("d", "") for rail in classes(picture, "rail")]
    turns = {place for path in bends for place in re.findall(r"Q(\d+\.\d) ", path)}
    assert len(turns) == 2


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {"states": [{"value": "only"}]},
        {"transitions": [{"button": "x", "label": "Go"}]},
        {"states": [{"value": "a", "label": "A" * 500}], "transitions": [{"button": "b", "label": "B" * 500, "from": ["a"]}]},
    ],
)  # fmt: skip
def test_extreme_definitions_render(definition: dict[str, Any]) -> None:
    picture = drawn(definition)
    assert float(picture.get("width", "")) < 1200


def test_everything_is_escaped() -> None:
    nasty = {
        "states": [{"value": NASTY, "label": NASTY}],
        "transitions": [{"button": NASTY, "label": NASTY, "kind": NASTY, "from": [NASTY]}],
    }
    text = workflow_svg(read_workflow(nasty), title=NASTY)
    ElementTree.fromstring(text)
    assert "<script" not in text
    assert "\x00" not in text
    assert "\x1b" not in text


def test_styling_is_by_classes_only() -> None:
    text = workflow_svg(read_workflow(many(5)), title="States")
    assert not re.search(r"\bstyle|\bfill=|\bstroke=|\bid=|\bon\w+=|<style|<script", text)


def test_rendering_is_deterministic() -> None:
    assert workflow_svg(read_workflow(ORDER), title="x") == workflow_svg(read_workflow(ORDER), title="x")
