"""`/mcp`: MCP over streamable HTTP, with the API's tokens, rate limit and protection against cross-site requests.

The SDK is imported by the first request: it takes as long as all the rest of the API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from anyio import Lock, create_task_group, sleep_forever, to_thread
from anyio.abc import TaskGroup, TaskStatus
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from fbs_worker.web.api.auth import require_scope
from fbs_worker.web.api.databases import DatabaseResolver
from fbs_worker.web.api.errors import RouteNotFound
from fbs_worker.web.api.tokens import READ

if TYPE_CHECKING:
    from fbs_worker.web.mcp.server import HTTPManager


class MCPEndpoint:
    """An ASGI application that answers POST requests of MCP clients.

    Args:
        databases: where the answers come from.
    """

    def __init__(self, databases: DatabaseResolver) -> None:
        self._databases = databases
        self._lock = Lock()
        self._tasks: TaskGroup | None = None
        self._manager: HTTPManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests within the block."""
        async with create_task_group() as self._tasks:
            yield
            self._tasks.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            RouteNotFound: the extra is not installed.
            ScopeMissing: the token may not read.
        """
        require_scope(Request(scope), READ)
        if find_spec("mcp") is None:
            raise RouteNotFound(
                "MCP is not installed on this server.", hint='Install it there: pip install "fbs-worker[mcp]"'
            )
        manager = await self._started()
        await manager.handle_request(scope, receive, send)

    async def _started(self) -> HTTPManager:
        async with self._lock:
            if self._manager is None:
                assert self._tasks is not None, "requests are answered within `running`"  # noqa: S101
                self._manager = await self._tasks.start(self._run)
            return self._manager

    async def _run(self, *, task_status: TaskStatus[Any]) -> None:
        manager = await to_thread.run_sync(self._make)
        async with manager.run():
            task_status.started(manager)
            await sleep_forever()

    def _make(self) -> HTTPManager:
        from fbs_worker.web.mcp.server import http_manager
        from fbs_worker.web.mcp.tools import Source

        return http_manager(Source(databases=self._databases, jobs=self._databases.jobs))
