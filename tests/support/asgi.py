"""Asks an ASGI application in this process, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.types import ASGIApp

BASE = "http://127.0.0.1:8000"


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Someone who asks an application.

    Attributes:
        app: it.
        client: the address that requests come from.
        headers: what each request has.
    """

    app: ASGIApp
    client: str = "127.0.0.1"
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, *, headers: Mapping[str, Any] | None = None, **options: Any
    ) -> httpx.Response:
        """Ask, and wait for the whole answer; redirects are not followed. For options see httpx."""
        if isinstance(options.get("content"), Iterable) and not isinstance(options["content"], str | bytes):
            options["content"] = _parts(options["content"])
        return asyncio.run(self._ask(method, path, {**self.headers, **(headers or {})}, options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        """`ask` for something."""
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """`ask` for something to be done."""
        return self.ask("POST", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        """`ask` for something to go."""
        return self.ask("DELETE", path, **options)

    async def _ask(self, method: str, path: str, headers: Any, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(self.client, 1))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await client.request(method, path, headers=headers, **options)


async def _parts(content: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in content:
        yield part
