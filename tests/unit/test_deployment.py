"""What the files for containers promise: no secret in them, nothing open to the world, and commands that exist."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fbs_worker.core.settings import Settings
from fbs_worker.jobs.config import QUEUES
from tests.support.console_commands import check_command

ROOT = Path(__file__).parent.parent.parent
COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE = YAML(typ="safe").load(COMPOSE_FILE)
EXAMPLE_FILE = ROOT / "examples" / "compose" / "docker-compose.yml"
EXAMPLE = YAML(typ="safe").load(EXAMPLE_FILE)
WORKFLOW_FILE = ROOT / ".github" / "workflows" / "ci.yml"
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == "fbs-worker")
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
INSTRUCTIONS = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
MANIFESTS = [
    document
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "howto" / "kubernetes.md").read_text(), re.DOTALL)
    for document in YAML(typ="safe").load_all(block)
]
SECRET = re.compile(r"PASSWORD|SECRET|API_KEY|TOKENS|_URL$")
REDIS_OR_DATABASE = {"FBS_REDIS_URL", "FBS_DATABASE_URL", "FBS_BROKER_URL"}


def commands_of(value: Any) -> Iterator[list[str]]:
    """Every list of words, anywhere within, that begins with `fbs`."""
    match value:
        case ["fbs", *_] | ["CMD", "fbs", *_]:
            yield [re.sub(r"\$\{\w+:-(\w*)\}", r"\1", str(word)) for word in value if word != "CMD"]
        case ["CMD-SHELL", str(line)] if line.startswith("fbs "):
            yield line.partition("|")[0].split()
        case list():
            for item in value:
                yield from commands_of(item)
        case dict():
            for item in value.values():
                yield from commands_of(item)


# ------------------------------------------------------------------------------------------------- docker-compose.yml


@pytest.mark.parametrize(
    ("schema", "file"),
    [("compose-spec", COMPOSE_FILE), ("compose-spec", EXAMPLE_FILE), ("github-workflows", WORKFLOW_FILE)],
    ids=["stack", "example", "workflow"],
)
def test_files_keep_to_their_specification(schema: str, file: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_compose_has_everything() -> None:
    assert OURS == ["api", "beat", "flower", "metrics", "worker"]
    assert set(SERVICES) - set(OURS) == {"postgres", "redis", "odoo", "odoo-db", "odoo-init"}
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["odoo"]} == {
        "odoo",
        "odoo-db",
        "odoo-init",
    }


def test_no_secret_is_in_the_environment_of_a_container() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name) and name != "ODOO_URL" and value:
                assert "/run/secrets/" in value, f"{name} is {value}"


def test_the_example_has_known_settings_and_secrets_as_files() -> None:
    for service in EXAMPLE["services"].values():
        for name, value in service["environment"].items():
            assert name.removesuffix("_FILE").lower() in Settings.model_fields
            assert not SECRET.search(name) or name == "ODOO_URL" or "/run/secrets/" in value
        assert set(re.findall(r"/run/secrets/(\w+)", repr(service))) == set(service["secrets"])
    assert all(set(source) == {"environment"} for source in EXAMPLE["secrets"].values())


def test_no_secret_has_a_value_in_the_files() -> None:
    assert all(set(source) == {"environment"} for source in COMPOSE["secrets"].values())
    example = (ROOT / ".env.example").read_text()
    given = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    assert {source["environment"] for source in COMPOSE["secrets"].values()} <= set(given)
    derived = {"FBS_DATABASE_URL", "FBS_REDIS_URL", "FBS_FLOWER_USER"}
    assert {name for name, value in given.items() if value} == derived
    for name in derived - {"FBS_FLOWER_USER"}:
        assert re.search(r":\$\{\w+_PASSWORD\}@", given[name])


def test_every_variable_is_required_or_no_secret() -> None:
    for name, rest in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE_FILE.read_text()):
        assert rest.startswith((":?", ":-", ":+")), f"{name} may be empty without a word"
        assert not (SECRET.search(name) and rest.startswith(":-")), f"{name} has a default"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_gets_what_it_uses_and_says_how_it_is(name: str) -> None:
    service = SERVICES[name]
    text = repr(service)
    assert set(re.findall(r"/run/secrets/(\w+)", text)) <= set(service["secrets"])
    assert set(service["secrets"]) <= set(COMPOSE["secrets"])
    assert set(re.findall(r"'([\w-]+):/var/", text)) <= set(COMPOSE["volumes"])
    if name != "odoo-init":
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"
    for other, how in service.get("depends_on", {}).items():
        assert how["condition"] != "service_started"
        assert "healthcheck" in SERVICES[other] or how["condition"] == "service_completed_successfully"


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"api", "flower", "metrics", "odoo"}
    assert all(port.startswith("127.0.0.1:") for opened in ports.values() for port in opened)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_known_settings_and_few_rights(name: str) -> None:
    service = SERVICES[name]
    for variable in service["environment"]:
        setting = variable.removesuffix("_FILE").lower()
        assert setting in Settings.model_fields, variable
        if variable in REDIS_OR_DATABASE:
            pytest.fail(f"{variable} holds a password: it comes as a file")
    assert service["cap_drop"] == ["ALL"]
    assert not {"privileged", "user"} & set(service)


@pytest.mark.parametrize("words", list(commands_of([COMPOSE, EXAMPLE, MANIFESTS])), ids=" ".join)
def test_commands_in_the_files_exist(words: list[str]) -> None:
    check_command(words)


def test_what_holds_data_keeps_it() -> None:
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]
    script = SERVICES["redis"]["command"][-1]
    assert "appendonly yes" in script
    assert "maxmemory-policy noeviction" in script


# ---------------------------------------------------------------------------------------------------------- Dockerfile


def copied() -> list[str]:
    words = [line.split()[1:-1] for line in INSTRUCTIONS if line.startswith("COPY ") and "--from" not in line]
    return [source for sources in words for source in sources]


def test_the_image_is_slim_and_not_root() -> None:
    assert [line for line in INSTRUCTIONS if line.startswith("FROM ")] == [
        "FROM python:${PYTHON}-slim AS build",
        "FROM python:${PYTHON}-slim",
    ]
    users = [line.split()[1] for line in INSTRUCTIONS if line.startswith("USER ")]
    assert users == ["10001:10001"]
    after = INSTRUCTIONS[INSTRUCTIONS.index("USER 10001:10001") :]
    assert not [line for line in after if line.startswith(("RUN ", "COPY ", "ADD "))]
    assert any(line.startswith("HEALTHCHECK ") for line in after)


def test_the_image_has_no_secret_and_no_setting() -> None:
    given = "\n".join(line for line in INSTRUCTIONS if line.startswith(("ENV ", "ARG ")))
    variables = re.findall(r"\b([A-Z_]+)=", given)
    assert sorted(variables) == ["FBS_HOME", "PATH", "PYTHON", "PYTHONUNBUFFERED"]


def test_the_image_installs_the_versions_that_are_tested() -> None:
    [line] = [line for line in INSTRUCTIONS if "pip install" in line]
    assert "--constraint constraints.txt" in line


def test_the_image_is_made_of_what_is_there() -> None:
    assert all((ROOT / source).exists() for source in copied())
    listed = subprocess.run(
        ["git", "ls-files", "--", *copied()], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if listed:  # a checkout, not an unpacked archive
        assert all(any(name == source or name.startswith(f"{source}/") for name in listed) for source in copied())


def test_nothing_else_reaches_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert sorted(line[1:] for line in patterns if line.startswith("!")) == sorted(copied())
    assert any(fnmatch.fnmatch("fbs_worker/__pycache__", line.replace("**/", "*/")) for line in patterns[1:])


def test_commands_in_the_image_exist() -> None:
    lists = re.findall(r'CMD (\[".*?"\])', DOCKERFILE)
    assert len(lists) == 2
    for words in lists:
        check_command(YAML(typ="safe").load(words))


# ---------------------------------------------------------------------------------------------------------- Kubernetes


def test_kubernetes_runs_the_image_as_it_is_made() -> None:
    deployments = [one for one in MANIFESTS if one["kind"] == "Deployment"]
    assert len(deployments) >= 3
    for one in deployments:
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
        [container] = pod["containers"]
        for variable in container["env"]:
            assert variable["name"].removesuffix("_FILE").lower() in Settings.model_fields
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        files = [variable["value"] for variable in container["env"] if variable["name"].endswith("_FILE")]
        assert all(str(Path(file).parent) in mounted for file in files)


def test_kubernetes_scales_by_the_queues() -> None:
    scaled = [one for one in MANIFESTS if one["kind"] == "ScaledObject"]
    names = {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "Deployment"}
    lists = [trigger["metadata"]["listName"] for one in scaled for trigger in one["spec"]["triggers"]]
    assert lists
    assert set(lists) <= set(QUEUES)
    assert all(one["spec"]["scaleTargetRef"]["name"] in names for one in scaled)


# ----------------------------------------------------------------------------------------------- continuous integration


def test_the_workflow_runs_what_ci_runs() -> None:
    workflow = YAML(typ="safe").load(WORKFLOW_FILE)
    run = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    local = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert set(local) == {line for line in run if line.startswith("make ")}
    python = workflow["jobs"]["python"]["strategy"]["matrix"]["python"]
    offered = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert python == offered
