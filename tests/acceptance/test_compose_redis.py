"""The Redis of docker-compose.yml, started by its own script: it needs the password and persists its data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import redis
from ruamel.yaml import YAML

from fbs_worker.ops.local.embedded.wheels import redis_executable
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent.parent
PASSWORD = "a1b2c3"


def script(folder: Path) -> list[str]:
    """The script with folders, and a socket, of this test's own."""
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    shell, options, text = compose["services"]["redis"]["command"]
    text = text.replace("$$", "$").replace("/run/secrets", str(folder)).replace("exec redis-server", 'exec "$0"')
    return [
        shell,
        options,
        text.replace("dir /data", f"dir {folder}\nport 0\nunixsocket {folder}/s"),
        redis_executable(),
    ]


def test_it_asks_for_the_password_and_writes_everything_down(run_folder: Path) -> None:
    folder = run_folder / "compose-redis"
    folder.mkdir()
    (folder / "redis_password").write_text(f"{PASSWORD}\n")
    with subprocess.Popen(script(folder), stdout=subprocess.DEVNULL) as server:
        try:
            until((folder / "s").exists, server.poll)
            with redis.Redis(unix_socket_path=str(folder / "s")) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
            with redis.Redis(unix_socket_path=str(folder / "s"), password=PASSWORD, decode_responses=True) as client:
                kept = {
                    name: client.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy")
                }
            assert kept == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
            assert PASSWORD not in Path(f"/proc/{server.pid}/cmdline").read_text()
            assert PASSWORD not in Path(f"/proc/{server.pid}/environ").read_text()
        finally:
            server.terminate()
            assert server.wait(20) == 0  # the server itself is the container's first process, and ends politely


@pytest.mark.parametrize("content", ["", "\n", None])
def test_it_does_not_start_without_a_password(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "redis_password").write_text(content)
    reported = subprocess.run(script(tmp_path), capture_output=True, text=True, check=False, timeout=20)
    assert reported.returncode != 0
    assert "redis_password" in reported.stderr or "REDIS_PASSWORD is empty" in reported.stderr
