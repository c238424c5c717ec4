"""`fbs diagram`: a diagram of a solution's tables."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from fbs_worker.cli.options import Named, NameOption, current_settings, one_solution


class DiagramFormat(StrEnum):
    """Output format of a diagram."""

    SVG = "svg"
    MERMAID = "mermaid"


def diagram(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    diagram_format: Annotated[
        DiagramFormat,
        typer.Option("--format", envvar="FBS_DIAGRAM_FORMAT", help="SVG image or Mermaid text."),
    ] = DiagramFormat.SVG,
) -> None:
    """Draw a solution's tables and their pending changes.

    Output goes to stdout: fbs diagram shop > shop.svg
    """
    from fbs_worker.solutions.diagram import solution_diagram
    from fbs_worker.solutions.diagram.mermaid import mermaid
    from fbs_worker.solutions.diagram.svg import svg

    picture = solution_diagram(current_settings(), one_solution(name, solution_name))
    sys.stdout.write(svg(picture) if diagram_format is DiagramFormat.SVG else mermaid(picture))
