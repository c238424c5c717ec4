"""Static files of the pages: style sheet, htmx, zoom of diagrams, icon. They are public, for the log-in needs them.

Each URL contains a digest of the file's content, so that browsers can cache it without expiry.
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
    "diagram.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_CACHE_CONTROL: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


class Assets:
    """The static files, read once."""

    @cached_property
    def _files(self) -> dict[str, tuple[bytes, str]]:
        contents = {name: (_FOLDER / name).read_bytes() for name in _TYPES}
        return {name: (data, hashlib.sha256(data).hexdigest()[:16]) for name, data in contents.items()}

    def url(self, name: str) -> str:
        """Return a file's URL."""
        return f"/static/{name}?v={self._files[name][1]}"

    def response(self, name: str, *, if_none_match: str | None) -> Response:
        """Return a file as a response; 304 if the browser has it.

        Args:
            name: the file's name.
            if_none_match: the request's If-None-Match.

        Raises:
            RouteNotFound: no file has that name.
        """
        if name not in self._files:
            raise RouteNotFound("No static file has that name.")
        data, digest = self._files[name]
        headers = {"Cache-Control": _CACHE_CONTROL, "ETag": f'"{digest}"'}
        if if_none_match == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=_TYPES[name], headers=headers)


ASSETS: Final = Assets()


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
def asset(request: Request, name: str) -> Response:
    """Return a static file."""
    return ASSETS.response(name, if_none_match=request.headers.get("If-None-Match"))
