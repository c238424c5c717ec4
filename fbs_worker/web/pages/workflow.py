"""Read a workflow's definition: its states, its buttons, and the transitions that can be derived. Pure.

A definition (`schema_definition` of a workflow) has the states in which a button is visible; the target state is in
Odoo's code, not in its metadata. A target is derived only from the button's name (`action_cancel`, if there is a state
`cancel`), and is always displayed as derived.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_WORD: Final = re.compile(r"[^\W_]+")

_NON_TRANSITION_WORDS: Final = frozenset({"ask", "check", "open", "preview", "print", "request", "send", "view"})
"""A button with such a word acts on a state without leading to it."""

_FILLER_STEMS: Final = frozenset({"action", "button", "mark", "reset", "set"})
"""Stems without meaning in a button's name."""

_MIN_WORD: Final = 3
"""Minimum length of a word: shorter ones are part of too many names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state of a workflow.

    Attributes:
        value: the technical value.
        label: the display label.
        shown: the form's status bar always shows it.
        first: it is the first state, usually the initial one.
        final: a button leads to it, and only buttons of all states are visible in it.
        connected: a known transition starts or ends in it; True for all states if no transition is known.
    """

    value: str
    label: str
    shown: bool = False
    first: bool = False
    final: bool = False
    connected: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A button of a workflow.

    Attributes:
        button: the technical name.
        label: the button's label.
        kind: `object` (calls a method) or `action` (opens a window or report).
        sources: values of the states in which it is visible; all states if the definition names none.
        in_all_states: it is visible in all states.
        target: value of the target state, derived from its name; empty if unknown.
        conditions: further conditions that hide it, each with a state's value; an empty value means all states.
        groups: the groups that may use it; empty means all users.
        place: `body` if it is not in the header of the form.
    """

    button: str
    label: str
    kind: str
    sources: tuple[str, ...]
    in_all_states: bool = False
    target: str = ""
    conditions: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow.

    Attributes:
        state_field: the name of the field with the state.
        states: the states in Odoo's order; empty if they are records of another model (stages).
        transitions: the buttons in the definition's order.
    """

    state_field: str
    states: tuple[State, ...]
    transitions: tuple[Transition, ...]

    def label(self, value: str) -> str:
        """Return the label of a state."""
        return next((state.label for state in self.states if state.value == value), value)


def read_workflow(definition: Mapping[str, Any], *, model: str = "") -> Workflow:
    """Read a definition, skipping malformed parts.

    Args:
        definition: the workflow's `schema_definition`.
        model: the model's name, whose words are ignored in the names of buttons.
    """
    entries = [state for state in _list(definition, "states") if "value" in state]
    labels = {str(state["value"]): str(state.get("label") or state["value"]) for state in entries}
    transitions = tuple(
        _transition(transition, labels, _stems(model)) for transition in _list(definition, "transitions")
    )
    shown = {str(state["value"]) for state in entries if state.get("shown")}
    conditional = [transition for transition in transitions if not transition.in_all_states]
    left = {source for transition in conditional for source in transition.sources if source != transition.target}
    entered = {transition.target for transition in transitions if transition.target}
    states = tuple(
        State(
            value=value,
            label=label,
            shown=value in shown,
            first=number == 0,
            final=value in entered and value not in left,
            connected=value in left | entered or not (left or entered),
        )
        for number, (value, label) in enumerate(labels.items())
    )
    return Workflow(state_field=str(definition.get("state_field") or ""), states=states, transitions=transitions)


def _list(definition: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = definition.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list | tuple) else ()


def _groups(value: object) -> tuple[str, ...]:
    """Names of which one is needed; one text where several such lists are."""
    if not (isinstance(value, list) and any(isinstance(one, list) for one in value)):
        return _texts(value)
    lists = [_texts(one) for one in value]
    return (" and ".join(f"({' or '.join(names)})" if len(names) > 1 else "".join(names) for names in lists),)


def _transition(transition: Mapping[str, Any], labels: Mapping[str, str], common: frozenset[str]) -> Transition:
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
        in_all_states=len(sources) == len(labels) and not target,
        target=target,
        conditions=tuple(_conditions(transition)),
        groups=_groups(transition.get("groups")),
        place=str(transition.get("place") or ""),
    )


def _conditions(transition: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if transition.get("condition"):
        yield "", str(transition["condition"])
    by_state = transition.get("conditions")
    if isinstance(by_state, Mapping):
        yield from ((str(state), str(text)) for state, text in by_state.items())


def _target(words: tuple[frozenset[str], frozenset[str]], sources: Sequence[str], labels: Mapping[str, str]) -> str:
    """The one state that a button's name contains; empty if it contains none or several.

    Args:
        words: the stems of its label, and those of its technical name.
        sources: the states in which it is visible.
        labels: the labels of all states.
    """
    label_words, name_words = words
    if (label_words | name_words) & _NON_TRANSITION_WORDS:
        return ""
    by_label = [state for state in labels if _contains(label_words, labels[state]) or _contains(label_words, state)]
    by_name = [state for state in labels if _contains(name_words, state)]
    for stems, matches in ((label_words, by_label), (name_words, by_name)):
        candidates = [state for state in matches if state not in sources]
        if not candidates and len(sources) > 1:  # visible in its target, too: the name has to be an exact match
            candidates = [state for state in matches if stems - _FILLER_STEMS in (_stems(state), _stems(labels[state]))]
        if len(candidates) == 1:
            return candidates[0]
    return ""


def _contains(stems: frozenset[str], text: str) -> bool:
    words = _stems(text)
    return bool(words) and words <= stems


def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if len(word) >= _MIN_WORD)


def _stem(word: str) -> str:
    """Stem a word: `cancel`, `cancelled`, `canceled` and `cancelling` are equal, as are `approve` and `approved`."""
    for ending in ("ing", "ed", "e", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_WORD:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > _MIN_WORD and word[-1] == word[-2] else word
