"""Adapter for Flower, which documents its options and its HTTP API, and no way to build on its classes.

`UPSTREAM` declares every symbol that the dashboard relies on, and why; the contract tests resolve each in the installed
version (`tests/unit/test_upstream_contract.py`). No other module imports Flower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast

from celery.events.state import Task
from celery.utils.saferepr import saferepr
from flower.app import Flower
from flower.events import Events, EventsState
from flower.inspector import Inspector
from flower.options import options
from flower.urls import settings as flower_settings
from flower.views.tasks import TASK_COLUMNS
from tornado.ioloop import IOLoop
from tornado.template import DictLoader

TRIED: Final = ("flower>=2.2,<2.3", "celery>=5.5,<5.8")

UPSTREAM: Final[Mapping[str, str]] = {
    "flower.app:Flower": "the application: takes options, capp, events, io_loop and Tornado's settings",
    "flower.app:Flower.inspector": "replaced: inspects the workers",
    "flower.app:Flower.start": "extended: runs the loop",
    "flower.app:Flower.stop": "extended: saves the state",
    "flower.events:Events.load_state": "overridden: reads the saved state",
    "flower.events:Events.save_state": "overridden: saves the state",
    "flower.events:Events.run": "overridden: receives events in a thread",
    "flower.events:Events.on_event": "hands a received event to the loop",
    "flower.events:EventsState.counter": "counts of events by worker and type",
    "flower.events:EventsState._eviction_candidate": "the task that goes when a new one is stored",
    "flower.events:EventsState._index_task": "adds a task to the search index",
    "flower.inspector:Inspector._on_update": "overridden: stores a worker's reply",
    "flower.options:options": "the options that Flower's modules share",
    "flower.urls:settings": "Tornado's settings of Flower; template_path is the folder of its templates",
    "flower.views.tasks:TASK_COLUMNS": "the columns that the list of tasks can show, by title",
    "celery.events.state:Task._fields": "the fields that are shown, returned by the API and saved",
    "celery.events.state:Task.merge_rules": "which fields a late event of a state changes",
    "celery.events.state:Task.event": "applies an event; a custom `precedence` orders states; unknown kinds are states",
    "celery.events.state:Worker._fields": "the fields of a worker",
    "celery.events.state:State.Task": "set: the class of the tasks",
    "celery.events.state:State._seen_types": "the names of the tasks",
    "celery.events.state:State.tasks": "an LRU cache; `data` is its dictionary, reading it marks nothing as used",
    "celery.events.state:State.get_or_create_task": "a task by its id",
    "celery.events.state:State.get_or_create_worker": "a worker by its name",
    "celery.utils.saferepr:saferepr": "how workers shorten a result in their events",
}

_OVERRIDES: Final = Path(__file__).with_name("templates")
_FLOWER: Final = "flower/"

_Task = TypeVar("_Task", bound="TaskState")


class TaskState(Task):  # type: ignore[misc]  # Celery has no types
    """A task as Flower shows it, with further fields.

    Attributes:
        extra_fields: the names of the further fields.
        extra_merge_rules: the fields that a late event of a state changes, by state.
    """

    extra_fields: ClassVar[tuple[str, ...]] = ()
    extra_merge_rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._fields = (*cls.extra_fields, *Task._fields)
        cls.merge_rules = {**Task.merge_rules, **cls.extra_merge_rules}

    def values(self) -> dict[str, Any]:
        """The value of each field by its name."""
        return {name: getattr(self, name) for name in self._fields}


class TasksState(EventsState):  # type: ignore[misc]  # Flower has no types
    """All tasks and workers, in the order of their last use."""

    def apply_event(self, task_id: str, kind: str, timestamp: float, fields: dict[str, Any], *, worker: str) -> None:
        """Apply an event that was not received; it changes no worker's counters.

        Args:
            task_id: the task's id.
            kind: the event's name without `task-`.
            timestamp: when it happened, seconds since 1970.
            fields: the event's fields.
            worker: the worker's name; empty for none.
        """
        evicted = self._eviction_candidate(task_id)
        task, _ = self.get_or_create_task(task_id)
        task.event(kind, timestamp, None, fields)
        if worker:
            task.worker, _ = self.get_or_create_worker(worker)
        self._add_to_index(task, evicted)

    def restore_worker(self, values: Mapping[str, Any]) -> None:
        """Add a saved worker.

        Args:
            values: its fields.
        """
        self.get_or_create_worker(**values)

    def restore_task(self, task: TaskState, *, worker: str | None) -> None:
        """Add a saved task.

        Args:
            task: the task.
            worker: the name of its worker, if it has one.
        """
        self.tasks[task.uuid] = task
        if worker is not None:
            task.worker, _ = self.get_or_create_worker(worker)
        self._add_to_index(task, None)

    def cached_tasks(self, _kind: type[_Task]) -> Mapping[str, _Task]:
        """The tasks by their ids, without marking them as recently used in the LRU cache."""
        return cast("Mapping[str, _Task]", self.tasks.data)

    def worker_values(self, *, without: Iterable[str]) -> list[dict[str, Any]]:
        """The fields of each worker.

        Args:
            without: the names of the fields to leave out.
        """
        left_out = frozenset(without)
        return [
            {name: getattr(worker, name) for name in worker._fields if name not in left_out}
            for worker in self.workers.data.values()
        ]

    def _add_to_index(self, task: TaskState, evicted: str | None) -> None:
        if task.name:
            self._seen_types.add(task.name)
        self._index_task(task, evicted)


class EventThread(Events):  # type: ignore[misc]  # Flower has no types
    """Receives events in a thread and saves the state every now and then.

    Args:
        app: the Celery application whose events are received.
        io_loop: the loop that applies them.
        save_seconds: the time between saves.
        max_tasks: how many tasks are held.
    """

    def __init__(self, app: Any, *, io_loop: IOLoop, save_seconds: float, max_tasks: int) -> None:
        super().__init__(
            app,
            io_loop=io_loop,
            persistent=True,
            state_save_interval=int(save_seconds * 1000),
            enable_events=False,  # the workers of fbs-worker always send events
            max_tasks_in_memory=max_tasks,
        )

    def receive(self, *, on_connect: Callable[[], None]) -> None:
        """Receive events until the connection fails; raises what the broker's library raises.

        Args:
            on_connect: called after connecting.
        """
        with self.capp.connection_for_read() as connection:
            receiver = self.capp.events.Receiver(connection, handlers={"*": self.on_event})
            on_connect()
            receiver.capture(limit=None, timeout=None, wakeup=True)


class ReplyInspector(Inspector):  # type: ignore[misc]  # Flower has no types
    """Asks workers about themselves; a subclass changes their replies."""

    def transform(self, reply: Any) -> Any:
        """The reply to keep.

        Args:
            reply: a worker's, JSON-ready.
        """
        return reply

    def _on_update(self, workername: str, method: str, response: Any) -> None:
        super()._on_update(workername, method, self.transform(response))


class FlowerApplication(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower with events of its own, and with some of its templates overridden.

    Args:
        app: the monitored Celery application.
        events: receives its events.
        io_loop: the loop.
    """

    def __init__(self, app: Any, *, events: EventThread, io_loop: IOLoop) -> None:
        settings = {**flower_settings, "template_loader": _templates(Path(flower_settings["template_path"]))}
        super().__init__(options=options, capp=app, events=events, io_loop=io_loop, **settings)


