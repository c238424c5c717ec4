"""The examples of README and of the documentation are run as they are: a reader copies them, so they have to work.

Only addresses are replaced with those of the test's own servers (`addresses`). A block that is not run fails a test,
unless `NOT_RUN` gives the reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from psycopg2 import sql

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.ops.local.state import StackInfo, find_stack
from fbs_worker.web.api.request_models import SetupBody
from tests.acceptance.conftest import SCRIPT, CommandLine, command_line
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.documents

ROOT: Final = Path(__file__).parents[2]
EXAMPLES_FOLDER: Final = ROOT / "examples"
"""The reader works in a copy of it, as if in a folder of applications."""

PAGES: Final = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        *EXAMPLES_FOLDER.rglob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
ONE_PROGRAM: Final = frozenset({"docs/tutorial.md"})
"""Pages whose commands are one program, run from the first to the last."""

PASSWORD: Final = "the-password-of-rental_user"

NOT_RUN: Final = {
    "$ make demo": "output of `make demo`; tests/acceptance/test_demo.py runs it",
    **dict.fromkeys(
        ("fbs sync", "$ fbs sync"), "a recording has no records; tests/integration/test_replication.py copies some"
    ),
    "curl -sS 'http://127.0.0.1:8000/api/v1/solutions/fayvad_rentals/records/'": "it needs the tables of these; tests/integration/test_api_records.py reads some",
    'pip install "fbs-worker': "it needs a package index",
    "python -m venv": "it needs a package index",
    "export ODOO_URL=https://odoo.example.com ODOO_DB=production": "it compares an Odoo with its database; tests/live does",
    "# fbs.env": "a file; tests/unit/test_settings_file.py reads one like it",
    "fbs init": "it asks at a terminal; tests/acceptance/test_init.py answers",
    'printf %s "$PASSWORD" | fbs odoo add': "it needs two Odoos; tests/acceptance/test_odoo_commands.py runs these commands",
    "make ": "targets of the Makefile; tests/unit/test_reference.py checks their names",
    "curl -sS -H 'Authorization": "it needs a proxy; tests/integration/test_api_access.py tries tokens",
    "FBS_FLOWER_PASSWORD=": "it runs until it is stopped; tests/integration/test_dashboard.py runs it",
    "fbs worker --name": "it runs until it is stopped; tests/integration/test_worker.py runs it",
    "fbs api --address": "it runs until it is stopped; tests/acceptance/test_api_command.py runs it",
    "fbs metrics --serve": "it runs until it is stopped; tests/integration/test_metrics.py runs it",
    "cp .env.example .env": "it needs a Docker engine; tests/unit/test_deployment.py checks those files",
    "docker compose": "it needs a Docker engine; tests/unit/test_deployment.py checks those files",
    "kubectl": "it needs a cluster; tests/unit/test_deployment.py checks the manifests",
    "apiVersion:": "it needs a cluster; tests/unit/test_deployment.py checks the manifests",
    "appendonly yes": "configuration of a Redis; tests/acceptance/test_compose_redis.py runs one with it",
    "CREATE ROLE rental_user": "it needs a superuser; make_rental_database does the same",
    "location /": "configuration of nginx; tests/acceptance/test_path_prefix.py runs one like it",
    "ACL SETUSER": "rights of a Redis user; tests/integration/test_redis_rights.py gives one exactly these",
    "GRANT CONNECT": "it needs a superuser and a shared database",
    '{"time"': "a line of a log; tests/acceptance/test_json_logs.py reads one",
    '{\n  "mcpServers"': "configuration of an MCP client; tests/integration/test_mcp.py connects both ways",
    '{\n  "state_field"': "content of a row; tests/integration/test_connector.py reads one",
}
"""The blocks that are not run here, by how they begin, and why. What they run of `fbs` exists: tests/unit/test_deployment.py."""

OWN_STACK: Final = re.compile(r"^fbs (up|down)\b", re.MULTILINE)
"""An example that starts and stops everything gets a home of its own; the others find a stack that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A block of code.

    Attributes:
        page: the file, from the project's folder.
        section: the heading above it.
        line: where it is.
        language: as it is named there; empty if it is not.
        text: what is in it.
    """

    page: str
    section: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def excuse(self) -> str | None:
        """Why it is not run; None where it is."""
        return next((why for beginning, why in NOT_RUN.items() if self.text.startswith(beginning)), None)

    def continues(self, before: Example) -> bool:
        """Whether it goes on where an earlier block ended: Python below the same heading, or all of a page."""
        if self.excuse or before.excuse or (self.page, self.language) != (before.page, before.language):
            return False
        return self.page in ONE_PROGRAM or (self.language == "python" and self.section == before.section)


def examples(page: Path) -> list[Example]:
    """The blocks of code of a page, joined where they are one program. Directives of Sphinx are none."""
    found: list[Example] = []
    for example in _blocks(page):
        if found and example.continues(found[-1]):
            found[-1] = replace(found[-1], text=f"{found[-1].text}\n{example.text}")
        else:
            found.append(example)
    return found


def _blocks(page: Path) -> Iterator[Example]:
    name, section = str(page.relative_to(ROOT)), ""
    lines: list[str] | None = None
    language, opened = "", 0
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if line.startswith("```"):
            if lines is None:
                language, opened, lines = line[3:].strip(), number, []
                continue
            if not language.startswith("{"):
                yield Example(page=name, section=section, line=opened, language=language, text="\n".join(lines))
            lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("#"):
            section = line.lstrip("# ")


EXAMPLES: Final = [example for page in PAGES for example in examples(page)]
RUNNABLE: Final = ("bash", "python", "toml")


def of(language: str) -> list[Example]:
    return [example for example in EXAMPLES if example.language == language and example.excuse is None]


def addresses(odoo: str, stack: StackInfo | None, api: str | None = None) -> Mapping[str, str]:
    """Each address in the documents, and the address in the test that takes its place."""
    replaced = {"https://odoo.example.com": odoo}
    if stack is not None:
        service = stack.service("api")
        replaced |= {
            "redis://localhost:6379/0": stack.redis_url,
            '"port": "5432"': f'"port": "{DatabaseConfig.from_url(stack.address_url).port}"',
        }
        api = service.address if service else api
    return replaced | ({"http://127.0.0.1:8000": api} if api else {})


def adapted(text: str, replaced: Mapping[str, str]) -> str:
    for theirs, ours in replaced.items():
        text = text.replace(theirs, ours)
    return text


@pytest.fixture(scope="module")
def reader(run_folder: Path, recording: str) -> Iterator[CommandLine]:
    """The command line of a reader whose servers and worker run, and who has set up the solution of the documents."""
    with command_line(run_folder) as command:
        command.variables.update(
            FBS_API_PORT="0",
            FBS_SECRET_REFERENCES="env:RENTAL_*",
            RENTAL_PASSWORD=PASSWORD,
            PATH=f"{SCRIPT.parent}:{os.defpath}",
        )
        command("up", "--no-beat", "--no-flower", ODOO_URL=recording)
        make_rental_database(stack_of(command).database)
        for folder in (EXAMPLES_FOLDER, EXAMPLES_FOLDER / "django_project"):
            shutil.copytree(folder, command.home, dirs_exist_ok=True)
        command(
            *("setup", "--solution-name", "fayvad_rentals", "--domain", "rental", "--database-name", "rental_db"),
            *("--database-user", "rental_user", "--database-password", "env:RENTAL_PASSWORD"),
            *("--business-prefix", "rental_"),
        )
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


def run(command: CommandLine, *words: str, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program and see that it ends well and without a complaint."""
    ended = subprocess.run(
        [*words, text],
        env=command.environment | variables,
        cwd=command.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE + 15 * text.count("\n"),
        check=False,
    )
    assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
    assert "error" not in ended.stderr.lower(), f"{text}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr
    return ended


