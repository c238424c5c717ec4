"""Flower as the dashboard runs it: every address behind the door, nothing but looking, no secret in what workers say.

Facts relied on: Tornado asks `Application.find_handler` for each request, before any handler is made; Flower's option
`read_only` refuses every request that would run or stop a task or change a worker (`flower/api/control.py`,
`flower/api/tasks.py`); workers tell the real arguments of what they have reserved or scheduled.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flower.app import Flower
from flower.inspector import Inspector
from flower.options import options
from flower.urls import settings as flower_settings
from flower.views.tasks import TASK_COLUMNS
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import bind_sockets

from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.ops.dashboard.auth import Door, Refusal, header_of
from fbs_worker.ops.dashboard.events import positional
from fbs_worker.ops.dashboard.history import LOOK_SECONDS, History, Records
from fbs_worker.ops.dashboard.templates_loader import Pages

MOST_TASKS: Final = 10_000
"""So many tasks are kept; older ones go."""

_MOST_BODY_BYTES: Final = 1024 * 1024
_FORGET_WORKERS_SECONDS: Final = 3_600
_COLUMNS: Final = {"subject": "For", "progress": "Progress"}
_STARS: Final = "***"


class Dashboard(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower behind the door.

    Args:
        app: the Celery application that is looked at.
        door: who may come in.
        file: where the history is kept.
    """

    def __init__(self, app: FBSCelery, *, door: Door, file: Path) -> None:
        self._door = door
        self._inner = header_of("fbs", _configure())
        redact = Redactor.of(app.settings)
        loop = IOLoop.current()
        history = History(app, file=file, redact=redact, io_loop=loop, most=MOST_TASKS)
        pages = Pages(Path(flower_settings["template_path"]))
        settings = {**flower_settings, "template_loader": pages}
        super().__init__(options=options, capp=app, events=history, io_loop=loop, **settings)
        self.inspector = CarefulInspector(loop, app, options.inspect_timeout / 1000, redact=redact)
        self._records = Records(app.jobs, history.state, loop)
        self._look = PeriodicCallback(self._records.look, LOOK_SECONDS * 1000)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        """Who answers a request; Tornado asks for each, whatever its address and method."""
        if not self._door.lets_in(request.headers.get("Authorization", ""), address=request.remote_ip):
            return Refusal(request)
        # Flower asks again, in its own way; what it wants to hear is made anew at each start and known here alone.
        request.headers["Authorization"] = self._inner
        handler: HTTPMessageDelegate = super().find_handler(request, **kwargs)
        return handler

    def listen(self, address: str, port: int) -> int:
        """Take requests.

        Args:
            address: a name or an address of this machine.
            port: 0 for any that is free.

        Returns:
            The port.

        Raises:
            OSError: it is taken, or there is no such address.
        """
        sockets = bind_sockets(port, address=address)
        HTTPServer(self, max_body_size=_MOST_BODY_BYTES).add_sockets(sockets)
        taken: int = sockets[0].getsockname()[1]
        return taken

    def start(self) -> None:
        """Look on until the loop is stopped."""
        self.io_loop.add_callback(self._records.look)
        self._look.start()
        super().start()

    def stop(self) -> None:
        """Save the history and end."""
        self._look.stop()
        super().stop()


class CarefulInspector(Inspector):  # type: ignore[misc]  # Flower has no types
    """Asks workers about themselves, and keeps secrets out of what they answer.

    Args:
        redact: takes secrets out of words.
    """

    def __init__(self, *args: Any, redact: Redactor) -> None:
        super().__init__(*args)
        self._redact = redact

    def _on_update(self, workername: str, method: str, response: Any) -> None:
        super()._on_update(workername, method, without_secrets(response, self._redact))


def without_secrets(told: Any, redact: Redactor) -> Any:
    """What a worker tells of itself, with stars in the place of secrets.

    Args:
        told: JSON-ready.
        redact: takes secrets out of words.
    """
    match told:
        case str():
            return redact(told)
        case Mapping():
            return {key: _named(key, value, redact) for key, value in told.items()}
        case list() | tuple():
            return [without_secrets(item, redact) for item in told]
    return told


def _named(name: str, value: Any, redact: Redactor) -> Any:
    if name == "args":
        return positional(value if isinstance(value, str) else repr(tuple(value or ())))
    if name == "kwargs":
        return redact(value if isinstance(value, str) else repr(value))
    plain = f"{name}='x'"
    if value and isinstance(value, str) and redact(plain) != plain:
        return _STARS
    return without_secrets(value, redact)


def _configure() -> str:
    """Set Flower's options, which its modules share; what Flower itself wants to hear for a password comes back."""
    password = secrets.token_urlsafe(32)
    options.basic_auth = [f"fbs:{password}"]
    options.read_only = True
    options.purge_offline_workers = _FORGET_WORKERS_SECONDS
    TASK_COLUMNS.update(_COLUMNS)
    options.tasks_columns = "name,subject,state,progress,received,runtime,worker,uuid"
    return password
