"""Adapter for Flower, which documents its options and its HTTP API, and no way to build on its classes.

Its options give what they can: `read_only`, `basic_auth`, `persistent`, `db`, `max_tasks`, `tasks_columns`,
`purge_offline_workers`. What remains here has no option: a password for every address (`find_handler`), progress and
solution of a task (`DashboardTask`), redaction before anything is stored (`DashboardState`, `_Inspector`), a limited
wait for a Redis that is away (`DashboardEvents`) and live pages (`templates/`).

`UPSTREAM` declares every symbol that the dashboard relies on, and why; the contract tests resolve each in the installed
version (`tests/unit/test_upstream_contract.py`). No other module imports Flower.
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from celery import states
from celery.events.state import Task
from flower.app import Flower
from flower.events import Events, EventsState
from flower.inspector import Inspector
from flower.options import options
from flower.urls import settings as flower_settings
from flower.views.tasks import TASK_COLUMNS
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.template import DictLoader

from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.worker.progress import PROGRESS
from fbs_worker.ops.dashboard.auth import BasicAuth, Unauthorized, basic_auth_header
from fbs_worker.ops.dashboard.redaction import redact_event, redact_reply

TRIED: Final = ("flower>=2.2,<2.3", "celery>=5.5,<5.8")

UPSTREAM: Final[Mapping[str, str]] = {
    "flower.app:Flower": "the application: takes options, capp, events, io_loop and Tornado's settings",
    "flower.app:Flower.inspector": "replaced: inspects the workers",
    "flower.events:Events.load_state": "overridden: reads the saved state",
    "flower.events:Events.save_state": "overridden: saves the state",
    "flower.events:Events.run": "overridden: receives events in a thread",
    "flower.events:Events.on_event": "hands a received event to the loop",
    "flower.events:EventsState._eviction_candidate": "the task that goes when a new one is stored",
    "flower.events:EventsState._index_task": "adds a task to the search index",
    "flower.inspector:Inspector._on_update": "overridden: stores a worker's reply",
    "flower.options:options": "the options that Flower's modules share",
    "flower.urls:settings": "Tornado's settings of Flower; template_path is the folder of its templates",
    "flower.views.tasks:TASK_COLUMNS": "the columns that the list of tasks can show, by title",
    "celery.events.state:Task._fields": "the fields that are shown, returned by the API and saved",
    "celery.events.state:Task.merge_rules": "which fields a late event of a state changes",
    "celery.events.state:Task.event": "applies an event; a custom `precedence` orders states; unknown kinds are states",
    "celery.events.state:State.Task": "set: the class of the tasks",
    "celery.events.state:State._seen_types": "the names of the tasks",
    "celery.events.state:State.tasks": "an LRU cache; `data` is its dictionary, reading it marks nothing as used",
    "celery.events.state:State.get_or_create_task": "a task by its id",
    "celery.events.state:State.get_or_create_worker": "a worker by its name",
}

LOST: Final = "LOST"

MAX_TASKS: Final = 10_000
"""Tasks in the history; older ones are evicted."""

_SAVE_SECONDS: Final = 10.0
"""Interval between saves, when something changed: what a killed dashboard loses; it reads jobs from their records."""

_OPTIONS: Final[Mapping[str, Any]] = {
    "read_only": True,
    "persistent": True,
    "max_tasks": MAX_TASKS,
    "purge_offline_workers": 3_600,
    "tasks_columns": "name,subject,state,progress,received,runtime,worker,uuid",
}
"""Flower's documented options."""

_COLUMNS: Final = {"subject": "For", "progress": "Progress"}
_RECONNECT_SECONDS: Final = 1.0
_MAX_BODY_BYTES: Final = 1024 * 1024
_AFTER_STARTED: Final = states.precedence(states.STARTED) - 0.5
_SUBJECT: Final = re.compile(r"'(solution_name|domain)': '([^']+)'")
_USER: Final = "fbs"

_log = logging.getLogger(__name__)


