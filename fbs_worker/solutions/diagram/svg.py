"""Render diagrams as SVG, without any library. Pure.

Each table is a box. Referencing tables are placed to the right of referenced ones, with a line for each link;
tables without links are placed below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from fbs_worker.solutions.diagram.model import CONTROLS, Diagram, DiagramColumn, DiagramLink, DiagramTable, Mark

_MAX_ROWS: Final = 18
"""Maximum number of columns per table; changed ones and keys take precedence."""

_FONT: Final = 'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12"'

_CHARACTER: Final = 7.3
"""Width in px of a character of the monospaced font at 12 px; an upper bound for common fonts."""

_ROW, _HEAD, _PAD = 18, 26, 10
_GAP_X, _GAP_Y, _EDGE = 90, 26, 24
_MAX_HEIGHT: Final = 1000

_COLOURS: Final = {
    Mark.NONE: ("#24292f", "#ffffff"),
    Mark.NEW: ("#116329", "#dafbe1"),
    Mark.GONE: ("#a40e26", "#ffebe9"),
    Mark.CHANGED: ("#7d4e00", "#fff8c5"),
    Mark.DRIFT: ("#6639ba", "#fbefff"),
}
"""Foreground and background colours."""

_SIGNS: Final = {Mark.NONE: " ", Mark.NEW: "+", Mark.GONE: "-", Mark.CHANGED: "~", Mark.DRIFT: "!"}


def svg(diagram: Diagram) -> str:
    """Render a diagram as an SVG document.

    Args:
        diagram: its content.
    """
    boxes = _Layout(diagram).boxes()
    width = max((box.x + box.width for box in boxes.values()), default=400.0) + _GAP_X / 2
    width = max(width, 420.0, 2 * _EDGE + 1.3 * _CHARACTER * len(diagram.title))
    bottom = max((box.y + box.height for box in boxes.values()), default=80.0) + _EDGE
    legend = list(_legend(diagram.marks, bottom))
    height = bottom + (24 if legend else 0)
    size = f'width="{width:.0f}" height="{height:.0f}"'
    title = _text(diagram.title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {size} {_FONT}>',
        f"<title>{title}</title>",
        f"<defs>{''.join(map(_arrow, Mark))}</defs>",
        f'<rect {size} fill="#f6f8fa"/>',
        f'<text x="{_EDGE}" y="{_EDGE + 6}" font-size="15" font-weight="bold" fill="#24292f">{title}</text>',
        *(_line(link, boxes) for link in diagram.links),
        *(part for box in boxes.values() for part in box.drawn()),
        *legend,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A positioned table; all lengths in px."""

    table: DiagramTable
    rows: tuple[DiagramColumn, ...]
    left_out: int
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return _HEAD + _ROW * (len(self.rows) + bool(self.left_out)) + 6

    def row_at(self, names: Sequence[str]) -> float:
        """Return the vertical middle of the first drawn row of these columns, or of the heading."""
        for number, column in enumerate(self.rows):
            if column.name in names:
                return self.y + _HEAD + _ROW * (number + 0.5) + 2
        return self.y + _HEAD / 2

    def drawn(self) -> Iterator[str]:
        ink, paper = _COLOURS[self.table.mark]
        head = ink if self.table.mark else ("#57447f" if self.table.mirrored else "#1f4e79")
        dash = ' stroke-dasharray="5 3"' if self.table.mark else ""
        difference = (
            f"{self.table.name}: {self.table.difference or self.table.mark}" if self.table.mark else self.table.name
        )
        yield f"<g><title>{_text(difference)}</title>"
        yield (
            f'<rect x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}" rx="5"'
            f' fill="{paper}" stroke="{head}"{dash}/>'
        )
        yield (
            f'<path d="M{self.x:.1f} {self.y + _HEAD:.1f}v{5 - _HEAD}a5 5 0 0 1 5 -5h{self.width - 10:.1f}'
            f'a5 5 0 0 1 5 5v{_HEAD - 5}z" fill="{head}"/>'
        )
        name = _titled(self.table)
        strike = _strike(self.table.mark)
        yield (
            f'<text x="{self.x + _PAD:.1f}" y="{self.y + 17:.1f}" fill="#ffffff" font-weight="bold"{strike}>'
            f"{_text(name)}</text></g>"
        )
        y = self.y + _HEAD + 2
        for column in self.rows:
            yield from self._row(column, y)
            y += _ROW
        if self.left_out:
            yield f'<text x="{self.x + _PAD:.1f}" y="{y + 13:.1f}" fill="#6e7781">… {self.left_out} more columns</text>'

    def _row(self, column: DiagramColumn, y: float) -> Iterator[str]:
        ink, paper = _COLOURS[column.mark]
        yield "<g>"
        if column.mark:
            yield f"<title>{_text(f'{column.mark}: {column.difference}')}</title>"
            yield (
                f'<rect x="{self.x + 1:.1f}" y="{y:.1f}" width="{self.width - 2:.1f}" height="{_ROW}" fill="{paper}"/>'
            )
        baseline = y + 13
        sign, flags = _SIGNS[column.mark], ",".join(column.flags)
        yield (
            f'<text x="{self.x + _PAD:.1f}" y="{baseline:.1f}" fill="{ink}" xml:space="preserve"{_strike(column.mark)}>'
            f"{_text(f'{sign} {column.name}')}</text>"
            f'<text x="{self.x + self.width - _PAD:.1f}" y="{baseline:.1f}" fill="#6e7781" text-anchor="end"'
            f' xml:space="preserve">{_text(f"{_type(column)} {flags:>2}")}</text></g>'
        )


