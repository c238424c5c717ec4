"""`fbs doctor`: one line for everything, from what is well to what hangs."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from fbs_worker.ops.local.state import find_stack
from tests.acceptance.conftest import CommandLine

SECRET = "vErY-secret-9"


@pytest.fixture
def silent() -> Iterator[str]:
    """The `host:port` of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def findings(output: str) -> dict[str, tuple[str, str, str]]:
    return {each["name"]: (each["level"], each["detail"], each["hint"]) for each in json.loads(output)["findings"]}


def test_all_is_well_beside_up(fbs: CommandLine, recording: str) -> None:
    (fbs.home / "fbs.env").write_text(f"ODOO_URL={recording}\nODOO_PASSWORD={SECRET}\n")
    (fbs.home / "fbs.env").chmod(0o600)
    fbs("up", "--no-flower", "--no-api")
    output = fbs("doctor", "--output-format", "json").stdout
    assert json.loads(output)["level"] == "ok"
    found = findings(output)
    assert found["ODOO_URL"][1] == f"{recording} ({fbs.home / 'fbs.env'})"
    assert found["FBS_REDIS_URL"][1].endswith("(`fbs up`)")
    assert found["odoo default"][1].startswith("version 19.0, ")
    assert found["home database"][1].startswith("version 18.")
    assert [name for name in found if name.startswith("clock of ")]
    info = find_stack(fbs.home)
    assert info is not None
    table = fbs("doctor").stdout
    for secret in (SECRET, info.secret_keys, info.redis_url.split(":")[2].partition("@")[0]):
        assert secret not in output + table

    address = ("--url", "http://127.0.0.1:1", "--db", "x", "--user", "x", "--password", "-")
    fbs("odoo", "add", "two", *address, "--no-test", piped=f"{SECRET}\n")
    level, detail, _ = findings(fbs("doctor", "--output-format", "json", code=1).stdout)["odoo two"]
    assert (level, detail) == ("error", "No connection to http://127.0.0.1:1: Connection refused.")
    fbs("odoo", "remove", "two")
    fbs("setup", "--solution-name", "demo", "--domain", "hr", "--database-name", "fbs")
    with closing(psycopg2.connect(info.database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE fbs_solution_schemas SET database_password = 'sealed:x'")
    assert findings(fbs("doctor", "--output-format", "json", code=1).stdout)["keys"][1] == "no key decrypts: demo"
    fbs("down")


@pytest.mark.faults
def test_what_hangs_is_an_error_within_seconds(fbs: CommandLine, silent: str) -> None:
    fbs.variables.update(
        ODOO_URL=f"http://{silent}",
        ODOO_DB="x",
        ODOO_USER="x",
        ODOO_PASSWORD=SECRET,
        FBS_REDIS_URL=f"redis://:{SECRET}@{silent}/0",
        FBS_DATABASE_URL=f"postgresql://me:{SECRET}@{silent}/x",
        FBS_SECRET_KEYS="no-key",
    )
    began = time.monotonic()
    output = fbs("doctor", "--output-format", "json", code=1).stdout
    assert time.monotonic() - began < 25
    assert SECRET not in output
    found = findings(output)
    for name in ("odoo default", "redis", "home database", "keys"):
        assert found[name][0] == "error"
    assert found["FBS_DATABASE_URL"][1].startswith(f"me@{silent}/x (")


def test_nothing_is_set(fbs: CommandLine) -> None:
    fbs.variables.update(FBS_PAGESIZE="9", FBS_CONCURRENCY="2", FBS_API_SERVICE_HOST="10.0.0.1")
    found = findings(fbs("doctor", "--output-format", "json", code=1).stdout)
    assert found.pop("FBS_PAGESIZE") == ("warning", "it is no setting", "Did you mean FBS_PAGE_SIZE?")
    assert found["redis"][0] == "error"
    assert {name: level for name, (level, *_) in found.items() if level == "warning"} == dict.fromkeys(
        ("odoo", "keys", "home database"), "warning"
    )
    for level, _, hint in found.values():
        assert bool(hint) == (level != "ok")