class DashboardTask(Task):  # type: ignore[misc]  # Celery has no types
    """A task with its solution or domain and its progress.

    A job whose worker is lost has the state `LOST` until its next event.
    """

    state: str
    received: float | None
    solution: str | None = None
    domain: str | None = None
    step: str | None = None
    percent: int | None = None
    message: str | None = None

    last_event_at: float = 0.0
    """Time of the last event, by this process's monotonic clock, seconds."""

    _fields = ("solution", "domain", "step", "percent", "message", *Task._fields)
    merge_rules = {  # noqa: RUF012 -- the parent's
        **Task.merge_rules,
        states.RECEIVED: ("solution", "domain", *Task.merge_rules[states.RECEIVED]),
        PROGRESS: (),
    }
    """A late progress event changes nothing: progress and end are sent by different processes."""

    @property
    def progress(self) -> str:
        """Step and percentage for a list; empty once the task has succeeded."""
        if self.state == states.SUCCESS or not self.step:
            return ""
        return self.step if self.percent is None else f"{self.step} {self.percent} %"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; used by lists, the API and the saved history."""
        values: dict[str, Any] = super().as_dict()
        return values | {"subject": self.solution or self.domain, "progress": self.progress}

    def event(
        self, type_: str, timestamp: Any = None, local_received: Any = None, fields: dict[str, Any] | None = None
    ) -> None:
        """Apply an event; see Celery's `Task`."""
        self.last_event_at = time.monotonic()
        fields = fields if fields is not None else {}
        for name, value in _SUBJECT.findall(str(fields.get("kwargs", ""))):
            fields.setdefault(name.removesuffix("_name"), value)
        if type_ == "sent" and self.received is None:
            self.received = timestamp  # lists are sorted by it: queued tasks belong among the newest, too
        if self.state == LOST:
            self.state = states.PENDING  # any event after LOST is newer, whatever its precedence
        if type_ == "succeeded" and self.step:
            fields |= {"percent": 100, "message": None}
        super().event(type_, timestamp, local_received, fields, precedence=_precedence)


def _precedence(state: str) -> float:
    """Celery ranks an unknown state after REVOKED; progress comes right after STARTED."""
    return _AFTER_STARTED if state == PROGRESS else float(states.precedence(state))


class DashboardState(EventsState):  # type: ignore[misc]  # Flower has no types
    """All tasks and workers of the dashboard."""

    Task = DashboardTask

    redact: Redactor = Redactor()
    """Removes secrets from events before they are stored."""

    version: int = 0
    """Change counter: incremented by each event of a task."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seen_types.update(task.name for task in self.tasks_by_id().values() if task.name)  # of a saved state

    def event(self, event: dict[str, Any]) -> None:
        """Apply an event; see Celery's `State`."""
        if event["type"].startswith("task-"):
            self.version += 1
            event = redact_event(event, self.redact)
        super().event(event)

    def apply(self, task_id: str, kind: str, timestamp: float, *, worker: str = "", **fields: Any) -> None:
        """Apply an event that was not received but derived from a job record; it changes no worker's counters.

        Args:
            task_id: the task's id.
            kind: the event's name without `task-`.
            timestamp: when it happened, seconds since 1970.
            worker: the worker's name; empty for none.
            **fields: the event's fields.
        """
        evicted = self._eviction_candidate(task_id)
        task, _ = self.get_or_create_task(task_id)
        task.event(kind, timestamp, None, redact_event(fields, self.redact))
        if worker:
            task.worker, _ = self.get_or_create_worker(worker)
        if task.name:
            self._seen_types.add(task.name)
        self._index_task(task, evicted)
        self.version += 1

    def tasks_by_id(self) -> Mapping[str, DashboardTask]:
        """The tasks by their ids, without marking them as recently used in the LRU cache."""
        return cast("Mapping[str, DashboardTask]", self.tasks.data)


