"""MCP, asked by the SDK's own client: on stdio by the console script, over HTTP by `fbs api`, and in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2
import orjson
import psutil
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import JobReader
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.solutions.databases import Databases
from fbs_worker.web.app import create_app
from fbs_worker.web.mcp.bounds import MAX_BYTES
from fbs_worker.web.mcp.server import make_server
from fbs_worker.web.mcp.tools import TOOLS, Source
from tests.conftest import MakeSettings
from tests.support import preloaded
from tests.support.api_server import READER, ApiServer, api_server, bearer
from tests.support.api_stage import SHOP, ApiStage
from tests.support.asgi import Asking
from tests.support.made_solutions import MadeSolutions, check_no_secret
from tests.support.snapshots import FEATURE, WORKFLOW, MadeSnapshot, model, thing
from tests.support.solutions import writes

SCRIPT: Final = Path(sys.executable).with_name("fbs")
Result = TypeVar("Result")


def asked(client: AbstractAsyncContextManager[Client], ask: Callable[[Client], Awaitable[Result]]) -> Result:
    """Connect, ask, and go."""

    async def all_of_it() -> Result:
        async with client as connected:
            return await ask(connected)

    return asyncio.run(all_of_it())


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool's answer, which the client has compared with its schema."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert orjson.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
    assert len(result.content[0].text.encode()) <= MAX_BYTES  # type: ignore[union-attr]
    check_no_secret(result.structured_content)
    return dict(result.structured_content)


async def pages(client: Client, tool: str, **arguments: Any) -> list[dict[str, Any]]:
    """All pages of a tool's answer."""
    found = [await answer(client, tool, **arguments)]
    while found[-1]["next"]:
        found.append(await answer(client, tool, **arguments, cursor=found[-1]["next"]))
        assert len(found) < 200
    return found


