"""Views of Odoo: combine views with their extensions, and read measures and dimensions of graphs and pivots. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from fbs_worker.connectors.arch import LIMITED, ArchError, Effort, Element, extend, limit, parse

STATUSBAR: Final = "statusbar"
MAX_PARTS: Final = 2_000
"""Maximum number of extensions of one view."""
MAX_LINEAGE: Final = 64
"""Maximum number of primary views that start from one another."""
_WORK_PER_PART: Final = 1_000
_CHARTS: Final = frozenset({"bar", "line", "pie"})
GROUPABLE_TYPES: Final = frozenset(
    {"boolean", "char", "date", "datetime", "integer", "many2one", "many2many", "selection", "tags"}
)
"""Types of fields that a graph groups by (`GROUPABLE_TYPES` of Odoo's web client)."""
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
        groups: ids of the groups for which it extends its parent; empty for all users.
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
    groups: tuple[int, ...] = ()


Groups = tuple[tuple[str, ...], ...]
"""Who sees a node: of each of these lists one group is needed; `!` before a name excludes it. Empty for all users."""


class Views:
    """The views of a server with their inheritance.

    Args:
        views: all of them.
        group_names: external names of groups by their ids.

    Attributes:
        broken: ids of views that were skipped, or of which a part was: not well-formed, extending a node that is not
            there, or beyond the bounds of `Effort`.
        lacking: ids of the combined views that lack what such a view has.
    """

    def __init__(self, views: Iterable[View], group_names: Mapping[int, str] | None = None) -> None:
        self._group_names = group_names or {}
        self.broken: set[int] = set()
        self.lacking: set[int] = set()
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
            self.damage(view, view)
            return False

    def damage(self, view: View, part: View) -> None:
        """Note that a combined view lacks what one of its parts has."""
        self.broken.add(part.id)
        self.lacking.add(view.id)

    def combined(self, view: View) -> Element | None:
        """Combine a view with its extensions in Odoo's order; None where it is skipped (see `broken`)."""
        self._effort.begin()
        tree: Element | None = None
        try:
            for part in self._parts(view):
                try:
                    self._effort.add(len(part.arch))
                    source = parse(part.arch)
                    if tree is not None and (groups := self._groups(part)):
                        limit(source, groups)
                    tree = source if tree is None else extend(tree, source, self._effort)
                    if self._effort.is_broken:
                        raise ArchError("an extension finds no target")
                except ArchError:
                    self.damage(view, part)
                    self._effort.is_broken = False
                    if tree is None:
                        return None
        except ArchError:
            self.damage(view, view)
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

    def _groups(self, part: View) -> list[list[str]]:
        """The groups for which an extension counts: its own, and those of the extensions that it extends."""
        groups: list[list[str]] = []
        above: View | None = part
        while above is not None and not above.primary and len(groups) < MAX_LINEAGE:
            groups.append([self._group_names.get(number, f"res.groups.{number}") for number in above.groups])
            above = self._by_id.get(above.parent or 0)
        return [names for names in groups if names]

    def _next_parts(self, view: View, lineage: set[int]) -> list[View]:
        """Its extensions of the same model (Odoo ignores others), and the next view of the lineage."""
        children = [
            child
            for child in self._children.get(view.id, ())
            if (child.id in lineage if child.primary else child.model == view.model)
        ]
        return sorted(children, key=lambda child: (child.primary, child.priority, child.id))


def groups_of(node: Element) -> Groups:
    """The groups that see a node: by its attribute, of whose names one is needed, and by its view."""
    names = [name.strip() for name in (node.get("groups") or "").split(",") if name.strip()]
    clauses = [[name for name in names if not name.startswith("!")], *([name] for name in names if name[0] == "!")]
    clauses += [clause.split(",") for clause in (node.get(LIMITED) or "").split(";")]
    return _normal(clauses)


def all_groups(several: Iterable[Groups]) -> Groups:
    """Who sees a node that all of these see: a node and its ancestors."""
    return _normal(clause for groups in several for clause in groups)


def any_groups(one: Groups, other: Groups) -> Groups:
    """Who sees a node that one of two sees; only that of one where there are too many combinations."""
    return (
        _normal((*first, *second) for first, second in product(one, other))
        if len(one) * len(other) < MAX_PARTS
        else one
    )


def groups_json(groups: Groups) -> list[Any]:
    """Groups as they are stored: the names of one list, or several lists."""
    return list(groups[0]) if len(groups) == 1 else [list(clause) for clause in groups]


def _normal(clauses: Iterable[Iterable[str]]) -> Groups:
    """Sort lists, without those that say nothing or less than another."""
    sets = {frozenset(name for name in clause if name) for clause in clauses} - {frozenset()}
    sets = {clause for clause in sets if not any(f"!{name}" in clause for name in clause)}
    return tuple(sorted(tuple(sorted(clause)) for clause in sets if not any(other < clause for other in sets)))


def chart(tree: Element, types: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read the measures and dimensions of a combined graph or pivot, in their order.

    The rules of Odoo's web client (`graph_arch_parser`, `pivot_arch_parser`): a field of type `measure` is a measure,
    in a pivot also one with an `operator`; any other is a dimension, in a pivot only with type `row` or `col`, in a
    graph only of a type that can be grouped, and not `id`. Invisible fields are skipped. The last measure of a graph is
    the one that it shows first.

    Args:
        tree: the combined view.
        types: the types of the model's fields by name.

    Returns:
        `measures` (names), `operators` (by measure), `default_measure` and `chart` (type) of a graph, `dimensions`
        (name, interval, axis, groups).
    """
    types = types or {}
    pivot = tree.tag == "pivot"
    measures: dict[str, str] = {}
    default = ""
    dimensions: list[dict[str, Any]] = []
    for node in tree.iter("field"):
        name, kind = node.get("name"), node.get("type") or ""
        if not name or (name == "id" and not pivot) or (node.get("invisible") or "").strip() in {"1", "True", "true"}:
            continue
        operator = node.get("operator") or ""
        if kind == "measure" or (pivot and operator):
            measures[name] = operator or measures.get(name, "")
            default = name
        base, _, after_colon = name.partition(":")
        if kind in _AXES if pivot else kind != "measure" and types.get(base, "char") in GROUPABLE_TYPES:
            dimension = {
                "name": base,
                "interval": node.get("interval") or after_colon,
                "axis": _AXES.get(kind, "") if pivot else "",
                "groups": groups_json(all_groups(groups_of(scope) for scope in (node, *node.iterancestors()))),
            }
            compacted = {key: value for key, value in dimension.items() if value}
            if compacted not in dimensions:
                dimensions.append(compacted)
    definition: dict[str, Any] = {
        "measures": list(measures),
        "operators": {name: operator for name, operator in measures.items() if operator},
        "default_measure": "" if pivot else default,
        "dimensions": dimensions,
        "chart": "" if pivot else (tree.get("type") if tree.get("type") in _CHARTS else "bar"),
    }
    return {key: value for key, value in definition.items() if value}
