"""Views of Odoo: combine views with their extensions, and read measures and dimensions of graphs and pivots. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fbs_worker.connectors.arch import ArchError, Effort, Element, extend, parse

STATUSBAR: Final = "statusbar"
MAX_PARTS: Final = 2_000
"""Maximum number of extensions of one view."""
MAX_LINEAGE: Final = 64
"""Maximum number of primary views that start from one another."""
_WORK_PER_PART: Final = 1_000
_AXES: Final = {"row": "row", "col": "column"}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A row of `ir.ui.view`.

    Attributes:
        id: the row's id.
        name: its name.
        model: the displayed model.
        kind: `form`, `graph` or `pivot`.
        arch: its own arch, not combined.
        parent: the id of the view that it extends or starts from; None for a root.
        primary: whether it is a view of its own; otherwise it extends its parent.
        priority: lower values come first.
        xml_id: `module.name`; empty for a view created in the user interface.
    """

    id: int
    name: str
    model: str
    kind: str
    arch: str
    parent: int | None = None
    primary: bool = True
    priority: int = 16
    xml_id: str = ""


class Views:
    """The views of a server with their inheritance.

    Args:
        views: all of them.

    Attributes:
        broken: ids of views that were skipped: not well-formed, or beyond the bounds of `Effort`.
    """

    def __init__(self, views: Iterable[View]) -> None:
        self.broken: set[int] = set()
        self._effort = Effort()
        self._by_id: dict[int, View] = {}
        self._children: dict[int, list[View]] = {}
        self._primaries: dict[tuple[str, str], list[View]] = {}
        for view in views:
            self._by_id[view.id] = view
            if view.primary:
                self._primaries.setdefault((view.model, view.kind), []).append(view)
            if view.parent is not None:
                self._children.setdefault(view.parent, []).append(view)

    def primaries(self, model: str, kind: str) -> list[View]:
        """The primary views of a model and kind, the default view first (`_order` of `ir.ui.view`)."""
        return sorted(self._primaries.get((model, kind), ()), key=lambda view: (view.priority, view.name, view.id))

    def skipped(self) -> list[str]:
        """The names of the skipped views, in the order of their ids."""
        return [view.xml_id or f"{view.name} ({view.id})" for view in map(self._by_id.__getitem__, sorted(self.broken))]

    def mentions(self, view: View, *words: str) -> bool:
        """Whether the text of a view or of its extensions contains any of the words: a cheap check before parsing."""
        self._effort.begin()
        try:
            return any(word in part.arch for part in self._parts(view) for word in words)
        except ArchError:
            self.broken.add(view.id)
            return False

    def combined(self, view: View) -> Element | None:
        """Combine a view with its extensions in Odoo's order; None where it is skipped (see `broken`)."""
        self._effort.begin()
        tree: Element | None = None
        try:
            for part in self._parts(view):
                try:
                    self._effort.add(len(part.arch))
                    source = parse(part.arch)
                    tree = source if tree is None else extend(tree, source, self._effort)
                except ArchError:
                    self.broken.add(part.id)
                    if tree is None:
                        return None
        except ArchError:
            self.broken.add(view.id)
            return None
        return tree

    def _parts(self, view: View) -> Iterator[View]:
        """The root of a view, then its extensions, then the primary views between root and view.

        Odoo's `ir.ui.view._combine`: pre-order, depth first, by priority and id, primary views last.

        Raises:
            ArchError: the view exceeds a bound.
        """
        chain = [view]
        while chain[-1].parent is not None and (above := self._by_id.get(chain[-1].parent)) is not None:
            if any(above is link for link in chain):
                break
            chain.append(above)
            if len(chain) > MAX_LINEAGE:
                raise ArchError("too many views start from one another")
        lineage = {link.id for link in chain}
        root = chain[-1]
        yield root
        queue = deque(self._next_parts(root, lineage))
        seen = {root.id}
        while queue:
            part = queue.popleft()
            if part.id in seen:
                continue
            seen.add(part.id)
            if len(seen) > MAX_PARTS:
                raise ArchError("too many extensions")
            self._effort.spend(_WORK_PER_PART)
            yield part
            for child in reversed(self._next_parts(part, lineage)):
                if child.primary:
                    queue.append(child)
                else:
                    queue.appendleft(child)

    def _next_parts(self, view: View, lineage: set[int]) -> list[View]:
        children = [child for child in self._children.get(view.id, ()) if not child.primary or child.id in lineage]
        return sorted(children, key=lambda child: (child.primary, child.priority, child.id))


def groups_of(node: Element) -> list[str]:
    """The groups that see a node, sorted; empty for all users."""
    return sorted({name.strip() for name in (node.get("groups") or "").split(",") if name.strip()})


def chart(tree: Element) -> dict[str, Any]:
    """Read the measures and dimensions of a combined graph or pivot.

    The rules of Odoo's web client (`graph_arch_parser`, `pivot_arch_parser`): a field of type `measure` is a measure;
    any other is a dimension, in a pivot only with type `row` or `col`; invisible fields are skipped.

    Returns:
        `measures` (names), `dimensions` (name, interval, axis, groups) and `chart` (type of a graph).
    """
    pivot = tree.tag == "pivot"
    measures: list[str] = []
    dimensions: list[dict[str, Any]] = []
    for node in tree.iter("field"):
        name, kind = node.get("name"), node.get("type") or ""
        if not name or (node.get("invisible") or "").strip() in {"1", "True", "true"}:
            continue
        if kind == "measure":
            measures.append(name)
        elif not pivot or kind in _AXES:
            base, _, after_colon = name.partition(":")
            dimension = {
                "name": base,
                "interval": node.get("interval") or after_colon,
                "axis": _AXES.get(kind, ""),
                "groups": groups_of(node),
            }
            dimensions.append({key: value for key, value in dimension.items() if value})
    definition: dict[str, Any] = {
        "measures": sorted(set(measures)),
        "dimensions": sorted(dimensions, key=lambda dimension: (dimension["name"], str(dimension))),
        "chart": "" if pivot else tree.get("type") or "bar",
    }
    return {key: value for key, value in definition.items() if value}
