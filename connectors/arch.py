"""View inheritance of Odoo: parse a view's arch, and apply an extension's arch to it as the server does.

With it, one read of `ir.ui.view` covers all models: `get_views` takes one call per model and omits nodes hidden from
the user's groups. The rules are those of Odoo's reference, "View architectures", section "Inheritance": an extension is
a list of specs; each locates a node (by XPath, by a field's name, or by tag and attributes) and an operation on it.
Text between elements is dropped: no later step reads it.

Archs, expressions and the trees made from them have bounds (`Effort`): what exceeds one raises ArchError.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from itertools import product
from typing import Any, Final

from lxml import etree

Element = Any
"""An lxml element; lxml ships no types."""

_PARSER: Final = etree.XMLParser(
    remove_comments=True, remove_pis=True, remove_blank_text=True, resolve_entities=False, no_network=True
)
_EXPRESSION_ATTRIBUTES: Final = frozenset({"invisible", "column_invisible", "readonly", "required", "t-if", "t-elif"})
LIMITED: Final = "fbs-groups"
"""Attribute of nodes that a view limited to groups adds or changes: lists of names, of each of which one is needed."""
_LIMITED_OWN: Final = f"{LIMITED}-own"
_SPEC_ATTRIBUTES: Final = frozenset({"position", "mode", "version", "meta-validate", LIMITED, _LIMITED_OWN})


def _has_class(context: Any, *names: str) -> bool:
    classes = set((context.context_node.get("class") or "").split())
    return classes.issuperset(names)


etree.FunctionNamespace(None)["hasclass"] = _has_class


MAX_CHARS: Final = 2_000_000
"""Maximum size of a view with its extensions; the largest of Odoo's own have about 200,000 characters."""
MAX_DEPTH: Final = 256
"""Maximum depth of a combined tree, as of a source for libxml2: copies recurse."""
MAX_EXPRESSION: Final = 1_000
"""Maximum length of an XPath expression."""
MAX_WORK: Final = 100_000_000
"""Maximum work on one combined view, in visits of a node or character: some seconds."""
MAX_TOTAL_WORK: Final = 2_000_000_000
"""Maximum work on all views of a server."""

_SCANS: Final = re.compile(
    r"""(?P<skip>"[^"]*"|'[^']*')|(?P<open>[\[(])|(?P<close>[\])])|(?P<other>[,|=<>+]|\s(?:and|or|-|\*)\s)"""
    r"""|(?P<document>(?:following|preceding)\s*::)"""
    r"""|(?P<scan>//|\.\.(?=/)|(?:descendant|ancestor|following|preceding|parent)[\w-]*\s*::)|(?P<slash>/)"""
)


class ArchError(ValueError):
    """An arch is not well-formed or exceeds a bound; the view is skipped and named."""


