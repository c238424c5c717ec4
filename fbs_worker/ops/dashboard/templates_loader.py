"""Templates of the dashboard: overrides of Flower's, else Flower's own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tornado.template import BaseLoader, Template

_OVERRIDES: Final = Path(__file__).with_name("templates")
_FLOWER: Final = "flower/"


class TemplateLoader(BaseLoader):
    """Load a template from `templates/`, else from Flower; `flower/NAME` always loads Flower's.

    Args:
        flower: the folder of Flower's templates.
    """

    def __init__(self, flower: Path) -> None:
        super().__init__()
        self._flower = flower

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:  # noqa: ARG002 -- the signature is Tornado's
        """Return the name unchanged; there are no subfolders."""
        return name

    def _create_template(self, name: str) -> Template:
        override = _OVERRIDES / name
        path = override if override.is_file() else self._flower / name.removeprefix(_FLOWER)
        return Template(path.read_bytes(), name=name, loader=self)
