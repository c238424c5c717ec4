"""Print pip constraints that pin each declared dependency to its lower bound: `name==version` a line.

python tests/lowest/constraints.py pyproject.toml
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement


def declared(pyproject: Path) -> Iterator[Requirement]:
    """The dependencies of the distribution and of its extras.

    Args:
        pyproject: the file.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        yield from map(Requirement, requirements)


def lower_bound(requirement: Requirement) -> str:
    """The version of `>=`.

    Raises:
        ValueError: the requirement has none, or several.
    """
    (version,) = [part.version for part in requirement.specifier if part.operator == ">="]
    return version


def main(pyproject: str) -> None:
    """Print the constraints.

    Args:
        pyproject: the path of the file.
    """
    lines = {f"{requirement.name}=={lower_bound(requirement)}" for requirement in declared(Path(pyproject))}
    sys.stdout.write("".join(f"{line}\n" for line in sorted(lines)))


if __name__ == "__main__":
    main(sys.argv[1])
