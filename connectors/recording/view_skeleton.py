"""Reduce views to the parts that a read uses: buttons with their conditions, status bar, fields of graphs. Pure.

A recording contains each primary view combined with its extensions: the layout nodes that extensions attach to are not
part of a skeleton. The only texts are the labels of buttons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from lxml import etree

from fbs_worker.connectors.arch import Element
from fbs_worker.connectors.reader import Row
from fbs_worker.connectors.sections import view_of_row
from fbs_worker.connectors.transitions import button_label
from fbs_worker.connectors.views import STATUSBAR, Views

_ATTRIBUTES: Final = {
    "button": ("name", "type", "string", "invisible", "groups", "states", "attrs"),
    "field": ("name", "type", "operator", "interval", "invisible", "groups", "widget", "statusbar_visible"),
    "graph": ("type", "string"),
    "pivot": ("string",),
}
_CONDITIONS: Final = ("invisible", "states", "attrs")
_OTHER_ATTRIBUTES: Final = (*_CONDITIONS, "groups")


def skeleton(tree: Element) -> str:
    """Reduce a combined view; reading the skeleton gives the same result as reading the view.

    Args:
        tree: the combined view; not changed.

    Returns:
        The XML text of the skeleton.
    """
    root = _shell(tree)
    if tree.tag == "form":
        root.extend(_of_form(tree, kept=False))
    else:
        root.extend(_shell(node) for node in tree.iter("field") if node.get("name"))
    return str(etree.tostring(root, encoding="unicode"))


def skeletons(rows: Iterable[Row]) -> Iterator[Row]:
    """Convert rows of `ir.ui.view` for a recording: primary views, combined and reduced.

    Args:
        rows: all forms, graphs and pivots of a server.

    Yields:
        A row per primary view.
    """
    pairs = [(row, view_of_row(row)) for row in rows]
    views = Views(view for _, view in pairs)
    for row, view in pairs:
        if not view.primary:
            continue
        tree = views.combined(view)
        if tree is not None:
            yield {**row, "inherit_id": False, "arch_db": skeleton(tree)}


def _of_form(node: Element, *, kept: bool) -> Iterator[Element]:
    """The nodes of a workflow; `kept` in a header or under a condition, where buttons are."""
    for child in node:
        keep = kept or child.tag == "header" or any(child.get(name) for name in _CONDITIONS)
        if child.tag == "field":
            if STATUSBAR in (child.get("widget") or ""):
                yield _shell(child)
            continue
        if child.tag == "button":
            if keep and child.get("name"):
                yield _button(child)
            continue
        children = list(_of_form(child, kept=keep))
        shell = _shell(child, tag=child.tag if child.tag == "header" else "div")
        if children and (shell.attrib or shell.tag == "header"):
            shell.extend(children)
            children = [shell]
        yield from children


def _button(node: Element) -> Element:
    shell = _shell(node)
    if label := button_label(node):
        shell.set("string", label)
    return shell


def _shell(node: Element, *, tag: str = "") -> Element:
    shell = etree.Element(tag or node.tag)
    for name in _ATTRIBUTES.get(node.tag, _OTHER_ATTRIBUTES):
        value = node.get(name)
        if value:
            # conditions often span several lines
            shell.set(name, " ".join(value.split()))
    return shell
