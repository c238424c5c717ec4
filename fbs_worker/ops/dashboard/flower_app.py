"""Flower as the dashboard runs it: every address authenticated, read-only, secrets in workers' replies redacted.

Facts relied on: Tornado calls `Application.find_handler` for each request, before any handler is created; Flower's
option `read_only` rejects every request that would run or stop a task or change a worker (`flower/api/control.py`,
`flower/api/tasks.py`); workers report the real arguments of their reserved and scheduled tasks.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import bind_sockets

from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.ops.dashboard.auth import BasicAuth, Unauthorized, basic_auth_header
from fbs_worker.ops.dashboard.events import redact_positional
from fbs_worker.ops.dashboard.flower_compat import FlowerApplication, ReplyInspector, configure, inspect_seconds
from fbs_worker.ops.dashboard.history import SYNC_SECONDS, History, JobSync

MAX_TASKS: Final = 10_000
"""Tasks in the history; older ones are evicted."""

_MAX_BODY_BYTES: Final = 1024 * 1024
_PURGE_OFFLINE_WORKERS_SECONDS: Final = 3_600
_COLUMNS: Final = {"subject": "For", "progress": "Progress"}
_MASK: Final = "***"
_USER: Final = "fbs"


class Dashboard(FlowerApplication):
    """Flower behind `BasicAuth`.

    Args:
        app: the monitored Celery application.
        auth: checks each request.
        file: the history's file.
    """

    def __init__(self, app: FBSCelery, *, auth: BasicAuth, file: Path) -> None:
        self._auth = auth
        self._flower_auth_header = basic_auth_header(_USER, _configure())
        redact = Redactor.from_settings(app.settings)
        loop = IOLoop.current()
        history = History(app, file=file, redact=redact, io_loop=loop, max_tasks=MAX_TASKS)
        super().__init__(app, events=history, io_loop=loop)
        self.inspector = RedactingInspector(loop, app, inspect_seconds(), redact=redact)
        self._job_sync = JobSync(app.jobs, history.state, loop)
        self._timer = PeriodicCallback(self._job_sync.run_once, SYNC_SECONDS * 1000)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        """Route a request; Tornado calls this for each one, whatever its address and method."""
        if not self._auth.accepts(request.headers.get("Authorization", ""), address=request.remote_ip):
            return Unauthorized(request)
        # Flower authenticates again itself, with a password generated at each start of this process.
        request.headers["Authorization"] = self._flower_auth_header
        handler: HTTPMessageDelegate = super().find_handler(request, **kwargs)
        return handler

    def listen(self, address: str, port: int) -> int:
        """Bind the listening sockets.

        Args:
            address: a host name or address of this machine.
            port: the port; 0 for any free one.

        Returns:
            The bound port.

        Raises:
            OSError: the port is taken, or the address does not exist here.
        """
        sockets = bind_sockets(port, address=address)
        HTTPServer(self, max_body_size=_MAX_BODY_BYTES).add_sockets(sockets)
        bound: int = sockets[0].getsockname()[1]
        return bound

    def start(self) -> None:
        """Serve until the loop is stopped."""
        self.io_loop.add_callback(self._job_sync.run_once)
        self._timer.start()
        super().start()

    def stop(self) -> None:
        """Save the history and stop."""
        self._timer.stop()
        super().stop()


class RedactingInspector(ReplyInspector):
    """Flower's inspector of workers, with secrets redacted in their replies.

    Args:
        redact: removes secrets from text.
    """

    def __init__(self, *args: Any, redact: Redactor) -> None:
        super().__init__(*args)
        self._redact = redact

    def transform(self, reply: Any) -> Any:
        """Mask the secrets in a reply."""
        return redact_reply(reply, self._redact)


def redact_reply(reply: Any, redact: Redactor) -> Any:
    """Mask the secrets in a worker's reply to an inspection.

    Args:
        reply: the reply, JSON-ready.
        redact: removes secrets from text.

    Returns:
        A copy of the reply without secrets.
    """
    match reply:
        case str():
            return redact(reply)
        case Mapping():
            return {key: _redact_named(key, value, redact) for key, value in reply.items()}
        case list() | tuple():
            return [redact_reply(item, redact) for item in reply]
    return reply


def _redact_named(name: str, value: Any, redact: Redactor) -> Any:
    if name == "args":
        return redact_positional(value if isinstance(value, str) else repr(tuple(value or ())))
    if name == "kwargs":
        return redact(value if isinstance(value, str) else repr(value))
    sample = f"{name}='x'"
    if value and isinstance(value, str) and redact(sample) != sample:  # the name denotes a secret
        return _MASK
    return redact_reply(value, redact)


def _configure() -> str:
    """Set Flower's options; return the password for its own authentication."""
    password = secrets.token_urlsafe(32)
    configure(
        credentials=f"{_USER}:{password}",
        purge_offline_workers=_PURGE_OFFLINE_WORKERS_SECONDS,
        columns=("name", "subject", "state", "progress", "received", "runtime", "worker", "uuid"),
        titles=_COLUMNS,
    )
    return password