class _Layout:
    """Layered layout: a table's column is the longest path along its foreign keys."""

    def __init__(self, diagram: Diagram) -> None:
        self._tables = {table.name: table for table in diagram.tables}
        self._targets: dict[str, set[str]] = {name: set() for name in self._tables}
        for link in diagram.links:
            if link.source != link.target:
                self._targets[link.source].add(link.target)
        self._boxes: dict[str, _Box] = {}

    def boxes(self) -> Mapping[str, _Box]:
        referred = {target for targets in self._targets.values() for target in targets}
        linked = [name for name in self._tables if self._targets[name] or name in referred]
        alone = [name for name in self._tables if name not in linked]
        x, bottom = float(_EDGE), float(_EDGE + 24)
        for layer in self._layers(linked):
            x, y = self._column(layer, x, float(_EDGE + 24))
            bottom = max(bottom, y)
        self._flow(alone, max(x, 1100.0), bottom)
        return self._boxes

    def _layers(self, names: Sequence[str]) -> list[list[str]]:
        depth = self._depths(names)
        layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
        for name in names:
            layers[depth[name]].append(name)
        place: dict[str, float] = {}
        for layer in layers:  # close to the referenced tables
            layer.sort(key=lambda name: (_mean(place[to] for to in self._targets[name] if to in place), name))
            place |= {name: number / len(layer) for number, name in enumerate(layer)}
        if layers:
            users: dict[str, list[float]] = {}
            for name in names:
                for target in self._targets[name]:
                    users.setdefault(target, []).append(place[name])
            layers[0].sort(key=lambda name: (_mean(users.get(name, ())), name))
        return [part for layer in layers for part in self._parts(layer)]

    def _depths(self, names: Sequence[str]) -> dict[str, int]:
        """Longest path along foreign keys; cycles are cut at an arbitrary edge."""
        depth: dict[str, int] = {}
        for start in names:
            path: list[tuple[str, list[str]]] = [(start, sorted(self._targets[start]))] if start not in depth else []
            while path:
                name, left = path[-1]
                if left:
                    target = left.pop()
                    if target not in depth and target not in {known for known, _ in path}:
                        path.append((target, sorted(self._targets[target])))
                    continue
                depth[name] = 1 + max((depth[to] for to in self._targets[name] if to in depth), default=-1)
                path.pop()
        return depth

    def _parts(self, layer: Sequence[str]) -> Iterator[list[str]]:
        """Split a layer into columns of limited height."""
        part: list[str] = []
        height = 0.0
        for name in layer:
            box = self._box(name, 0, 0)
            if part and height + box.height > _MAX_HEIGHT:
                yield part
                part, height = [], 0.0
            part.append(name)
            height += box.height + _GAP_Y
        if part:
            yield part

    def _column(self, names: Sequence[str], x: float, y: float) -> tuple[float, float]:
        width = max(self._box(name, x, y).width for name in names)
        for name in names:
            box = self._box(name, x, y, width)
            self._boxes[name] = box
            y += box.height + _GAP_Y
        return x + width + _GAP_X, y

    def _flow(self, names: Sequence[str], width: float, y: float) -> None:
        x, lowest = float(_EDGE), y
        for name in names:
            box = self._box(name, x, y)
            if x > _EDGE and x + box.width > width:
                x, y = float(_EDGE), lowest
                box = self._box(name, x, y)
            self._boxes[name] = box
            x += box.width + _GAP_Y
            lowest = max(lowest, y + box.height + _GAP_Y)

    def _box(self, name: str, x: float, y: float, width: float = 0.0) -> _Box:
        table = self._tables[name]
        rows = _shown(table.columns)
        longest = max(
            (len(column.name) + len(_type(column)) + len(",".join(column.flags)) for column in rows), default=0
        )
        needed = max(_CHARACTER * (longest + 7), 1.08 * _CHARACTER * len(_titled(table)), 150.0) + 2 * _PAD
        left_out = len(table.columns) - len(rows)
        return _Box(table=table, rows=rows, left_out=left_out, x=x, y=y, width=max(width, needed))