def run_shell(command: CommandLine, text: str, **variables: str) -> None:
    """Run commands; they print something, unless they write it into a file, or only set variables."""
    ended = run(command, shutil.which("bash") or "bash", "-euo", "pipefail", "-c", text=text, **variables)
    assert "urn:fbs-worker:error" not in ended.stdout
    assert ended.stdout or all(line.startswith("export ") or " > " in line for line in text.splitlines())


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_no_example_is_left_out(example: Example) -> None:
    assert example.language in RUNNABLE or example.excuse, f"this is not run:\n{example.text}"


def test_nothing_is_excused_that_is_not_there() -> None:
    texts = [block.text for page in PAGES for block in _blocks(page)]
    assert [beginning for beginning in NOT_RUN if not any(text.startswith(beginning) for text in texts)] == []
    whole = "\n".join(example.text for example in of("bash") + of("python"))
    url = "postgresql://h/d"
    stack = StackInfo(home=ROOT, redis_url="x", database_url=url, address_url=url, secret_keys="", services=())
    assert [theirs for theirs in addresses("x", stack, "x") if theirs not in whole] == []


@pytest.mark.parametrize("example", [each for each in of("bash") if not OWN_STACK.search(each.text)], ids=str)
def test_commands(example: Example, reader: CommandLine, recording: str) -> None:
    replaced = addresses(recording, stack_of(reader))
    run_shell(reader, adapted(example.text, replaced), ODOO_URL=recording)


@pytest.mark.parametrize("example", [each for each in of("bash") if OWN_STACK.search(each.text)], ids=str)
def test_commands_that_start_and_stop_everything(example: Example, fbs: CommandLine, recording: str) -> None:
    port = str(free_port())
    text = adapted(example.text, addresses(recording, None, f"http://127.0.0.1:{port}"))
    run_shell(fbs, text, PATH=f"{SCRIPT.parent}:{os.defpath}", FBS_FLOWER_PORT="0", FBS_API_PORT=port)
    assert fbs.left_running() == ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_request_in_the_reference_of_the_api(reader: CommandLine) -> None:
    replaced = addresses("", stack_of(reader))
    example = adapted(json.dumps(SetupBody.model_json_schema()["examples"][0]), replaced)
    example = example.replace("fayvad_rentals", "from_reference").replace('"rental_"', '"reference_"')
    run_shell(
        reader,
        f"""curl -sS -X POST '{replaced["http://127.0.0.1:8000"]}/api/v1/solutions/setup/?wait=60' \\
        -H 'Content-Type: application/json' -d '{example}'""",
    )


@pytest.mark.parametrize("example", of("python"), ids=str)
def test_programs(example: Example, reader: CommandLine, recording: str) -> None:
    stack = stack_of(reader)
    text = adapted(example.text, addresses(recording, stack))
    by_address = DatabaseConfig.from_url(stack.address_url)
    ended = run(
        *(reader, sys.executable, "-W", "error", "-c"),
        text=text,
        FBS_DEFAULT_DATABASE_HOST=by_address.host,  # where an example relies on localhost:5432
        FBS_DEFAULT_DATABASE_PORT=str(by_address.port),
    )
    assert bool(ended.stdout) == ("print(" in text)
    assert ended.stderr == ""


@pytest.mark.parametrize("example", of("toml"), ids=str)
def test_configuration(example: Example) -> None:
    assert "fbs_worker.domains" in tomllib.loads(example.text)["project"]["entry-points"]
