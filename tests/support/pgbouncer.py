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

from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseUnreachable
from fbs_worker.core.postgres import connect
from fbs_worker.core.sockets import free_port
from tests.support.certificate import self_signed
from tests.support.processes import end
from tests.support.servers import short_folder
from tests.support.waiting import until

PASSWORD: Final = "s3cr3t-of-the-pool"
PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: DatabaseConfig, *, mode: str = "session", tls: bool = False) -> Iterator[DatabaseConfig]:
    """Start it with a pool of the given `pool_mode`.

    Args:
        server: the database as it is reached directly.
        mode: `session` or `transaction`.
        tls: listen on 127.0.0.1 with TLS, for the user `me` with `PASSWORD` by SCRAM; else on a socket, for everyone.

    Yields:
        The same database through the pooler; `sslrootcert` is its certificate.
    """
    assert PROGRAM
    owner, role = Path(server.host).stat(), f"pooler_{secrets.token_hex(6)}"
    with closing(connect(server)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'pooled'")
    with short_folder() as folder:
        settings, users = folder / "pgbouncer.ini", folder / "users"
        users.write_text(f'"me" "{PASSWORD}"')
        place: dict[str, Any] = {"host": str(folder), "port": server.port}
        listen = f"listen_addr =\nunix_socket_dir = {folder}\nauth_type = any\n"
        files = [folder, settings, users]
        if tls:
            certificate = self_signed(folder, host="127.0.0.1")
            place = {
                "host": "127.0.0.1",
                "port": free_port(),
                "user": "me",
                "sslrootcert": str(certificate.certificate),
            }
            files += [certificate.certificate, certificate.key]
            listen = (
                f"listen_addr = 127.0.0.1\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users}\n"
                f"client_tls_sslmode = require\nclient_tls_cert_file = {certificate.certificate}\n"
                f"client_tls_key_file = {certificate.key}\n"
            )
        settings.write_text(
            f"[databases]\n* = host={server.host} port={server.port} user={role} password=pooled\n[pgbouncer]\n"
            f"{listen}listen_port = {place['port']}\n"
            f"pool_mode = {mode}\nignore_startup_parameters = extra_float_digits\n"
        )
        for path in files:
            os.chown(path, owner.st_uid, owner.st_gid)
        account: dict[str, Any] = {}
        if os.getuid() == 0:  # as PostgreSQL, which rejects root, too; the group may enter root's folders
            account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": [0]}
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [PROGRAM, settings], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **account
            )
        pooled = server.model_copy(update={**place, "password": SecretStr(PASSWORD) if tls else server.password})
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
