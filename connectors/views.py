"""What a view's arch says: buttons with the states they show in, and what a graph or pivot measures.

Pure: raw rows of `ir.ui.view` go in, plain values come out.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fbs_worker.connectors.arch import ArchError, Element, extend, parse
from fbs_worker.connectors.conditions import (
    Known,
    any_of,
    evaluate,
    from_attrs,
    from_expression,
    from_states,
    residual_text,
)

STATUSBAR: Final = "statusbar"
_AXES: Final = {"row": "row", "col": "column"}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A row of `ir.ui.view`.

    Attributes:
        id: the row's id.
        name: its name.
        model: the model it shows.
        kind: `form`, `graph` or `pivot`.
        arch: its own arch, not combined.
        parent: the id of the view that it extends or starts from, None for none.
        primary: it stands for itself; otherwise it extends its parent.
        priority: the lower, the earlier.
        xml_id: `module.name`, empty for a view made by hand.
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


@dataclass(slots=True)
class Views:
    """All views of a server, and how they build on one another.

    Attributes:
        broken: ids of views whose arch cannot be read.
    """

    broken: set[int] = field(default_factory=set)
    _by_id: dict[int, View] = field(default_factory=dict)
    _children: dict[int, list[View]] = field(default_factory=dict)
    _primaries: dict[tuple[str, str], list[View]] = field(default_factory=dict)

    def add(self, views: Sequence[View]) -> None:
        """Take in more views; ask nothing before the last ones are in."""
        for view in views:
            self._by_id[view.id] = view
            if view.primary:
                self._primaries.setdefault((view.model, view.kind), []).append(view)
            if view.parent is not None:
                self._children.setdefault(view.parent, []).append(view)

    def primaries(self, model: str, kind: str) -> list[View]:
        """A model's views of a kind that stand for themselves, the default one first (`_order` of `ir.ui.view`)."""
        return sorted(self._primaries.get((model, kind), ()), key=lambda view: (view.priority, view.name, view.id))

    def models(self, kind: str) -> set[str]:
        """The models that have a view of a kind."""
        return {model for model, of_kind in self._primaries if of_kind == kind}

    def mentions(self, view: View, *words: str) -> bool:
        """Whether a view's arch, or any that goes into it, has one of some words in it: a cheap look before parsing."""
        sources = (part.arch for part in self._parts(view))
        return any(word in source for source in sources for word in words)

    def combined(self, view: View) -> Element | None:
        """A view with everything applied that goes into it, in Odoo's order; None where it cannot be read."""
        tree: Element | None = None
        for part in self._parts(view):
            try:
                source = parse(part.arch)
                tree = source if tree is None else extend(tree, source)
            except ArchError:
                self.broken.add(part.id)
                if tree is None:
                    return None
        return tree

    def _parts(self, view: View) -> Iterator[View]:
        """The root of a view, then what is applied to it: extensions first, primary views on the way down after them.

        Odoo's `ir.ui.view._combine`: pre-order, depth first, by priority and id, primary views last.
        """
        chain = [view]
        while chain[-1].parent is not None and (above := self._by_id.get(chain[-1].parent)) is not None:
            if above in chain:
                break
            chain.append(above)
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
            yield part
            for child in reversed(self._next_parts(part, lineage)):
                if child.primary:
                    queue.append(child)
                else:
                    queue.appendleft(child)

    def _next_parts(self, view: View, lineage: set[int]) -> list[View]:
        children = [child for child in self._children.get(view.id, ()) if not child.primary or child.id in lineage]
        return sorted(children, key=lambda child: (child.primary, child.priority, child.id))


@dataclass(frozen=True, slots=True)
class Button:
    """A button in a form's header: what it calls, and when it is hidden."""

    name: str
    kind: str
    label: str
    hidden: ast.expr | None
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a model's default form says of the model's workflow.

    Attributes:
        statusbars: the fields shown as a status bar, each with the values that `statusbar_visible` lists, in order.
        buttons: the buttons in its header.
    """

    statusbars: tuple[tuple[str, tuple[str, ...]], ...] = ()
    buttons: tuple[Button, ...] = ()


def default_form(views: Views, model: str) -> Form | None:
    """A model's default form; None where it has none, or none with a header or a status bar."""
    view = next(iter(views.primaries(model, "form")), None)
    if view is None or not views.mentions(view, "<header", STATUSBAR):
        return None
    tree = views.combined(view)
    if tree is None:
        return None
    return Form(statusbars=tuple(statusbar_fields(tree)), buttons=tuple(header_buttons(tree)))


def header_buttons(form: Element) -> list[Button]:
    """The buttons in the header of a combined form."""
    return [
        _button(node)
        for header in form.iter("header")
        if _of_the_form_itself(header)
        for node in header.iter("button")
        if node.get("name") and _of_the_form_itself(node)
    ]