def inspect_seconds() -> float:
    """How long Flower waits for the replies of workers."""
    return float(options.inspect_timeout) / 1000


def configure(
    *, credentials: str, purge_offline_workers: int, columns: Iterable[str], titles: Mapping[str, str]
) -> None:
    """Set the options that Flower's modules share.

    Args:
        credentials: `user:password` for the authentication of Flower itself.
        purge_offline_workers: seconds after which a worker without heartbeats is left out.
        columns: those of the list of tasks, in their order.
        titles: the titles of further columns, by name.
    """
    options.basic_auth = [credentials]
    options.read_only = True
    options.purge_offline_workers = purge_offline_workers
    TASK_COLUMNS.update(titles)
    options.tasks_columns = ",".join(columns)


def shortened(value: object, length: int) -> str:
    """A value as workers show it in their events.

    Args:
        value: the value.
        length: the number of characters at most.
    """
    return str(saferepr(value, length))


def _templates(folder: Path) -> DictLoader:
    """The templates by name: overrides in `templates/`, else Flower's; `flower/NAME` is always Flower's."""
    flower = {path.name: path.read_text() for path in folder.glob("*.html")}
    overrides = {path.name: path.read_text() for path in _OVERRIDES.glob("*.html")}
    return DictLoader({**flower, **{_FLOWER + name: text for name, text in flower.items()}, **overrides})
