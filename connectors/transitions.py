"""Workflow transitions of a form: its header buttons, with the states in which each is visible. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fbs_worker.connectors.arch import ArchError, Element
from fbs_worker.connectors.conditions import all_of, any_of, evaluate, from_modifiers
from fbs_worker.connectors.simplify import Known, text
from fbs_worker.connectors.views import STATUSBAR, Views, groups_of

MAX_NODES: Final = 20_000
"""Maximum number of nodes in the conditions of one form's buttons."""
MAX_EVALUATIONS: Final = 2_000_000
"""Maximum number of these nodes, each counted for each state."""


@dataclass(frozen=True, slots=True)
class Button:
    """A button of a form's header.

    Attributes:
        name: the called method, or the id of the opened action.
        kind: `object` or `action`.
        label: the displayed text.
        hidden: the condition that hides it; None where it is always visible.
        groups: the groups that see it, sorted; empty for all users.
    """

    name: str
    kind: str
    label: str
    hidden: ast.expr | None
    groups: tuple[str, ...]

    @property
    def nodes(self) -> int:
        """The size of its condition."""
        return 1 if self.hidden is None else sum(1 for _ in ast.walk(self.hidden))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The workflow elements of a model's default form.

    Attributes:
        statusbars: fields shown as status bar, each with the values of `statusbar_visible`, in order.
        buttons: the buttons of its header.
    """

    statusbars: tuple[tuple[str, tuple[str, ...]], ...] = ()
    buttons: tuple[Button, ...] = ()


def default_form(views: Views, model: str) -> Form | None:
    """The default form of a model; None without one that has a header or a status bar, and where it is skipped."""
    view = next(iter(views.primaries(model, "form")), None)
    if view is None or not views.mentions(view, "<header", STATUSBAR):
        return None
    tree = views.combined(view)
    if tree is None:
        return None
    try:
        return Form(statusbars=tuple(statusbar_fields(tree)), buttons=tuple(header_buttons(tree)))
    except ArchError:
        views.broken.add(view.id)
        return None


def header_buttons(form: Element) -> list[Button]:
    """The buttons of the header of a combined form.

    Raises:
        ArchError: their conditions are too large.
    """
    buttons: list[Button] = []
    nodes = 0
    for header in form.iter("header"):
        for node in header.iter("button") if _is_top_level(header) else ():
            if node.get("name") and _is_top_level(node):
                buttons.append(_button(node))
                nodes += buttons[-1].nodes
                if nodes > MAX_NODES:
                    raise ArchError("the conditions of its buttons are too large")
    return buttons


def statusbar_fields(form: Element) -> list[tuple[str, tuple[str, ...]]]:
    """The fields shown as status bar, each with the values of `statusbar_visible`, in order."""
    fields = []
    for node in form.iter("field"):
        name, widget = node.get("name"), node.get("widget") or ""
        if name and STATUSBAR in widget and _is_top_level(node):
            visible = (node.get("statusbar_visible") or "").split(",")
            fields.append((name, tuple(part.strip() for part in visible if part.strip())))
    return fields


def transitions(
    buttons: Sequence[Button], *, state_field: str, states: Sequence[str], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Derive the transitions of a form's header.

    Buttons with the same action are one transition, available in a state where any of them is visible. A state counts
    unless all of them are certainly hidden in it. The residual condition (which hides the button) is kept as
    `condition`, or as `conditions` by state where it differs. A button hidden in every state is no transition.

    Args:
        buttons: the header's buttons.
        state_field: the field with the states; empty where the form has none.
        states: its values, in order; empty where unknown (stages).
        names: external names of actions, by the id in the button's `name`.

    Returns:
        Transitions with `button`, `label`, `kind` and, where not empty, `from`, `condition` or `conditions`, `groups`.

    Raises:
        ArchError: there are too many buttons and states.
    """
    if len(states) * sum(button.nodes for button in buttons) > MAX_EVALUATIONS:
        raise ArchError("too many buttons and states")
    alike: dict[tuple[str, str], list[Button]] = {}
    for button in buttons:
        name = names.get(button.name, button.name) if button.kind == "action" else button.name
        alike.setdefault((name, button.kind), []).append(button)
    result = []
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
        result.append({key: value for key, value in transition.items() if value})
    return result


def _visible_in(group: Sequence[Button], state_field: str, states: Sequence[str]) -> dict[str, str] | None:
    """The states in which a button may be visible, each with its residual condition; None if always hidden."""
    visible: dict[str, str] = {}
    for state in states or ("",):
        known = {state_field: state} if states else {}
        hidden = all_of([evaluate(button.hidden, known) for button in group])
        if not isinstance(hidden, Known):
            visible[state] = text(hidden)
        elif not hidden.value:
            visible[state] = ""
    return visible or None


def _conditions(visible: Mapping[str, str]) -> dict[str, Any]:
    different = set(visible.values())
    if len(different) == 1:
        return {"condition": different.pop()}
    return {"conditions": {state: text for state, text in sorted(visible.items()) if text}}


def _button(node: Element) -> Button:
    scopes = [node, *_ancestors(node)]
    groups = {name for scope in scopes for name in groups_of(scope)}
    hidden = [from_modifiers(scope.get("invisible"), scope.get("states"), scope.get("attrs")) for scope in scopes]
    label = node.get("string") or node.get("title") or " ".join("".join(node.itertext()).split())
    return Button(
        name=node.get("name"),
        kind=node.get("type") or "object",
        label=label,
        hidden=any_of(hidden),
        groups=tuple(sorted(groups)),
    )


def _ancestors(node: Element) -> Iterator[Element]:
    """The ancestors of a node within the form."""
    parent = node.getparent()
    while parent is not None and parent.tag != "form":
        yield parent
        parent = parent.getparent()


def _is_top_level(node: Element) -> bool:
    """Whether a node is outside of the embedded view of a one2many field."""
    return next((False for parent in node.iterancestors("field")), True)
