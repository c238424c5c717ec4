"""A workflow as a state diagram in SVG, drawn without any library. Pure.

States stand one below the other in Odoo's order. Each button is an arrow out of every state in which it can be pressed;
where its name says to which state it leads, the arrow goes to that state's rail on the right, and the rail into the
state. All that lead to one state share its rail, so the picture stays readable with many states. An arrow that ends in
the open leads somewhere that only Odoo's code knows. Buttons of every state are drawn once, in a box beside the others.

Nothing in it is styled but by classes, so that it takes on the colours of the page that it is in.
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
_BOX_LEAST, _BOX_MOST = 150.0, 230.0
_LABEL_LEAST, _LABEL_MOST = 110.0, 250.0
_LANE, _ASIDE = 18.0, 34.0
_TIP, _BEND = 9.0, 8.0

_WIDE: Final = 7.2
"""Width of a character of the page's font at 12 px, in px; a little more than any common one has."""

_BOLD: Final = 8.6
"""The same at 13 px, in bold type."""

_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An arrow out of a state."""

    move: Transition
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """Boxes below each other, with their arrows on the right of them."""

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
    """A state where it is drawn; `state` is None for the box of what every state has."""

    state: State | None
    label: str
    y: float
    rows: tuple[_Row, ...]

    @property
    def height(self) -> float:
        return _HEAD + _ROW * len(self.rows) + (_FOOT if self.rows else 0)

    @property
    def entry(self) -> float:
        """Where arrows come in."""
        return self.y + _HEAD / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rail:
    """Where all arrows to one state run together."""

    target: _Box
    taps: tuple[_Row, ...]
    lane: int = 0

    @property
    def span(self) -> tuple[float, float]:
        ends = [self.target.entry, *(row.y for row in self.taps)]
        return min(ends), max(ends)


def workflow_svg(workflow: Workflow, *, title: str) -> str:
    """The diagram, to be put into a page.

    Args:
        workflow: what to draw.
        title: its accessible name.
    """
    return "\n".join(_Drawing(workflow, title).lines()) + "\n"


class _Drawing:
    """One diagram: placed first, then drawn."""

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
            f' role="img" aria-label="{_text(self._title)}">'
        )
        for rail in self._rails:
            yield from self._rail(rail)
        for column, box in boxes:
            yield from _drawn(box, column)
            for row in box.rows:
                if not row.move.target:
                    yield from self._open_arrow(row, column)
        yield "</svg>"

    def _open_arrow(self, row: _Row, column: _Column) -> Iterator[str]:
        end = column.end - 12
        yield f'<g class="move open {_kind(row.move)}"><title>{_text(_told_move(row.move, self._workflow))}</title>'
        yield f'<path class="line" d="M{column.right:.1f} {row.y:.1f}H{end:.1f}"/>'
        yield f'<path class="head" d="M{end - 6:.1f} {row.y - 4:.1f}l6 4l-6 4"/>'
        yield _label(row, column)
        yield "</g>"

    def _rail(self, rail: _Rail) -> Iterator[str]:
        """The taps of a rail, each with its label, the rail itself, and its end at the state."""
        x, right, entry = self._states.end + _LANE * (rail.lane + 0.5), self._states.right, rail.target.entry
        yield '<g class="rail">'
        for row in rail.taps:
            bend = _BEND if row.y < entry else -_BEND
            yield f'<g class="move known {_kind(row.move)}">'
            yield (
                f"<title>{_text(_told_move(row.move, self._workflow))}</title>"
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


def _drawn(box: _Box, column: _Column) -> Iterator[str]:
    state = box.state
    kinds = ["state"]
    if state is None:
        kinds.append("every")
    else:
        kinds += [name for name in ("shown", "first", "final") if getattr(state, name)]
        kinds += [] if state.touched else ["untouched"]
    yield f'<g class="{" ".join(kinds)}"><title>{_text(_told(box))}</title>'
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
    yield f'<text class="name" x="{x:.1f}" y="{box.y + 21:.1f}">{_text(_cut(box.label, int(room / _BOLD)))}</text>'
    yield f'<text class="value" x="{x:.1f}" y="{box.y + 37:.1f}">{_text(_cut(value, int(room / _WIDE)))}</text>'
    yield "</g>"


def _label(row: _Row, column: _Column) -> str:
    words = _cut(row.move.label, int((column.label - 28) / _WIDE))
    return f'<text class="label" x="{column.right + 10:.1f}" y="{row.y - 5:.1f}">{_text(words)}</text>'


def _stacked(workflow: Workflow) -> Iterator[_Box]:
    """The states' boxes from the top down."""
    y = _TOP
    for state in workflow.states:
        transitions = [move for move in workflow.transitions if not move.everywhere and _from(move, state)]
        box = _Box(state=state, label=state.label, y=y, rows=_rows(transitions, y))
        yield box
        y += box.height + _GAP


def _every(workflow: Workflow) -> _Box | None:
    """The box of what every state has."""
    transitions = [move for move in workflow.transitions if move.everywhere]
    label = "In every state" if workflow.states else "In any stage"
    return _Box(state=None, label=label, y=_TOP, rows=_rows(transitions, _TOP)) if transitions else None


def _rows(transitions: Sequence[Transition], y: float) -> tuple[_Row, ...]:
    return tuple(_Row(move=move, y=y + _HEAD + _ROW * (number + 0.75)) for number, move in enumerate(transitions))


def _column(boxes: Sequence[_Box], x: float) -> _Column:
    """As wide as what is in its boxes and beside them."""
    names = max((len(box.label) for box in boxes), default=0)
    labels = max((len(row.move.label) for box in boxes for row in box.rows), default=0)
    return _Column(
        x=x,
        box=min(_BOX_MOST, max(_BOX_LEAST, _BOLD * names + 26)),
        label=min(_LABEL_MOST, max(_LABEL_LEAST, _WIDE * labels + 34)) if labels else 0.0,
    )


def _from(move: Transition, state: State) -> bool:
    return state.value in move.sources and state.value != move.target


def _rails(boxes: Sequence[_Box]) -> Iterator[_Rail]:
    """One for each state that something leads to."""
    for target in boxes:
        value = target.state.value if target.state is not None else ""
        taps = tuple(row for box in boxes for row in box.rows if value and row.move.target == value)
        if taps:
            yield _Rail(target=target, taps=taps)


def _laned(rails: Iterable[_Rail]) -> list[_Rail]:
    """Short ones near to the boxes, and none above another."""
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


def _kind(move: Transition) -> str:
    """A class: whether it opens something, or runs a method."""
    return "opens" if move.kind == "action" else "runs"


def _told(box: _Box) -> str:
    state = box.state
    if state is None:
        return box.label
    facts: Mapping[str, bool] = {
        "the first state": state.first,
        "shown in the status bar": state.shown,
        "no button leads on": state.final,
        "no button is known to touch it": not state.touched,
    }
    told = ", ".join(words for words, holds in facts.items() if holds)
    return f"{state.label} ({state.value})" + (f": {told}" if told else "")


def _told_move(move: Transition, workflow: Workflow) -> str:
    leads = f" leads to {workflow.label(move.target)}, its name says" if move.target else ""
    return f"{move.label} ({move.button}){leads}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _text(text: str) -> str:
    return escape(_CONTROLS.sub("", text), quote=True)
