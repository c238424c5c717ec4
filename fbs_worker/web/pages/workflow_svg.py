"""Render a workflow as a state diagram in SVG, without a library. Pure.

The states are stacked in Odoo's order. Each button is an arrow from every state in which it is visible. If its target
is known, the arrow joins the target's rail on the right, which leads into the target; all arrows to one state share its
rail, so diagrams with many states stay readable. An arrow with an open end has an unknown target. The buttons of all
states are drawn once, in a separate box.

The SVG is styled by classes only, so that it takes its colours from the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from fbs_worker.web.pages.workflow import State, Transition, Workflow

_EDGE, _TOP, _GAP = 8.0, 40.0, 22.0
_HEAD, _ROW, _FOOT = 46.0, 25.0, 8.0
_BOX_MIN, _BOX_MAX = 150.0, 230.0
_LABEL_MIN, _LABEL_MAX = 110.0, 250.0
_LANE, _ASIDE = 18.0, 34.0
_TIP, _BEND = 9.0, 8.0

_CHAR_WIDTH: Final = 7.2
"""Width of a character at 12 px, in px: an upper bound for common fonts."""

_BOLD_WIDTH: Final = 8.6
"""Width of a bold character at 13 px, in px."""

_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An arrow from a state."""

    transition: Transition
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of boxes, with their arrows on the right."""

    x: float
    box: float
    label: float

    @property
    def right(self) -> float:
        """The right side of the boxes."""
        return self.x + self.box

    @property
    def end(self) -> float:
        """Where the arrows end, and the rails begin."""
        return self.right + self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """The box of a state; `state` is None for the box of buttons of all states."""

    state: State | None
    label: str
    y: float
    rows: tuple[_Row, ...]

    @property
    def height(self) -> float:
        return _HEAD + _ROW * len(self.rows) + (_FOOT if self.rows else 0)

    @property
    def entry(self) -> float:
        """Where arrows enter, as y."""
        return self.y + _HEAD / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rail:
    """The line in which all arrows to one state join."""

    target: _Box
    taps: tuple[_Row, ...]
    lane: int = 0

    @property
    def span(self) -> tuple[float, float]:
        ends = [self.target.entry, *(row.y for row in self.taps)]
        return min(ends), max(ends)


def workflow_svg(workflow: Workflow, *, title: str) -> str:
    """Render a workflow as SVG, for embedding in HTML.

    Args:
        workflow: the workflow.
        title: the accessible name of the diagram.
    """
    return "\n".join(_Drawing(workflow, title).lines()) + "\n"


class _Drawing:
    """A diagram: computes the layout, then renders."""

    def __init__(self, workflow: Workflow, title: str) -> None:
        self._workflow = workflow
        self._title = title
        self._boxes = list(_stacked(workflow))
        self._rails = _laned(_rails(self._boxes))
        self._states = _column(self._boxes, _EDGE)
        self._lanes = max((rail.lane + 1 for rail in self._rails), default=0)
        every = _every(workflow)
        aside = self._states.end + _LANE * self._lanes + _ASIDE if self._boxes else _EDGE
        self._every = (_column([every], aside), every) if every is not None else None

    def lines(self) -> Iterator[str]:
        boxes = [(self._states, box) for box in self._boxes] + ([self._every] if self._every else [])
        width = max([self._states.end + _LANE * self._lanes, *(column.end for column, _ in boxes)]) + _EDGE
        height = max((box.y + box.height for _, box in boxes), default=_TOP) + _EDGE
        yield (
            f'<svg class="workflow" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
            f' role="img" aria-label="{_escape(self._title)}">'
        )
        for rail in self._rails:
            yield from self._rail(rail)
        for column, box in boxes:
            yield from _draw_box(box, column)
            for row in box.rows:
                if not row.transition.target:
                    yield from self._open_arrow(row, column)
        yield "</svg>"

    def _open_arrow(self, row: _Row, column: _Column) -> Iterator[str]:
        end = column.end - 12
        title = _escape(_transition_title(row.transition, self._workflow))
        yield f'<g class="transition open {_kind(row.transition)}"><title>{title}</title>'
        yield f'<path class="line" d="M{column.right:.1f} {row.y:.1f}H{end:.1f}"/>'
        yield f'<path class="head" d="M{end - 6:.1f} {row.y - 4:.1f}l6 4l-6 4"/>'
        yield _label(row, column)
        yield "</g>"

    def _rail(self, rail: _Rail) -> Iterator[str]:
        x, right, entry = self._states.end + _LANE * (rail.lane + 0.5), self._states.right, rail.target.entry
        yield '<g class="rail">'
        for row in rail.taps:
            bend = _BEND if row.y < entry else -_BEND
            yield f'<g class="transition known {_kind(row.transition)}">'
            yield (
                f"<title>{_escape(_transition_title(row.transition, self._workflow))}</title>"
                f'<path class="line" d="M{right:.1f} {row.y:.1f}H{x - _BEND:.1f}'
                f'Q{x:.1f} {row.y:.1f} {x:.1f} {row.y + bend:.1f}"/>'
            )
            yield _label(row, self._states)
            yield "</g>"
        top, bottom = rail.span
        for end, bend in ((top, _BEND), (bottom, -_BEND)):
            if end != entry:
                turn = f"Q{x:.1f} {entry:.1f} {x - _BEND:.1f} {entry:.1f}"
                yield f'<path class="line" d="M{x:.1f} {end + bend:.1f}V{entry - bend:.1f}{turn}"/>'
        yield f'<path class="line" d="M{x - _BEND:.1f} {entry:.1f}H{right + _TIP:.1f}"/>'
        yield f'<path class="tip" d="M{right + 1:.1f} {entry:.1f}l{_TIP:.1f} -4.5v9z"/>'
        yield "</g>"


def _draw_box(box: _Box, column: _Column) -> Iterator[str]:
    state = box.state
    kinds = ["state"]
    if state is None:
        kinds.append("every")
    else:
        kinds += [name for name in ("shown", "first", "final") if getattr(state, name)]
        kinds += [] if state.connected else ["unconnected"]
    yield f'<g class="{" ".join(kinds)}"><title>{_escape(_box_title(box))}</title>'
    if state is not None and state.first:
        x = column.x + 24
        yield f'<circle class="begin" cx="{x:.1f}" cy="{box.y - 28:.1f}" r="6"/>'
        yield f'<path class="begin-line" d="M{x:.1f} {box.y - 22:.1f}V{box.y - _TIP:.1f}"/>'
        yield f'<path class="tip" d="M{x:.1f} {box.y - 1:.1f}l-4.5 -{_TIP:.1f}h9z"/>'
    size = f'width="{column.box:.1f}" height="{box.height:.1f}"'
    yield f'<rect class="box" x="{column.x:.1f}" y="{box.y:.1f}" {size} rx="8"/>'
    if state is not None and state.final:
        inner = f'width="{column.box - 6:.1f}" height="{box.height - 6:.1f}"'
        yield f'<rect class="inner" x="{column.x + 3:.1f}" y="{box.y + 3:.1f}" {inner} rx="5"/>'
    x, room = column.x + 14, column.box - 24
    value = state.value if state is not None else f"{len(box.rows)} buttons" if len(box.rows) > 1 else "1 button"
    name, value = _truncate(box.label, int(room / _BOLD_WIDTH)), _truncate(value, int(room / _CHAR_WIDTH))
    yield f'<text class="name" x="{x:.1f}" y="{box.y + 21:.1f}">{_escape(name)}</text>'
    yield f'<text class="value" x="{x:.1f}" y="{box.y + 37:.1f}">{_escape(value)}</text>'
    yield "</g>"


def _label(row: _Row, column: _Column) -> str:
    text = _truncate(row.transition.label, int((column.label - 28) / _CHAR_WIDTH))
    return f'<text class="label" x="{column.right + 10:.1f}" y="{row.y - 5:.1f}">{_escape(text)}</text>'


def _stacked(workflow: Workflow) -> Iterator[_Box]:
    """The boxes of the states, from top to bottom."""
    y = _TOP
    for state in workflow.states:
        transitions = [
            transition
            for transition in workflow.transitions
            if not transition.in_all_states and _from(transition, state)
        ]
        box = _Box(state=state, label=state.label, y=y, rows=_rows(transitions, y))
        yield box
        y += box.height + _GAP


def _every(workflow: Workflow) -> _Box | None:
    """The box of the buttons of all states, if any."""
    transitions = [transition for transition in workflow.transitions if transition.in_all_states]
    label = "In every state" if workflow.states else "In any stage"
    return _Box(state=None, label=label, y=_TOP, rows=_rows(transitions, _TOP)) if transitions else None


def _rows(transitions: Sequence[Transition], y: float) -> tuple[_Row, ...]:
    return tuple(
        _Row(transition=transition, y=y + _HEAD + _ROW * (number + 0.75))
        for number, transition in enumerate(transitions)
    )


def _column(boxes: Sequence[_Box], x: float) -> _Column:
    names = max((len(box.label) for box in boxes), default=0)
    labels = max((len(row.transition.label) for box in boxes for row in box.rows), default=0)
    return _Column(
        x=x,
        box=min(_BOX_MAX, max(_BOX_MIN, _BOLD_WIDTH * names + 26)),
        label=min(_LABEL_MAX, max(_LABEL_MIN, _CHAR_WIDTH * labels + 34)) if labels else 0.0,
    )


def _from(transition: Transition, state: State) -> bool:
    return state.value in transition.sources and state.value != transition.target


def _rails(boxes: Sequence[_Box]) -> Iterator[_Rail]:
    """The rails of all states with incoming arrows."""
    for target in boxes:
        value = target.state.value if target.state is not None else ""
        taps = tuple(row for box in boxes for row in box.rows if value and row.transition.target == value)
        if taps:
            yield _Rail(target=target, taps=taps)


def _laned(rails: Iterable[_Rail]) -> list[_Rail]:
    """Assign lanes: short rails next to the boxes, overlapping rails on different lanes."""
    taken: list[list[tuple[float, float]]] = []
    placed = []
    for rail in sorted(rails, key=lambda rail: (rail.span[1] - rail.span[0], rail.span)):
        top, bottom = rail.span
        free = (
            number
            for number, spans in enumerate(taken)
            if all(bottom + _ROW < begin or end + _ROW < top for begin, end in spans)
        )
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(rail.span)
        placed.append(_Rail(target=rail.target, taps=rail.taps, lane=lane))
    return placed


def _kind(transition: Transition) -> str:
    return "opens" if transition.kind == "action" else "runs"


def _box_title(box: _Box) -> str:
    state = box.state
    if state is None:
        return box.label
    facts: Mapping[str, bool] = {
        "the first state": state.first,
        "shown in the status bar": state.shown,
        "final": state.final,
        "no known transition": not state.connected,
    }
    text = ", ".join(fact for fact, holds in facts.items() if holds)
    return f"{state.label} ({state.value})" + (f": {text}" if text else "")


def _transition_title(transition: Transition, workflow: Workflow) -> str:
    target = f": leads to {workflow.label(transition.target)} (derived from its name)" if transition.target else ""
    return f"{transition.label} ({transition.button}){target}"


def _truncate(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _escape(text: str) -> str:
    return escape(_CONTROLS.sub("", text), quote=True)
