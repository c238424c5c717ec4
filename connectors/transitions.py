"""Workflow transitions of a form: its buttons, with the states in which each is visible. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from fbs_worker.connectors.arch import ArchError, Element
from fbs_worker.connectors.conditions import all_of, any_of, evaluate, from_modifiers
from fbs_worker.connectors.simplify import Known, text
from fbs_worker.connectors.views import STATUSBAR, Groups, Views, all_groups, any_groups, groups_json, groups_of

MAX_NODES: Final = 20_000
"""Maximum number of nodes in the conditions of one form's buttons."""
MAX_EVALUATIONS: Final = 2_000_000
"""Maximum number of these nodes, each counted for each state."""


@dataclass(frozen=True, slots=True)
class Button:
    """A button of a form.

    Attributes:
        name: the called method, or the id of the opened action.
        kind: `object` or `action`.
        label: the displayed text.
        hidden: the condition that hides it; None where it is always visible.
        groups: the groups that see it; empty for all users.
        place: `body` outside of the header.
    """

    name: str
    kind: str
    label: str
    hidden: ast.expr | None
    groups: Groups
    place: str = ""

    @property
    def nodes(self) -> int:
        """The size of its condition."""
        return 1 if self.hidden is None else sum(1 for _ in ast.walk(self.hidden))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The workflow elements of a model's default form.

    Attributes:
        statusbars: fields shown as status bar, each with the values of `statusbar_visible`, in order.
        buttons: the buttons of its header, and those of its body that a condition may hide.
    """

    statusbars: tuple[tuple[str, tuple[str, ...]], ...] = ()
    buttons: tuple[Button, ...] = ()


def default_form(views: Views, model: str) -> Form | None:
    """The default form of a model; None without one that may be of a workflow, and where it is skipped."""
    view = next(iter(views.primaries(model, "form")), None)
    if view is None or not (
        views.mentions(view, "<header", STATUSBAR)
        or (views.mentions(view, "<button") and views.mentions(view, "state"))
    ):
        return None
    tree = views.combined(view)
    if tree is None:
        return None
    try:
        return Form(statusbars=tuple(statusbar_fields(tree)), buttons=tuple(form_buttons(tree)))
    except ArchError:
        views.damage(view, view)
        return None


def form_buttons(form: Element) -> list[Button]:
    """The buttons of the header of a combined form, then those of its body that a condition may hide.

    Raises:
        ArchError: their conditions are too large.
    """
    buttons: list[Button] = []
    nodes = 0
    for node in form.iter("button"):
        if node.get("name") and _is_top_level(node):
            button = _button(node)
            if not button.place or button.hidden is not None:
                buttons.append(button)
                nodes += button.nodes
                if nodes > MAX_NODES:
                    raise ArchError("the conditions of its buttons are too large")
    return sorted(buttons, key=lambda button: button.place)


def header_buttons(form: Element) -> list[Button]:
    """The buttons of the header of a combined form; raises ArchError as `form_buttons`."""
    return [button for button in form_buttons(form) if not button.place]


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
    buttons: Sequence[Button],
    *,
    state_field: str,
    states: Sequence[str],
    names: Mapping[str, str],
    booleans: Set[str] = frozenset(),
) -> list[dict[str, Any]]:
    """Derive the transitions of a form.

    Buttons with the same action, label and place are one transition, available in a state where any of them is visible;
    those for other groups only where they are visible alike. A state counts unless all of them are certainly hidden in
    it. The residual condition (which hides the button) is kept as `condition`, or as `conditions` by state where it
    differs. A button hidden in every state is no transition, nor one of the body whose visibility does not depend on
    the state.

    Args:
        buttons: the form's buttons.
        state_field: the field with the states; empty where the form has none.
        states: its values, in order; empty where unknown (stages).
        names: external names of actions, by the id in the button's `name`.
        booleans: the model's boolean fields.

    Returns:
        Transitions with `button`, `label`, `kind` and, where not empty, `place`, `from`, `condition` or `conditions`,
        `groups` (names, of which one is needed; or several such lists, of each of which one is needed).

    Raises:
        ArchError: there are too many buttons and states.
    """
    if len(states) * sum(button.nodes for button in buttons) > MAX_EVALUATIONS:
        raise ArchError("too many buttons and states")
    # a button without a label is the first of its name
    labels: dict[tuple[str, str, str], str] = {}
    for button in buttons:
        if button.label:
            labels.setdefault((button.name, button.kind, button.place), button.label)
    alike: dict[tuple[str, str, str, str], dict[Groups, list[Button]]] = {}
    for button in buttons:
        name = names.get(button.name, button.name) if button.kind == "action" else button.name
        label = button.label or labels.get((button.name, button.kind, button.place), "")
        by_groups = alike.setdefault((name, button.kind, button.place, label), {})
        by_groups.setdefault(button.groups, []).append(button)
    result = []
    for (name, kind, place, label), by_groups in sorted(alike.items(), key=lambda item: item[0][:2]):
        for visible, groups in _variants(by_groups, state_field, states, booleans):
            if place and not _depends(visible, state_field, states):
                continue
            transition: dict[str, Any] = {"button": name, "label": label, "kind": kind, "place": place}
            if states:
                transition["from"] = sorted(visible)
            transition |= _conditions(visible) | {"groups": groups_json(groups)}
            result.append({key: value for key, value in transition.items() if value})
    return result


def _variants(
    by_groups: Mapping[Groups, Sequence[Button]], state_field: str, states: Sequence[str], booleans: Set[str]
) -> list[tuple[dict[str, str], Groups]]:
    """In which states equivalent buttons are visible, and for which groups."""
    variants: list[tuple[dict[str, str], Groups]] = []
    for groups, buttons in by_groups.items():
        visible = _visible_in(buttons, state_field, states, booleans)
        if visible is None:
            continue
        same = next((number for number, variant in enumerate(variants) if variant[0] == visible), None)
        if same is None:
            variants.append((visible, groups))
        else:
            variants[same] = (visible, any_groups(variants[same][1], groups))
    return variants


def _depends(visible: Mapping[str, str], state_field: str, states: Sequence[str]) -> bool:
    """Whether it depends on the state where a button is visible."""
    if states:
        return len(visible) < len(states) or len(set(visible.values())) > 1
    return any(re.search(rf"\b{re.escape(state_field)}\b", condition) for condition in visible.values())


def _visible_in(
    group: Sequence[Button], state_field: str, states: Sequence[str], booleans: Set[str]
) -> dict[str, str] | None:
    """The states in which a button may be visible, each with its residual condition; None if always hidden."""
    visible: dict[str, str] = {}
    for state in states or ("",):
        known = {state_field: state} if states else {}
        hidden = all_of([evaluate(button.hidden, known, booleans) for button in group], booleans)
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


def button_label(node: Element) -> str:
    """What a button shows: its `string`, its tooltip, or the texts within it, with a space between them."""
    return node.get("string") or node.get("title") or " ".join(" ".join(node.itertext()).split())


def _button(node: Element) -> Button:
    scopes = [node, *_ancestors(node)]
    groups = all_groups(groups_of(scope) for scope in scopes)
    hidden = [from_modifiers(scope.get("invisible"), scope.get("states"), scope.get("attrs")) for scope in scopes]
    return Button(
        name=node.get("name"),
        kind=node.get("type") or "object",
        label=button_label(node),
        hidden=any_of(hidden),
        groups=groups,
        place="" if any(scope.tag == "header" for scope in scopes) else "body",
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
