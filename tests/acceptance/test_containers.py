"""Each program runs with what its container gives it, and with nothing else: files, secrets, variables, rights.

There is no engine: see `tests.support.container`. Redis and PostgreSQL are started with the scripts of docker-compose.yml.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from fbs_worker.ops.local.embedded.wheels import postgres_binaries, redis_executable
from fbs_worker.web.api.tokens import Entry, new_token
from tests.support.container import ROOT, Container, closed_network, why_not
from tests.support.waiting import PATIENCE, until
from tests.unit.test_deployment import COMPOSE, EXAMPLE, PODS, SERVICES

pytestmark = [
    pytest.mark.faults,  # they take minutes
    pytest.mark.skipif(bool(why_not()), reason=f"CONTAINERS ARE NOT TRIED: {why_not()}"),
]

_POSTGRES_USER = "65534"  # nobody: initdb looks up its name


@dataclass(frozen=True, kw_only=True)
class Site:
    """Redis and PostgreSQL in a network of their own, and the secrets that `docker/secrets.sh` made."""

    network: list[str]
    folder: Path
    secrets: dict[str, str]

    def psql(self, *options: str, **variables: str) -> str:
        """Run psql as superuser."""
        words = [str(postgres_binaries() / "psql"), "-XqAt", "-h", str(self.folder / "pg"), "-U", "postgres", *options]
        return subprocess.run(
            [*self.network, *words], env=os.environ | variables, capture_output=True, text=True, check=True
        ).stdout


@pytest.fixture(scope="module")
def site(run_folder: Path, servers: None) -> Iterator[Site]:
    """The site; its programs end with the module."""
    folder = run_folder / "site"
    for name in ("docker", "pg", "redis"):
        (folder / name).mkdir(parents=True)
    script = folder / "docker" / "secrets.sh"
    script.write_text((ROOT / "docker" / "secrets.sh").read_text())
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    secrets = {file.name: file.read_text() for file in (folder / "secrets").iterdir()}
    secrets["fbs_api_tokens"] = str(Entry.of(new_token(), name="me", scope="write"))
    (folder / "secrets" / "role_password").write_text(secrets["postgres_password"])
    for path in (run_folder, folder):
        path.chmod(0o755)
    os.chown(folder / "pg", int(_POSTGRES_USER), int(_POSTGRES_USER))
    with closed_network() as network, ExitStack() as started:
        site = Site(network=network, folder=folder, secrets=secrets)

        def start(*words: str, log: str) -> None:
            output = started.enter_context((folder / log).open("wb"))
            program = started.enter_context(subprocess.Popen([*network, *words], stdout=output, stderr=output, cwd="/"))
            started.callback(program.terminate)

        shell, options, text = SERVICES["redis"]["command"]
        text = (
            text.replace("$$", "$")
            .replace("/run/secrets", str(folder / "secrets"))
            .replace("/data", str(folder / "redis"))
        )
        start(shell, options, text.replace("exec redis-server", f"exec {redis_executable()}"), log="redis.log")
        user = ("setpriv", "--reuid", _POSTGRES_USER, "--regid", _POSTGRES_USER, "--clear-groups")
        data = str(folder / "pg" / "data")
        initdb = [str(postgres_binaries() / "initdb"), "-D", data, "-U", "postgres", "--auth=trust"]
        subprocess.run([*user, *initdb], check=True, capture_output=True, cwd="/")
        (folder / "pg" / "data" / "pg_hba.conf").write_text("local all all trust\nhost all all all scram-sha-256\n")
        server = [str(postgres_binaries() / "postgres"), "-D", data, "-k", str(folder / "pg"), "-h", "127.0.0.1", "-F"]
        start(*user, *server, log="postgres.log")
        until((folder / "pg" / ".s.PGSQL.5432").exists, (folder / "postgres.log").read_text)
        until(lambda: (folder / "pg" / "data" / "postmaster.pid").read_text().split()[-1] == "ready")
        role = (ROOT / "docker" / "postgres.sql").read_text().replace("/run/secrets", str(folder / "secrets"))
        site.psql("--set=ON_ERROR_STOP=1", "-c", "SELECT 1")
        (folder / "role.sql").write_text(role)
        site.psql("--set=ON_ERROR_STOP=1", "-f", str(folder / "role.sql"), ROLE="fbs")
        yield site


def test_the_role_is_no_superuser_and_owns_its_database_alone(site: Site) -> None:
    rights = (
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = 'fbs'"
    )
    assert site.psql("-c", rights) == "f|f|f|f|f\n"
    owned = "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = 'fbs'"
    assert site.psql("-c", owned) == "fbs\n"


def use(pid: int) -> tuple[int, float]:
    """What a program and its children use: threads, and memory in MB, where shared pages are counted once."""
    program = psutil.Process(pid)
    processes = [program, *program.children(recursive=True)]
    return sum(each.num_threads() for each in processes), sum(each.memory_full_info().pss for each in processes) / 1e6


@pytest.mark.parametrize("file", ["stack", "example", "kubernetes"])
def test_programs_run_with_what_is_declared(file: str, site: Site, recording: str) -> None:
    given = {"ODOO_URL": recording, "ODOO_DB": "rental", "ODOO_USER": "reader"}
    if file == "kubernetes":
        containers = {name: Container.of_pod(pod, given) for name, pod in PODS.items()}
    else:
        services = (COMPOSE if file == "stack" else EXAMPLE)["services"]
        ours = {name: service for name, service in services.items() if service["image"] == "fbs-worker"}
        containers = {name: Container.of_service(service, given) for name, service in ours.items()}
    names = {name.replace("_", "-").removeprefix("fbs-"): value for name, value in site.secrets.items()}
    secrets = {**site.secrets, **names}
    folder = site.folder / file

    def words(name: str, command: list[str]) -> list[str]:
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        return containers[name].words(command, network=site.network, secrets=secrets, folder=own)

    def run(name: str, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words(name, [*command]), capture_output=True, text=True, check=False, timeout=PATIENCE)

    worker = "fbs-discovery" if file == "kubernetes" else "worker"
    for path in ("/here", "/etc/here", f"{ROOT}/here", "/run/secrets/here"):
        assert "Read-only file system" in run(worker, "touch", path).stderr
    assert run(worker, "sh", "-c", "id -u; grep CapEff /proc/self/status").stdout.split() == [
        "10001",
        "CapEff:",
        "0" * 16,
    ]

    with ExitStack() as started:
        programs = {}
        for name, container in containers.items():
            log = started.enter_context((folder / f"{name}.log").open("wb"))
            programs[name] = started.enter_context(
                subprocess.Popen(words(name, container.command), stdout=log, stderr=log)
            )
            started.callback(programs[name].kill)

        def log_of(name: str) -> str:
            return (folder / f"{name}.log").read_text()

        for name, container in containers.items():

            def is_well(name: str = name, health: list[str] = container.health) -> bool:
                assert programs[name].poll() is None, f"{name} ended: {log_of(name)}"
                return run(name, *health).returncode == 0

            until(is_well, lambda name=name: log_of(name))  # type: ignore[misc]
        done = run(worker, "fbs", "discover", "--domain", "rental")
        assert done.returncode == 0, done.stdout + done.stderr + log_of(worker)
        if file == "stack":
            setup = ("fbs", "setup", "--solution-name", "demo", "--domain", "rental", "--database-name", "fbs")
            done = run(worker, *setup)
            assert done.returncode == 0, done.stdout + done.stderr + log_of(worker)
            used = {name: use(program.pid) for name, program in programs.items()}
            for name, (threads, megabytes) in used.items():
                limits = services[name]["deploy"]["resources"]["limits"]
                assert threads < limits["pids"] / 2, used
                assert megabytes < {"384M": 384, "1G": 1024}[limits["memory"]] / 2, used
        for program in programs.values():
            program.send_signal(signal.SIGTERM)
        ended = {name: program.wait(PATIENCE) for name, program in programs.items()}
        assert ended == dict.fromkeys(programs, 0)
        for name in programs:
            assert "Traceback" not in log_of(name)
            assert "Read-only file system" not in log_of(name)
