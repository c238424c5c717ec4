"""A real `fbs flower`, and an HTTP client for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from fbs_worker.core.settings import Settings
from fbs_worker.ops.dashboard.auth import basic_auth_header
from fbs_worker.ops.local.programs import Program
from tests.support.waiting import PATIENCE

USER = "fbs"
PASSWORD = "the dashboard's pässword"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A running dashboard."""

    program: Program
    url: str
    authorization: str = field(default=basic_auth_header(USER, PASSWORD), repr=False)

    def ask(self, path: str, *, method: str = "GET", authorization: str | None = None, **headers: str) -> Answer:
        """Send a request with this Authorization header; without one if `authorization` is empty."""
        header = self.authorization if authorization is None else authorization
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Authorization": header, **given} if header else given)
            answer = connection.getresponse()
            return Answer(
                status=answer.status,
                headers={name.lower(): value for name, value in answer.getheaders()},
                body=answer.read(),
            )
        finally:
            connection.close()

    def get(self, path: str) -> str:
        """A page, authenticated."""
        answer = self.ask(path)
        assert answer.status == 200, f"{path}: {answer.status} {answer.text[:200]}"
        return answer.text

    def tasks(self) -> dict[str, dict[str, Any]]:
        """The shown tasks, by id."""
        tasks: dict[str, dict[str, Any]] = json.loads(self.get("/api/tasks"))
        return tasks

    def state(self, task_id: str) -> str:
        """The shown state of a task; empty if the task is not there."""
        return str(self.tasks().get(task_id, {}).get("state", ""))


@contextmanager
def dashboard(settings: Settings, *, log: Path) -> Iterator[Dashboard]:
    """A dashboard at any free port, until the end of the block."""
    given = {"fbs_flower_password": SecretStr(PASSWORD), "fbs_flower_port": 0}
    program = Program.start("flower", settings=settings.model_copy(update=given), log=log)
    try:
        line = next(line for line in log.read_text().splitlines()[::-1] if line.startswith("The dashboard is at "))
        yield Dashboard(program=program, url=line.split()[4])
    finally:
        program.stop(seconds=10)