async def error(client: Client, tool: str, **arguments: Any) -> list[str]:
    """What is wrong, and what to do."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return str(result.content[0].text).splitlines()  # type: ignore[union-attr]


@asynccontextmanager
async def on_stdio(settings: Settings) -> AsyncIterator[Client]:
    variables = settings_environment(settings)
    server = StdioServerParameters(command=str(SCRIPT), args=["mcp"], env=variables)
    with tempfile.TemporaryFile("w+") as errors:
        async with Client(stdio_client(server, errlog=errors)) as client:
            yield client
        errors.seek(0)
        assert errors.read() == ""
    assert not [child for child in psutil.Process().children() if "mcp" in child.cmdline()]


@asynccontextmanager
async def over_http(url: str, token: str, *, mode: str = "auto") -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=bearer(token) if token else {}) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def served(api_stage: ApiStage, run_folder: Path) -> Iterator[ApiServer]:
    """An API with tokens."""
    with api_server(api_stage.settings, log=run_folder / "mcp-api.log") as server:
        yield server


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        yield solutions


@asynccontextmanager
async def here(settings: Settings) -> AsyncIterator[Client]:
    """The server in this process."""
    with closing(JobReader(settings.fbs_redis_url)) as jobs:
        async with Client(make_server(Source(databases=Databases(settings), jobs=jobs))) as client:
            yield client


async def look_around(client: Client) -> dict[str, Any]:
    """Use every tool and resource as a client would that knows nothing."""
    tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == set(TOOLS)
    for tool in tools:
        assert tool.description
        assert tool.output_schema
        assert tool.annotations
        assert tool.annotations.read_only_hint
        assert all(one.get("description") for one in tool.input_schema["properties"].values()), tool.name
    assert "never\ninstructions" in (client.instructions or "")
    (solution,) = (await answer(client, "list_solutions"))["solutions"]
    shop = {"solution": solution["solution"]}
    hits = [hit for page in await pages(client, "search", **shop, text="employee", limit=30) for hit in page["hits"]]
    listed = {
        kind: [
            row["name"]
            for page in await pages(client, "list_discoveries", **shop, type=kind)
            for row in page["discoveries"]
        ]
        for kind in ("module", "model", "workflow", "bi_feature")
    }
    described = await pages(client, "describe_model", **shop, name="hr.employee")
    fields = {name: field for page in described for name, field in page["definition"]["fields"].items()}
    workflow = await answer(client, "describe_workflow", **shop, name="hr.leave")
    feature = await answer(client, "describe_bi_feature", **shop, name=listed["bi_feature"][0])
    changes = await pages(client, "what_changed", **shop)
    assert (await answer(client, "list_records", **shop))["tables"] == []
    jobs = await pages(client, "list_jobs", **shop, limit=1)
    job = await answer(client, "job_status", job_id=jobs[0]["jobs"][0]["id"])
    resources = [resource async for resource in every_resource(client)]
    (content,) = (await client.read_resource(f"fbs://{SHOP}/model/hr.employee")).contents
    assert len((await client.list_resource_templates()).resource_templates) == 4
    return {
        "solution": solution,
        "hits": hits,
        "listed": listed,
        "fields": fields,
        "employee": described[0],
        "workflow": workflow,
        "feature": feature,
        "changes": changes,
        "job": job["job"],
        "resources": resources,
        "content": orjson.loads(content.text),  # type: ignore[union-attr]
    }


async def every_resource(client: Client) -> AsyncIterator[str]:
    cursor = None
    while True:
        page = await client.list_resources(cursor=cursor)
        for resource in page.resources:
            yield resource.uri
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


@pytest.mark.parametrize("way", ["stdio", "http", "handshake"])
def test_every_tool_and_resource(
    way: str, api_stage: ApiStage, served: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    """On each way the same, what the API says; nothing is written, or said beside the protocol."""
    home = DatabaseConfig.from_url(api_stage.settings.fbs_database_url)
    before = writes(home), writes(api_stage.target)
    client = (
        on_stdio(api_stage.settings)
        if way == "stdio"
        else over_http(served.url, READER, mode="legacy" if way == "handshake" else "auto")
    )
    found = asked(client, look_around)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (writes(home), writes(api_stage.target)) == before
    base = f"/api/v1/solutions/{SHOP}"
    everything = api_stage.asking.get(f"{base}/discoveries/?limit=1000").json()["discoveries"]
    by_name = {(row["discovery_type"], row["name"]): row for row in everything}
    assert found["solution"]["overall_status"] == "active"
    assert found["hits"] == api_stage.asking.get(f"{base}/search/?text=employee&limit=1000").json()["hits"]
    assert {(kind, name) for kind, names in found["listed"].items() for name in names} == set(by_name)
    employee = by_name["model", "hr.employee"]
    assert found["fields"] == employee["schema_definition"]["fields"]
    assert found["employee"]["total"] == len(found["fields"]) > 50
    assert found["employee"]["metadata"] == employee["metadata"]
    assert found["workflow"]["definition"] == by_name["workflow", "hr.leave"]["schema_definition"]
    feature = by_name["bi_feature", found["feature"]["name"]]
    assert found["feature"]["definition"] == feature["schema_definition"]
    assert found["job"]["state"] == "succeeded"
    first = found["changes"][0]
    assert sum(len(page["changes"]) for page in found["changes"]) == first["refresh"]["added"] == len(everything)
    assert first["refreshes"] == [first["refresh"]]
    assert set(found["resources"]) == {f"fbs://{SHOP}/model/{name}" for name in found["listed"]["model"]}
    assert found["content"]["definition"] == found["employee"]["definition"]


@pytest.mark.parametrize("token", ["", "short", "fbs_" + "x" * 43], ids=("none", "malformed", "unknown"))
def test_http_needs_a_token(served: ApiServer, token: str) -> None:
    refused = served.ask("POST", "/mcp", token=token, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")
    with pytest.RaisesGroup(Exception, allow_unwrapped=True, flatten_subgroups=True):
        asked(over_http(served.url, token), lambda client: client.list_tools())


def test_http_takes_what_the_api_takes(served: ApiServer, asking: Asking, api_stage: ApiStage) -> None:
    assert served.ask("GET", "/mcp").status_code == served.ask("DELETE", "/mcp/").status_code == 405
    assert served.ask("POST", "/mcp", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert served.ask("POST", "/mcp", content=b" " * 2_000_000).status_code == 413
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert asking.post("/mcp", json={}, headers=headers).status_code == 403
    limited = Asking(app=create_app(api_stage.settings.model_copy(update={"fbs_api_rate": 1})))
    assert [limited.post("/mcp", json={}).status_code == 429 for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("tool", "arguments", "what"),
    [
        ("search", {"solution": "none", "text": "x"}, "(solution_not_found)"),
        ("search", {"solution": SHOP}, "text is not valid: Field required. (usage)"),
        ("search", {"solution": SHOP, "text": "a\0"}, "neither NUL nor lone surrogates. (usage)"),
        ("search", {"solution": SHOP, "text": "x", "cursor": "x"}, "The cursor is not valid. (usage)"),
        ("search", {"solution": SHOP, "text": "x", "kinds": ["secret"]}, "kinds.0 is not valid"),
        ("list_solutions", {"cursor": "MQ"}, "The cursor is not valid. (usage)"),
        ("list_solutions", {"limit": 0}, "limit is not valid"),
        ("list_jobs", {"cursor": "Im5vbmUi"}, "The cursor is not valid. (usage)"),
        ("describe_model", {"solution": SHOP, "name": "no.such"}, "has no model of that name. (usage)"),
        ("describe_model", {"solution": SHOP, "name": "hr.job", "cursor": "WzEsMV0"}, "The cursor is not valid."),
        ("describe_bi_feature", {"solution": SHOP, "name": "x"}, "has no bi feature of that name. (usage)"),
        ("what_changed", {"solution": SHOP, "refresh": 2**31 - 1}, "The solution has no refresh of that id. (usage)"),
        ("job_status", {"job_id": "none"}, "(job_not_found)"),
        ("job_status", {"job_id": "none", "more": 1}, "more is not valid"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_to_do(tool: str, arguments: dict[str, Any], what: str, api_stage: ApiStage) -> None:
    told, hint = asked(here(api_stage.settings), lambda client: error(client, tool, **arguments))
    assert what in told
    assert hint


def test_errors_of_the_protocol(api_stage: ApiStage) -> None:
    async def ask(client: Client) -> None:
        with pytest.raises(MCPError, match="Use one of: list_solutions"):
            await client.call_tool("drop", {})
        for uri in ("fbs://shop/model", "file:///etc/passwd", f"fbs://{SHOP}/table/x", f"fbs://{SHOP}/model/no.such"):
            with pytest.raises(MCPError, match="usage"):
                await client.read_resource(uri)
        with pytest.raises(MCPError, match="cursor"):
            await client.list_resources(cursor="x")

    asked(here(api_stage.settings), ask)


def test_fields_are_filtered(api_stage: ApiStage) -> None:
    async def ask(client: Client, **arguments: Any) -> set[tuple[str, str]]:
        found = await pages(client, "describe_model", solution=SHOP, name="hr.employee", limit=200, **arguments)
        return {(name, field["type"]) for page in found for name, field in page["definition"].get("fields", {}).items()}

    async def all_of_them(client: Client) -> None:
        every = await ask(client)
        dates = await ask(client, type="date")
        assert dates == {field for field in every if field[1] == "date"} != set()
        assert ("birthday", "date") in await ask(client, type="date", text="BIRTH")
        assert await ask(client, text="no such field") == set()

    asked(here(api_stage.settings), all_of_them)


def test_databases_that_are_down(
    made: MadeSolutions, postgres: EmbeddedPostgres, settings: MakeSettings, no_redis: str
) -> None:
    place = made.database()
    made.solution("gone", place=place)
    made.solution("here")
    postgres.drop_database(place.name)

    async def ask(client: Client) -> None:
        told, hint = await error(client, "search", solution="gone", text="sale")
        assert "(database_missing)" in told
        assert "CREATE DATABASE" in hint
        states = {
            one["solution"]: one["overall_status"] for one in (await answer(client, "list_solutions"))["solutions"]
        }
        assert states["gone"] == "unreachable"
        listed = await client.list_resources()
        assert "gone" in (listed.meta or {})["fbs-worker/not_read"]
        assert [uri async for uri in every_resource(client)] == ["fbs://here/model/other"]
        with pytest.raises(MCPError, match="database_missing"):
            await client.read_resource("fbs://gone/model/other")

    asked(here(made.settings), ask)
    home = settings(fbs_database_url="postgresql://u:s3cr3t@127.0.0.1:1/d", fbs_redis_url=no_redis)

    async def without(client: Client) -> None:
        for tool, code in (("list_solutions", "database_unreachable"), ("list_jobs", "queue_unreachable")):
            told, _ = await error(client, tool)
            assert f"({code})" in told
            assert "s3cr3t" not in told

    asked(here(home), without)


def test_answers_stay_small(made: MadeSolutions) -> None:
    """Whatever Odoo has: long texts, many values, text that turns around."""
    made.solution("big")
    huge = model(*(f"field_{number:04}" for number in range(900)), name="huge")
    fields = dict(huge.schema_definition or {})["fields"]
    fields["field_0000"] = {"type": "char", "label": "é" * 100_000}
    fields["field_0001"] = {"type": "selection", "selection": [[str(value), "x" * 500] for value in range(2_000)]}
    states = [{"value": f"s{number}", "label": "\u202e" * 300} for number in range(50)]
    title = {"title": "T" * 50_000}
    found = [
        huge,
        thing(WORKFLOW, "huge", states=states, note="n" * 90_000),
        thing(FEATURE, "huge", meta=title, model="x"),
    ]
    with closing(connect(made.home)) as connection:
        Catalogue(connection).save(MadeSnapshot(*found, *(model(name=f"m.{n}", meta=title) for n in range(120))))

    async def ask(client: Client) -> None:
        described = await pages(client, "describe_model", solution="big", name="huge", limit=200)
        assert [name for page in described for name in page["definition"]["fields"]] == sorted(fields)
        assert described[0]["shortened"] == ["fields.field_0000", "fields.field_0001"]
        workflow = await pages(client, "describe_workflow", solution="big", name="huge", limit=200)
        assert [state["value"] for page in workflow for state in page["definition"]["states"]] == [
            state["value"] for state in states
        ]
        assert "definition" in workflow[0]["shortened"]
        feature = await answer(client, "describe_bi_feature", solution="big", name="huge")
        assert feature["shortened"] == ["title", "metadata"]
        shown = await client.call_tool("describe_workflow", {"solution": "big", "name": "huge"})
        assert "\u202e" not in shown.content[0].text  # type: ignore[union-attr]
        for tool, more in (("search", {"text": "m"}), ("list_discoveries", {"type": "model"}), ("what_changed", {})):
            await pages(client, tool, solution="big", limit=200, **more)
        uri, read = "fbs://big/model/huge", 0
        while uri:
            (content,) = (await client.read_resource(uri)).contents
            page = orjson.loads(content.text)  # type: ignore[union-attr]
            read += len(page["definition"]["fields"])
            assert len(content.text.encode()) <= MAX_BYTES  # type: ignore[union-attr]
            uri = page.get("next_uri", "")
        assert read == len(fields)

    asked(here(made.settings), ask)


def test_stdout_has_the_protocol_alone(api_stage: ApiStage, tmp_path: Path) -> None:
    """And the program ends with its input, without a word."""
    environment = {**settings_environment(api_stage.settings), "HOME": str(tmp_path), "FBS_OUTPUT_FORMAT": "json"}
    (given, asking), (heard, answers), (said, errors) = os.pipe(), os.pipe(), os.pipe()
    files = {0: given, 1: answers, 2: errors}
    running = preloaded.fork(("mcp",), files, env=environment, cwd=tmp_path)
    for number in files.values():
        os.close(number)
    with os.fdopen(heard) as out, os.fdopen(said) as err:
        with os.fdopen(asking, "w") as sent:
            sent.write('{"jsonrpc": "2.0", "id": 7, "method": "ping"}\n')
            sent.flush()
            assert orjson.loads(out.readline())["id"] == 7
        assert (out.read(), err.read(), running.wait()) == ("", "", 0)
    environment.pop("FBS_DATABASE_URL")
    ended = preloaded.run(("mcp",), env=environment, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert [line.split(":")[0] for line in ended.stderr.splitlines()] == ["error", "hint"]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asking: Asking) -> None:
    from fbs_worker.cli.app import run

    for module in ("fbs_worker.cli.mcp", "fbs_worker.web.api.mcp"):
        monkeypatch.setattr(f"{module}.find_spec", lambda _name: None)
    assert run(["mcp"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "error: The library of MCP is not installed.",
        'hint: Install it: pip install "fbs-worker[mcp]"',
    ]
    missing = asking.post("/mcp", json={})
    assert (missing.status_code, missing.json()["detail"]) == (404, "MCP is not installed on this server.")
