"""What the files for containers promise: no secret in them, nothing open to the world, and commands that exist.

Each container keeps to what Kubernetes calls `restricted` (Pod Security Standards), and to more: see `COMPOSE_RULES` and
`POD_RULES`. That the programs get along with it shows in tests/acceptance/test_containers.py.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from lightkube.models import apps_v1, core_v1, networking_v1
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
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
PODS: dict[str, dict[str, Any]] = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in MANIFESTS if one["kind"] == "Deployment"
}
EVERY_SERVICE = [
    pytest.param(service, id=f"{file}-{name}")
    for file, document in (("stack", COMPOSE), ("example", EXAMPLE))
    for name, service in document["services"].items()
]
SECRET = re.compile(r"PASSWORD|SECRET|API_KEY|TOKENS|HEADERS|_URL$")
EXACT = re.compile(r"[\w./-]+:\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
"""An image by its exact version; a digest may follow."""

NEEDS = {
    "worker": {"FBS_REDIS_URL", "FBS_DATABASE_URL", "FBS_SECRET_KEYS", "ODOO_PASSWORD", "ODOO_API_KEY", "ODOO_HEADERS"},
    "beat": {"FBS_REDIS_URL", "FBS_DATABASE_URL"},
    "flower": {"FBS_REDIS_URL", "FBS_FLOWER_PASSWORD"},
    "api": {"FBS_REDIS_URL", "FBS_DATABASE_URL", "FBS_SECRET_KEYS", "FBS_API_TOKENS"},
    "metrics": {"FBS_REDIS_URL"},
}
"""The secret settings that a program reads: it gets no others."""
PROXIES = {"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"}
"""What lies between this host and Odoo: a worker reads it, as other programs do."""


def is_known(variable: str, program: str) -> bool:
    """Whether a program reads a variable."""
    of_odoo = variable in PROXIES and program == "worker"
    return of_odoo or variable.removesuffix("_FILE").lower() in Settings.model_fields


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


def secrets_of(service: dict[str, Any]) -> dict[str, str]:
    """The secrets of a service, by the names of their files in /run/secrets."""
    given = [{"source": one, "target": one} if isinstance(one, str) else one for one in service["secrets"]]
    return {one["target"]: one["source"] for one in given}


def limits(service: dict[str, Any]) -> bool:
    resources = service["deploy"]["resources"]
    return resources["limits"].keys() == {"cpus", "memory", "pids"} and "memory" in resources["reservations"]


COMPOSE_RULES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "not root": lambda service: re.fullmatch(r"10001:10001|postgres|redis|odoo", service["user"]) is not None,
    "read-only root": lambda service: service["read_only"] is True,
    "no capabilities": lambda service: service["cap_drop"] == ["ALL"] and "cap_add" not in service,
    "no new privileges, seccomp of the engine": lambda service: service["security_opt"] == ["no-new-privileges:true"],
    "own namespaces": lambda service: (
        not {"privileged", "pid", "ipc", "network_mode", "userns_mode", "devices"} & set(service)
    ),
    "limits": limits,
    "own networks": lambda service: bool(service["networks"]) and "default" not in service["networks"],
    "exact image": lambda service: service["image"] == "fbs-worker" or EXACT.fullmatch(service["image"]) is not None,
    "no folder of the host": lambda service: all(
        not volume.startswith((".", "/")) or volume.endswith(":ro") for volume in service.get("volumes", ())
    ),
    "no secret in the environment": lambda service: all(
        "/run/secrets/" in value or not value
        for name, value in service.get("environment", {}).items()
        if SECRET.search(name) and name != "ODOO_URL"
    ),
    "its own secrets": lambda service: (
        set(re.findall(r"/run/secrets/([a-z_]+)", repr(service)))
        | ({"role_password"} if "ROLE" in service.get("environment", {}) else set())
        == set(secrets_of(service))
    ),
}


@pytest.mark.parametrize("rule", COMPOSE_RULES)
@pytest.mark.parametrize("service", EVERY_SERVICE)
def test_services_are_restricted(service: dict[str, Any], rule: str) -> None:
    assert COMPOSE_RULES[rule](service)


@pytest.mark.parametrize("document", [COMPOSE, EXAMPLE], ids=["stack", "example"])
def test_our_services_read_the_secrets_that_they_need(document: dict[str, Any]) -> None:
    ours = {name: service for name, service in document["services"].items() if service["image"] == "fbs-worker"}
    for name, service in ours.items():
        assert all(is_known(variable, name) for variable in service["environment"])
        read = {variable.removesuffix("_FILE") for variable in service["environment"] if variable.endswith("_FILE")}
        assert read <= NEEDS[name]
        assert NEEDS[name] - read <= {"ODOO_API_KEY", "ODOO_HEADERS"}


def test_networks_join_those_alone_that_talk() -> None:
    members = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }
    assert members == {
        "queue": {"redis", "worker", "beat", "flower", "api", "metrics"},
        "data": {"postgres", "worker", "beat", "api"},
        "odoo": {"odoo", "worker"},
        "odoo-data": {"odoo", "odoo-db", "odoo-init"},
        **{name: {name} for name in ("flower", "api", "metrics")},
    }
    closed = {name for name, network in COMPOSE["networks"].items() if network and network["internal"]}
    assert closed == {"queue", "data", "odoo-data"}


def test_no_secret_has_a_value_in_the_files() -> None:
    for document in (COMPOSE, EXAMPLE):
        assert all(source == {"file": f"./secrets/{name}"} for name, source in document["secrets"].items())
        used = {name for service in document["services"].values() for name in secrets_of(service).values()}
        assert used == set(document["secrets"])
    given = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert given == {"ODOO_URL": "", "ODOO_DB": "", "ODOO_USER": "", "FBS_FLOWER_USER": "fbs"}
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_script_makes_every_secret_once(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    script = tmp_path / "docker" / "secrets.sh"
    script.write_text((ROOT / "docker" / "secrets.sh").read_text())
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "redis_password").write_text("mine")

    def made() -> dict[str, str]:
        subprocess.run(["sh", str(script)], check=True, capture_output=True)
        return {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}

    first = made()
    assert first == made()
    assert set(first) == set(COMPOSE["secrets"])
    yours = {"odoo_password", "odoo_api_key", "odoo_headers", "odoo_ca", "fbs_api_tokens"}
    assert {name for name, value in first.items() if not value} == yours
    assert first["fbs_redis_url"] == "redis://:mine@redis:6379/0"
    assert first["postgres_password"] in first["fbs_database_url"]
    assert Vault.from_text(first["fbs_secret_keys"]).encrypt("a")
    assert len({value for value in first.values() if value}) == len(first) - len(yours)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "secrets").iterdir()} == {0o644}


def test_every_variable_is_required_or_no_secret() -> None:
    for name, rest in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE_FILE.read_text()):
        assert rest.startswith((":?", ":-", ":+")), f"{name} may be empty without a word"
        assert not (SECRET.search(name) and rest.startswith(":-")), f"{name} has a default"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_gets_what_it_uses_and_says_how_it_is(name: str) -> None:
    service = SERVICES[name]
    assert set(re.findall(r"'([\w-]+):/var/", repr(service))) <= set(COMPOSE["volumes"])
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


@pytest.mark.parametrize("words", list(commands_of([COMPOSE, EXAMPLE, MANIFESTS])), ids=" ".join)
def test_commands_in_the_files_exist(words: list[str]) -> None:
    check_command(words)


def test_what_holds_data_keeps_it() -> None:
    assert SERVICES["postgres"]["volumes"][0] == "postgres:/var/lib/postgresql"
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]
    script = SERVICES["redis"]["command"][-1]
    assert "appendonly yes" in script
    assert "maxmemory-policy noeviction" in script


# ---------------------------------------------------------------------------------------------------------- Dockerfile


def copied() -> list[str]:
    words = [line.split()[1:-1] for line in INSTRUCTIONS if line.startswith("COPY ") and "--from" not in line]
    return [source for sources in words for source in sources]


def test_the_image_is_slim_and_not_root() -> None:
    [version] = [line.partition("=")[2] for line in INSTRUCTIONS if line.startswith("ARG PYTHON=")]
    assert re.fullmatch(r"3\.11\.\d+", version)
    assert [line for line in INSTRUCTIONS if line.startswith("FROM ")] == [
        "FROM python:${PYTHON}-slim-trixie AS build",
        "FROM python:${PYTHON}-slim-trixie",
    ]
    users = [line.split()[1] for line in INSTRUCTIONS if line.startswith("USER ")]
    assert users == ["10001:10001"]
    after = INSTRUCTIONS[INSTRUCTIONS.index("USER 10001:10001") :]
    assert not [line for line in after if line.startswith(("RUN ", "COPY ", "ADD "))]
    assert any(line.startswith("HEALTHCHECK ") for line in after)


def test_the_image_has_no_secret_and_no_setting() -> None:
    given = "\n".join(line for line in INSTRUCTIONS if line.startswith(("ENV ", "ARG ")))
    variables = re.findall(r"\b([A-Z_]+)=", given)
    assert {name for name in variables if not name.startswith("PIP_")} == {
        "FBS_HOME",
        "PATH",
        "PYTHON",
        "PYTHONUNBUFFERED",
    }


def pinned(text: str) -> dict[str, str]:
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    }


def needed(distribution: str, extras: tuple[str, ...] = ()) -> set[str]:
    """The distributions that one requires on Linux, and those that they require."""
    found: set[tuple[str, tuple[str, ...]]] = set()
    waiting = [(canonicalize_name(distribution), extras)]
    while waiting:
        name, wanted = waiting.pop()
        found.add((name, wanted))
        environments = [{"extra": extra, "sys_platform": "linux"} for extra in ("", *wanted)]
        for each in map(Requirement, requires(name) or ()):
            key = (canonicalize_name(each.name), tuple(sorted(each.extras)))
            if key not in found and (each.marker is None or any(map(each.marker.evaluate, environments))):
                waiting.append(key)
    return {name for name, _ in found} - {distribution}


def test_the_image_installs_the_versions_that_are_tested_by_their_hashes() -> None:
    text = (ROOT / "docker" / "requirements.txt").read_text()
    versions, tested = pinned(text), pinned((ROOT / "constraints.txt").read_text())
    assert set(versions) == needed("fbs-worker", ("api", "flower", "mcp"))
    build = pinned((ROOT / "docker" / "build-requirements.txt").read_text())
    assert set(build) == needed("hatchling") | {"hatchling"}
    for name, version in {**build, **versions}.items():
        assert tested.get(name) == version, name
    for block in re.split(r"\n(?=\w)", text.strip()):
        assert re.fullmatch(r"[\w.-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+", block), block
    installs = [part for line in INSTRUCTIONS for part in line.split("&&") if "pip install" in part]
    assert ["--require-hashes" in part or "--no-deps /wheel/" in part for part in installs] == [True] * 3


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


MODELS: dict[str, Any] = {
    "Deployment": apps_v1.Deployment,
    "Namespace": core_v1.Namespace,
    "NetworkPolicy": networking_v1.NetworkPolicy,
}
"""Of Kubernetes' own API; KEDA's documents are not of it."""


@pytest.mark.parametrize(
    "document",
    [one for one in MANIFESTS if "keda.sh" not in one["apiVersion"]],
    ids=lambda one: f"{one['kind']}-{one['metadata']['name']}",
)
def test_documents_keep_to_the_api_of_kubernetes(document: dict[str, Any]) -> None:
    read = MODELS[document["kind"]].from_dict(document)  # checks types
    assert read.to_dict() == document  # a field that there is not would be missing


def container_of(pod: dict[str, Any]) -> dict[str, Any]:
    assert not pod.keys() & {"initContainers", "hostNetwork", "hostPID", "hostIPC"}
    [container] = pod["containers"]
    return dict(container)


def volumes_of(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in pod["volumes"]}


POD_RULES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "not root": lambda pod: (
        pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 10001
    ),
    "seccomp": lambda pod: pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"},
    "read-only root, no capabilities, no escalation": lambda pod: (
        container_of(pod)["securityContext"]
        == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    ),
    "volumes": lambda pod: all(
        volume.keys() - {"name"} <= {"secret", "emptyDir", "persistentVolumeClaim"} for volume in pod["volumes"]
    ),
    "writable folders have a size": lambda pod: all(
        "sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume
    ),
    "requests and limits": lambda pod: all(
        container_of(pod)["resources"][each].keys() == {"cpu", "memory"} for each in ("requests", "limits")
    ),
    "no ports of the host": lambda pod: all("hostPort" not in port for port in container_of(pod).get("ports", ())),
    "no service links": lambda pod: pod["enableServiceLinks"] is False,
    "no token of the cluster": lambda pod: pod["automountServiceAccountToken"] is False,
    "exact image": lambda pod: EXACT.fullmatch(container_of(pod)["image"]) is not None,
    "mounts": lambda pod: {mount["name"] for mount in container_of(pod)["volumeMounts"]} == set(volumes_of(pod)),
    "known settings": lambda pod: all(
        is_known(one["name"], container_of(pod)["name"]) for one in container_of(pod)["env"]
    ),
    "its own secrets": lambda pod: (
        {one["value"] for one in container_of(pod)["env"] if one["name"].endswith("_FILE")}
        == {f"/run/secrets/fbs/{item['path']}" for item in volumes_of(pod)["secrets"]["secret"]["items"]}
    ),
    "what its program needs": lambda pod: (
        {one["name"].removesuffix("_FILE") for one in container_of(pod)["env"] if one["name"].endswith("_FILE")}
        == NEEDS[container_of(pod)["name"]] - {"ODOO_API_KEY"}
    ),
    "no secret in the environment": lambda pod: (
        not [
            one["name"]
            for one in container_of(pod)["env"]
            if SECRET.search(one["name"]) and not one["name"].endswith("_FILE") and one["name"] != "ODOO_URL"
        ]
    ),
}


@pytest.mark.parametrize("rule", POD_RULES)
@pytest.mark.parametrize("name", PODS)
def test_pods_are_restricted(name: str, rule: str) -> None:
    assert POD_RULES[rule](PODS[name])


def test_the_namespace_requires_that() -> None:
    [namespace] = [one for one in MANIFESTS if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_the_proxies_that_are_believed_are_few() -> None:
    [proxies] = [one["value"] for one in container_of(PODS["fbs-api"])["env"] if one["name"] == "FBS_API_PROXIES"]
    assert all(ipaddress.ip_network(network).num_addresses <= 16 for network in proxies.split(","))
    assert SERVICES["api"]["environment"]["FBS_API_PROXIES"] == "${FBS_API_PROXIES:-}"


def test_the_network_is_closed_but_for_what_is_named() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    everything = policies["fbs-all"]
    assert everything["podSelector"] == {"matchLabels": {"part-of": "fbs-worker"}}
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    assert everything["ingress"] == []
    for one in MANIFESTS:
        if one["kind"] == "Deployment":
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert labels == {**one["spec"]["selector"]["matchLabels"], "part-of": "fbs-worker"}
    rules = [rule for spec in policies.values() for rule in (*spec.get("egress", ()), *spec.get("ingress", ()))]
    assert all(rule.get("ports") and (rule.get("to") or rule.get("from")) for rule in rules)
    [block] = [to["ipBlock"] for rule in rules for to in rule.get("to", ()) if "ipBlock" in to]
    closed = [ipaddress.ip_network(network) for network in block["except"]]
    assert all(
        any(ipaddress.ip_address(one) in network for network in closed) for one in ("10.0.0.1", "169.254.169.254")
    )
    odoo, postgres = (
        policies[name]["podSelector"]["matchExpressions"][0]["values"] for name in ("fbs-odoo", "fbs-postgres")
    )
    assert odoo == ["fbs-discovery", "fbs-schema", "fbs-records"]
    assert postgres == ["fbs-discovery", "fbs-schema", "fbs-records", "fbs-beat", "fbs-api"]


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
