"""What a workflow's definition says of states and buttons, read for people. Pure.

A definition (DESIGN: `schema_definition` of a workflow) knows from which states a button can be pressed; where it leads
is in Odoo's code, not in its metadata. So a target is told only where the button's name says it (`action_cancel`, and
there is a state `cancel`), and it is always told that the name alone says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_WORD: Final = re.compile(r"[^\W_]+")

_ELSEWHERE: Final = frozenset({"ask", "check", "open", "preview", "print", "request", "send", "view"})
"""A button with such a word does something about a state, it does not lead there."""

_FILLING: Final = frozenset({"action", "button", "mark", "reset", "set"})
"""Words, as stems, that only say that it is a button which leads somewhere."""

_SHORTEST: Final = 3
"""A shorter word is in too many names by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state.

    Attributes:
        value: as Odoo keeps it.
        label: as people read it.
        shown: the form's status bar always shows it.
        first: it is the first of all, in which records usually begin.
        final: a button leads to it, and none but those of every state can be pressed in it.
        touched: a button that not every state has can be pressed in it, or leads to it, as far as is known.
    """

    value: str
    label: str
    shown: bool = False
    first: bool = False
    final: bool = False
    touched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A button.

    Attributes:
        button: its technical name.
        label: what is written on it.
        kind: `object` (runs a method) or `action` (opens something).
        sources: values of the states in which it can be pressed; all of them where the definition names none.
        everywhere: it can be pressed in every state.
        target: value of the state to which its name says that it leads; empty where it does not.
        conditions: what else must not hold for it to be shown, with the state's value; without one: in all states.
        groups: who may press it; everybody where there are none.
    """

    button: str
    label: str
    kind: str
    sources: tuple[str, ...]
    everywhere: bool = False
    target: str = ""
    conditions: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """What there is to see.

    Attributes:
        state_field: the field that holds the state.
        states: in Odoo's order; empty where the states are rows of another model (a stage).
        transitions: in the definition's order.
    """

    state_field: str
    states: tuple[State, ...]
    transitions: tuple[Transition, ...]

    def label(self, value: str) -> str:
        """What people read for a state."""
        return next((state.label for state in self.states if state.value == value), value)


def read_workflow(definition: Mapping[str, Any], *, model: str = "") -> Workflow:
    """Read a definition; what is not as it should be in it is left out.

    Args:
        definition: the workflow's `schema_definition`.
        model: the model's name; its words are in the names of many of its buttons, and say nothing of a state.
    """
    told = [state for state in _list(definition, "states") if "value" in state]
    labels = {str(state["value"]): str(state.get("label") or state["value"]) for state in told}
    transitions = tuple(_move(transition, labels, _stems(model)) for transition in _list(definition, "transitions"))
    shown = {str(state["value"]) for state in told if state.get("shown")}
    partly = [move for move in transitions if not move.everywhere]
    leaving = {source for move in partly for source in move.sources if source != move.target}
    reached = {move.target for move in transitions if move.target}
    states = tuple(
        State(
            value=value,
            label=label,
            shown=value in shown,
            first=number == 0,
            final=value in reached and value not in leaving,
            touched=value in leaving | reached or not (leaving or reached),
        )
        for number, (value, label) in enumerate(labels.items())
    )
    return Workflow(state_field=str(definition.get("state_field") or ""), states=states, transitions=transitions)


def _list(definition: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = definition.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _texts(found: object) -> tuple[str, ...]:
    return tuple(str(one) for one in found) if isinstance(found, list | tuple) else ()


def _move(transition: Mapping[str, Any], labels: Mapping[str, str], common: frozenset[str]) -> Transition:
    button = str(transition.get("button") or "")
    label = str(transition.get("label") or button)
    kind = str(transition.get("kind") or "object")
    named = _texts(transition.get("from"))
    sources = tuple(value for value in labels if value in named) if named else tuple(labels)
    target = ""
    if kind == "object":
        target = _target((_stems(label) - common, _stems(button) - common), sources, labels)
    return Transition(
        button=button,
        label=label,
        kind=kind,
        sources=sources,
        everywhere=len(sources) == len(labels) and not target,
        target=target,
        conditions=tuple(_conditions(transition)),
        groups=_texts(transition.get("groups")),
    )


def _conditions(transition: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if transition.get("condition"):
        yield "", str(transition["condition"])
    by_state = transition.get("conditions")
    if isinstance(by_state, Mapping):
        yield from ((str(state), str(text)) for state, text in by_state.items())


def _target(told: tuple[frozenset[str], frozenset[str]], sources: Sequence[str], labels: Mapping[str, str]) -> str:
    """The one state that a button names; empty where it is none or several.

    Args:
        told: the words written on it, and those of its technical name.
        sources: the states that it can be pressed in.
        labels: of the states.
    """
    written, technical = told
    if (written | technical) & _ELSEWHERE:
        return ""
    by_label = [value for value in labels if _names(written, labels[value]) or _names(written, value)]
    by_name = [value for value in labels if _names(technical, value)]
    for words, found in ((written, by_label), (technical, by_name)):
        among = [value for value in found if value not in sources]
        if not among and len(sources) > 1:  # shown where it would lead, too: then it has to say nothing else
            among = [value for value in found if words - _FILLING in (_stems(value), _stems(labels[value]))]
        if len(among) == 1:
            return among[0]
    return ""


def _names(stems: frozenset[str], text: str) -> bool:
    wanted = _stems(text)
    return bool(wanted) and wanted <= stems


def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if len(word) >= _SHORTEST)


def _stem(word: str) -> str:
    """`cancel`, `cancelled`, `canceled` and `cancelling` are one word; so are `approve` and `approved`."""
    for ending in ("ing", "ed", "e", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > _SHORTEST and word[-1] == word[-2] else word
