"""The dashboard's pages: Flower's own, some of them with a little more."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tornado.template import BaseLoader, Template

_OURS: Final = Path(__file__).with_name("templates")
_FLOWER: Final = "flower/"


class Pages(BaseLoader):
    """Finds a page among ours, else among Flower's; `flower/NAME` is Flower's in any case.

    Args:
        flower: the folder of Flower's pages.
    """

    def __init__(self, flower: Path) -> None:
        super().__init__()
        self._flower = flower

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:  # noqa: ARG002 -- there are no folders
        """The name under which a page is kept; Tornado asks."""
        return name

    def _create_template(self, name: str) -> Template:
        ours = _OURS / name
        path = ours if ours.is_file() else self._flower / name.removeprefix(_FLOWER)
        return Template(path.read_bytes(), name=name, loader=self)
