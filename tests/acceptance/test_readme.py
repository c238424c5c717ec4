"""README's examples are run as they stand there: a reader copies them, so they have to work.

Only addresses are exchanged for those of the test's own servers (`ADDRESSES`). A block that nobody runs fails a test,
unless `NOT_RUN` gives the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from psycopg2 import sql

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.ops.local.state import StackInfo, find_stack
from tests.acceptance.conftest import PATIENCE, SCRIPT, CommandLine, command_line

README: Final = Path(__file__).parents[2] / "README.md"
DJANGO: Final = README.parent / "tests" / "django_project"
"""The reader's own Django project, which lies where the reader is."""

PASSWORD: Final = "the-password-of-rental_user"

NOT_RUN: Final = {
    "          ┌──": "a drawing",
    "$ make demo": "what `make demo` shows; tests/acceptance/test_demo.py runs it",
    "curl -sS -H 'Authorization": "it needs a proxy; tests/integration/test_api_access.py tries tokens",
    "FBS_FLOWER_PASSWORD=": "it runs until it is stopped; tests/integration/test_dashboard.py runs it",
    "cp .env.example .env": "it needs a Docker engine; tests/unit/test_deployment.py checks those files",
}
"""The blocks that are not run here, by how they begin, and why."""

OWN_STACK: Final = re.compile(r"^fbs (up|down)\b", re.MULTILINE)
"""An example that starts and stops everything gets a home of its own; the others find a stack that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A block of code.

    Attributes:
        section: the heading above it.
        line: where it is.
        language: as it is named there; empty if it is not.
        text: what is in it.
    """

    section: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.section}:{self.line}"


def examples(text: str) -> list[Example]:
    """All blocks of code. Those in Python below one heading are one program: the later ones go on from the first."""
    found: list[Example] = []
    section, opened = "", 0
    lines: list[str] = []
    language: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            if language is None:
                language, opened, lines = line[3:].strip(), number, []
                continue
            same = found and language == "python" and (found[-1].section, found[-1].language) == (section, language)
            before = found.pop() if same else None
            whole = "\n".join([*([before.text] if before else []), *lines])
            found.append(
                Example(section=section, line=before.line if before else opened, language=language, text=whole)
            )
            language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            section = line.lstrip("# ")
    return found


EXAMPLES: Final = examples(README.read_text())
RUNNABLE: Final = ("bash", "python", "toml")


def of(language: str) -> list[Example]:
    return [example for example in EXAMPLES if example.language == language and reason(example) is None]


def reason(example: Example) -> str | None:
    return next((why for beginning, why in NOT_RUN.items() if example.text.startswith(beginning)), None)


def addresses(odoo: str, stack: StackInfo | None) -> Mapping[str, str]:
    """What stands in README for what is there in the reader's world, and what it is in ours."""
    told = {"https://odoo.example.com": odoo}
    if stack is not None:
        place = stack.database
        told |= {
            "redis://localhost:6379/0": stack.redis_url,
            '"host": "localhost"': f'"host": "{place.host}"',
            '"port": "5432"': f'"port": "{place.port}"',
        }
        api = stack.service("api")
        told |= {"http://127.0.0.1:8000": api.address} if api else {}
    return told


def exchanged(text: str, told: Mapping[str, str]) -> str:
    for theirs, ours in told.items():
        text = text.replace(theirs, ours)
    return text


@pytest.fixture(scope="module")
def reader(run_folder: Path, recording: str) -> Iterator[CommandLine]:
    """The command line of a reader whose servers and worker run, and who has a database for rentals."""
    with command_line(run_folder) as command:
        command.variables.update(RENTAL_PASSWORD=PASSWORD, PATH=f"{SCRIPT.parent}:{os.defpath}")
        command("up", "--no-beat", "--no-flower", ODOO_URL=recording)
        make_rental_database(stack_of(command).database)
        shutil.copytree(DJANGO, command.home, dirs_exist_ok=True)
        yield command
        command("down")
        assert command.left_running() == ""


def stack_of(command: CommandLine) -> StackInfo:
    stack = find_stack(command.home)
    assert stack is not None
    return stack


def make_rental_database(home: DatabaseConfig) -> None:
    with closing(connect(home)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE ROLE rental_user LOGIN PASSWORD {}").format(sql.Literal(PASSWORD)))
            cursor.execute("CREATE DATABASE rental_db OWNER rental_user")


@pytest.fixture
def fayvad_rentals(reader: CommandLine) -> None:
    """The solution that README speaks of; an example may have dropped it."""
    reader(
        *("setup", "--solution-name", "fayvad_rentals", "--domain", "rental", "--database-name", "rental_db"),
        *("--database-user", "rental_user", "--database-password", "env:RENTAL_PASSWORD"),
        *("--business-prefix", "rental_"),
    )


def run(command: CommandLine, *words: str, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program and see that it ends well and without a complaint."""
    ended = subprocess.run(
        [*words, text],
        env=command.environment | variables,
        cwd=command.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
    assert "error" not in ended.stderr.lower(), f"{text}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr
    return ended


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_no_example_is_left_out(example: Example) -> None:
    assert example.language in RUNNABLE or reason(example), f"nobody runs this:\n{example.text}"


def test_nothing_is_excused_that_is_not_there() -> None:
    texts = [example.text for example in EXAMPLES]
    assert [beginning for beginning in NOT_RUN if not any(text.startswith(beginning) for text in texts)] == []
    whole = "\n".join(example.text for example in of("bash") + of("python"))
    stack = StackInfo(home=README, redis_url="x", database_url="postgresql://h/d", secret_keys="", services=())
    assert [theirs for theirs in addresses("x", stack) if theirs not in whole] == []


@pytest.mark.parametrize("example", [each for each in of("bash") if not OWN_STACK.search(each.text)], ids=str)
@pytest.mark.usefixtures("fayvad_rentals")
def test_commands(example: Example, reader: CommandLine, recording: str) -> None:
    text = exchanged(example.text, addresses(recording, stack_of(reader)))
    assert run(reader, shutil.which("bash") or "bash", "-euo", "pipefail", "-c", text=text).stdout


@pytest.mark.parametrize("example", [each for each in of("bash") if OWN_STACK.search(each.text)], ids=str)
def test_commands_that_start_and_stop_everything(example: Example, fbs: CommandLine, recording: str) -> None:
    text = exchanged(example.text, addresses(recording, None))
    path = f"{SCRIPT.parent}:{os.defpath}"
    ended = run(
        fbs, shutil.which("bash") or "bash", "-euo", "pipefail", "-c", text=text, PATH=path, FBS_FLOWER_PORT="0"
    )
    assert ended.stdout
    assert fbs.left_running() == ""


@pytest.mark.parametrize("example", of("python"), ids=str)
@pytest.mark.usefixtures("fayvad_rentals")
def test_programs(example: Example, reader: CommandLine, recording: str) -> None:
    stack = stack_of(reader)
    text = exchanged(example.text, addresses(recording, stack))
    ended = run(
        *(reader, sys.executable, "-W", "error", "-c"),
        text=text,
        FBS_DEFAULT_DATABASE_HOST=stack.database.host,  # where README means localhost:5432 and does not say so
        FBS_DEFAULT_DATABASE_PORT=str(stack.database.port),
    )
    assert bool(ended.stdout) == ("print(" in text)
    assert ended.stderr == ""


@pytest.mark.parametrize("example", of("toml"), ids=str)
def test_configuration(example: Example) -> None:
    assert "fbs_worker.domains" in tomllib.loads(example.text)["project"]["entry-points"]
