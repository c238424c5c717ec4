"""A real nginx in front of the tests' servers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fbs_worker.core.sockets import free_port
from tests.support.processes import end
from tests.support.waiting import until

PROGRAM: Final = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def nginx(folder: Path, *locations: str) -> Iterator[str]:
    """Start it, until the end of the block.

    Args:
        folder: an empty folder.
        *locations: blocks `location … {…}`.

    Yields:
        Its URL, without a slash at the end.
    """
    assert PROGRAM
    port, config = free_port(), folder / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {temporary}"
        f"server {{ listen 127.0.0.1:{port}; proxy_set_header Host $http_host; {' '.join(locations)} }} }}"
    )
    process = subprocess.Popen([PROGRAM, "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), lambda: "nginx listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
