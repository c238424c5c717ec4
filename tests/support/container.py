"""Containers without an engine: a program started as docker-compose.yml or a Kubernetes document says.

Namespaces of Linux give it the same: a root file system that is read-only, the folders that are declared writable, its
secrets as files, its variables and no others, its user, no capabilities, no new privileges, and a network that leads
nowhere. Only root may do that.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
USER: Final = "10001"
HOME: Final = "/var/lib/fbs"
"""FBS_HOME of the image; it belongs to the user."""

_IMAGE: Final = {
    "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
    "HOME": HOME,
    "FBS_HOME": HOME,
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_PREPARE: Final = """
root=$1 user=$2 secrets=$3 writable=$4; shift 4
exec 8< "$root" 9< "$secrets"
while read -r _ mounted type _; do
    case $type in
        proc | sysfs | cgroup* | devpts | devtmpfs) ;;
        *) mount -o remount,bind,ro "$mounted" 2> /dev/null || : ;;
    esac
done < /proc/mounts
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -m 700 /var/lib/fbs && chown "$user" /var/lib/fbs
cp -rL /proc/self/fd/9/. /run/secrets
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
for folder in $writable; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
if [ ! -e "$root/pyproject.toml" ]; then  # below a folder that is new now
    mkdir -p "$root" && mount -c --bind /proc/self/fd/8 "$root" && mount -o remount,bind,ro "$root"
fi
printf '127.0.0.1 localhost redis postgres\\n' > /run/hosts && mount --bind /run/hosts /etc/hosts
mount -o remount,ro /run && mount -o remount,ro /var/lib
exec 8<&- 9<&-
cd /var/lib/fbs 2> /dev/null
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all env -i "$@"
"""

_LOOPBACK: Final = """
import fcntl, socket, struct, sys
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
print("up", flush=True)
sys.stdin.read()
"""


def why_not() -> str:
    """Why containers cannot be tried here; empty where they can."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    if missing := [name for name in ("unshare", "nsenter", "setpriv", "mount") if not shutil.which(name)]:
        return f"not installed: {', '.join(missing)}"
    for words in (
        ["unshare", "--mount", "--net", "mount", "-t", "tmpfs", "tmpfs", "/run"],
        ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", sys.executable, "-c", "import fbs_worker"],
    ):
        tried = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
        if tried.returncode:
            return f"{shlex.join(words)}: {tried.stderr.strip()}"
    return ""


@contextmanager
def closed_network() -> Iterator[list[str]]:
    """A network without any way out, until the end of the block: what to put before a command to start it there."""
    words = ["unshare", "--net", sys.executable, "-c", _LOOPBACK]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "up\n"
        try:
            yield ["nsenter", f"--net=/proc/{keeper.pid}/ns/net"]
        finally:
            keeper.stdin.close()


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a file declares of one of our programs.

    Attributes:
        command: the program.
        health: ends with 0 once it is well.
        environment: its variables, besides those of the image.
        secrets: the names of the secrets, by their paths below /run/secrets.
        writable: its writable folders.
    """

    command: list[str]
    health: list[str]
    environment: dict[str, str]
    secrets: dict[str, str]
    writable: list[str] = field(default_factory=list)

    @classmethod
    def of_service(cls, service: Mapping[str, Any], given: Mapping[str, str]) -> Container:
        """A service of Compose; `given` are the variables of `.env`."""

        def filled(text: object) -> str:
            def value(found: re.Match[str]) -> str:
                name, how, other = found.groups()
                return (other if name in given else "") if how == "+" else given.get(name, other)

            return re.sub(r"\$\{(\w+):([-?+])([^}]*)\}", value, str(text)).replace("$$", "$")

        kind, *words = service["healthcheck"]["test"]
        volumes = [volume.split(":")[1] for volume in service.get("volumes", ())]
        return cls(
            command=[filled(word) for word in service["command"]],
            health=[filled(word) for word in (["sh", "-c", *words] if kind == "CMD-SHELL" else words)],
            environment={name: filled(value) for name, value in service["environment"].items()},
            secrets={name: name for name in service["secrets"]},
            writable=[*(entry.split(":")[0] for entry in service["tmpfs"]), *volumes],
        )

    @classmethod
    def of_pod(cls, pod: Mapping[str, Any], given: Mapping[str, str]) -> Container:
        """A pod of Kubernetes; `given` are variables to replace."""
        [container] = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        below = Path(paths["secrets"]).relative_to("/run/secrets")
        probe, ports = container.get("livenessProbe", {}), container.get("ports", ())
        health = probe.get("exec", {}).get("command") or ["sh", "-c", "fbs metrics | grep -q '^fbs_beat_up 1'"]
        if ports:
            listens = f"import socket; socket.create_connection(('127.0.0.1', {ports[0]['containerPort']}), 5)"
            health = ["python", "-c", listens]
        environment = {one["name"]: given.get(one["name"], one["value"]) for one in container["env"]}
        return cls(
            command=container["command"],
            health=health,
            environment=environment,
            secrets={str(below / item["path"]): item["key"] for item in volumes["secrets"]["secret"]["items"]},
            writable=[path for name, path in paths.items() if name != "secrets"],
        )

    def words(self, command: list[str], *, network: list[str], secrets: Mapping[str, str], folder: Path) -> list[str]:
        """The command line that runs a command as in this container.

        Args:
            command: the command.
            network: of `closed_network`.
            secrets: the values of all secrets.
            folder: a folder of this container's own, for its secrets.
        """
        for path, name in self.secrets.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(secrets[name])
        inside = ["sh", "-euc", _PREPARE, "container", str(ROOT), USER, str(folder), " ".join(self.writable)]
        variables = [f"{name}={value}" for name, value in {**_IMAGE, **self.environment}.items()]
        return [*network, "unshare", "--mount", "--propagation", "private", *inside, *variables, *command]
