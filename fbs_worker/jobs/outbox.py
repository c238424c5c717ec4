"""Outbox: build a job's message without sending it, so that Redis stores it atomically with the job's record."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from celery import Celery

from fbs_worker.jobs.celery_compat.message_capture import MessageCapture

Command = tuple[str, str, str]


class Outbox(threading.local):
    """Builds the messages of an application whose broker is the Redis of the job store; each thread has its own.

    Args:
        app: the application.
        database: the number of the broker's Redis database.
    """

    def __init__(self, app: Celery, *, database: int) -> None:
        self._app = app
        self._capture = MessageCapture(database=database)

    def commands(self, name: str, kwargs: Mapping[str, Any], *, job_id: str) -> list[Command]:
        """Return the Redis commands (name, key, content) that send a task.

        Args:
            name: the task's name.
            kwargs: its keyword arguments, JSON-ready.
            job_id: the task's id.
        """
        return self._capture.task(self._app, name, kwargs, task_id=job_id)