def _shown(columns: Sequence[DiagramColumn]) -> tuple[DiagramColumn, ...]:
    """Select the drawn columns: all changed ones, keys, then others, in table order."""
    ranked = sorted(range(len(columns)), key=lambda at: (not columns[at].mark, not columns[at].flags, at))
    most = max(_MAX_ROWS, sum(1 for column in columns if column.mark))
    return tuple(columns[at] for at in sorted(ranked[:most]))


def _type(column: DiagramColumn) -> str:
    return f"{column.type} → {column.becomes}" if column.becomes else column.type


def _titled(table: DiagramTable) -> str:
    return f"{_SIGNS[table.mark]} {table.name} ({table.mark})" if table.mark else table.name


def _line(link: DiagramLink, boxes: Mapping[str, _Box]) -> str:
    """Draw a foreign key from its row to the heading of the referenced table."""
    source, target = boxes[link.source], boxes[link.target]
    begin, end = source.row_at(link.columns), target.y + _HEAD / 2
    if target.x + target.width < source.x:
        x, to = source.x, target.x + target.width
        bend = max(30.0, (x - to) / 2)
        path = f"M{x:.1f} {begin:.1f}C{x - bend:.1f} {begin:.1f} {to + bend:.1f} {end:.1f} {to + 7:.1f} {end:.1f}"
    else:  # same column, or a cycle: around the right side
        x, to = source.x + source.width, target.x + target.width
        out = max(x, to) + 34
        path = f"M{x:.1f} {begin:.1f}C{out:.1f} {begin:.1f} {out:.1f} {end:.1f} {to + 7:.1f} {end:.1f}"
    ink = _COLOURS[link.mark][0] if link.mark else "#8c959f"
    dash = ' stroke-dasharray="5 3"' if link.mark else ""
    label = f"{link.source}.{', '.join(link.columns)} references {link.target}"
    label += "" if link.enforced else ", not enforced"
    label += f" ({link.mark})" if link.mark else ""
    marker = link.mark.name.lower()
    return (
        f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="1.4"{dash} marker-end="url(#to-{marker})">'
        f"<title>{_text(label)}</title></path>"
    )


def _arrow(mark: Mark) -> str:
    ink = _COLOURS[mark][0] if mark else "#8c959f"
    return (
        f'<marker id="to-{mark.name.lower()}" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" markerHeight="8"'
        f' orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z" fill="{ink}"/></marker>'
    )


def _legend(marks: Iterable[Mark], y: float) -> Iterator[str]:
    x = float(_EDGE)
    for mark in marks:
        ink, paper = _COLOURS[mark]
        words = f"{_SIGNS[mark]} {mark}"
        width = _CHARACTER * len(words) + 2 * _PAD
        shape = f'width="{width:.1f}" height="20" rx="4"'
        yield f'<rect x="{x:.1f}" y="{y - 4:.1f}" {shape} fill="{paper}" stroke="{ink}"/>'
        yield f'<text x="{x + _PAD:.1f}" y="{y + 10:.1f}" fill="{ink}">{_text(words)}</text>'
        x += width + 14


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else 0.5


def _strike(mark: Mark) -> str:
    return ' text-decoration="line-through"' if mark is Mark.GONE else ""


def _text(text: str) -> str:
    return escape(CONTROLS.sub("", text), quote=True)
