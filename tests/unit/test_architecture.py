"""The rooms of the product and the one direction of its imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

LAYERS: Final = (
    ("tasks",),
    ("connectors",),
    ("cli", "contrib"),
    ("web",),
    ("client",),
    ("ops",),
    ("scheduling",),
    ("solutions",),
    ("replication",),
    ("migration",),
    ("catalogue",),
    ("schema",),
    ("domains",),
    ("jobs",),
    ("core",),
)
"""The rooms from the top to the bottom: a module imports from its own room and from those below it.

`tasks` and `connectors` are the folders of the repository's top level, linked into `fbs_worker/`."""

PUBLIC: Final = {"fbs_worker": {"client"}, "fbs_worker.app": {"jobs"}, "fbs_worker._version": set[str]()}
"""The modules outside of a room, and the rooms that they import from."""

SUBROOMS: Final = {"jobs": ("worker",)}
"""Parts of a room that the rest of it does not import."""

FOUNDATIONS: Final = {"fbs_worker._version"}
"""What every room may import."""


def modules() -> Mapping[str, Path]:
    """The product's modules by their import names."""
    paths = [
        *((("fbs_worker", *path.relative_to(ROOT / "fbs_worker").parts), path) for path in _files("fbs_worker")),
        *((("fbs_worker", *path.relative_to(ROOT).parts), path) for path in _files("connectors", "tasks")),
    ]
    return {".".join(parts).removesuffix(".py").removesuffix(".__init__"): path for parts, path in paths}


def _files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*.py") if not path.parent.is_symlink())


MODULES: Final = modules()
RANK: Final = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}


def room_of(module: str) -> str | None:
    """The room of a module; None for a public module outside of them."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANK else None


def imports(module: str, *, at_import: bool = False) -> set[str]:
    """The product's modules that a module imports.

    Args:
        module: its import name.
        at_import: only those that importing it needs: neither within functions nor for type checkers.
    """
    path = MODULES[module]
    nodes = _statements(_tree(path).body) if at_import else _imports_in(path)
    return {_module(name) for node in nodes for name in _names(node) if name.split(".")[0] == "fbs_worker"} - {module}


@cache
def _imports_in(path: Path) -> tuple[ast.AST, ...]:
    return tuple(node for node in nodes(path) if isinstance(node, ast.Import | ast.ImportFrom))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module's tree, the tree itself first."""
    return tuple(ast.walk(_tree(path)))


def _tree(path: Path) -> ast.Module:
    return parse(path.read_text())


@cache
def parse(text: str) -> ast.Module:
    """The tree of a module, parsed once for all tests that look at it."""
    return ast.parse(text)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try | ast.With):
            yield from _statements(node.body)


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _module(name: str) -> str:
    """The module that an imported name is, or is part of."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def test_each_module_has_a_room() -> None:
    assert {name for name in MODULES if room_of(name) is None} == PUBLIC.keys()
    assert {room_of(name) for name in MODULES} == {*RANK, None}


def test_imports_run_from_the_top_to_the_bottom() -> None:
    upward = sorted(f"{name} imports {to}" for name in MODULES for to in imports(name) if not _may_import(name, to))
    assert upward == []


def _may_import(module: str, other: str) -> bool:
    room, reached = room_of(module), room_of(other)
    if other in FOUNDATIONS or (room is not None and room == reached):
        return True
    if room is None:
        return reached in PUBLIC[module]
    # the Django command shows a job as the command line does
    return (room, reached) == ("contrib", "cli") or (reached is not None and RANK[reached] > RANK[room])


@pytest.mark.parametrize("room", sorted(SUBROOMS))
def test_a_room_does_not_import_its_subrooms(room: str) -> None:
    inner = tuple(f"fbs_worker.{room}.{name}" for name in SUBROOMS[room])
    outside = [name for name in MODULES if room_of(name) == room and not name.startswith(inner)]
    assert {name: found for name in outside if (found := {to for to in imports(name) if to.startswith(inner)})} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: imports(name, at_import=True) for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(" -> ".join(exc.args[1]))


def test_the_shape_of_the_house() -> None:
    """Few rooms at the top, and no import by the names of the folders: those belong to whoever runs us."""
    assert len(RANK) <= 18
    by_folder = re.compile(r"^\s*(?:from|import) (?:connectors|tasks)\b", re.MULTILINE)
    product_and_tests = [*MODULES.values(), *_files("tests", "bench")]
    assert [str(path) for path in product_and_tests if by_folder.search(path.read_text())] == []


if __name__ == "__main__":
    arrows = {(room_of(name), room_of(to)) for name in MODULES for to in imports(name)}
    arrows = {(a, b) for a, b in arrows if a and b and a != b}
    sys.stdout.write(f"{len(RANK)} rooms on {len(LAYERS)} floors, {len(arrows)} arrows, {len(MODULES)} modules\n")
