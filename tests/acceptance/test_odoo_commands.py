"""`fbs odoo`: connections are added, listed, tested, edited and removed by the console script."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.vault import new_key
from fbs_worker.ops.local.state import database_url
from tests.acceptance.conftest import CommandLine
from tests.support.odoo_server import OdooServer, OdooUser
from tests.support.solutions import few_models

SECRET = "s3cr3t-of-odoo"
READER = OdooUser(login="reader", password=SECRET, denied={"ir.ui.view": ["Administration / Settings"]})


@pytest.fixture
def odoo() -> Iterator[OdooServer]:
    with OdooServer(RecordingTransport(few_models()), users=(READER,)) as server:
        yield server


@pytest.fixture
def ours(fbs: CommandLine, database: DatabaseConfig) -> CommandLine:
    """The command line with a home database and a key."""
    fbs.variables.update(FBS_DATABASE_URL=database_url(database), FBS_SECRET_KEYS=new_key())
    return fbs


def test_a_connection_from_its_beginning_to_its_end(ours: CommandLine, odoo: OdooServer) -> None:
    assert "There is no connection to Odoo" in ours("odoo", "list").stdout
    given = ("--url", odoo.url, "--db", "live", "--user", "reader", "--password", "-")
    added = ours("odoo", "add", "shop", *given, piped=f"{SECRET}\n").stdout
    assert added.startswith("The Odoo connection shop is added; workers use it from their next job on.")
    for words in ("Odoo 19.0 at", "odoorpc, web session", "A call takes", "denied", "Administration / Settings"):
        assert words in added
    assert "exists already" in ours("odoo", "add", "SHOP", *given, piped=SECRET, code=4).stderr
    (listed,) = json.loads(ours("odoo", "list", "--output-format", "json").stdout)["connections"]
    assert (listed["name"], listed["url"], listed["secret"]) == ("shop", odoo.url, "encrypted")
    assert not json.loads(ours("odoo", "test", "shop", "--output-format", "json").stdout)["complete"]
    assert "Odoo 19.0" in ours("discover", "--domain", "hr", "--inline", "--odoo", "shop").stdout
    wrong = ours("odoo", "edit", "shop", "--password", "-", piped="wrong").stdout
    assert "is changed" in wrong
    assert "Its test failed: Odoo rejected the login" in wrong
    assert "rejected the login" in ours("odoo", "test", "shop", code=1).stderr
    away = ours("odoo", "edit", "shop", "--url", "http://127.0.0.1:1", "--output-format", "json").stdout
    assert json.loads(away)["test"]["error"]["code"] == "odoo_unreachable"
    ours("odoo", "test", "shop", code=3)
    reference = ours("odoo", "edit", "shop", "--url", odoo.url, "--password", "env:SHOP", SHOP=SECRET)
    assert "Odoo 19.0" in reference.stdout
    assert ours("odoo", "remove", "shop").stdout == "The Odoo connection shop is removed.\n"
    assert "known: none" in ours("odoo", "remove", "shop", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["add", "shop", "--db", "x"], 2, "Missing option '--url'"),
        (["add"], 2, "Missing argument 'NAME'"),
        (["add", "a b", "--url", "https://x.example.com"], 2, "name is not valid"),
        (["add", "shop", "--url", "odoo"], 2, "The Odoo URL has no scheme."),
        (
            ["add", "shop", "--url", "https://x.example.com", "--password", SECRET],
            2,
            "A plain text is not accepted for",
        ),
        (["add", "shop", "--url", "https://x.example.com", "--headers", SECRET], 2, "A plain text is not accepted for"),
        (["add", "shop", "--url", "https://x.example.com", "--password", "-"], 2, "There is no password to read"),
        (["add", "shop", "--url", "https://x.example.com", "--timeout", "soon"], 2, "Input should be a valid integer"),
        (["edit", "shop"], 2, "Nothing to change is given."),
        (["edit", "shop", "--db", "x"], 2, "No Odoo connection is called 'shop' (known: default)."),
        (["edit", "default", "--db", "x"], 4, "is one of the environment (ODOO_URL)"),
        (["remove", "default"], 4, "is one of the environment (ODOO_URL)"),
        (["test", "shop"], 2, "No Odoo connection is called 'shop' (known: default)."),
        (["test"], 3, "127.0.0.1:1"),
    ],
)
def test_a_mistake_has_a_line_and_a_hint(ours: CommandLine, arguments: list[str], code: int, words: str) -> None:
    ours.variables.update(ODOO_URL="http://127.0.0.1:1", ODOO_DB="x", ODOO_USER="me", ODOO_PASSWORD=SECRET)
    output = ours("odoo", *arguments, code=code)
    assert words in output.stderr
    assert [line.partition(":")[0] for line in output.stderr.splitlines()][-2:] == ["error", "hint"]
    assert SECRET not in output.stdout + output.stderr
    assert "environment" in ours("odoo", "list").stdout


def test_what_fbs_up_started_reads_an_odoo_that_is_added_later(fbs: CommandLine, recording: str) -> None:
    fbs("up", "--no-beat", "--no-flower", "--no-api")
    of_it = ("--solution-name", "shop", "--domain", "hr", "--database-name", "fbs")
    assert "ODOO_URL is not set" in fbs("setup", *of_it, code=2).stderr
    assert "may read all" in fbs("odoo", "add", "default", "--url", recording).stdout
    assert "may read all" in fbs("odoo", "test", "--worker").stdout
    fbs("setup", *of_it)
    assert "shop" in fbs("odoo", "list").stdout
    assert "Solutions use the Odoo connection 'default': shop" in fbs("odoo", "remove", "default", code=4).stderr
    fbs("down")
    assert fbs.left_running() == ""
