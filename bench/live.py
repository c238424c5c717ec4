"""The live Odoo for benchmarks: the one of FBS_LIVE_…, or one that is started and stopped for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from fbs_worker.core.settings import OdooConnection

SCRIPT: Final = Path(__file__).parent.parent / "tests" / "live" / "live-odoo"
CANNOT_DOWNLOAD: Final = 75


@contextmanager
def live_odoo() -> Iterator[OdooConnection | None]:
    """Yield the administrator's connection; None if no Odoo can be downloaded."""
    if "FBS_LIVE_URL" in os.environ:
        yield _connection(dict(os.environ))
        return
    started = subprocess.run([str(SCRIPT), "start"], stdout=subprocess.PIPE, text=True, check=False)
    if started.returncode == CANNOT_DOWNLOAD:
        yield None
        return
    started.check_returncode()
    try:
        yield _connection(dict(line.split("=", 1) for line in started.stdout.splitlines() if "=" in line))
    finally:
        subprocess.run([str(SCRIPT), "stop"], check=True)


def _connection(values: dict[str, str]) -> OdooConnection:
    return OdooConnection(
        url=values["FBS_LIVE_URL"],
        db=values["FBS_LIVE_DB"],
        user=values["FBS_LIVE_USER"],
        password=SecretStr(values["FBS_LIVE_PASSWORD"]),
    )