class DashboardEvents(Events):  # type: ignore[misc]  # Flower has no types
    """Receives events in a thread, and saves the resulting state in Flower's way when a task changed.

    Args:
        app: the Celery application whose events are received.
        file: the file of the saved state; Python's dbm may add a suffix.
        io_loop: the loop that applies events.
    """

    def __init__(self, app: FBSCelery, *, file: Path, io_loop: IOLoop) -> None:
        super().__init__(
            app,
            io_loop=io_loop,
            db=str(file),
            persistent=options.persistent,
            state_save_interval=int(_SAVE_SECONDS * 1000),
            enable_events=False,  # the workers of fbs-worker always send events
            max_tasks_in_memory=options.max_tasks,
        )
        self.state.redact = Redactor.from_settings(app.settings)
        self._saved_version = 0

    def run(self) -> None:
        """Receive events, reconnecting to Redis after each failure; Flower waits twice as long after each one."""
        failing = False
        while True:
            try:
                with self.capp.connection_for_read() as connection:
                    receiver = self.capp.events.Receiver(connection, handlers={"*": self.on_event})
                    failing = False
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except Exception as exc:  # noqa: BLE001 -- the exception depends on the broker's transport
                if not failing:
                    error = self.capp.broker.translated(exc)
                    _log.warning("events cannot be received: %s %s", error.message, error.hint)
                failing = True
            time.sleep(_RECONNECT_SECONDS)

    def load_state(self) -> DashboardState:
        """Load the saved state; a new one if there is none."""
        return super().load_state() or DashboardState(max_tasks_in_memory=options.max_tasks)

    def save_state(self) -> None:
        """Save the state if a task changed."""
        version = self.state.version
        if version == self._saved_version:
            return
        try:
            super().save_state()
        except OSError as exc:  # keep running: the next save may succeed
            _log.error("the history cannot be saved: %s", exc.strerror)
        else:
            self._saved_version = version


class _Inspector(Inspector):  # type: ignore[misc]  # Flower has no types
    """Asks workers about themselves; what they reply is redacted."""

    redact: Redactor

    def _on_update(self, workername: str, method: str, response: Any) -> None:
        super()._on_update(workername, method, redact_reply(response, self.redact))


class Dashboard(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower behind `BasicAuth`.

    Args:
        app: the monitored Celery application.
        auth: checks each request.
        file: the history's file.
    """

    def __init__(self, app: FBSCelery, *, auth: BasicAuth, file: Path) -> None:
        password = secrets.token_urlsafe(32)  # for Flower's own check, which is behind ours
        self._prefix = app.settings.fbs_flower_root_path.rstrip("/")
        own = {"basic_auth": [f"{_USER}:{password}"], "url_prefix": self._prefix.strip("/")}
        for name, value in {**_OPTIONS, **own}.items():
            setattr(options, name, value)
        TASK_COLUMNS.update(_COLUMNS)
        self._auth = auth
        self._flower_auth_header = basic_auth_header(_USER, password)
        loop = IOLoop.current()
        events = DashboardEvents(app, file=file, io_loop=loop)
        settings = {
            **flower_settings,
            "template_loader": _templates(Path(flower_settings["template_path"])),
            "pages_url": app.settings.fbs_pages_url,
            "login_url": f"{self._prefix}{flower_settings['login_url']}",
            "static_url_prefix": f"{self._prefix}{flower_settings['static_url_prefix']}",
        }
        super().__init__(options=options, capp=app, events=events, io_loop=loop, **settings)
        self.inspector = _Inspector(loop, app, options.inspect_timeout / 1000)
        self.inspector.redact = events.state.redact

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        """Route a request; Tornado calls this for each one, whatever its address and method."""
        handler: HTTPMessageDelegate
        if self._prefix and not f"{request.path}/".startswith(f"{self._prefix}/"):  # the proxy took it off
            request.path = f"{self._prefix}{request.path}"
        if self._auth.accepts(request.headers.get("Authorization", ""), address=request.remote_ip):
            request.headers["Authorization"] = self._flower_auth_header
            handler = super().find_handler(request, **kwargs)
        else:
            handler = self.get_handler_delegate(request, Unauthorized)
        return handler

    def serve_on(self, listener: socket.socket) -> None:
        """Accept requests on a listening socket."""
        listener.setblocking(False)
        HTTPServer(self, max_body_size=_MAX_BODY_BYTES).add_socket(listener)


def _templates(folder: Path) -> DictLoader:
    """The templates by name: overrides in `templates/`, else Flower's; `flower/NAME` is always Flower's."""
    flower = {path.name: path.read_text() for path in folder.glob("*.html")}
    overrides = {path.name: path.read_text() for path in Path(__file__).with_name("templates").glob("*.html")}
    return DictLoader({**flower, **{f"flower/{name}": text for name, text in flower.items()}, **overrides})
