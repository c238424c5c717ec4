"""Print pip constraints that pin each declared dependency to its lower bound: `name==version` a line.

python tests/lowest/constraints.py pyproject.toml api,mcp
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version


def declared(pyproject: Path, *extras: str) -> Iterator[Requirement]:
    """The dependencies of the distribution and of some extras.

    Args:
        pyproject: the file.
        *extras: their names.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    for requirements in (project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)):
        yield from map(Requirement, requirements)


def lower_bound(requirement: Requirement) -> str:
    """The version of `>=`.

    Raises:
        ValueError: the requirement has none, or several.
    """
    (version,) = [part.version for part in requirement.specifier if part.operator == ">="]
    return version


def main(pyproject: str, extras: str) -> None:
    """Print the constraints; what several need, in the highest of their versions.

    Args:
        pyproject: the path of the file.
        extras: names of extras, separated by commas.
    """
    bounds: dict[str, str] = {}
    for requirement in declared(Path(pyproject), *extras.split(",")):
        bounds[requirement.name] = max(bounds.get(requirement.name, "0"), lower_bound(requirement), key=Version)
    sys.stdout.write("".join(f"{name}=={version}\n" for name, version in sorted(bounds.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
