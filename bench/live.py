"""The live Odoo for benchmarks: the one of FBS_LIVE_…, or one that is started and stopped for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
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
    with live_values() as values:
        yield connection_of(values) if values else None


@contextmanager
def live_values() -> Iterator[Mapping[str, str] | None]:
    """Yield what `live-odoo start` prints, FBS_LIVE_…; None if no Odoo can be downloaded."""
    if "FBS_LIVE_URL" in os.environ:
        yield os.environ
        return
    started = subprocess.run([str(SCRIPT), "start"], stdout=subprocess.PIPE, text=True, check=False)
    if started.returncode == CANNOT_DOWNLOAD:
        yield None
        return
    started.check_returncode()
    try:
        yield dict(line.split("=", 1) for line in started.stdout.splitlines() if "=" in line)
    finally:
        subprocess.run([str(SCRIPT), "stop"], check=True)


def connection_of(values: Mapping[str, str], *, by_key: bool = False) -> OdooConnection:
    """Return the administrator's connection.

    Args:
        values: FBS_LIVE_….
        by_key: by the API key, over JSON-2, instead of the password.
    """
    connection = OdooConnection(
        url=values["FBS_LIVE_URL"],
        db=values["FBS_LIVE_DB"],
        user=values["FBS_LIVE_USER"],
        password=SecretStr(values["FBS_LIVE_PASSWORD"]),
    )
    if not by_key:
        return connection
    key = {"password": SecretStr(""), "api_key": SecretStr(values["FBS_LIVE_API_KEY"]), "timeout": 300.0}
    return connection.model_copy(update=key)
