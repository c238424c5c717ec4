"""The pages' own files: the style sheet, htmx, the icon. They are open to everybody: the log-in needs them.

Each address bears a digest of what is in the file, so that browsers may keep it and still never use an old one.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.web.api.errors import RouteNotFound

_FOLDER: Final = Path(__file__).with_name("static")
_TYPES: Final = {
    "style.css": "text/css; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_KEEP: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


class Assets:
    """The files, read once."""

    @cached_property
    def _files(self) -> dict[str, tuple[bytes, str]]:
        found = {name: (_FOLDER / name).read_bytes() for name in _TYPES}
        return {name: (data, hashlib.sha256(data).hexdigest()[:16]) for name, data in found.items()}

    def url(self, name: str) -> str:
        """The address of a file."""
        return f"/static/{name}?v={self._files[name][1]}"

    def answer(self, name: str, *, known: str | None) -> Response:
        """A file.

        Args:
            name: the file's.
            known: what the browser says that it has (`If-None-Match`).

        Raises:
            RouteNotFound: there is none of that name.
        """
        if name not in self._files:
            raise RouteNotFound("There is no such file.")
        data, digest = self._files[name]
        headers = {"Cache-Control": _KEEP, "ETag": f'"{digest}"'}
        if known == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=_TYPES[name], headers=headers)


ASSETS: Final = Assets()


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
def asset(request: Request, name: str) -> Response:
    """A file of the pages."""
    return ASSETS.answer(name, known=request.headers.get("If-None-Match"))
