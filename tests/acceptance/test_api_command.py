"""`fbs api` and `fbs new-token` as a person runs them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import CommandLine, Started
from tests.conftest import MakeSettings
from tests.support.servers import processes_about
from tests.support.waiting import PATIENCE


@pytest.fixture
def served(fbs: CommandLine, settings: MakeSettings) -> CommandLine:
    """The command line with a Redis and a home database, and any port for the API."""
    ours = settings()
    fbs.variables.update(
        FBS_REDIS_URL=ours.fbs_redis_url,
        FBS_DATABASE_URL=ours.fbs_database_url,
        FBS_SECRET_KEYS=ours.fbs_secret_keys.get_secret_value(),
        FBS_API_PORT="0",
    )
    return fbs


def address(running: Started) -> str:
    """The printed URL."""
    for line in running.output:
        if line.startswith("The API and the web UI are at "):
            return line.split()[8]
    raise AssertionError(f"the API ended: {running.process.wait()}")


def test_a_new_token_is_accepted(served: CommandLine) -> None:
    made = served("new-token", "--name", "ci", "--scope", "read")
    token, entry = made.stdout.splitlines()
    assert entry.startswith("ci:read:")
    assert token not in entry
    output = json.loads(served("new-token", "--output-format", "json").stdout)
    assert output["entry"].startswith("token:read:")
    tokens = served.home / "tokens"
    tokens.write_text(f"# clients\n{entry}\n{output['entry']}\n")
    running = served.start("api", FBS_API_TOKENS_FILE=str(tokens))
    try:
        url = address(running)
        for held in (token, output["token"]):
            answer = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {held}"}, timeout=PATIENCE)
            assert answer.status_code == 200
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert token not in "".join(running_arguments(served.home))
    finally:
        running.process.terminate()
        rest = running.rest()
    assert running.process.returncode == 0, rest
    assert token not in rest


def running_arguments(home: Path) -> list[str]:
    return [" ".join(process.cmdline()) for process in processes_about(home)]


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_on_a_signal(served: CommandLine, number: signal.Signals) -> None:
    running = served.start("api")
    url = address(running)
    with httpx.Client(base_url=url) as held:  # a connection that stays open does not hold it up
        assert held.get("/metrics").status_code == 200
        began = time.monotonic()
        running.process.send_signal(number)
        rest = running.rest()
    assert (running.process.returncode, rest) == (0, "")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"FBS_API_ADDRESS": "0.0.0.0"}, "The API would be reachable from other machines on 0.0.0.0, but no token is set."),
        ({"FBS_API_TOKENS": "ci:write:nope"}, "Entry 1 of FBS_API_TOKENS is not name:scope:hash."),
        ({"FBS_API_ADDRESS": "192.0.2.1", "FBS_API_TOKENS": f"ci:read:{'0' * 64}"}, "The API cannot listen on 192.0.2.1"),
        ({"FBS_ALLOWED_HOSTS": "10.0.0.0/99"}, "'10.0.0.0/99' in FBS_ALLOWED_HOSTS is not a network."),
    ],
)  # fmt: skip
def test_an_error_at_its_start_is_printed(served: CommandLine, variables: dict[str, str], error: str) -> None:
    output, hint = served("api", code=2, **variables).stderr.splitlines()
    assert output.startswith(f"error: {error}")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(("option", "value"), [("--scope", "all"), ("--name", "a:b")])
def test_an_invalid_token_option_is_rejected(fbs: CommandLine, option: str, value: str) -> None:
    output = fbs("new-token", option, value, code=2)
    assert output.stdout == ""
