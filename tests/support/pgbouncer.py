"""A real PgBouncer in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseUnreachable
from fbs_worker.core.postgres import connect
from tests.support.processes import end
from tests.support.servers import short_folder
from tests.support.waiting import until

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: DatabaseConfig, *, mode: str) -> Iterator[DatabaseConfig]:
    """Start it with a pool of the given `pool_mode`.

    Args:
        server: the database as it is reached directly.
        mode: `session` or `transaction`.

    Yields:
        The same database through the pooler.
    """
    assert PROGRAM
    owner, role = Path(server.host).stat(), f"pooler_{secrets.token_hex(6)}"
    with closing(connect(server)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'pooled'")
    with short_folder() as folder:
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={server.host} port={server.port} user={role} password=pooled\n[pgbouncer]\n"
            f"listen_addr =\nlisten_port = {server.port}\nunix_socket_dir = {folder}\nauth_type = any\n"
            f"pool_mode = {mode}\nignore_startup_parameters = extra_float_digits\n"
        )
        for path in (folder, settings):
            os.chown(path, owner.st_uid, owner.st_gid)
        account: dict[str, Any] = {}
        if os.getuid() == 0:  # as PostgreSQL, which rejects root, too; the group may enter root's folders
            account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": [0]}
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [PROGRAM, settings], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **account
            )
        pooled = server.model_copy(update={"host": str(folder)})
        try:
            until(lambda: _answers(pooled), log.read_text, seconds=20)
            yield pooled
        finally:
            end(process)


def _answers(database: DatabaseConfig) -> bool:
    try:
        connect(database).close()
    except DatabaseUnreachable:
        return False
    return True
