"""`fbs init` and the file that it writes: from nothing to a solution in one's own PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from pydantic import SecretStr

from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.sockets import free_port
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.state import database_url
from tests.acceptance.conftest import CommandLine
from tests.support.odoo_server import OdooServer, OdooUser

ADMIN = "admin-secret-1"
SECRET = "vErY-secret 9"


@pytest.fixture(scope="module")
def server(run_folder: Path) -> Iterator[str]:
    """The `host:port` of a PostgreSQL as others have it: roles need their passwords."""
    with EmbeddedPostgres.start(run_folder / "own", port=free_port(), durable=False) as running:
        running.set_password(ADMIN)
        yield f"127.0.0.1:{running.port}"


def ask(server: str, statement: str) -> list[str]:
    with (
        closing(psycopg2.connect(f"postgresql://postgres:{ADMIN}@{server}/postgres")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]


def roles_and_databases(server: str) -> list[str]:
    return ask(server, "SELECT rolname FROM pg_roles UNION ALL SELECT datname FROM pg_database ORDER BY 1")


def test_three_steps_and_six_values(fbs: CommandLine, server: str, recording: str) -> None:
    """Odoo, PostgreSQL, its password, an administrator and his password are typed; the rest is offered."""
    shown = fbs.at_terminal(
        "init",
        answers=[
            ("Odoo: address", recording),
            ("PostgreSQL, e.g.", f"postgresql://own_role@{server}/own_db"),
            ("password of own_role", SECRET),
            ("a role that may create own_role and own_db", "postgres"),
            ("password of postgres", ADMIN),
        ],
    )
    file = fbs.home / "fbs.env"
    assert f"{file} is written." in shown
    assert "created: role, database" in shown
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    for secret in (SECRET, ADMIN, re.findall("FBS_SECRET_KEYS=(.+)", text)[0]):
        assert secret not in shown
    assert ADMIN not in text
    fbs("up", "--no-beat", "--no-flower")
    fbs("setup", "--solution-name", "demo", "--domain", "rental")
    assert "demo" in fbs("list").stdout
    fbs("refresh", "demo")
    tables = f"postgresql://own_role@{server}/own_db"
    with closing(psycopg2.connect(tables, password=SECRET)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) > 5 FROM pg_tables WHERE tablename ~ '^fbs_'")
        assert cursor.fetchone() == (True,)
    fbs("down")
    assert fbs.left_running() == ""

    error, hint = fbs("init", "--yes", code=4).stderr.splitlines()
    assert error == f"error: {file} exists."
    assert hint == "hint: `fbs init --force` changes it; its values are the defaults."
    file.write_text(f"{text}FBS_PAGE_SIZE=500\n# mine\n")
    fbs("init", "--yes", "--force")
    assert file.read_text() == f"{text}FBS_PAGE_SIZE=500\n# mine\n"
    shown = fbs.at_terminal(
        "init", "--force", answers=[("Odoo: address", ""), (f"own_role@{server}/own_db]", ""), ("is written", "")][:2]
    )
    assert SECRET not in shown
    assert file.read_text() == f"{text}FBS_PAGE_SIZE=500\n# mine\n"


def test_answers_are_corrected_until_they_work(fbs: CommandLine, recording: str) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    backend = RecordingTransport(Path(recording.removeprefix("recording:")))
    with OdooServer(backend, users=(OdooUser(login="admin", password=SECRET, api_keys=(key,)),)) as odoo:
        address, user = ("Odoo: address", odoo.url), ("Odoo: user (login)", "admin")
        shown = fbs.at_terminal(
            "init",
            answers=[
                *(address, (f"Odoo: database [{odoo.database}]", ""), user, ("Odoo: password", "wrong")),
                *(("Answer again", ""), ("Odoo: address", ""), ("Odoo: database", ""), ("Odoo: user", "")),
                *(("Odoo: password or API key (empty: unchanged)", key), ("PostgreSQL, e.g.", "mysql://x")),
                *(("Answer again", "y"), ("PostgreSQL, e.g.", "-")),
            ],
        )
        assert "Odoo rejected the login" in shown
        assert "does not begin with postgresql://" in shown
        assert key not in shown
        lines = (fbs.home / "fbs.env").read_text().splitlines()
        assert f"ODOO_API_KEY={key}" in lines
        assert not [line for line in lines if "PASSWORD=" in line or "DATABASE_URL" in line]
        assert "FBS_DEFAULT_DATABASE_NAME=fbs" in lines
        other = [("Odoo: address", "other.odoo.com"), ("Odoo: database", ""), ("Odoo: user", "")]
        fbs.at_terminal("init", "--force", "--no-test", answers=[*other, ("API key:", ""), ("PostgreSQL, e.g.", "")])
        text = (fbs.home / "fbs.env").read_text()
        assert f"ODOO_URL=other.odoo.com\nODOO_DB={odoo.database}\nODOO_USER=admin\n" in text
        assert key not in text, "a password is for one server"


@pytest.mark.parametrize("after", ["Odoo: address", "PostgreSQL, e.g.", "password of gone_role", "Answer again"])
def test_ctrl_c_leaves_nothing(fbs: CommandLine, server: str, recording: str, after: str) -> None:
    before = roles_and_databases(server)
    answers = [
        ("Odoo: address", recording),
        ("PostgreSQL, e.g.", f"postgresql://gone_role@{server}/gone_db"),
        ("password of gone_role", SECRET),
        ("a role that may create", ""),
        ("Answer again", ""),
    ]
    until = [question for question, _ in answers].index(after)
    fbs = replace(fbs, in_full=after == "Odoo: address")
    shown = fbs.at_terminal("init", answers=[*answers[:until], (after, "\x03")], code=130)
    assert "Interrupted." in shown
    assert [path.name for path in fbs.home.iterdir()] == []
    assert roles_and_databases(server) == before


def test_options_alone(fbs: CommandLine, server: str, recording: str) -> None:
    url = f"postgresql://made_role@{server}/made_db"
    admin = ("--admin-user", "postgres", "--admin-password", "env:ADMIN")
    options = ("init", "--yes", "--odoo-url", recording, "--database-url", url, "--database-password", "-")
    refused = fbs(*options, code=1, piped=f"{SECRET}\n").stderr.splitlines()
    assert refused[-2].startswith("error: PostgreSQL rejected the login at made_role@")
    done = json.loads(fbs(*options, *admin, "--output-format", "json", piped=f"{SECRET}\n", ADMIN=ADMIN).stdout)
    assert done["created"] == ["role", "database"]
    assert done["database"]["password"] == "***"
    assert SECRET not in json.dumps(done)
    values = (fbs.home / "fbs.env").read_text()
    config = DatabaseConfig.from_url(url).model_copy(update={"password": SecretStr(SECRET)})
    assert f"FBS_DATABASE_URL={database_url(config)}\n" in values
    assert f"FBS_DEFAULT_DATABASE_PASSWORD='{SECRET}'\n" in values
    assert "answers" in fbs("init", "--yes", "--force", "--here").stderr


def test_what_fails_writes_nothing(fbs: CommandLine, server: str, recording: str) -> None:
    before = roles_and_databases(server)
    admin = ("--admin-user", "postgres", "--admin-password", "env:ADMIN", "--database-password", SECRET)
    for arguments, code, error in (
        (
            ("--odoo-url", "http://127.0.0.1:1", "--odoo-db", "x", "--odoo-user", "x", "--odoo-password", "env:PATH"),
            3,
            "No connection",
        ),
        (("--database-url", "mysql://x"), 2, "The database URL does not begin with postgresql://."),
        (("--database-url", "postgresql://x@127.0.0.1:1/y"), 3, "No connection to PostgreSQL"),
        (("--odoo-password", "env:NOT_SET"), 2, "The password reference"),
        (("--odoo-password", "plain"), 2, "A plain text is not accepted for --odoo-password"),
    ):
        ended = fbs("init", "--yes", *arguments, code=code)
        assert error in ended.stderr.splitlines()[-2]
    (fbs.home / "readonly").write_text("")
    ended = fbs(
        *("init", "--yes", "--database-url", f"postgresql://new_role@{server}/new_db", *admin),
        code=2,
        FBS_ENV_FILE=str(fbs.home / "readonly" / "fbs.env"),
        ADMIN=ADMIN,
    )
    assert "cannot be written" in ended.stderr
    assert roles_and_databases(server) == before
    assert not (fbs.home / "fbs.env").exists()
    assert fbs("init", code=2).stderr.startswith("error: There is no terminal to ask at.")
