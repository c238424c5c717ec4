"""View inheritance of Odoo: parse a view's arch, and apply an extension's arch to it as the server does.

With it, one read of `ir.ui.view` covers all models: `get_views` takes one call per model and omits nodes hidden from
the user's groups. The rules are those of Odoo's reference, "View architectures", section "Inheritance": an extension is
a list of specs; each locates a node (by XPath, by a field's name, or by tag and attributes) and an operation on it.
Text between elements is dropped: no later step reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from lxml import etree

Element = Any
"""An lxml element; lxml ships no types."""

_PARSER: Final = etree.XMLParser(
    remove_comments=True, remove_pis=True, remove_blank_text=True, resolve_entities=False, no_network=True
)
_EXPRESSION_ATTRIBUTES: Final = frozenset({"invisible", "column_invisible", "readonly", "required", "t-if", "t-elif"})
_SPEC_ATTRIBUTES: Final = frozenset({"position", "mode", "version", "meta-validate"})


def _has_class(context: Any, *names: str) -> bool:
    classes = set((context.context_node.get("class") or "").split())
    return classes.issuperset(names)


etree.FunctionNamespace(None)["hasclass"] = _has_class


class ArchError(ValueError):
    """An arch is not well-formed; the view is skipped and counted."""


def parse(source: str) -> Element:
    """Parse an arch into a tree.

    Args:
        source: the XML text.

    Returns:
        The root element, without comments and processing instructions.

    Raises:
        ArchError: the source is not well-formed XML.
    """
    try:
        return etree.fromstring(source.encode(), _PARSER)
    except (etree.XMLSyntaxError, ValueError) as exc:
        raise ArchError(f"not well-formed: {exc}") from exc


def extend(tree: Element, extension: Element) -> Element:
    """Apply an extension view's arch to a tree.

    A spec without a target is skipped: one broken view must not hide the extensions of all other modules.

    Args:
        tree: the combined tree so far; changed in place.
        extension: the extension's arch; consumed.

    Returns:
        The tree; a new one where the extension replaced the root.
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
    """Find the target node of a spec; None where the tree has none."""
    if spec.tag == "xpath":
        try:
            nodes = tree.xpath(spec.get("expr") or "")
        except etree.XPathError:
            return None
        return nodes[0] if isinstance(nodes, list) and nodes and etree.iselement(nodes[0]) else None
    if spec.tag == "field":
        name = spec.get("name")
        return next((node for node in tree.iter("field") if node.get("name") == name), None)
    attributes = {key: value for key, value in spec.attrib.items() if key not in _SPEC_ATTRIBUTES}
    for node in tree.iter(spec.tag):
        if all(node.get(key) == value for key, value in attributes.items()):
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
    index = parent.index(target) + (1 if after else 0)
    for offset, node in enumerate(nodes):
        parent.insert(index + offset, node)


def _replace(tree: Element, target: Element, spec: Element) -> Element:
    if spec.get("mode") == "inner":
        content = list(_content(tree, spec))
        for child in list(target):
            target.remove(child)
        target.extend(content)
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
    """The nodes that a spec inserts: its children, and nodes moved from elsewhere in the tree."""
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
    old = [part.strip() for part in value.split(split_at)]
    new = [part.strip() for part in added.split(split_at)]
    return glue.join([part for part in old if part and part not in gone] + [part for part in new if part])