class Effort:
    """The bounded work on the views of a server: in all, and on the view at hand.

    Attributes:
        is_broken: a spec of an extension found no target.
    """

    def __init__(self) -> None:
        self._total = 0
        self.begin()

    def begin(self) -> None:
        """Begin with the next view."""
        self.is_broken = False
        self._work = 0
        self._chars = 0

    def add(self, chars: int) -> None:
        """Account for text that is added to the view.

        Raises:
            ArchError: the view is too large, or too much work.
        """
        self._chars += chars
        if self._chars > MAX_CHARS:
            raise ArchError("too large")
        self.spend(chars)

    def search(self, expression: str, tree: Element) -> None:
        """Account for the search of an XPath expression in a tree; see `_powers`.

        Raises:
            ArchError: the expression is too long, or too much work.
        """
        if len(expression) > MAX_EXPRESSION:
            raise ArchError("an expression is too long")
        powers = list(_powers(expression))
        nodes = sum(1 for _ in tree.iter()) if max(powers, default=0) > 1 else self._chars // 8
        calls = 50 if "hasclass" in expression else 1
        self.spend(sum(calls * nodes**power for power in powers))

    def walk(self) -> None:
        """Account for a walk through the view."""
        self.spend(self._chars // 8)

    def spend(self, work: int) -> None:
        """Account for work.

        Raises:
            ArchError: it is too much.
        """
        self._work += work
        if self._work > MAX_WORK or self._total + work > MAX_TOTAL_WORK:
            raise ArchError("too much work")
        self._total += work


def _powers(expression: str) -> Iterator[int]:
    """The cost of an XPath expression in a tree of n nodes, each item as the power of n.

    A step that scans the tree (`//`, a long axis) costs n; a further one in the same path n², as each of up to n nodes
    is scanned from. The axes `following` and `preceding` cost n times as much: libxml2 merges their nodes one by one.
    So does each step within a predicate, whose path may begin at each of n nodes.
    """
    depth, scans = 0, 0
    outer: list[tuple[int, int]] = []
    for token in _SCANS.finditer(expression):
        match token.lastgroup:
            case "open":
                outer.append((depth, scans))
                depth, scans = depth + (token[0] == "["), 0
            case "close":
                depth, scans = outer.pop() if outer else (0, 0)
            case "other":
                scans = 0
            case "document" | "scan" | "slash" if token.lastgroup != "slash" or depth:
                yield depth + (2 if scans else 1) + (token.lastgroup == "document")
                scans += 1


def parse(source: str) -> Element:
    """Parse an arch into a tree.

    Args:
        source: the XML text.

    Returns:
        The root element, without comments and processing instructions.

    Raises:
        ArchError: the source is not well-formed XML, or too large.
    """
    if len(source) > MAX_CHARS:
        raise ArchError("too large")
    try:
        return etree.fromstring(source.encode(), _PARSER)
    except (etree.XMLSyntaxError, ValueError) as exc:
        raise ArchError(f"not well-formed: {exc}") from exc


def extend(tree: Element, extension: Element, effort: Effort | None = None) -> Element:
    """Apply an extension view's arch to a tree.

    A spec without a target is skipped: one broken view must not hide the extensions of all other modules.

    Args:
        tree: the combined tree so far; changed in place.
        extension: the extension's arch; consumed.
        effort: bounds the work.

    Returns:
        The tree; a new one where the extension replaced the root.

    Raises:
        ArchError: the extension exceeds a bound; what precedes in it has been applied.
    """
    effort = effort or Effort()
    specs = deque([extension])
    while specs:
        spec = specs.popleft()
        if spec.tag == "data":
            specs.extend(spec)
            continue
        target = locate(tree, spec, effort)
        if target is not None:
            tree = _apply(tree, target, spec, effort)
    return tree


def limit(extension: Element, groups: list[list[str]]) -> None:
    """Prepare an extension that counts for some groups only: all other users keep what it replaces or changes.

    Args:
        extension: the extension's arch; changed in place.
        groups: lists of groups, of each of which one is needed.
    """
    own = ";".join(",".join(names) for names in groups)
    others = ";".join(",".join(f"!{name}" for name in names) for names in product(*groups))
    for spec in extension if extension.tag == "data" else (extension,):
        if spec.tag == "data":
            limit(spec, groups)
            continue
        for child in spec:
            if child.get("position") is None:
                _limit(child, own)
        if spec.get("position") in {"replace", "attributes"} and not spec.xpath(".//*[text()='$0']"):
            spec.set(LIMITED, others)
            spec.set(_LIMITED_OWN, own)


def _limit(node: Element, clauses: str) -> None:
    before = node.get(LIMITED)
    node.set(LIMITED, f"{before};{clauses}" if before else clauses)


def locate(tree: Element, spec: Element, effort: Effort) -> Element | None:
    """Find the target node of a spec; None where the tree has none, which `effort` notes: Odoo refuses such a view."""
    effort.walk()
    found = _located(tree, spec, effort)
    effort.is_broken |= found is None
    return found


def _located(tree: Element, spec: Element, effort: Effort) -> Element | None:
    if spec.tag == "xpath":
        expression = spec.get("expr") or ""
        effort.search(expression, tree)
        try:
            nodes = tree.xpath(expression)
        except etree.XPathError:
            return None
        return nodes[0] if isinstance(nodes, list) and nodes and etree.iselement(nodes[0]) else None
    if spec.tag == "field":
        name = spec.get("name")
        return next((node for node in tree.iter("field") if node.get("name") == name), None)
    attributes = {key: value for key, value in spec.attrib.items() if key not in _SPEC_ATTRIBUTES}
    matching = (node for node in tree.iter(spec.tag) if all(node.get(key) == attributes[key] for key in attributes))
    return next(matching, None)


def _apply(tree: Element, target: Element, spec: Element, effort: Effort) -> Element:
    position = spec.get("position", "inside")
    if others := spec.get(LIMITED):
        position = _keep_for_others(target, spec, position, others, effort)
    if position == "attributes":
        for change in spec.iter("attribute"):
            _change_attribute(target, change)
    elif position == "inside":
        for node in _content(tree, spec, effort):
            _check_depth(target, node)
            target.append(node)
    elif position in {"before", "after"}:
        _insert_beside(target, list(_content(tree, spec, effort)), after=position == "after")
    elif position == "replace":
        return _replace(tree, target, spec, effort)
    return tree


def _keep_for_others(target: Element, spec: Element, position: str, others: str, effort: Effort) -> str:
    """Keep for all other users what a limited extension replaces, or the button that it changes; the position left."""
    if position == "replace" and spec.get("mode") != "inner" and target.getparent() is not None:
        _limit(target, others)
        return "before"
    if position == "attributes" and target.tag == "button" and target.getparent() is not None:
        effort.add(len(etree.tostring(target)))
        kept = deepcopy(target)
        _limit(kept, others)
        _limit(target, spec.get(_LIMITED_OWN) or "")
        target.addnext(kept)
    return position


def _check_depth(parent: Element | None, node: Element) -> None:
    depth = 0 if parent is None else 1 + sum(1 for _ in parent.iterancestors())
    level = [node]
    while level:
        depth += 1
        level = [child for one in level for child in one]
    if depth > MAX_DEPTH:
        raise ArchError("nested too deeply")


def _insert_beside(target: Element, nodes: list[Element], *, after: bool) -> None:
    parent = target.getparent()
    if parent is None:
        return
    index = parent.index(target) + (1 if after else 0)
    for offset, node in enumerate(nodes):
        _check_depth(parent, node)
        parent.insert(index + offset, node)


def _replace(tree: Element, target: Element, spec: Element, effort: Effort) -> Element:
    if spec.get("mode") == "inner":
        content = list(_content(tree, spec, effort))
        for child in list(target):
            target.remove(child)
        for node in content:
            _check_depth(target, node)
            target.append(node)
        return tree
    if holders := spec.xpath(".//*[text()='$0']"):
        effort.add(len(holders) * len(etree.tostring(target)))
    for holder in holders:
        holder.text = None
        holder.append(deepcopy(target))
    if target.getparent() is None:
        if not len(spec):
            return tree
        _check_depth(None, spec[0])
        return deepcopy(spec[0])
    _insert_beside(target, list(_content(tree, spec, effort)), after=False)
    target.getparent().remove(target)
    return tree


def _content(tree: Element, spec: Element, effort: Effort) -> Iterator[Element]:
    """The nodes that a spec inserts: its children, and nodes moved from elsewhere in the tree."""
    for child in list(spec):
        if child.get("position") != "move":
            yield child
            continue
        moved = locate(tree, child, effort)
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
