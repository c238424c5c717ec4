"""Odoo's view archs: parse one, and apply an extension to it, as the server does before it sends a view to a client.

Doing it here is what makes one read of `ir.ui.view` enough for every model: `get_views` is one call per model, and it
leaves out what the calling user's groups hide. The rules are those of Odoo's reference, "View architectures",
section "Inheritance": an extension is a list of specs; each locates a node (by XPath, by a field's name, or by tag and
attributes) and says what to do there. Text between elements plays no part in what we read, and is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from lxml import etree

from fbs_worker.connectors.errors import ArchError

Element = Any
"""An lxml element; lxml carries no types of its own."""

_PARSER: Final = etree.XMLParser(
    remove_comments=True, remove_pis=True, remove_blank_text=True, resolve_entities=False, no_network=True
)
_EXPRESSION_ATTRIBUTES: Final = frozenset({"invisible", "column_invisible", "readonly", "required", "t-if", "t-elif"})
_SPEC_ATTRIBUTES: Final = frozenset({"position", "mode", "version", "meta-validate"})


def _has_class(context: Any, *names: str) -> bool:
    classes = set((context.context_node.get("class") or "").split())
    return classes.issuperset(names)


etree.FunctionNamespace(None)["hasclass"] = _has_class


def parse(source: str) -> Element:
    """An arch as a tree.

    Raises:
        ArchError: it is not well-formed XML.
    """
    try:
        return etree.fromstring(source.encode(), _PARSER)
    except (etree.XMLSyntaxError, ValueError) as exc:
        raise ArchError(f"not well-formed: {exc}") from exc


def extend(tree: Element, extension: Element) -> Element:
    """Apply an extension view's arch to a tree.

    A spec whose target is not there is passed over: a view that one module broke must not hide what all others say.

    Args:
        tree: the tree so far; it is changed.
        extension: the extension's arch; it is used up.

    Returns:
        The tree, a new one where the extension replaced the root.
    """
    specs = [extension]
    while specs:
        spec = specs.pop(0)
        if spec.tag == "data":
            specs.extend(spec)
            continue
        target = locate(tree, spec)
        if target is not None:
            tree = _apply(tree, target, spec)
    return tree


def locate(tree: Element, spec: Element) -> Element | None:
    """The node that a spec speaks of, or None."""
    if spec.tag == "xpath":
        try:
            found = tree.xpath(spec.get("expr") or "")
        except etree.XPathError:
            return None
        return found[0] if isinstance(found, list) and found and etree.iselement(found[0]) else None
    if spec.tag == "field":
        name = spec.get("name")
        return next((node for node in tree.iter("field") if node.get("name") == name), None)
    wanted = {key: value for key, value in spec.attrib.items() if key not in _SPEC_ATTRIBUTES}
    for node in tree.iter(spec.tag):
        if all(node.get(key) == value for key, value in wanted.items()):
            return node
    return None


def _apply(tree: Element, target: Element, spec: Element) -> Element:
    position = spec.get("position", "inside")
    if position == "attributes":
        for change in spec.iter("attribute"):
            _change_attribute(target, change)
    elif position == "inside":
        for node in _content(tree, spec):
            target.append(node)
    elif position in {"before", "after"}:
        _insert_beside(target, list(_content(tree, spec)), after=position == "after")
    elif position == "replace":
        return _replace(tree, target, spec)
    return tree


def _insert_beside(target: Element, nodes: list[Element], *, after: bool) -> None:
    parent = target.getparent()
    if parent is None:
        return
    place = parent.index(target) + (1 if after else 0)
    for offset, node in enumerate(nodes):
        parent.insert(place + offset, node)


def _replace(tree: Element, target: Element, spec: Element) -> Element:
    if spec.get("mode") == "inner":
        kept = list(_content(tree, spec))
        for child in list(target):
            target.remove(child)
        target.extend(kept)
        return tree
    for holder in spec.xpath(".//*[text()='$0']"):
        holder.text = None
        holder.append(deepcopy(target))
    if target.getparent() is None:
        return deepcopy(spec[0]) if len(spec) else tree
    _insert_beside(target, list(_content(tree, spec)), after=False)
    target.getparent().remove(target)
    return tree


def _content(tree: Element, spec: Element) -> Iterator[Element]:
    """What a spec brings: its children, and the nodes that it moves here from elsewhere in the tree."""
    for child in list(spec):
        if child.get("position") != "move":
            yield child
            continue
        moved = locate(tree, child)
        if moved is not None and moved.getparent() is not None:
            moved.getparent().remove(moved)
            yield moved


def _change_attribute(target: Element, change: Element) -> None:
    name = change.get("name")
    if not name:
        return
    added, removed = change.get("add", ""), change.get("remove", "")
    if not added and not removed:
        value = change.text or ""
    elif name in _EXPRESSION_ATTRIBUTES:
        value = _change_expression(target.get(name, ""), added, removed, (change.get("separator") or "or").strip())
    else:
        value = _change_list(target.get(name, ""), added, removed, change.get("separator"))
    if value:
        target.set(name, value)
    else:
        target.attrib.pop(name, None)


def _change_expression(value: str, added: str, removed: str, operator: str) -> str:
    if removed:
        if value.strip("() ") == removed.strip("() "):
            value = ""
        for term in (f"({removed})", removed):
            for piece in (f"{term} {operator} ", f" {operator} {term}"):
                if piece in value:
                    value = value.replace(piece, "", 1)
                    break
    if not added:
        return value
    return f"({value}) {operator} ({added})" if value else added


def _change_list(value: str, added: str, removed: str, separator: str | None) -> str:
    glue = "," if separator is None else separator
    split_at = glue.strip() or None
    gone = {part.strip() for part in removed.split(split_at)}
    kept = [part.strip() for part in value.split(split_at)]
    new = [part.strip() for part in added.split(split_at)]
    return glue.join([part for part in kept if part and part not in gone] + [part for part in new if part])
