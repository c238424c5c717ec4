"""What is left of a view in a recording: the buttons of a form's header with their conditions, its status bar, the
fields of a graph or pivot. No layout, no texts but the buttons' labels. Pure.

A recording holds each view that stands for itself combined with its extensions already: what an extension hangs on
(any field, any group of the layout) is just what a skeleton leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from lxml import etree

from fbs_worker.connectors.arch import Element
from fbs_worker.connectors.reader import Row
from fbs_worker.connectors.sections import view_of_row
from fbs_worker.connectors.views import STATUSBAR, Views

_KEPT: Final = {
    "button": ("name", "type", "string", "invisible", "groups", "states", "attrs"),
    "field": ("name", "type", "interval", "invisible", "groups", "widget", "statusbar_visible"),
    "graph": ("type", "string"),
    "pivot": ("string",),
}
_KEPT_ELSEWHERE: Final = ("invisible", "groups", "states", "attrs")


def skeleton(tree: Element) -> str:
    """A combined view reduced to what a read makes use of; reading it gives the same as reading the view.

    Args:
        tree: the combined view; it is not changed.
    """
    root = _shell(tree)
    if tree.tag == "form":
        root.extend(_of_form(tree, in_header=False))
    else:
        root.extend(_shell(node) for node in tree.iter("field") if node.get("name"))
    return str(etree.tostring(root, encoding="unicode"))


def skeletons(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of `ir.ui.view` as a recording keeps them: each view that stands for itself, combined and reduced.

    Args:
        rows: every form, graph and pivot of a server.
    """
    read = [(row, view_of_row(row)) for row in rows]
    views = Views()
    views.add([view for _, view in read])
    for row, view in read:
        if not view.primary:
            continue
        tree = views.combined(view)
        if tree is not None:
            yield {**row, "inherit_id": False, "arch_db": skeleton(tree)}


def _of_form(node: Element, *, in_header: bool) -> Iterator[Element]:
    for child in node:
        if child.tag == "field":
            if STATUSBAR in (child.get("widget") or ""):
                yield _shell(child)
            continue
        if child.tag == "button":
            if in_header and child.get("name"):
                yield _button(child)
            continue
        inside = list(_of_form(child, in_header=in_header or child.tag == "header"))
        if inside:
            shell = _shell(child)
            shell.extend(inside)
            yield shell


def _button(node: Element) -> Element:
    shell = _shell(node)
    label = node.get("string") or node.get("title") or " ".join("".join(node.itertext()).split())
    if label:
        shell.set("string", label)
    return shell


def _shell(node: Element) -> Element:
    shell = etree.Element(node.tag)
    for name in _KEPT.get(node.tag, _KEPT_ELSEWHERE):
        value = node.get(name)
        if value:
            # conditions are often written over several lines
            shell.set(name, " ".join(value.split()))
    return shell
