"""The documentation agrees with the code: its generated pages are complete, its hand-written ones name what exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from docs.generators import GENERATED, cli, errors, http_api, markdown, requests, settings, tables
from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.search import Kind
from fbs_worker.cli.render.discoveries import PLURALS
from fbs_worker.client.client import DiscoverFields, MigrateFields, SyncFields
from fbs_worker.contrib.django.management.commands.test_discovery import Command
from fbs_worker.core.errors import FBSError
from fbs_worker.core.fields import parameters
from fbs_worker.core.settings import Settings
from fbs_worker.domains import domain_names
from fbs_worker.jobs.config import ROUTES
from fbs_worker.jobs.model import JobState
from fbs_worker.migration.model.plan import Hazard
from fbs_worker.schema.system_tables import HOME_TABLES, SYSTEM_TABLES
from fbs_worker.solutions.odoo_requests import ODOO_REQUESTS
from fbs_worker.solutions.requests import REQUESTS, DropRequest, Request
from fbs_worker.web.pages.formatting import TYPE_LABELS
from tests.support.console_commands import all_commands, check_command, environment_names
from tests.unit.test_architecture import LAYERS, parse

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
CLI = cli.page()
SETTINGS = settings.page()


COMMANDS = dict(all_commands())
KNOWN = environment_names() | {"FBS_CONFIG", "FBS_ENV", "ODOO_DB_PASSWORD"}  # FBS_ENV_FILE


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_reference(name: str) -> None:
    assert f"{{envvar}} {name.upper()}\n" in SETTINGS
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("words", sorted(COMMANDS), ids=" ".join)
def test_every_command_and_option_is_in_the_reference(words: tuple[str, ...]) -> None:
    name = " ".join(["fbs", *words])
    assert f"`{name}`\n" in CLI
    section = CLI.partition(f"{{program}} {name}\n")[2].partition("{program}")[0]
    for parameter in COMMANDS[words].params if section else []:
        shown = parameter.param_type_name == "option" and not parameter.hidden
        for option in parameter.opts if shown else []:
            assert re.search(rf"{{option}}.*{option}\b", section), f"{name} {option}"


def test_every_marker_is_generated_and_every_generator_is_used() -> None:
    markers = re.findall(r"<!-- generated: (.+) -->", "".join(page.read_text() for page in PAGES))
    assert set(markers) == set(GENERATED)


def test_every_error_is_in_the_reference() -> None:
    table = errors.classes()
    assert all(f"`{kind.code}`" in table for kind in _kinds(FBSError))
    assert "`solution_not_found`" in errors.messages(parse)


def _kinds(kind: type[FBSError]) -> Iterator[type[FBSError]]:
    if kind.__module__.startswith("fbs_worker."):
        yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def test_every_path_is_in_the_reference() -> None:
    page = http_api.page()
    for path, operations in http_api.document()["paths"].items():
        for method in operations:
            assert f"`{method.upper()} {path}`" in page


def test_every_table_is_in_the_reference() -> None:
    page = tables.system()
    for factory in (*SYSTEM_TABLES, *HOME_TABLES):
        table = factory("fbs_", None)
        assert f"`{table.name}`" in page
    assert all(f"`{table}`" in tables.business("rental") for table in ("property", "tenant", "lease", "payment"))
    assert all(tables.business(domain) for domain in domain_names())


def test_tasks_are_documented() -> None:
    page = (DOCS / "reference" / "tasks.md").read_text() + requests.page()
    for name, route in ROUTES.items():
        assert f"`{name}`" in page
        assert f"`{route['queue']}`" in page


@pytest.mark.parametrize("request_class", REQUESTS, ids=lambda each: each.__name__)
def test_each_field_of_a_request_is_declared_once(request_class: type[Request]) -> None:
    """Command line, Django, HTTP API and reference have the same fields with the same descriptions."""
    action = request_class.task.removeprefix("fbs.")
    options = {each.opts[0]: each.help for each in COMMANDS[(action,)].params if each.param_type_name == "option"}
    django = {
        flag: each.help
        for each in Command().create_parser("manage.py", "test_discovery")._actions
        for flag in each.option_strings
    }
    reference = requests.page()
    about_http = _described_by_the_api()
    for each in parameters(request_class):
        description = str(each.field.description)
        assert options[each.flag] == each.help
        assert markdown.sentence(description) in reference
        assert (request_class is DropRequest) or each.help in django[each.flag]
        assert description in about_http[action] or each.path[0] in {"solution_name", "domain", "discovery_types"}
    typed = {"discover": DiscoverFields, "migrate": MigrateFields, "sync": SyncFields}.get(action)
    public = {each.path[0] for each in parameters(request_class)} - {"solution_name"}
    assert typed is None or typed.__annotations__.keys() == public


@pytest.mark.parametrize("command", ["add", "edit"])
def test_each_field_of_a_connection_is_declared_once(command: str) -> None:
    options = {each.opts[0].removeprefix("--"): each.help for each in COMMANDS[("odoo", command)].params}
    django = {
        flag: each.help
        for each in Command().create_parser("manage.py", "test_discovery")._actions
        for flag in each.option_strings
    }
    body = {"add": "OdooBody", "edit": "OdooChangesBody"}[command]
    about_http = http_api.document()["components"]["schemas"][body]["properties"]
    for each in parameters(ODOO_REQUESTS[command]):
        assert options[each.flag.removeprefix("--")] == each.help == django[each.flag]
        assert each.name == "name" or about_http[each.name]["description"] == each.field.description


def _described_by_the_api() -> dict[str, set[str]]:
    """The descriptions of fields and parameters that the operations of an action have."""
    document = http_api.document()
    schemas = document["components"]["schemas"]
    database = {about["description"] for about in schemas["DatabaseBody"]["properties"].values()}
    found = {
        action: {about["description"] for about in schemas[f"{action.capitalize()}Body"]["properties"].values()}
        for action in ("discover", "setup", "refresh", "migrate", "sync")
    }
    parameters = document["paths"]["/api/v1/solutions/{name}/"]["delete"]["parameters"]
    return {
        **{action: descriptions | database for action, descriptions in found.items()},
        "drop": {each["description"] for each in parameters},
    }


def test_job_states_and_hazards_are_documented() -> None:
    states = (DOCS / "reference" / "tasks.md").read_text()
    hazards = (DOCS / "howto" / "migrations.md").read_text()
    assert [state for state in JobState if f"| `{state}` |" not in states] == []
    assert [hazard for hazard in Hazard if f"| `{hazard}` |" not in hazards] == []


def test_the_diagram_of_the_rooms_has_their_order() -> None:
    drawn = re.findall(r'class="strong"[^>]*>([a-z]+)<tspan', (DOCS / "images" / "rooms.svg").read_text())
    assert drawn == [room for layer in LAYERS for room in layer]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_sentences_exist(page: Path) -> None:
    for text in re.findall(r"(?<!`)`(fbs [a-z][^`]*)`(?!`)", _without_blocks(page.read_text())):
        words = text.replace("\n", " ").split()[1:]
        count = next((size for size in (2, 1) if tuple(words[:size]) in COMMANDS), 0)
        assert count, f"there is no command {text}"
        known = {option for option_of in COMMANDS[tuple(words[:count])].params for option in option_of.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--help", "--debug"}, text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_blocks_exist(page: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"(?:^|\s)(fbs [a-z].*?)(?:\s+[#|>].*)?$", line) for line in lines if not line.startswith("#")]
    for match in filter(None, found):
        check_command(shlex.split(match[1]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_in_the_pages_exist(page: Path) -> None:
    names = set(re.findall(r"\b(?:FBS|ODOO)_[A-Z_]+[A-Z]\b", page.read_text()))
    assert {name for name in names if name.removesuffix("_FILE") not in KNOWN} == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_project_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (ROOT / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_paths_in_the_project_files_exist(page: Path) -> None:
    text = _without_blocks(page.read_text())
    paths = re.findall(r"`((?:fbs_worker|connectors|tasks|tests|docs|examples|bench|\.github)/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_map_of_the_rooms_is_complete() -> None:
    rooms = {room if room in {"tasks", "connectors"} else f"fbs_worker/{room}" for layer in LAYERS for room in layer}
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    owned = set(re.findall(r"^/(\S+)/ +@", (ROOT / ".github" / "CODEOWNERS").read_text(), re.MULTILINE))
    assert rooms <= owned
    assert {room for room in rooms if f"`{room}/`" not in contributing} == set()


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert named <= targets
    assert targets <= {"help", *re.findall(r"make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text())}


def test_every_discovery_type_has_words() -> None:
    assert set(PLURALS) == set(TYPE_LABELS) == set(DiscoveryType)
    assert set(DiscoveryType) <= set(get_args(Kind))


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", ["web-ui.png", "plan.png"])
def test_screenshots_are_small(name: str) -> None:
    assert 5_000 < (DOCS / "images" / name).stat().st_size < 150_000


def test_text_of_the_code_is_escaped() -> None:
    assert markdown.text("<NAME> of *all* `a|b` FBS_HOME") == r"\<NAME\> of \*all\* `a|b` `FBS_HOME`"
    assert markdown.table(["a"], [["`x|y`"]]).splitlines()[-1] == r"| `x\|y` |"
    assert markdown.code("a`b") == "`` a`b ``"


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