def statusbar_fields(form: Element) -> list[tuple[str, tuple[str, ...]]]:
    """The fields shown as a status bar, each with the values that `statusbar_visible` lists, in order."""
    found = []
    for node in form.iter("field"):
        name, widget = node.get("name"), node.get("widget") or ""
        if name and STATUSBAR in widget and _of_the_form_itself(node):
            visible = (node.get("statusbar_visible") or "").split(",")
            found.append((name, tuple(part.strip() for part in visible if part.strip())))
    return found


def transitions(
    buttons: Sequence[Button], *, state_field: str, states: Sequence[str], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The transitions that a form's header offers.

    Buttons that do the same are one transition: it shows in a state where any of them does. A state counts unless
    all of them are surely hidden in it; what else their conditions ask stays as `condition` (it hides the button when
    it holds), or as `conditions` by state where that differs. A button that is hidden in every state is none.

    Args:
        buttons: the header's buttons.
        state_field: the field whose states are meant; empty where there is none.
        states: its values, in order; empty where they are not known (a stage).
        names: what a button of kind `action` opens, by the id that it names.
    """
    alike: dict[tuple[str, str], list[Button]] = {}
    for button in buttons:
        name = names.get(button.name, button.name) if button.kind == "action" else button.name
        alike.setdefault((name, button.kind), []).append(button)
    found = []
    for (name, kind), group in sorted(alike.items()):
        visible = _visible_in(group, state_field, states)
        if visible is None:
            continue
        transition: dict[str, Any] = {"button": name, "label": group[0].label, "kind": kind}
        if states:
            transition["from"] = sorted(visible)
        transition.update(_conditions(visible))
        groups = {grouped.groups for grouped in group}
        if () not in groups:
            transition["groups"] = sorted({name for several in groups for name in several})
        found.append({key: value for key, value in transition.items() if value})
    return found


def _visible_in(group: Sequence[Button], state_field: str, states: Sequence[str]) -> dict[str, str] | None:
    """Each state in which a button may show, with what else must not hold there; None if it never shows."""
    visible: dict[str, str] = {}
    for state in states or ("",):
        known = {state_field: state} if states else {}
        outcomes = [evaluate(button.hidden, known) for button in group]
        if all(isinstance(outcome, Known) and outcome.value for outcome in outcomes):
            continue
        left = [outcome for outcome in outcomes if not isinstance(outcome, Known)]
        shown_anyway = any(isinstance(outcome, Known) and not outcome.value for outcome in outcomes)
        visible[state] = "" if shown_anyway else residual_text(left)
    return visible or None


def _conditions(visible: Mapping[str, str]) -> dict[str, Any]:
    different = set(visible.values())
    if len(different) == 1:
        return {"condition": different.pop()}
    return {"conditions": {state: text for state, text in sorted(visible.items()) if text}}


def _button(node: Element) -> Button:
    around = [node, *_ancestors(node)]
    groups = {name for part in around for name in _groups(part)}
    hidden = [condition for part in around for condition in _hidden(part)]
    label = node.get("string") or node.get("title") or " ".join("".join(node.itertext()).split())
    return Button(
        name=node.get("name"),
        kind=node.get("type") or "object",
        label=label,
        hidden=any_of(hidden),
        groups=tuple(sorted(groups)),
    )


def _groups(node: Element) -> list[str]:
    return sorted({name.strip() for name in (node.get("groups") or "").split(",") if name.strip()})


def _hidden(node: Element) -> list[ast.expr | None]:
    return [
        from_expression(node.get("invisible")),
        from_states(node.get("states")),
        from_attrs(node.get("attrs")),
    ]


def _ancestors(node: Element) -> Iterator[Element]:
    """What is around a node, up to the form's header."""
    parent = node.getparent()
    while parent is not None and parent.tag != "form":
        yield parent
        parent = parent.getparent()


def _of_the_form_itself(node: Element) -> bool:
    """Not inside the form or list of a one2many field that is embedded in the form."""
    return next((False for parent in node.iterancestors("field")), True)


def chart(tree: Element) -> dict[str, Any]:
    """What a combined graph or pivot measures, and by what.

    Odoo's web client (`graph_arch_parser`, `pivot_arch_parser`): a field of type `measure` is a measure; another one
    is a dimension, in a pivot only if its type is `row` or `col`; an invisible field is neither.

    Returns:
        `measures` (names), `dimensions` (name, interval, axis, the groups that see it) and `chart` (a graph's type).
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
                "groups": _groups(node),
            }
            dimensions.append({key: value for key, value in dimension.items() if value})
    found: dict[str, Any] = {
        "measures": sorted(set(measures)),
        "dimensions": sorted(dimensions, key=lambda dimension: (dimension["name"], str(dimension))),
        "chart": "" if pivot else tree.get("type") or "bar",
    }
    return {key: value for key, value in found.items() if value}
