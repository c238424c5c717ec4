"""A real `fbs api`, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.programs import Program
from fbs_worker.web.api.tokens import Entry, new_token
from tests.support.waiting import PATIENCE

READER, WRITER = new_token(), new_token()
TOKENS = SecretStr(f"{Entry.of(READER, name='look', scope='read')},{Entry.of(WRITER, name='ci', scope='write')}")


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True, kw_only=True)
class ApiServer:
    """A running API.

    Attributes:
        program: its process.
        url: where it is, without a slash at the end.
        log: its output.
        client: asks it; it keeps no cookie.
    """

    program: Program
    url: str
    log: Path
    client: httpx.Client

    def ask(self, method: str, path: str, *, token: str = WRITER, **options: Any) -> httpx.Response:
        """Ask with this token, with none if it is empty; redirects are not followed. For options see httpx."""
        headers = {**(bearer(token) if token else {}), **options.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **options)


@contextmanager
def api_server(settings: Settings, *, log: Path) -> Iterator[ApiServer]:
    """An API at any free port, until the end of the block.

    Args:
        settings: what it works with; the tokens are `TOKENS` unless these have some.
        log: gets its output.
    """
    given: dict[str, Any] = {"fbs_api_port": 0}
    if "fbs_api_tokens" not in settings.model_fields_set:
        given["fbs_api_tokens"] = TOKENS
    program = Program.start("api", settings=settings.model_copy(update=given), log=log)
    try:
        line = next(line for line in log.read_text().splitlines()[::-1] if " are at http" in line)
        url = line.split(" are at ")[1].split()[0]
        with httpx.Client(
            base_url=url,
            timeout=PATIENCE,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            verify=False,  # there is no TLS here: certificates would be read for nothing
        ) as client:
            yield ApiServer(program=program, url=url, log=log, client=client)
    finally:
        program.stop(seconds=10)
