"""Combined views, as the server combines them, and what they say: buttons with their visibility, charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from lxml import etree

from fbs_worker.connectors.base import Transport
from fbs_worker.core.errors import FBSError
from tests.fidelity.conditions import Condition, Names, Values, assignments, members, modifiers
from tests.fidelity.database import LANGUAGE, filled

GROUPABLE: Final = {"boolean", "char", "date", "datetime", "integer", "many2one", "many2many", "selection", "tags"}

Node = Any


class Server:
    """Asks an Odoo for its views; remembers the answers.

    Args:
        transport: as a user that may read views.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._context = {"lang": LANGUAGE}
        self.combined, self.shown = cache(self._combined), cache(self._shown)

    def _combined(self, view: int) -> Node | None:
        """A view with all its extensions, for all groups; None where the server itself refuses it."""
        old = self._transport.server.major < (15, 0)
        try:
            if old:
                rows = self._transport.call(
                    "ir.ui.view", "read_combined", ids=[view], fields=["arch"], context=self._context
                )
                return etree.fromstring((rows[0] if isinstance(rows, list) else rows)["arch"])
            return etree.fromstring(
                self._transport.call("ir.ui.view", "get_combined_arch", ids=[view], context=self._context)
            )
        except FBSError:
            return None

    def _shown(self, model: str) -> tuple[int, Node] | None:
        """The id of a model's form, and the form as it is sent to this user; None where the server refuses it.

        That is what Python code makes of the form, without what groups hide.
        """
        try:
            return self._sent(model)
        except FBSError:
            return None

    def _sent(self, model: str) -> tuple[int, Node]:
        if self._transport.server.major < (16, 0):
            view = self._transport.call(model, "fields_view_get", view_type="form", context=self._context)
            return int(view.get("view_id") or 0), etree.fromstring(view["arch"])
        answer = self._transport.call(model, "get_views", views=[[False, "form"]], context=self._context)
        view = answer["views"]["form"]
        return int(view.get("id") or 0), etree.fromstring(view["arch"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What makes a transition: the same button may stand in a form several times."""

    name: str
    kind: str
    place: str
    label: str

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}{', ' + self.place if self.place else ''}) {self.label!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button of a form.

    Attributes:
        key: what it does, and where it stands.
        hidden: what hides it, or something around it.
        groups: who sees it: of each of these lists one group is needed.
        names: the unknowns of its conditions.
    """

    key: Key
    hidden: tuple[Condition, ...]
    groups: tuple[tuple[str, ...], ...]
    names: Names

    def visible(self, sees: Condition, values: Values) -> bool:
        """Whether it shows."""
        return sees(values) and not any(hidden(values) for hidden in self.hidden)


def _outer(node: Node) -> Iterator[Node]:
    """A node and what it stands in."""
    yield node
    yield from node.iterancestors()


def _is_embedded(node: Node) -> bool:
    return any(True for _ in node.iterancestors("field"))


def group_lists(node: Node) -> tuple[tuple[str, ...], ...]:
    """Of which lists one group each is needed to see a node."""
    lists: set[tuple[str, ...]] = set()
    for outer in _outer(node):
        named = [name.strip() for name in (outer.get("groups") or "").split(",") if name.strip()]
        lists |= {(name,) for name in named if name.startswith("!")}
        lists |= {tuple(sorted(name for name in named if not name.startswith("!")))} - {()}
    return tuple(sorted(lists))


def named_buttons(form: Node) -> list[Node]:
    """The buttons of a form that do something, but those of lists within it."""
    return [node for node in form.iter("button") if node.get("name") and not _is_embedded(node)]


def buttons(form: Node, unknown: Callable[[], Names], actions: Mapping[str, str]) -> list[Button]:
    """The buttons of a combined form, with their conditions.

    Args:
        form: the form.
        unknown: makes a collection of unknowns.
        actions: external names of actions by id.
    """
    raw = named_buttons(form)
    labels: dict[tuple[str, str, str], str] = {}
    found = []
    for node in sorted(raw, key=_place):
        kind = node.get("type") or "object"
        name = actions.get(node.get("name"), node.get("name")) if kind == "action" else node.get("name")
        label = node.get("string") or node.get("title") or " ".join("".join(node.itertext()).split())
        first = (
            labels.setdefault((name, kind, _place(node)), label)
            if label
            else labels.get((name, kind, _place(node)), "")
        )
        names = unknown()
        hidden = [
            modifiers(outer.get("invisible") or "", outer.get("states") or "", outer.get("attrs") or "", names)
            for outer in _outer(node)
        ]

        found.append(
            Button(
                key=Key(name=name, kind=kind, place=_place(node), label=label or first),
                hidden=tuple(condition for condition in hidden if condition is not None),
                groups=group_lists(node),
                names=names,
            )
        )
    return found


def _place(node: Node) -> str:
    return "" if any(outer.tag == "header" for outer in node.iterancestors()) else "body"


def status_bars(form: Node) -> list[tuple[str, list[str]]]:
    """The fields that are shown as status bar, with the values that it always shows."""
    return [
        (node.get("name"), [part.strip() for part in (node.get("statusbar_visible") or "").split(",") if part.strip()])
        for node in form.iter("field")
        if "statusbar" in (node.get("widget") or "") and not _is_embedded(node)
    ]


def chart(tree: Node, types: Mapping[str, str]) -> dict[str, Any]:
    """What the web client takes from a graph or a pivot (`graph_arch_parser.js`, `pivot_arch_parser.js`)."""
    is_graph = tree.tag == "graph"
    measures: list[str] = []
    operators: dict[str, str] = {}
    dimensions: list[dict[str, Any]] = []
    for node in tree.iter("field"):
        name, kind, operator = node.get("name"), node.get("type"), node.get("operator")
        if node.get("invisible") in {"1", "True"} or (is_graph and name == "id"):
            continue
        if kind == "measure" or (operator and not is_graph):
            measures.append(name)
            if operator:
                operators[name] = operator
        if (
            (kind != "measure" and types.get(name.partition(":")[0]) in GROUPABLE)
            if is_graph
            else kind in {"row", "col"}
        ):
            facts = {
                "name": name.partition(":")[0],
                "interval": node.get("interval") or name.partition(":")[2],
                "axis": "" if is_graph else {"row": "row", "col": "column"}[kind],
                "groups": group_lists(node),
            }
            dimensions.append(filled(facts))
    return filled(
        {
            "measures": list(dict.fromkeys(measures)),
            "operators": operators,
            "default_measure": measures[-1] if is_graph and measures else "",
            "dimensions": [one for number, one in enumerate(dimensions) if one not in dimensions[:number]],
            "chart": (tree.get("type") if tree.get("type") in {"bar", "line", "pie"} else "bar") if is_graph else "",
        }
    )


def lists_of(groups: Sequence[Any] | None) -> tuple[tuple[str, ...], ...]:
    """The groups of a row of the catalogue as lists: it has one list, or several."""
    if not groups:
        return ()
    return tuple(tuple(one) for one in groups) if isinstance(groups[0], list) else (tuple(groups),)


def same_groups(one: Iterable[Iterable[str]], other: Iterable[Iterable[str]]) -> bool:
    """Whether two conditions on groups let the same users see something."""
    names = Names()
    first, second = members(one, names), members(other, names)
    return all(first(values) == second(values) for values in assignments(names.values())[0])
